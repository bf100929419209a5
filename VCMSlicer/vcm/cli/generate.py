"""`vcm generate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from vcm.cli.display.console import Console
from vcm.cli.display.terminal import say, say_json
from vcm.cli.inputs import parse_acting, parse_attributes, parse_conditions
from vcm.core.errors import Code, VcmError
from vcm.core.reading import read_json
from vcm.protocol.requests import GenerateOptions

HELP = """Generate synthetic brain MRI that follows the conditions given.

Example:

  vcm generate --condition ventricles=mask.nii.gz --age 72 --sex F --seed 1 --uncontrolled --out result

leaves sample-0.nii.gz, uncontrolled-0.nii.gz (the same noise without the mask), report.json and montage.png in result/.

Many at once, a row of a table each (docs/scale.md):

  vcm generate --cases cases.csv --jobs 2 --out cohort
"""

USUAL = GenerateOptions()


def generate(
    condition: Annotated[
        list[str] | None,
        typer.Option(
            help="A condition, NAME=FILE or NAME=FILE:LABEL where the file holds several structures. May be repeated.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder for the results.")] = Path("vcm-result"),
    pack: Annotated[
        str | None,
        typer.Option(help="The backbone: a name from `vcm packs list`, or a folder.", show_default="embedded"),
    ] = None,
    control: Annotated[
        str | None, typer.Option(help="The control; by default the one that takes the conditions.")
    ] = None,
    attribute: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=VALUE, an attribute of the backbone in its unit (see vcm packs info), or NAME.raw=NUMBER, the "
            "network's own 0–1 input. May be repeated; of the one that names the contrast, all makes each of them. "
            "What is not given is measured on the conditions where that is possible."
        ),
    ] = None,
    age: Annotated[float | None, typer.Option(help="In years; short for --attribute age=…")] = None,
    sex: Annotated[str | None, typer.Option(help="F or M; short for --attribute sex=…")] = None,
    ventricular_volume: Annotated[
        float | None, typer.Option(help="In ml; short for --attribute ventricular_volume=…")
    ] = None,
    brain_volume: Annotated[float | None, typer.Option(help="In ml; short for --attribute brain_volume=…")] = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="Voxels from left to right, back to front, foot to head, such as 192x224x192, where the pack has a "
            "rule for sizes (see vcm packs info).",
            show_default="the pack's",
        ),
    ] = USUAL.size,
    spacing: Annotated[
        str | None, typer.Option(help="Millimetres a voxel, such as 1 or 1x1x1.5.", show_default="the pack's")
    ] = USUAL.spacing,
    strength: Annotated[
        list[str] | None,
        typer.Option(help="NAME=NUMBER: how strongly a condition acts; 1 as trained, 0 not at all."),
    ] = None,
    window: Annotated[
        list[str] | None,
        typer.Option(help="NAME=START:END, when a condition acts; 0 is pure noise, 1 the finished image."),
    ] = None,
    region: Annotated[
        list[str] | None, typer.Option(help="NAME=FILE: where a condition acts, a map of weights in 0–1.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="The same seed gives the same volume.", show_default="random; with --cases from 0 and the name"
        ),
    ] = None,
    samples: Annotated[int, typer.Option(help="How many; sample n uses seed + n.")] = USUAL.samples,
    batch: Annotated[int, typer.Option(help="How many samples at a time.")] = USUAL.batch,
    sampler: Annotated[
        str | None,
        typer.Option(
            help="dpm++, dpm++3m, unipc, ddim, ddim-linspace or ddpm; of flows also euler or rflow.",
            show_default="the pack's, or dpm++",
        ),
    ] = USUAL.sampler,
    steps: Annotated[
        int | None,
        typer.Option(help="Fewer for a preview; the paper: 200, ddim.", show_default="the pack's, or 20; ddim 200"),
    ] = None,
    noise: Annotated[Path | None, typer.Option(help="A .npy file with the initial noise, instead of a seed.")] = None,
    uncontrolled: Annotated[
        bool, typer.Option(help="Also make the twin from the same noise without control.")
    ] = USUAL.uncontrolled,
    preview_every: Annotated[
        int, typer.Option(help="Write preview-0.nii.gz every so many steps; 0 for none.")
    ] = USUAL.preview_every,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = USUAL.device,
    precision: Annotated[str, typer.Option(help="auto, fp32, fp16, bf16 or mixed.")] = USUAL.precision,
    memory: Annotated[str, typer.Option(help="auto, whole, slabs or offload.")] = USUAL.memory,
    segmenter: Annotated[str, typer.Option(help="Who measures: auto, pack or synthseg.")] = USUAL.segmenter,
    layout: Annotated[
        str,
        typer.Option(
            help="Complete what is drawn to a whole head: auto where a layout pack for the backbone is here, off, or "
            "the name of one."
        ),
    ] = USUAL.layout,
    force: Annotated[bool, typer.Option(help="Replace files of the same names in the results' folder.")] = USUAL.force,
    montage: Annotated[bool | None, typer.Option(help="Draw montage.png.", show_default="yes; with --cases no")] = None,
    cases: Annotated[
        Path | None,
        typer.Option(help="A table, a row a case; all other options are defaults for what it does not say."),
    ] = None,
    shard: Annotated[
        str | None, typer.Option(help="K/N: of the cases, only the K-th of N shares.", show_default="all")
    ] = None,
    jobs: Annotated[int, typer.Option(help="How many processes of this machine share the cases.")] = 1,
    only_summary: Annotated[
        bool, typer.Option("--summary", help="Make nothing; sum up what is there of --cases.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON and nothing else; with --cases a line an event.")
    ] = False,
) -> None:
    """See HELP."""
    from vcm.runs.job import GenerateJob
    from vcm.runs.results_folder import REPORT
    from vcm.runs.run import run_generate

    short = {"age": age, "sex": sex, "ventricular_volume": ventricular_volume, "brain_volume": brain_volume}
    attributes, raw_attributes = _attributes(attribute or (), short, pack)
    conditions = condition or ()
    acting = (strength or (), window or (), region or ())
    if cases is None:
        _refuse_without_cases(shard=shard is not None, jobs=jobs != 1, summary=only_summary)
    job = GenerateJob(
        out=out,
        conditions=parse_conditions(conditions, *(acting if cases is None else ())),
        pack=pack,
        control=control,
        attributes=attributes,
        raw_attributes=raw_attributes,
        size=size,
        spacing=spacing,
        seed=seed,
        samples=samples,
        batch=batch,
        sampler=sampler,
        steps=steps,
        noise=noise,
        uncontrolled=uncontrolled,
        preview_every=preview_every,
        device=device,
        precision=precision,
        memory=memory,
        segmenter=segmenter,
        layout=layout,
        force=force,
        montage=cases is None if montage is None else montage,
    )
    if cases is not None:
        from vcm.cli.batch import generate_cases
        from vcm.runs.batches.run import Batch

        table = Batch(cases, job, parse_acting(*acting))
        generate_cases(table, shard=shard, jobs=jobs, only_summary=only_summary, as_json=as_json)
        return
    with Console(quiet=as_json) as console:
        result = run_generate(job, console.listeners())
    if as_json:
        say_json(read_json(out / REPORT))
        return
    for summary in result.summaries:
        say(*summary.split("\n"))
    say(f"written to {out}: {', '.join(file.name for file in result.files)}")


generate.__doc__ = HELP


def _attributes(
    entries: Sequence[str], short: Mapping[str, float | str | None], pack: str | None
) -> tuple[dict[str, float | str], dict[str, float]]:
    """What --attribute and its short forms say, in human units and raw."""
    from vcm.packs.store import default_backbone, find_pack

    given = {name: value for name, value in short.items() if value is not None}
    if not entries:
        return given, {}
    human, raw = parse_attributes(entries, find_pack(pack or default_backbone()).backbone.attributes)
    if twice := sorted(human.keys() & given.keys()):
        raise VcmError(Code.ATTRIBUTE, f"{twice[0]} was given twice: with --attribute and with an option of its own.")
    return human | given, raw


def _refuse_without_cases(**given: bool) -> None:
    options = [f"--{name}" for name, is_given in given.items() if is_given]
    if options:
        raise VcmError(
            Code.BAD_REQUEST,
            f"{', '.join(options)} shares out the cases of a table, and none was given.",
            "Add --cases cases.csv.",
        )
