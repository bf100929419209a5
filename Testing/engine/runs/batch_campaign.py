"""A batch by array shards and by torchrun, with processes killed on the way, and the proof that each case came once.

    python Testing/engine/runs/batch_campaign.py --cases 10000 --folder /tmp/heads

uses the tiny model of the tests, as a case of it costs hardly more than its files; the suite runs it with few cases.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "support")]

from batch_cases import check_whole, finish, many, report_of, rows_of, start, write_masks, write_table

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
RESTARTING = (*TORCHRUN, "--max-restarts", "3")


@dataclass
class Campaign:
    """A table of `count` cases in `folder` and what its processes have said of them."""

    folder: Path
    count: int
    options: tuple[object, ...] = ()
    made: Counter[str] = field(default_factory=Counter)
    kills: int = 0

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def prepare(self) -> None:
        write_masks(self.folder)
        self.rows = many(self.count)
        self.table = write_table(self.folder, *self.rows)

    def start(self, *options: object, launcher: tuple[str, ...] = ()):
        return start("--cases", self.table, "--out", self.out, *self.options, *options, launcher=launcher)

    def hear_until(self, process, cases: int) -> None:
        """Read what a process says until it has made so many cases."""
        heard = 0
        for line in process.stdout:
            heard += self._hear(json.loads(line) if line.startswith("{") else {})
            if heard == cases:
                return
        raise AssertionError(f"it ended after {heard} cases: {process.stderr.read()}")

    def hear_out(self, process, seconds: float) -> int:
        """Read on to its end, which is its exit code."""
        code, events, _ = finish(process, seconds)
        for event in events:
            self._hear(event)
        return code

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        self.kills += 1

    def _hear(self, event) -> bool:
        made = event.get("event") == "case" and not event["refused"]
        if made:
            self.made[event["case"]] += 1
        return made

    def check(self) -> None:
        """That each case is there whole, was made once, and is in the summary once; those that a killed process had
        finished without having been able to say so are as many as were killed, at most."""
        twice = [case for case, times in self.made.items() if times > 1]
        assert not twice, f"made twice: {twice[:5]}"
        names = [row["case"] for row in self.rows]
        assert self.count - self.kills <= len(self.made) <= self.count, (len(self.made), self.count, self.kills)
        assert [row["case"] for row in rows_of(self.out / "results.csv")] == names
        assert rows_of(self.out / "refused.csv") == []
        counts = json.loads((self.out / "summary.json").read_text())["cases"]
        assert counts == {"made": self.count, "refused": 0, "missing": 0}
        assert sorted(home.name for home in (self.out / "cases").iterdir()) == sorted(names)
        for name in names[:: max(1, self.count // 200)]:
            check_whole(self.out, name)
        assert not list(self.out.rglob(".vcm-work")), "something half written was left"


def ranks_of(process) -> list[psutil.Process]:
    """The two processes of torchrun that make cases."""
    children = [c for c in psutil.Process(process.pid).children() if "generate" in c.cmdline()]
    assert len(children) == 2, children
    return children


def run_campaign(folder: Path, count: int, options: tuple[object, ...] = (), seconds: float = 300) -> Campaign:
    """Two of four array shards, one of them killed; then torchrun over all, a rank killed, which starts both again."""
    campaign = Campaign(folder, count, options)
    campaign.prepare()
    first, second = (campaign.start("--shard", f"{k}/4") for k in (1, 2))
    campaign.hear_until(second, max(1, count // 16))
    campaign.kill(second.pid)
    campaign.hear_out(second, seconds)
    assert campaign.hear_out(first, seconds) == 0
    of_first = [row["case"] for row in campaign.rows[::4]]
    assert set(of_first) <= set(campaign.made)
    stamps = {case: (campaign.out / "cases" / case / "report.json").stat().st_mtime_ns for case in of_first}
    ranks = campaign.start(launcher=RESTARTING)
    campaign.hear_until(ranks, max(1, count // 8))
    campaign.kill(ranks_of(ranks)[1].pid)
    assert campaign.hear_out(ranks, seconds) == 0
    last = campaign.start("--shard", "3/4")
    before = len(campaign.made)
    assert campaign.hear_out(last, seconds) == 0 and len(campaign.made) == before, "all were finished"
    campaign.check()
    for case, stamp in stamps.items():
        assert (campaign.out / "cases" / case / "report.json").stat().st_mtime_ns == stamp, f"{case} was written again"
    assert report_of(campaign.out, of_first[-1])["complete"]
    return campaign


def main() -> None:
    import tiny

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, required=True)
    wanted = parser.parse_args()
    wanted.folder.mkdir(parents=True)
    tiny.write_packs(wanted.folder / "packs")
    os.environ["VCM_PACKS"] = str(wanted.folder / "packs")
    started = time.monotonic()
    done = run_campaign(wanted.folder, wanted.cases, seconds=24 * 3600)
    print(
        f"{done.count:,} cases, {len(done.made):,} told of, none twice, {done.kills} processes killed, "
        f"{time.monotonic() - started:,.0f} s"
    )


if __name__ == "__main__":
    main()
