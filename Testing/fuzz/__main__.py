"""Run the drivers: `python Testing/fuzz [DRIVER …] [--cases N] [--seed S] [--minutes M] [--only NUMBER]`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "engine/support"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from campaign import DRIVERS, Campaign


def main() -> int:
    """Read the options, run, and end with 1 where anything was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("drivers", nargs="*", metavar="DRIVER", help=f"{', '.join(DRIVERS)}; all, if none is named")
    parser.add_argument("--cases", type=int, default=2000, help="how many cases in all (2000)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed makes the same cases (1)")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument("--only", type=int, help="one case of one driver; its folder is kept")
    options = parser.parse_args()
    if unknown := set(options.drivers) - set(DRIVERS):
        parser.error(f"there is no driver {', '.join(sorted(unknown))}")
    folder = Path(tempfile.mkdtemp(prefix="vcm-fuzz-"))
    campaign = Campaign(folder, options.seed, options.minutes)
    names = options.drivers or list(DRIVERS)
    if options.only is not None:
        campaign.run_one(names[0], options.only, keep=True)
    else:
        campaign.run(names, options.cases)
    print(campaign.summary())
    return 1 if campaign.found else 0


if __name__ == "__main__":
    sys.exit(main())
