"""`python -m vcm.worker`: the engine for a program that speaks docs/protocol.md, such as 3D Slicer."""

from __future__ import annotations

import argparse
import sys

from vcm.core.spinning import limit_spinning
from vcm.worker.engine import LocalEngine
from vcm.worker.process import serve


def main() -> int:
    """Read the command line and serve."""
    limit_spinning()
    parser = argparse.ArgumentParser(
        prog="python -m vcm.worker",
        description="Reads requests as JSON lines from stdin and answers with JSON lines on stdout (docs/protocol.md).",
    )
    parser.add_argument("--debug", action="store_true", help="report the traceback of an unexpected failure")
    return serve(LocalEngine(), parser.parse_args().debug)


if __name__ == "__main__":
    sys.exit(main())
