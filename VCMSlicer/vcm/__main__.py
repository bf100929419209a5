"""The command line's start: `vcm`, and `python -m vcm` for programs that start Python modules, such as torchrun."""

from __future__ import annotations

import signal

from vcm.core.spinning import limit_spinning


def main() -> None:
    """Import the command line and run it."""
    # While it is imported nothing is begun yet, so an interrupt may end the process at once, without a traceback.
    heard = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) is not signal.SIG_IGN]
    for number in heard:
        signal.signal(number, signal.SIG_DFL)
    limit_spinning()
    from vcm.cli import main as run

    for number in heard:
        signal.signal(number, signal.default_int_handler)
    run()


if __name__ == "__main__":
    main()
