"""Bytes that nobody meant: whatever a file or an argument holds, it is read, or refused in a sentence about it."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct

import numpy as np
import pytest
import tiny
import torch
from faults import MASK
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from phantoms import nifti_bytes
from vcm.cli.inputs import parse_attributes, parse_conditions
from vcm.conditions.condition import ConditionSpec
from vcm.conditions.doctor import examine, examine_region
from vcm.core.errors import VcmError
from vcm.core.volume import Volume
from vcm.packs.manifest_reading import read_manifest
from vcm.packs.store import find_pack
from vcm.packs.tensors.checkpoints import read_checkpoint
from vcm.runs.results_folder import ResultsFolder
from vcm.sampling.noise_file import read_noise
from vcm.volumes.volume_files import read_volume_file, write_volume

SPECS = [ConditionSpec.from_dict(entry) for entry in tiny.CONDITIONS]
EXAMPLES = int(os.environ.get("VCM_FUZZ", "120"))
"""How many of each kind: the same few on each run; set VCM_FUZZ to some thousands to look for new ones."""

quick = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="VCM_FUZZ" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def damaged(data: bytes, most: int | None = None):
    """Some bytes of `data` replaced, mostly among the first `most`, perhaps cut off, perhaps with more in between."""
    near = st.integers(0, min(most or len(data), len(data)) - 1)
    telling = st.sampled_from([0, 1, 0x7F, 0x80, 0xFE, 0xFF, 0x20, 0x30, 0x7B])
    patches = st.lists(st.tuples(near, st.lists(telling | st.integers(0, 255), min_size=1, max_size=8)), max_size=4)
    end = st.none() | st.integers(0, len(data))
    more = st.none() | st.tuples(near, st.binary(max_size=20))

    def build(changes):
        patched, stop, inserted = changes
        result = bytearray(data)
        for place, values in patched:
            result[place : place + len(values)] = bytes(values)
        if inserted:
            result[inserted[0] : inserted[0]] = inserted[1]
        return bytes(result[:stop])

    return st.tuples(patches, end, more).map(build)


def or_a_sentence(action, path=None):
    """Do it; a refusal must speak and name the file."""
    try:
        return action()
    except VcmError as error:
        assert error.sentence and error.sentence[0].strip() and error.sentence.endswith((".", "?"))
        assert path is None or str(path) in error.sentence
        return None


def examined(path):
    """Whatever can be read must also be fit for the doctor."""
    file = or_a_sentence(lambda: read_volume_file(path), path)
    if file is not None:
        for spec in SPECS:
            examination = examine(spec, file, tiny.GRID, source=path.name)
            assert (examination.condition is None) == any(f.level.value == "error" for f in examination.findings)
        examine_region(file, tiny.GRID)


SMALL = np.arange(2 * 3 * 5, dtype=np.int16).reshape(2, 3, 5) % 7
NIFTI = nifti_bytes(SMALL, sform=tiny.GRID.affine, qform=(0, 1, 0, 9, 9, 9), slope=1.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@quick
@example(NIFTI[:108] + struct.pack("<f", 1e38) + NIFTI[112:], False)
@example(NIFTI[:112] + struct.pack("<2f", 1e38, 1e38) + NIFTI[120:], False)
@example(NIFTI[:40] + struct.pack("<8h", 3, 32767, 32767, 1, 1, 1, 1, 1) + NIFTI[56:], True)
@given(data=damaged(NIFTI, 352) | st.binary(max_size=600), packed=st.booleans())
def test_a_nifti_file_of_any_bytes(folder, data, packed):
    path = folder / ("a.nii.gz" if packed else "a.nii")
    path.write_bytes(gzip.compress(data, 1) if packed else data)
    examined(path)


@quick
@given(data=damaged(gzip.compress(NIFTI)))
def test_a_damaged_archive(folder, data):
    (folder / "b.nii.gz").write_bytes(data)
    examined(folder / "b.nii.gz")


@pytest.fixture(scope="module")
def nrrd(folder):
    write_volume(folder / "valid.nrrd", Volume(MASK, tiny.GRID))
    return (folder / "valid.nrrd").read_bytes()


@quick
@given(data=st.data())
def test_an_nrrd_file_of_any_bytes(folder, nrrd, data):
    (folder / "c.nrrd").write_bytes(data.draw(damaged(nrrd, 600) | st.binary(max_size=300)))
    examined(folder / "c.nrrd")


@quick
@given(data=st.data())
def test_noise_of_any_bytes(folder, data):
    valid = io.BytesIO()
    np.save(valid, np.zeros((2, 3), np.float32))
    (folder / "d.npy").write_bytes(data.draw(damaged(valid.getvalue(), 128) | st.binary(max_size=200)))
    or_a_sentence(lambda: read_noise(folder / "d.npy", 2, (3,)), folder / "d.npy")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def places(content, path=()):
    """Every place in a JSON document."""
    yield path
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in pairs:
        yield from places(value, (*path, key))


@quick
@given(data=st.data())
def test_a_manifest_with_anything_anywhere(folder, tiny_packs, data):
    content = json.loads((tiny_packs / data.draw(st.sampled_from(["tiny", "tiny-both"])) / "manifest.json").read_text())
    place = data.draw(st.sampled_from([p for p in places(content) if p]))
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = data.draw(json_values)
    (folder / "manifest.json").write_text(json.dumps(content))
    or_a_sentence(lambda: read_manifest(folder), folder)


@quick
@given(data=st.data())
def test_a_manifest_of_any_bytes(folder, tiny_packs, data):
    valid = (tiny_packs / "tiny-both" / "manifest.json").read_bytes()
    (folder / "manifest.json").write_bytes(data.draw(damaged(valid) | st.binary(max_size=99)))
    or_a_sentence(lambda: read_manifest(folder), folder)


CHECKPOINT = io.BytesIO()
torch.save({"state_dict": {"weight": torch.zeros(3)}}, CHECKPOINT)


@quick
@example(b"\x1f\x8b", ".pt")
@given(
    data=damaged(CHECKPOINT.getvalue()) | st.binary(max_size=99),
    ending=st.sampled_from([".pt", ".pth", ".safetensors"]),
)
def test_a_checkpoint_of_any_bytes(folder, data, ending):
    path = folder / f"e{ending}"
    path.write_bytes(data)
    or_a_sentence(lambda: read_checkpoint(path), path)


ATTRIBUTES = find_pack("brainldm-mini").backbone.attributes
words = st.text(st.sampled_from("ab=:/\\.0149 -é\n\x00"), max_size=12)


@quick
@given(conditions=st.lists(words, max_size=3), others=st.lists(words, max_size=2))
def test_arguments_of_any_kind(conditions, others):
    or_a_sentence(lambda: parse_conditions(conditions, others))
    or_a_sentence(lambda: parse_conditions(conditions, (), others, others))
    or_a_sentence(lambda: parse_attributes(others, ATTRIBUTES))


@quick
@given(report=json_values | st.fixed_dictionaries(
    {"synthetic": st.booleans(), "complete": json_values, "files": json_values, "samples": json_values}
))  # fmt: skip
def test_a_report_that_says_anything_gives_away_nothing_it_does_not_name(folder, report):
    out = folder / "out"
    out.mkdir(exist_ok=True)
    (out / "sample-7.nii.gz").write_text("precious")
    (out / "report.json").write_text(json.dumps(report))
    with pytest.raises(VcmError, match=r"sample-7\.nii\.gz"):
        ResultsFolder.claim(out)
