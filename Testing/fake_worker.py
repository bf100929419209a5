"""A worker without an engine, for tests of its clients: `python fake_worker.py --fault crash --on generate`.

It is the real worker process around answers that are made up, so that queueing, cancelling and ending are the real
ones. Needs nothing but Python and the folder beside this one. What it is asked is written to `--log`, a line each.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import struct
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "VCMSlicer"))

from fake_worker_faults import FAULTS, FOREVER, WIRES, whole
from vcm.core.errors import Code, VcmError
from vcm.core.findings import Finding, Level
from vcm.protocol import (
    AlignmentSummary,
    ClassScore,
    Device,
    Examine,
    Examined,
    Generate,
    Generated,
    GeneratedSample,
    GetPack,
    GivenCondition,
    ImageScore,
    Label,
    ListPacks,
    Machine,
    PackEntry,
    PackObtained,
    Packs,
    Preflight,
    PreparedCondition,
    Ready,
    Register,
    Registered,
    Request,
    Segment,
    Segmented,
    Structure,
    Warm,
    Warmed,
    encode,
)
from vcm.worker.contract import Call
from vcm.worker.process import serve
from vcm.worker.streams import write_whole

SHAPE = (88, 112, 88)
AFFINE = ((-2.0, 0.0, 0.0, 87.0), (0.0, 2.0, 0.0, -125.5), (0.0, 0.0, 2.0, -75.5))
STARTS = ("broken-engine", "never-ready", "no-start", "silent")


class FakeEngine:
    """Answers every request with files and numbers that look like the real ones, after `steps` waits of `delay` s."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options

    def start(self) -> Ready:
        if self.options.fault == "broken-engine":
            raise VcmError(Code.INTERNAL, "The engine cannot be loaded: there is no module torch.", "Repair it.")
        if self.options.fault == "never-ready":
            time.sleep(FOREVER)
        return Ready("a processor that is not there, fp32")

    def generate(self, request: Generate, call: Call) -> Generated:
        self._begin(request, call)
        call.say("The denoiser of brainldm-mini is untrained: expect noise, not anatomy.")
        for entry in request.conditions:
            call.found(Finding(Level.NOTE, "REORIENTED", entry.name, f"{Path(entry.path).name} was reoriented."))
        self._work(request, call)
        out = Path(request.out)
        samples = tuple(self._sample(request, index) for index in range(request.samples))
        given = tuple(
            GivenCondition(entry.name, str(out / f"condition-{index}.nii.gz"), (Label(1, entry.name, (4,)),))
            for index, entry in enumerate(request.conditions)
            if entry.name != "skull"
        )
        for entry in given:
            write_volume(Path(entry.path), mask_planes())
        (out / "report.json").write_text(json.dumps({"synthetic": True, "complete": True}), "utf-8")
        return Generated(request.id, request.out, samples, str(out / "report.json"), conditions=given)

    def examine(self, request: Examine, call: Call) -> Examined:
        self._begin(request, call)
        findings = tuple(
            Finding(Level.WARNING, "VOXELS_LOST", entry.name, f"12 voxels of {entry.name} lie outside.", "Move it.")
            for entry in request.conditions
        )
        folder, prepared = request.prepared_dir, []
        for entry in request.conditions if folder is not None else ():
            path = Path(str(folder)) / f"{entry.name}.nii.gz"
            write_volume(path, mask_planes())
            prepared.append(PreparedCondition(entry.name, str(path)))
        return Examined(request.id, findings, tuple(prepared))

    def segment(self, request: Segment, call: Call) -> Segmented:
        self._begin(request, call)
        write_volume(Path(request.out), mask_planes())
        if request.own_grid:
            write_block_on(Path(request.image), Path(request.out))
        return Segmented(request.id, request.out, (Structure(1, "ventricles", 3.84),))

    def register(self, request: Register, call: Call) -> Registered:
        """A turn of 30° about the axis from foot to head, and a shift of 40 mm in all."""
        self._begin(request, call)
        self._work(request, call)
        out = Path(request.out)
        out.mkdir(parents=True, exist_ok=True)
        (out / "overlay.png").write_bytes(one_grey_pixel())
        words = "Registered: turned by 30° and moved by 40 mm, correlation ratio 0.41 in the brain."
        c, s = math.cos(math.radians(30)), math.sin(math.radians(30))
        matrix = (c, -s, 0.0, 24.0, s, c, 0.0, -32.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)
        return Registered(request.id, "good", words, 0.41, 1.0, 30.0, 40.0, matrix, str(out / "overlay.png"))

    def list_packs(self, request: ListPacks, call: Call) -> Packs:
        self._begin(request, call)
        embedded = Path(__file__).resolve().parents[1] / "VCMSlicer" / "vcm" / "packs" / "embedded"
        manifests = [json.loads(path.read_text("utf-8")) for path in sorted(embedded.glob("*/manifest.json"))]
        here = [
            PackEntry(m["name"], "ready", "Ready.", m["kind"], m["title"], str(embedded / m["name"]), 20_000_000, m)
            for m in manifests
        ]
        words = "Not here yet; needs 2.2 GB. Licence: Apache-2.0."
        there = PackEntry("brainldm", "available", words, "backbone", "BrainLDM", size=2_200_000_000)
        return Packs(request.id, "/nowhere/packs", (*here, there))

    def get_pack(self, request: GetPack, call: Call) -> PackObtained:
        self._begin(request, call)
        total = 2_265_100_000
        for step in range(1, self.options.steps + 1):
            call.stop_if_cancelled()
            done, left = total * step // self.options.steps, (self.options.steps - step) * self.options.delay
            call.transfer("model.pt", done, total, total / self.options.steps / max(self.options.delay, 1e-3))
            call.progress("downloading", done, total, fraction=step / self.options.steps, seconds_left=left)
            time.sleep(self.options.delay)
        return PackObtained(request.id, (request.name,))

    def preflight(self, request: Preflight, call: Call) -> Machine:
        self._begin(request, call)
        cpu = Device("cpu", "a processor that is not there, fp32", 16 * 10**9, 9 * 10**9)
        return Machine(request.id, (cpu,), {"vcm": "0", "torch": "0"}, 16 * 10**9, 9 * 10**9, 70 * 10**9)

    def warm(self, request: Warm, call: Call) -> Warmed:
        self._begin(request, call)
        return Warmed(request.id, "a processor that is not there, fp32")

    def release(self) -> None:
        pass

    def _begin(self, request: Request, call: Call) -> None:
        if self.options.log:
            with Path(self.options.log).open("ab") as log:
                log.write(encode(request))
        call.progress("loading")
        if self.options.on == request.type and (fault := FAULTS.get(self.options.fault)):
            fault(call)

    def _work(self, request: Generate | Register, call: Call) -> None:
        if isinstance(request, Register):
            for step in range(1, self.options.steps + 1):
                call.stop_if_cancelled()
                time.sleep(self.options.delay)
                call.progress("aligning it", step, self.options.steps, fraction=step / self.options.steps)
            return
        total = request.steps or self.options.steps
        for step in range(1, total + 1):
            call.stop_if_cancelled()
            time.sleep(self.options.delay)
            left = (total - step) * self.options.delay
            call.progress("sampling", step, total, fraction=step / total, seconds_left=left)
            if request.preview_every and step % request.preview_every == 0 and request.preview_dir is not None:
                path = Path(request.preview_dir) / f"preview-0-{step}.nii"
                write_volume(path, image_planes(step))
                call.preview(str(path), 0, step)

    def _sample(self, request: Generate, index: int) -> GeneratedSample:
        out, seed = Path(request.out), (request.seed or 0) + index
        path, twin, labels = (out / f"{kind}-{index}.nii.gz" for kind in ("sample", "uncontrolled", "segmentation"))
        write_volume(path, image_planes(seed))
        if request.uncontrolled:
            write_volume(twin, image_planes(seed + 100))
        if request.conditions:
            write_volume(labels, label_planes())
        names = [entry.name for entry in request.conditions]
        return GeneratedSample(
            str(path),
            seed,
            alignment(names, 0.86),
            str(twin) if request.uncontrolled else None,
            alignment(names, 0.31) if request.uncontrolled else None,
            str(labels) if names else None,
            (Label(1, "white matter"), Label(4, "lateral ventricles")) if names else (),
        )


def alignment(names: list[str], dice: float) -> AlignmentSummary:
    """Scores for every condition; an image is told by its name, `skull`."""
    masks = tuple(ClassScore(n, n, 41.8, 40.9, dice, 3.2, 0.9) for n in names if n != "skull")
    images = tuple(ImageScore(n, 812.5, 0.0031, 0.02) for n in names if n == "skull")
    return AlignmentSummary("nobody", f"made up: Dice {dice:.2f}", masks, images)


def image_planes(seed: int) -> Iterator[bytes]:
    """Planes of an image that differs from all of its mirror images, brighter to the left, the front and the top."""
    ramp = bytes(range(251)) * 2
    for k in range(SHAPE[2]):
        yield b"".join(ramp[(seed + j + k // 2) % 171 :][: SHAPE[0]] for j in range(SHAPE[1]))


def mask_planes() -> Iterator[bytes]:
    """Planes of a mask with one block of 8 × 12 × 5 voxels, left of the middle, in front and low."""
    width = SHAPE[0]
    drawn = bytes(45) + b"\1" * 8 + bytes(width - 53)
    block = b"".join(drawn if 70 <= j < 82 else bytes(width) for j in range(SHAPE[1]))
    for k in range(SHAPE[2]):
        yield block if 20 <= k < 25 else bytes(SHAPE[0] * SHAPE[1])


def label_planes() -> Iterator[bytes]:
    """Planes of a segmentation: the block of `mask_planes` moved one voxel in i, and white matter in front of it."""
    for plane in mask_planes():
        yield _labels(plane) if any(plane) else plane


def _labels(plane: bytes) -> bytes:
    """Ventricles where the mask is, one voxel further in i; white matter in the two rows in front of them."""
    moved = bytes(1) + plane[:-1].replace(b"\1", b"\4")
    front = bytes(45) + b"\1" * 8 + bytes(SHAPE[0] - 53)
    return moved[: 82 * SHAPE[0]] + front * 2 + moved[84 * SHAPE[0] :]


def write_volume(path: Path, planes: Iterator[bytes]) -> None:
    """Write planes of 8-bit voxels as NIfTI-1 on the grid of the embedded model."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *SHAPE, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 2, 8)
    struct.pack_into("<8f", header, 76, 1, 2, 2, 2, 1, 1, 1, 1)
    struct.pack_into("<3f", header, 108, 352, 1, 0)
    struct.pack_into("<B", header, 123, 2)
    struct.pack_into("<80s", header, 148, b"synthetic, made up by a test")
    struct.pack_into("<2h", header, 252, 0, 1)
    struct.pack_into("<12f", header, 280, *(number for row in AFFINE for number in row))
    struct.pack_into("<4s", header, 344, b"n+1\0")
    content = bytes(header) + b"".join(planes)
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)


def write_block_on(image: Path, path: Path) -> None:
    """Write a mask on the voxels of an uncompressed NIfTI-1 image: from a quarter to half of each axis."""
    header = bytearray(image.read_bytes()[:352])
    i, j, k = struct.unpack_from("<3h", header, 42)
    struct.pack_into("<2h", header, 70, 2, 8)
    row = b"".join(bytes([i // 4 <= x < i // 2]) for x in range(i))
    plane = b"".join(row if j // 4 <= y < j // 2 else bytes(i) for y in range(j))
    planes = b"".join(plane if k // 4 <= z < k // 2 else bytes(i * j) for z in range(k))
    path.write_bytes(gzip.compress(bytes(header) + planes, 1) if path.suffix == ".gz" else bytes(header) + planes)


def one_grey_pixel() -> bytes:
    """The smallest picture there is, as PNG."""
    parts = (b"IHDR", struct.pack(">2I5B", 1, 1, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(b"\0\x80")), (b"IEND", b"")
    chunks = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def main() -> int:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fault", choices=["none", *STARTS, *FAULTS, *WIRES], default="none")
    parser.add_argument("--on", default="generate", help="the type of request that a fault strikes")
    parser.add_argument("--steps", type=int, default=5, help="of a generate that names none")
    parser.add_argument("--delay", type=float, default=0.02, help="seconds a step")
    parser.add_argument("--log", help="file to which every request is added as it was understood")
    options, _ = parser.parse_known_args()
    if options.fault == "no-start":
        print("fake_worker: cannot start, there is no module torch", file=sys.stderr)
        return 3
    if options.fault == "silent":
        time.sleep(FOREVER)
    wire = WIRES.get(options.fault, whole)

    def write(outlet: int, line: bytes) -> None:
        for part in wire(line):
            write_whole(outlet, part)

    return serve(FakeEngine(options), write=write)


if __name__ == "__main__":
    sys.exit(main())
