"""The released way of running VCM beside the engine's, measured. `python tools/bench.py --help` lists its options."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer
from vcm.cli.display.terminal import SafeConsole, say_json
from vcm.core.plain_text import plain

INCOMPLETE = 1
"""The exit code where a stage could not be measured, or was interrupted."""

HELP = """Measure the released way and the engine side by side, with random weights: seconds, peak memory, ratio.

Examples:

  python tools/bench.py                 at full size (BrainLDM 553 M, VCM 45 M, 160×224×160); meant for a GPU

  python tools/bench.py --tiny          a few seconds on any processor

The released way is monai-generative's networks in fp32 (under fp16 autocast on a GPU), with the condition encoded at
every step; it needs `pip install '.\\[reference]'`. Ctrl-C ends the way being measured, not the other.
"""


def bench(
    tiny: Annotated[bool, typer.Option("--tiny", help="Small networks of the same kind, for a processor.")] = False,
    config: Annotated[
        Path | None, typer.Option(help="Networks of another size: a configuration as `vcm packs import` takes it.")
    ] = None,
    steps: Annotated[int, typer.Option(help="DDIM steps of the loop.", min=1, max=1000)] = 200,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="The engine's: auto, fp32, fp16 or bf16.")] = "auto",
    memory: Annotated[str, typer.Option(help="The engine's plan: auto, whole, slabs or offload.")] = "auto",
    out: Annotated[Path | None, typer.Option(help="Also write the result to this file, as JSON.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON and nothing else.")] = False,
) -> int:
    """See HELP."""
    from benchmark.published import require_reference
    from benchmark.report import as_dict, lines, table
    from benchmark.run import run_benchmark
    from benchmark.setting import Setting
    from vcm.core.errors import Code, VcmError
    from vcm.machine.runtime import choose_runtime
    from vcm.outputs.atomic_files import write_json
    from vcm.outputs.claims import claim_file
    from vcm.packs.schema import read_document

    if tiny and config is not None:
        raise VcmError(Code.BAD_REQUEST, "--tiny and --config both say which networks to measure.", "Give one of them.")
    require_reference()
    claim = claim_file(out, inputs=[config] if config is not None else []) if out is not None else nullcontext()
    given = read_document(config) if config is not None else None
    source = config.name if config is not None else ""
    runtime = choose_runtime(device, precision)
    setting = Setting.create(runtime, tiny=tiny, config=given, source=source, steps=steps, memory=memory)
    progress = SafeConsole(stderr=True, quiet=as_json)
    ways = run_benchmark(setting, lambda words: progress.print(plain(words), style="dim"))
    result = as_dict(setting, *ways)
    if out is not None:
        with claim:
            write_json(out, result)
    if as_json:
        say_json(result)
    else:
        console = SafeConsole(soft_wrap=True)
        console.print(table(setting, *ways))
        for line in lines(setting, *ways):
            console.print(plain(line))
    return 0 if result["complete"] else INCOMPLETE


bench.__doc__ = HELP


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark as a command."""
    from vcm.cli import run

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    app.command()(bench)
    run(app, "bench.py", arguments)


if __name__ == "__main__":
    main()
