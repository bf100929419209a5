"""The command line, `vcm`. Commands import what they need when they run, so that `--help` answers at once."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import typer

from vcm.cli import benchmark as bench
from vcm.cli import cohort, doctor, generate, packs, space, train
from vcm.errors import Code, VcmError

EXIT_CODES = {Code.CANCELLED: 130, Code.BAD_REQUEST: 2, Code.INTERNAL: 70, Code.OUT_OF_MEMORY: 71}
FAILED = 1

app = typer.Typer(
    name="vcm",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Synthetic T1w brain MRI that obeys what you paint. Research software, never a diagnostic.",
)
app.command()(generate.generate)
app.command()(doctor.doctor)
app.command()(bench.bench)
packs.app.command("check-space", epilog="Example: vcm packs check-space brainldm-mini")(space.check_space_command)
app.add_typer(packs.app, name="packs")
app.add_typer(cohort.app, name="cohort")
app.add_typer(train.app, name="train")


def version(value: bool) -> None:
    """Print the version and end."""
    if value:
        import vcm

        typer.echo(f"vcm {vcm.__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error.", envvar="VCM_DEBUG"),
    _version: bool = typer.Option(False, "--version", callback=version, is_eager=True, help="Show the version."),
) -> None:
    """Options of every command."""
    if debug:
        os.environ["VCM_DEBUG"] = "1"


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; every failure ends in one sentence and an exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        result = app(arguments, standalone_mode=False)
        sys.exit(result if isinstance(result, int) else 0)
    except VcmError as error:
        _tell(error, as_json="--json" in arguments)
    except (KeyboardInterrupt, typer.Abort):
        _tell(VcmError(Code.CANCELLED, "Cancelled."), as_json="--json" in arguments)
    except Exception as error:
        if hasattr(error, "format_message"):  # a usage error: typer's own, whichever click it comes with
            error.show()  # type: ignore[attr-defined]
            sys.exit(getattr(error, "exit_code", 2))
        _tell(
            VcmError(
                Code.INTERNAL,
                f"Something went wrong inside VCMSlicer: {type(error).__name__}: {error}.",
                "Run the command again with --debug and report what it prints.",
            ),
            as_json="--json" in arguments,
        )


def _tell(error: VcmError, as_json: bool) -> None:
    if os.environ.get("VCM_DEBUG"):
        import traceback

        traceback.print_exc()
    if as_json:
        content: dict[str, Any] = {"error": error.as_dict()}
        print(json.dumps(content, indent=1, default=str))
    else:
        print(f"vcm: {error.sentence}", file=sys.stderr)
        if error.remedy:
            print(f"     {error.remedy}", file=sys.stderr)
    sys.exit(EXIT_CODES.get(error.code, FAILED))
