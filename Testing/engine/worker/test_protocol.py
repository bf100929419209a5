"""The protocol's messages, their strictness, and the guide to them."""

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vcm.core.errors import Code
from vcm.core.findings import Finding, Level
from vcm.protocol import (
    PROTOCOL_VERSION,
    Accepted,
    AlignmentSummary,
    Cancel,
    Cancelled,
    ClassScore,
    ConditionInput,
    Device,
    Examine,
    Examined,
    Failed,
    Found,
    Generate,
    Generated,
    GeneratedSample,
    GetPack,
    GivenCondition,
    Hello,
    ImageScore,
    Label,
    ListPacks,
    Machine,
    PackEntry,
    PackObtained,
    Packs,
    Preflight,
    PreparedCondition,
    Preview,
    Progress,
    ProtocolError,
    Ready,
    Register,
    Registered,
    Said,
    Segment,
    Segmented,
    Shutdown,
    Structure,
    Transfer,
    Warm,
    Warmed,
    decode,
    encode,
)
from vcm.protocol.lines import BY_TYPE

FINDING = Finding(Level.WARNING, "VOXELS_LOST", "ventricles", "12 voxels lie outside the grid.", "Move the mask.")
CONDITION = ConditionInput("ventricles", "C:\\Users\\Lékař\\脳 mask.nii", 4, 0.8, 0.1, 0.9, "/tmp/region.nrrd")
ALIGNMENT = AlignmentSummary(
    "the pack's segmenter",
    "Dice 0.86",
    (ClassScore("ventricles", "ventricles", 41.8, 40.9, 0.861, 3.2, 0.9), ClassScore("lesion", "lesion", 2.5)),
    (ImageScore("skull", 812.5, 0.0031, 0.02, "a remark"),),
)
SAMPLE = GeneratedSample("a.nii.gz", 1, ALIGNMENT, "u.nii.gz", ALIGNMENT, "s.nii.gz", (Label(4, "ventricles"),))
EVERY_MESSAGE = [
    Generate(
        "g1",
        "/out/größe",
        (CONDITION, ConditionInput("skull", "s.nrrd", "skull")),
        pack="p",
        control="c",
        attributes={"age": 72.5, "sex": "F"},
    ),
    Generate("g2", "o", raw_attributes={"age": 0.5}, seed=-7, samples=3, steps=20, noise_path="n.npy", device="cpu"),
    Examine("e", (CONDITION,), prepared_dir="/tmp"),
    Segment("s", "t1.nii.gz", "labels.nii.gz"),
    Register("r", "t1.nii.gz", "/out", "mini", "head.nii.gz"),
    ListPacks("l"),
    GetPack("d", "brainldm", "Apache-2.0", "/usb", True, "http://proxy:3128", True),
    Preflight("p", "/data"),
    Warm("w", precision="fp16"),
    Cancel("g1"),
    Shutdown(),
    Hello("0.1.0", "3.12.10", 4321),
    Ready("NVIDIA RTX A4000, 16 GB"),
    Accepted("g1", 2),
    Progress("g1", "sampling", 3, 20, 0.125, 12.5),
    Preview("g1", "/tmp/preview.nii", 1, 5),
    Transfer("d", "model.pt", 12, None, 3.5),
    Said("g1", "Running on the processor."),
    Found("g1", FINDING),
    Failed("", Code.DISK_FULL, "The disk is full.", "Free some.", {"free": 3, "nested": [{"a": None}]}),
    Cancelled("g1"),
    Generated(
        "g1", "/out", (SAMPLE,), "r.json", "m.png", (GivenCondition("ventricles", "c.nii", (Label(1, "x", (4, 9)),)),)
    ),
    Examined("e", (FINDING,), (PreparedCondition("ventricles", "p.nii"),)),
    Segmented("s", "labels.nii.gz", (Structure(4, "left lateral ventricle", 12.25),)),
    Registered("r", "good", "Registered.", 0.41, 1.0, 35.0, 3.5, tuple(map(float, range(16))), "o.png", "t.tfm"),
    Packs("l", "/packs", (PackEntry("mini", "ready", "Ready.", "backbone", "Mini", "/packs/mini", 3, {"format": 1}),)),
    PackObtained("d", ("brainldm",)),
    Machine("p", (Device("cuda:0", "NVIDIA", 16, 8), Device("cpu", "2 cores")), {"torch": "2.13.0"}, 24, 12, None),
    Warmed("w", "On the processor."),
]


def line_of(message, **changes):
    content = {**json.loads(encode(message)), **changes}
    return json.dumps({name: value for name, value in content.items() if value != "left out"})


def test_the_examples_below_cover_every_type_of_message():
    assert {type(message) for message in EVERY_MESSAGE} == set(BY_TYPE.values())


@pytest.mark.parametrize("message", EVERY_MESSAGE, ids=lambda message: message.type)
def test_every_message_comes_back_as_it_was_sent(message):
    assert decode(encode(message)) == message


@pytest.mark.parametrize("message", EVERY_MESSAGE, ids=lambda message: message.type)
def test_every_message_is_one_line_of_ascii_with_its_type_and_version(message):
    line = encode(message)
    assert line.endswith(b"\n") and line.count(b"\n") == 1 and line.isascii()
    assert json.loads(line)["type"] == message.type
    assert json.loads(line)["version"] == PROTOCOL_VERSION


def test_no_two_types_share_a_tag():
    assert len(BY_TYPE) == len({cls.type for cls in BY_TYPE.values()}) == len(set(BY_TYPE.values()))


def test_what_is_left_out_takes_its_default():
    message = decode('{"type": "generate", "version": 1, "id": "a", "out": "o"}')
    assert message == Generate("a", "o")
    assert message.conditions == () and message.seed is None


def test_a_whole_number_is_taken_for_a_fraction():
    strength = decode(line_of(Examine("a", (CONDITION,)), conditions=[{"name": "v", "path": "p", "strength": 1}]))
    assert isinstance(strength.conditions[0].strength, float)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "not JSON"),
        ("hello", "not JSON"),
        ("[1, 2]", "not an object"),
        ("null", "not an object"),
        ('{"type": "cancel", "id": "a"}', "speaks version null"),
        ('{"type": "cancel", "version": 2, "id": "a"}', "speaks version 2"),
        ('{"type": "cancel", "version": true, "id": "a"}', "speaks version true"),
        ('{"type": "cancel", "version": 1.0, "id": "a"}', "speaks version 1.0"),
        ('{"version": 1, "id": "a"}', "no message of the type null"),
        ('{"type": ["cancel"], "version": 1}', "no message of the type"),
        ('{"type": "größe", "version": 1}', 'no message of the type "größe"'),
        ('{"type": "cancel", "version": 1}', "its field id is missing"),
        ('{"type": "cancel", "version": 1, "id": 3}', "its field id must be a text, not 3"),
        ('{"type": "cancel", "version": 1, "id": null}', "its field id must be a text, not null"),
        ('{"type": "cancel", "version": 1, "id": "a", "force": true}', "it has no field force"),
        ('{"type": "cancel", "version": 1, "id": "a", "id": "b"}', "stands twice"),
        ('{"type": "cancel", "version": 1, "id": "a\\u0000b"}', "its field id must be a text"),
    ],
)
def test_a_line_that_is_no_message_is_refused_with_the_reason(line, said):
    with pytest.raises(ProtocolError) as caught:
        decode(line)
    assert said in caught.value.sentence
    assert caught.value.code is Code.BAD_REQUEST


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("samples", True, "must be a whole number, not true"),
        ("samples", 2.0, "must be a whole number, not 2.0"),
        ("samples", "2", "must be a whole number"),
        ("seed", 2**63, "must be a whole number"),
        ("steps", [], "must be a whole number, not a list"),
        ("uncontrolled", 1, "must be true or false, not 1"),
        ("uncontrolled", None, "must be true or false, not null"),
        ("attributes", [], "attributes must be an object, not a list"),
        ("attributes", {"age": None}, "attributes.age"),
        ("raw_attributes", {"age": "old"}, "raw_attributes.age"),
        ("raw_attributes", {"age": 10**400}, "raw_attributes.age"),
        ("conditions", {}, "conditions must be a list"),
        ("conditions", ["mask.nii"], "conditions[0]' must be an object"),
        ("conditions", [{"name": "v", "path": "p"}, {"name": "v"}], "conditions[1].path is missing"),
        ("conditions", [{"name": "v", "path": "p", "label": 4.5}], "conditions[0].label"),
        ("conditions", [{"name": "v", "path": "p", "weight": 4}], "conditions[0].weight"),
    ],
)
def test_a_field_of_the_wrong_kind_is_named_with_what_was_expected_and_found(field, value, said):
    with pytest.raises(ProtocolError) as caught:
        decode(line_of(Generate("a", "o"), **{field: value}))
    assert said in caught.value.sentence
    assert caught.value.id == "a"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_json_does_not_have_is_refused_anywhere(number):
    for message in (Generate("a", "o", raw_attributes={"age": 7}), Failed("a", Code.DEVICE, "s", details={"age": 7})):
        line = line_of(message)
        assert decode(line) == message
        with pytest.raises(ProtocolError, match="number"):
            decode(line.replace("7.0", number).replace("7", number))


def test_an_unknown_code_or_level_is_refused_with_the_known_ones():
    with pytest.raises(ProtocolError, match=r"one of error, warning, note"):
        decode(line_of(Found("a", FINDING), finding={**FINDING.as_dict(), "level": "panic"}))
    with pytest.raises(ProtocolError, match=r"code must be one of BAD_REQUEST"):
        decode(line_of(Failed("a", Code.DEVICE, "s"), code=["DEVICE"]))


def test_json_nested_past_all_reason_is_refused_and_not_crashed_on():
    for line in (
        "[" * 200_000,
        '{"a":' * 200_000,
        '{"type":"failed","version":1,"details":' + '{"a":' * 900 + "1" + "}" * 901,
    ):
        with pytest.raises(ProtocolError):
            decode(line)


@pytest.mark.parametrize(
    "message",
    [
        Progress("a", "sampling", seconds_left=math.nan),
        Progress("a", "sampling", step=1.5),
        Cancelled(None),
        Failed("a", Code.DEVICE, "s", details={"path": object()}),
        Failed("a", "NO_SUCH_CODE", "s"),
        Generate("a", "o", conditions=(("v", "p"),)),
    ],
)
def test_a_message_that_could_not_be_read_is_not_sent(message):
    with pytest.raises(TypeError, match="cannot be sent"):
        encode(message)


def test_a_file_name_that_is_no_unicode_is_refused_on_both_sides():
    name = b"/data/\xff\xfe.nii".decode("utf-8", "surrogateescape")
    with pytest.raises(TypeError, match="image must be a text"):
        encode(Segment("a", name, "o"))
    with pytest.raises(ProtocolError, match="image must be a text"):
        decode(line_of(Segment("a", "i", "o"), image=name))


def test_the_defaults_of_every_message_fit_their_own_declaration():
    for cls in BY_TYPE.values():
        required = {"id": "a", "out": "o", "path": "p", "code": "DEVICE", "sentence": "s", "image": "i", "folder": "f"}
        required |= {"engine": "e", "python": "3", "pid": 1, "device": "d", "ahead": 0, "stage": "s", "words": "w"}
        required |= {"step": 1, "total": 2, "finding": FINDING.as_dict(), "conditions": [], "samples": []}
        required |= {"report_path": "r", "findings": [], "structures": [], "packs": [], "devices": [], "versions": {}}
        required |= {"verdict": "good", "similarity": 0.4, "coverage": 1.0, "degrees": 1.0, "shift_mm": 2.0}
        required |= {"scan_to_model": [], "overlay_path": "o.png"}
        required |= {"sample": 0, "memory_bytes": 1, "free_memory_bytes": 1, "name": "n", "file": "f", "done_bytes": 1}
        needed = [
            field.name
            for field in dataclasses.fields(cls)
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        ]
        message = decode(json.dumps({"type": cls.type, "version": 1, **{name: required[name] for name in needed}}))
        assert decode(encode(message)) == message


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_no_json_whatever_raises_anything_but_a_protocol_error(value):
    for content in (value, {"type": "generate", "version": 1, "id": "a", "out": "o", "conditions": value}):
        try:
            decode(json.dumps(content))
        except ProtocolError as error:
            assert error.sentence.endswith(".")


GUIDE = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text("utf-8")


def test_the_guide_has_a_row_for_every_message_with_all_of_its_fields():
    rows = {
        row.split("|")[1].strip(" `"): row
        for row in GUIDE.splitlines()
        if row.startswith("| `") and "`type`" not in row
    }
    assert set(rows) == set(BY_TYPE)
    for tag, cls in BY_TYPE.items():
        assert [f.name for f in dataclasses.fields(cls) if f"`{f.name}`" not in rows[tag]] == []


def test_the_guide_names_every_field_of_what_messages_hold():
    parts = (
        ConditionInput,
        AlignmentSummary,
        ClassScore,
        ImageScore,
        GeneratedSample,
        GivenCondition,
        Label,
        PreparedCondition,
        Structure,
    )
    for cls in (*parts, PackEntry, Device, Finding):
        assert [f.name for f in dataclasses.fields(cls) if f.name not in GUIDE] == []


def test_the_session_in_the_guide_is_one_that_both_sides_would_read():
    lines = [line for line in GUIDE.splitlines() if line.startswith(("→", "←"))]
    requests = [decode(line[2:]) for line in lines if line.startswith("→") and "explode" not in line]
    answers = [decode(line[2:]) for line in lines if line.startswith("←")]
    assert isinstance(requests[0], Generate) and isinstance(requests[-1], Shutdown)
    assert {type(answer) for answer in answers} >= {Hello, Ready, Accepted, Progress, Generated, Cancelled, Failed}


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout


def test_the_protocol_needs_the_standard_library_alone():
    loaded = run_python("import sys, vcm.protocol; print(*{name.split('.')[0] for name in sys.modules})").split()
    assert set(loaded) <= set(sys.stdlib_module_names) | {"vcm", "__main__", "sitecustomize", "usercustomize"} | {
        name for name in loaded if name.startswith("__editable__") or name.startswith("_")
    }


def test_importing_the_protocol_costs_little_more_than_a_module_of_python_itself():
    # Of the processor's time, as others may be using the machine; on top of what a program like Slicer has loaded.
    # Beside asyncio, as machines differ: 18 ms both on a Zen 5, where the bound of 1.6 is 30 ms.
    code = (
        "import dataclasses, enum, json, typing, time; begin = time.process_time();"
        "import {}; print(time.process_time() - begin)"
    )
    taken = [[float(run_python(code.format(name))) for name in ("vcm.protocol", "asyncio")] for _ in range(5)]
    ours, pythons = (min(times) for times in zip(*taken, strict=True))
    assert ours < 1.6 * pythons
