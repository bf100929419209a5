"""The command line, `vcm`. Commands import what they need when they run, so that `--help` answers at once."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys

import typer

from vcm.cli import cohort, doctor, evaluate, experiment, generate, packs, register, space, teach, train
from vcm.cli.display.terminal import OutputLostError, own_streams, say
from vcm.cli.endings import EXIT_CODES, end, interrupt_again
from vcm.cli.limits import refuse_little_memory
from vcm.core.errors import Code

EPILOG = (
    "Example: vcm generate --condition ventricles=mask.nii.gz --age 72 --sex F --seed 1 --out result\n\n"
    "Exit codes: 0 done, 1 refused by an input, a pack or the disk, 2 a request that makes no sense, 70 a fault of the "
    "program, 71 too little memory, 130 cancelled."
)

INTERRUPTED = 130
"""What typer makes of a KeyboardInterrupt; no command returns it by itself."""

NO_MEMORY = b"vcm: The computer ran out of memory.\n     Close other programs, or raise the limit of this one.\n"

OUTPUT_UNWANTED = 141
"""Whoever read our output has enough of it: what a shell says of a command that SIGPIPE ended."""

app = typer.Typer(
    name="vcm",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Synthetic brain MRI that follows what you paint. Research software, never a diagnostic.",
    epilog=EPILOG,
)
app.command()(generate.generate)
app.command()(doctor.doctor)
app.command()(register.register)
app.command()(evaluate.evaluate)
app.command()(teach.teach)
packs.app.command("check-space", epilog="Example: vcm packs check-space brainldm-mini")(space.check_space_command)
app.add_typer(packs.app, name="packs")
app.add_typer(cohort.app, name="cohort")
app.add_typer(train.app, name="train")
app.add_typer(experiment.app, name="experiment")


def version(value: bool) -> None:
    """Print the version and end."""
    if value:
        import vcm

        say(f"vcm {vcm.__version__}")
        raise typer.Exit


@app.callback()
def options(
    _debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error.", envvar="VCM_DEBUG"),
    _version: bool = typer.Option(False, "--version", callback=version, is_eager=True, help="Show the version."),
) -> None:
    """Options of every command."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    run(app, "vcm", arguments)


def run(commands: typer.Typer, name: str, arguments: list[str] | None = None) -> None:
    """Run some commands; every failure ends in one sentence and an exit code. `--debug` may stand anywhere."""
    if arguments is None:
        arguments = sys.argv[1:]
        own_streams()
        sys.unraisablehook = interrupt_again
        # A job that is stopped by its scheduler cleans up as one that is stopped by its user does.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        # Importing PyTorch makes half a million objects; looking for cycles among them takes half a second and more.
        gc.set_threshold(200_000, 20, 100)
        # At its end the interpreter looks once more, which takes as long.
        atexit.register(gc.freeze)
    debug = "--debug" in arguments or bool(os.environ.get("VCM_DEBUG"))
    try:
        refuse_little_memory()
        plain = [argument for argument in arguments if argument != "--debug"]
        result = commands(plain, prog_name=name, standalone_mode=False)
        if result == INTERRUPTED:
            raise KeyboardInterrupt
        sys.stdout.flush()
    except BrokenPipeError:
        sys.exit(OUTPUT_UNWANTED)
    except (Exception, KeyboardInterrupt) as error:
        sys.exit(_end(error, "--json" in arguments, debug))
    sys.exit(result if isinstance(result, int) else 0)


def _end(error: BaseException, as_json: bool, debug: bool) -> int:
    try:
        return end(error, as_json=as_json, debug=debug)
    except BrokenPipeError:
        return OUTPUT_UNWANTED
    except OutputLostError as lost:
        return end(lost)
    except MemoryError:
        # Not even the sentence finds room; what is written here was made beforehand.
        os.write(2, NO_MEMORY)
        return EXIT_CODES[Code.OUT_OF_MEMORY]
