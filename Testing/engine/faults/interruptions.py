"""The commands that are killed at any change they make on the disk and run again.

    python Testing/engine/faults/interruptions.py --points 60 --seed 1 [generate batch train teach import export]

Each point is a real process, ended by SIGKILL just before its n-th change (a file opened for writing, moved, removed, a
folder made or removed) or after so many milliseconds. Run again, the command must succeed with the same results, with
every file of the user's as it was, and nothing left over. The seed is 1 by default.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import numpy as np
import tiny
import torch
from command_line import vcm_apart
from faults import MASK, image_file
from kill_campaign import Campaign, Scenario
from sample_packs import CONFIG, make_checkpoints
from small_cohort import NETWORK, write_workshop
from vcm.outputs.record import RECORD
from vcm.volumes.volume_files import read_volume

TRAINING = (
    'backbone = "tiny"\nsteps = 4\nbatch = 2\nprecision = "fp32"\nlog_every = 1\nsave_every = 1\nsampling_steps = 2\n'
)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def voxels(file: Path) -> str:
    return digest(np.ascontiguousarray(read_volume(file).array).tobytes())


def results(out: Path) -> dict[str, str]:
    """Volumes by their voxels; reports without times and memory; names of all else."""
    found = {}
    for file in sorted(out.rglob("*")):
        name = str(file.relative_to(out.parent))
        if not file.is_file() or file.name == RECORD:
            continue
        if file.name.endswith(".nii.gz"):
            found[name] = voxels(file)
        elif file.name == "report.json":
            report = json.loads(file.read_text())
            same = ("files", "complete", "request_sha256", "samples", "conditions", "attributes")
            found[name] = json.dumps({key: report[key] for key in same}, sort_keys=True)
        elif file.suffix == ".csv":
            found[name] = file.read_text()
        else:
            found[name] = "there"
    return found


def true_report(out: Path) -> None:
    """Check that every file that a report names is there, with the voxels of its seed."""
    if not (out / "report.json").is_file():
        return
    report = json.loads((out / "report.json").read_text())
    for name in report["files"]:
        assert (out / name).is_file(), f"the report names {name}, which is not there"
    for sample in report["samples"]:
        same = sample["seed"] not in SAMPLES or SAMPLES[sample["seed"]] == voxels(out / sample["file"])
        assert same, f"{sample['file']} is not of seed {sample['seed']}, as the report says"


SAMPLES: dict[int, str] = {}
"""The voxels that a seed makes, as the scenario of `generate` has seen them."""


def prepare_generate(home: Path) -> None:
    tiny.write_packs(home / "packs")
    for seed in (3, 1):
        ended = vcm_apart(home.parent, *generate(home, seed), "--samples", 2)
        assert ended.code == 0, ended
        SAMPLES[seed] = voxels(home / "out" / "sample-0.nii.gz")
        SAMPLES[seed + 1] = voxels(home / "out" / "sample-1.nii.gz")


def generate(home: Path, seed: int = 3) -> tuple:
    return ("generate", "--pack", "tiny", "--steps", 1, "--seed", seed, "--out", home / "out", "--segmenter", "pack")


def prepare_batch(home: Path) -> None:
    tiny.write_packs(home / "packs")
    image_file(home / "mask.nii.gz", MASK)
    (home / "table.csv").write_text("case,ventricles\na,mask.nii.gz\nb,\n")
    assert vcm_apart(home.parent, *batch(home), "--seed", 9).code == 0


def batch(home: Path) -> tuple:
    return ("generate", "--pack", "tiny", "--steps", 1, "--cases", home / "table.csv", "--out", home / "out")


def prepare_training(home: Path) -> None:
    write_workshop(home)
    network = {name: NETWORK[name] for name in ("width", "features", "hidden", "unet")}
    (home / "mine.toml").write_text(TRAINING + f"network = {_toml(network)}\n")


def train(home: Path) -> tuple:
    held_out = ("--held-out", home / "cohort", "--held-out-cases", 1)
    where = ("--cases", home / "cohort", "--first-cases", 3, "--out", home / "out", "--device", "cpu")
    return ("train", "control", "--config", home / "mine.toml", *where, *held_out)


def training(home: Path) -> dict[str, str]:
    """Every tensor and number of the last checkpoint and the best, and the log, but for the time it took."""
    out, found = home / "out", {}
    for name in ("checkpoint.pt", "best.pt"):
        state = torch.load(out / name, map_location="cpu", weights_only=True)
        state.pop("seconds", None)
        for row in state.get("rows", ()):
            row[1] = ""
        found[name] = digest(_in_words(state).encode())
    with (out / "log.csv").open(newline="") as stream:
        rows = [[cell for number, cell in enumerate(row) if number != 1] for row in csv.reader(stream)]
    found["log.csv"] = json.dumps(rows)
    for file in out.glob("validated-*.json"):
        found[file.name] = file.read_text()
    return found


def teach(home: Path) -> tuple:
    where = ("--backbone", "tiny", "--device", "cpu", "--out", home / "out" / "taught", "--work", home / "work")
    return ("teach", home / "cohort", "--name", "taught", "--steps", 3, *where)


def pack(folder: Path) -> dict[str, str]:
    """A pack's files by their content, its words by their names."""
    assert folder.is_dir(), f"there is no pack {folder.name}"
    return {
        f"{folder.name}/{file.name}": digest(file.read_bytes()) if file.suffix == ".safetensors" else "there"
        for file in folder.iterdir()
        if file.name != RECORD
    }


def check_pack(folder: Path, missing: bool = False) -> None:
    """That a pack is as its manifest says, or not there yet where that may be."""
    if not folder.is_dir() and missing:
        return
    content = json.loads((folder / "manifest.json").read_text())
    for entry in content["files"].values():
        assert digest((folder / entry["path"]).read_bytes()) == entry["sha256"], f"{entry['path']} is of another pack"


def prepare_import(home: Path) -> None:
    (home / "published").mkdir()
    make_checkpoints(home / "published")
    (home / "config.json").write_text(json.dumps(CONFIG))
    ended = vcm_apart(home.parent, *importing(home))
    assert ended.code == 0, ended
    (home / "packs" / "other" / "mine.txt").write_text("mine")


def importing(home: Path) -> tuple:
    files = ("--autoencoder", home / "published/autoencoder.pth", "--denoiser", home / "published/diffusion_model.pth")
    return ("packs", "import", "other", *files, "--config", home / "config.json", "--force")


def prepare_export(home: Path) -> None:
    prepare_training(home)
    for command in (train(home), exporting(home)):
        ended = vcm_apart(home.parent, *command)
        assert ended.code == 0, ended
    (home / "out" / "exported" / "mine.txt").write_text("mine")


def exporting(home: Path) -> tuple:
    return ("train", "export", "--run", home / "out", "--out", home / "out" / "exported", "--data", "blocks")


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "generate", prepare_generate, generate, lambda h: results(h / "out"), lambda h: true_report(h / "out")
        ),
        Scenario("batch", prepare_batch, batch, lambda h: results(h / "out")),
        Scenario("train", prepare_training, train, training),
        Scenario(
            "teach", write_workshop, teach, lambda h: pack(h / "out" / "taught"),
            lambda h: check_pack(h / "out" / "taught", missing=True),
        ),
        Scenario(
            "import", prepare_import, importing, lambda h: pack(h / "packs" / "other"),
            lambda h: check_pack(h / "packs" / "other", missing=True),
        ),
        Scenario(
            "export", prepare_export, exporting, lambda h: pack(h / "out" / "exported"),
            lambda h: check_pack(h / "out" / "exported", missing=True),
        ),
    )
}  # fmt: skip


def _in_words(value: object) -> str:
    """A state of a training in words that are the same if and only if it is."""
    if isinstance(value, torch.Tensor):
        plain = value.contiguous().reshape(-1).view(torch.uint8)
        return f"{value.dtype}{tuple(value.shape)}{digest(plain.numpy().tobytes())}"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key!r}:{_in_words(value[key])}" for key in sorted(value, key=str)) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(_in_words, value)) + "]"
    return repr(value)


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_toml(one)}" for name, one in value.items()) + "}"
    return json.dumps(value)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenarios", nargs="*", metavar="command", help=", ".join(SCENARIOS))
    parser.add_argument("--points", type=int, default=50, help="of each command")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    bad = 0
    for name in chosen.scenarios or SCENARIOS:
        with tempfile.TemporaryDirectory(prefix="vcm-interruptions-", ignore_cleanup_errors=True) as folder:
            points = Campaign(SCENARIOS[name], Path(folder)).points(chosen.points, chosen.seed)
        wrong = [point for point in points if point.wrong]
        bad += len(wrong)
        print(f"{name}: {len(points)} points, {len(wrong)} wrong", flush=True)
        for point in wrong:
            print(f"  {point.where}: {point.wrong}", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
