"""`vcm evaluate`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vcm.cli.display.console import Console
from vcm.cli.display.terminal import say, say_json
from vcm.cli.limits import use_threads
from vcm.core.errors import Code, VcmError

if TYPE_CHECKING:
    from vcm.evaluation.control_evaluation import EvaluationListeners
    from vcm.packs.store import Pack
    from vcm.sampling.generator import Generator

COMPARE = "compare"
ON_CASES, ON_IMAGES, ON_VOLUMES = "A control on cases", "Images against references", "A backbone's volumes"

HELP = """Measure a control's adherence, the quality of images, or a backbone's response to a volume asked for.

Examples:

  vcm evaluate brainldm-mini-ventricles --cases unseen --count 40 --out evaluated

  vcm evaluate brainldm-mini-semantics --cases unseen --layout NAME --subsets ventricles --out completed

  vcm evaluate --images samples --references scans --out compared

  vcm evaluate brainldm-mini --attribute ventricular_volume --values 5:85:9 --samples 4 --out response

  vcm evaluate compare 10=ten 50=fifty 500=all --out curve.png

A run that is stopped goes on where it was when the same command is given again. FID and LPIPS look through networks
whose weights you download yourself; without --features they are not measured, and the tables say so.
"""


def evaluate(
    pack: Annotated[
        str | None, typer.Argument(help="A control, a backbone, or the word compare.", show_default=False)
    ] = None,
    evaluations: Annotated[
        list[str] | None, typer.Argument(help="For compare: NAME=FOLDER, a number for a place on a curve.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder for tables and plots; for compare, the picture.")] = Path(
        "vcm-evaluation"
    ),
    cases: Annotated[
        Path | None, typer.Option(help="A cohort: the folder with cases.csv.", rich_help_panel=ON_CASES)
    ] = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="The first so many cases.", show_default="all", rich_help_panel=ON_CASES)
    ] = None,
    subsets: Annotated[
        str,
        typer.Option(help="all (all conditions, then each alone), full, or a+b,c.", rich_help_panel=ON_CASES),
    ] = "all",
    layout: Annotated[
        str | None,
        typer.Option(
            help="A layout that completes what --subsets names, which need not be the control's.",
            rich_help_panel=ON_CASES,
        ),
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(help="The backbone, where it is not the control's own.", rich_help_panel=ON_CASES)
    ] = None,
    contrast: Annotated[
        list[str] | None,
        typer.Option(
            help="A contrast to evaluate, as PART=NAME: image=T1w, t2=T2w. May be repeated.", rich_help_panel=ON_CASES
        ),
    ] = None,
    keep_images: Annotated[
        bool, typer.Option("--keep-images", help="Keep every volume that was made.", rich_help_panel=ON_CASES)
    ] = False,
    images: Annotated[Path | None, typer.Option(help="A folder of volumes.", rich_help_panel=ON_IMAGES)] = None,
    references: Annotated[
        Path | None, typer.Option(help="A folder of volumes to compare with.", rich_help_panel=ON_IMAGES)
    ] = None,
    attribute: Annotated[
        str | None, typer.Option(help="An attribute that is a volume.", rich_help_panel=ON_VOLUMES)
    ] = None,
    values: Annotated[
        str | None,
        typer.Option(help="first:last:count or a,b,c.", show_default="9 over its range", rich_help_panel=ON_VOLUMES),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="For each value.", rich_help_panel=ON_VOLUMES)] = 4,
    contact_sheet: Annotated[
        int, typer.Option(min=0, max=64, help="Draw so many samples on a sheet.", rich_help_panel=ON_VOLUMES)
    ] = 0,
    features: Annotated[
        list[str] | None,
        typer.Option(help="inception, medicalnet or lpips=FILE with its weights. May be repeated."),
    ] = None,
    measure: Annotated[str, typer.Option(help="What compare draws.")] = "dice",
    structure: Annotated[
        str | None, typer.Option(help="Of which structure compare draws it.", show_default="the first")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Case or sample n starts from the noise of seed + n.")] = 0,
    steps: Annotated[int | None, typer.Option(min=1, help="Of the sampler.", show_default="the pack's")] = None,
    segmenter: Annotated[str, typer.Option(help="Who measures: auto, pack or synthseg.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, fp16, bf16 or mixed.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="Processor cores to use.", show_default="all")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON and nothing else.")] = False,
) -> None:
    """See HELP."""
    if pack == COMPARE:
        data = _compared(evaluations or [], out, measure, structure)
        _show(data, as_json, f"{out} holds the picture")
        return
    if evaluations:
        raise VcmError(Code.BAD_REQUEST, f"Only compare takes more than one name; {evaluations[0]!r} was given.")
    _require_one_way(cases=cases, images=images or references, attribute=attribute or contact_sheet)
    from vcm.evaluation.control_evaluation import CaseOptions, EvaluationListeners
    from vcm.evaluation.result_store import claim_evaluation
    from vcm.packs.store import default_backbone, find_pack

    use_threads(threads)
    files = {name: Path(path) for name, path in _named(features or [], "--features", "NAME=FILE").items()}
    inputs = [*files.values(), *(file for folder in (images, references) if folder for file in folder.glob("*"))]
    with Console(quiet=as_json) as console, claim_evaluation(out, inputs):
        listeners = EvaluationListeners(console.listeners().progress, console.words)
        if images or references:
            if not (images and references):
                raise VcmError(Code.BAD_REQUEST, "Give both --images and --references, a folder each.")
            model = find_pack(pack or backbone or default_backbone())
            data = _images(model, images, references, out, files, device, listeners)
        elif pack is None:
            raise VcmError(Code.BAD_REQUEST, "Name the pack to evaluate.", "See what there is with: vcm packs list")
        elif cases:
            options = CaseOptions(count, subsets, seed, steps, segmenter, files, keep_images, layout=layout or "")
            named = _named(contrast or [], "--contrast", "PART=NAME")
            data = _on_cases(pack, backbone, named, cases, out, options, (device, precision), listeners)
        else:
            data = _response(
                pack,
                attribute,
                values,
                samples,
                contact_sheet,
                out,
                (seed, steps, segmenter),
                (device, precision),
                listeners,
            )
    _show(data, as_json, f"written to {out}")


def _on_cases(
    name: str,
    backbone_name: str | None,
    contrasts: Mapping[str, str],
    cases: Path,
    out: Path,
    options: Any,
    where: tuple[str, str],
    listeners: EvaluationListeners,
) -> dict[str, Any]:
    from vcm.cohort.contrasts import contrasts_of
    from vcm.evaluation.case_outcome import write_outcome
    from vcm.evaluation.control_evaluation import ControlEvaluation, refuse_early
    from vcm.packs.store import find_pack
    from vcm.runs.choice import choose_packs

    named = find_pack(name)
    own = backbone_name or named.control.backbone.name
    try:
        backbone, control = choose_packs(own, name, ())
    except VcmError as error:
        if error.code is not Code.PACK_MISSING or backbone_name:
            raise
        raise VcmError(error.code, error.sentence, "Give its backbone: --backbone NAME or FOLDER.") from error
    assert control is not None
    refuse_early(control, options, cases)
    options = replace(options, contrasts=contrasts_of(contrasts, backbone.backbone.attributes, backbone.name))
    run = ControlEvaluation(backbone, control, _generator(backbone, control, where, listeners), options, listeners)
    return write_outcome(run.run(cases, out), run, cases)


def _images(
    model: Pack,
    images: Path,
    references: Path,
    out: Path,
    files: Mapping[str, Path],
    device: str,
    listeners: EvaluationListeners,
) -> dict[str, Any]:
    from vcm.evaluation.image_sets import SetOptions, evaluate_sets
    from vcm.machine.runtime import choose_device

    return evaluate_sets(images, references, out, model, SetOptions(files, str(choose_device(device))), listeners)


def _response(
    name: str,
    attribute: str | None,
    values: str | None,
    samples: int,
    sheet: int,
    out: Path,
    how: tuple[int, int | None, str],
    where: tuple[str, str],
    listeners: EvaluationListeners,
) -> dict[str, Any]:
    from vcm.evaluation.attribute_response import ResponseOptions, evaluate_response, parse_values, write_sheet
    from vcm.packs.store import find_pack

    pack = find_pack(name)
    seed, steps, segmenter = how
    chosen = parse_values(values) if values else ()
    generator = _generator(pack, None, where, listeners)
    data: dict[str, Any] = {"backbone": pack.name}
    if attribute:
        options = ResponseOptions(attribute, chosen, samples, seed, steps, segmenter)
        data = evaluate_response(pack, generator, options, out, listeners)
    if sheet:
        write_sheet(generator, pack, sheet, seed, steps, out, listeners)
    return data


def _generator(
    backbone: Pack, control: Pack | None, where: tuple[str, str], listeners: EvaluationListeners
) -> Generator:
    from vcm.models.loading import load_backbone, load_control
    from vcm.runs.run import runtime_for
    from vcm.sampling.generator import Generator

    runtime = runtime_for(backbone, *where)
    listeners.words(f"running on {runtime.words}")
    return Generator(load_backbone(backbone), load_control(control) if control else None, runtime)


def _compared(texts: list[str], out: Path, measure: str, structure: str | None) -> dict[str, Any]:
    from vcm.evaluation.comparison import compare, read_compared

    if not texts:
        raise VcmError(
            Code.BAD_REQUEST,
            "There is nothing to compare.",
            "For example: vcm evaluate compare 10=ten 50=fifty 500=all --out curve.png",
        )
    if out.suffix.lower() != ".png":
        raise VcmError(Code.BAD_REQUEST, f"The comparison is a picture; {out} does not end in .png.")
    return compare([read_compared(text) for text in texts], out, measure, structure)


def _require_one_way(**ways: object) -> None:
    given = [name for name, value in ways.items() if value]
    if len(given) != 1:
        raise VcmError(
            Code.BAD_REQUEST,
            "Say what to evaluate on: --cases, --images with --references, or --attribute or --contact-sheet"
            + (f"; {' and '.join(given)} were given." if given else "."),
            "See the examples in: vcm evaluate --help",
        )


def _named(entries: list[str], option: str, written: str) -> dict[str, str]:
    named = {}
    for text in entries:
        name, separator, value = text.partition("=")
        if not separator or not value:
            raise VcmError(Code.BAD_REQUEST, f"{option} is written {written}; {text!r} was given.")
        named[name.strip()] = value
    return named


def _show(data: Mapping[str, Any], as_json: bool, words: str) -> None:
    if as_json:
        from vcm.outputs.atomic_files import without_nan

        say_json(without_nan(dict(data)))
        return
    for row in data.get("rows", []):
        controlled = row.get("controlled")
        given = row["structure"].partition(": ")[0] in row["conditions"].split("+")
        if row["measure"] == "dice" and controlled and controlled["n"] and given:
            others = [
                f"{name} {row[name]['mean']:.3f}"
                for name in ("uncontrolled", "reconstruction")
                if row.get(name) and row[name]["n"]
            ]
            say(f"{row['conditions']}: Dice of {row['structure']} {controlled['mean']:.3f}, {', '.join(others)}")
    say(*words.split("\n"))


evaluate.__doc__ = HELP
