"""`vcm packs check-space`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vcm.cli.display.terminal import say, say_json

if TYPE_CHECKING:
    from vcm.judging.reference_space import SpaceCheck


def _turn(found: SpaceCheck) -> str:
    from vcm.judging.reference_space import TOLERANCE_DEGREES

    if found.degrees is None or found.turn_axis is None:
        return "too few structures were found to measure a rotation"
    right, front, top = found.turn_axis
    words = f"turned by {found.degrees:.0f}° about the axis ({right:+.1f}, {front:+.1f}, {top:+.1f})"
    return f"{words}, up to {TOLERANCE_DEGREES:g}° are allowed"


def check_space_command(
    name: Annotated[str, typer.Argument(help="A backbone pack.", show_default=False)],
    seed: Annotated[int, typer.Option(help="The seed of the first image it is measured on.")] = 0,
    samples: Annotated[int, typer.Option(min=1, help="On so many images it is measured.")] = 8,
    steps: Annotated[int, typer.Option(help="Sampling steps.")] = 20,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the measurement as JSON.")] = False,
) -> int:
    """Generate images and measure how far they lie from MNI space and how they are turned. Exits with 1 beyond 6 mm or
    10°."""
    from dataclasses import asdict

    from vcm.conditions.attributes import resolve
    from vcm.judging.reference_space import TOLERANCE_MM, check_space
    from vcm.judging.segmentation import PackSegmenter
    from vcm.machine.runtime import choose_runtime
    from vcm.models.loading import load_backbone
    from vcm.packs.store import default_backbone, find_pack
    from vcm.sampling.generator import Generator
    from vcm.sampling.request import GenerateRequest

    pack = find_pack(name)
    judge = pack if "segmenter" in pack.backbone.files else find_pack(default_backbone())
    backbone = load_backbone(pack)
    sampler, count = pack.backbone.sampling.chosen(None, steps)
    request = GenerateRequest(
        resolve(backbone.attributes), seed=seed, samples=samples, sampler=sampler, steps=count
    )  # fmt: skip
    generator, segmenter = Generator(backbone, None, choose_runtime(device)), PackSegmenter.from_pack(judge)
    segmented = [segmenter.segment(sample.volume) for sample in generator.generate(request)]
    found = check_space(segmented, segmenter.classes)
    if as_json:
        say_json({**asdict(found), "distance_mm": found.distance_mm, "passed": found.passed})
    else:
        for structure, shift in found.structures.items():
            say(f"{structure:18} {shift[0]:+6.1f} {shift[1]:+6.1f} {shift[2]:+6.1f} mm (R A S)")
        verdict = "in MNI space" if found.passed else "not in MNI space"
        allowed = f"{found.distance_mm:.1f} mm off in the mean, up to {TOLERANCE_MM:g} are allowed"
        say(f"{verdict}: {allowed}; {_turn(found)}")
    return 0 if found.passed else 1
