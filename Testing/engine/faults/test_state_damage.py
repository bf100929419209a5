"""What the program keeps of its own work, spoilt in every way a disk can: noticed, said, and the former taken."""

import random
import zipfile

import pytest
import torch
from vcm.core.errors import VcmError
from vcm.training.trainer.checkpoint import (
    CHECKPOINT,
    FORMER,
    load_checkpoint,
    load_last,
    save_checkpoint,
    save_in_turn,
)


def state(step):
    torch.manual_seed(step)
    return {
        "step": step,
        "network": {"weight": torch.randn(40, 30), "bias": torch.randn(40)},
        "rows": [["1", "2.0"]],
        "best": None,
    }


@pytest.fixture
def folder(tmp_path):
    for step in (1, 2):
        save_in_turn(tmp_path, state(step))
    return tmp_path


def last_or_former(folder):
    """The step that is gone on from; its content must be what was written at that step."""
    said = []
    found = load_last(folder, said.append)
    assert torch.equal(found["network"]["weight"], state(found["step"])["network"]["weight"])
    assert torch.equal(found["network"]["bias"], state(found["step"])["network"]["bias"])
    assert found["rows"] == [["1", "2.0"]]
    assert bool(said) == (found["step"] == 1)
    assert all(str(folder / CHECKPOINT) in words for words in said)
    return found["step"]


def test_one_changed_bit_anywhere_is_noticed(folder):
    path = folder / CHECKPOINT
    whole = path.read_bytes()
    places = random.Random(1)
    noticed = 0
    for place in [
        *range(0, 30),
        *(places.randrange(len(whole)) for _ in range(150)),
        *range(len(whole) - 90, len(whole)),
    ]:
        spoilt = bytearray(whole)
        spoilt[place] ^= 1 << places.randrange(8)
        path.write_bytes(spoilt)
        noticed += last_or_former(folder) == 1
    assert noticed >= 250  # all but those in the words that name the checksum


@pytest.mark.parametrize("length", [0, 1, 100, 0.3, 0.9, -1, -40, -75, -76, -90])
def test_a_file_that_breaks_off_is_noticed(folder, length):
    path = folder / CHECKPOINT
    whole = path.read_bytes()
    path.write_bytes(whole[: int(length * len(whole)) if isinstance(length, float) else length])
    last_or_former(folder)


@pytest.mark.parametrize("content", [b"[]", b"{}", b"PK\x03\x04", b"\x80\x02]q\x00.", b"x" * 5000])
def test_another_file_in_its_place_is_noticed(folder, content):
    (folder / CHECKPOINT).write_bytes(content)
    assert last_or_former(folder) == 1


@pytest.mark.parametrize("spoilt", [{"step": "two"}, {"step": -1}, {"step": True}, {}, [], torch.zeros(3)])
def test_a_sound_file_that_holds_no_training_is_noticed(folder, spoilt):
    if isinstance(spoilt, dict):
        save_checkpoint(folder / CHECKPOINT, spoilt)
    else:
        torch.save(spoilt, folder / CHECKPOINT)
    assert last_or_former(folder) == 1


def test_damage_that_only_its_user_sees_leads_to_the_former_one_too(folder):
    save_checkpoint(folder / CHECKPOINT, {"step": 7, "network": "none"})
    said = []
    found = load_last(folder, said.append, lambda state: state["network"]["weight"].shape)
    assert found["step"] == 1
    assert "does not fit" in said[0]


def test_where_both_are_spoilt_a_sentence_says_so(folder):
    for name in (CHECKPOINT, FORMER):
        (folder / name).write_bytes(b"spoilt")
    with pytest.raises(VcmError, match="not a whole checkpoint") as caught:
        load_last(folder, lambda words: None)
    assert caught.value.remedy


def test_a_checkpoint_of_an_earlier_version_is_read_and_held_against_its_own_checksums(tmp_path):
    path = tmp_path / CHECKPOINT
    torch.save(state(3), path)
    assert load_checkpoint(path)["step"] == 3
    whole = bytearray(path.read_bytes())
    weight = state(3)["network"]["weight"].numpy().tobytes()
    whole[whole.index(weight[:64]) + 5] ^= 1
    path.write_bytes(whole)
    with pytest.raises(VcmError, match="checksum"):
        load_checkpoint(path)


def test_a_checkpoint_stays_an_archive_that_torch_reads_itself(tmp_path):
    save_checkpoint(tmp_path / CHECKPOINT, state(4))
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["step"] == 4
    with zipfile.ZipFile(tmp_path / CHECKPOINT) as archive:
        assert archive.testzip() is None
