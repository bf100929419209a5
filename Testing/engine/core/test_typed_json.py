"""The reader of JSON and TOML: what fits comes back as it was, what does not is refused in a sentence that names it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vcm.core.errors import Code, VcmError
from vcm.core.reading import read_toml
from vcm.core.records import Bounds, OneOf, out_of_bounds
from vcm.core.typed_json import FieldError, Words, as_json, read_fields
from vcm.outputs.sealed_json import read_sealed_as, write_sealed


class Side(Enum):
    LEFT = "left"
    RIGHT = "right"


@dataclass(frozen=True)
class Part:
    name: str
    side: Side = Side.LEFT
    centre: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class SelfRead:
    value: int

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> SelfRead:
        return cls(entry["of old"])


@dataclass(frozen=True)
class Whole:
    parts: tuple[Part, ...]
    steps: Annotated[int, Bounds(1, 64)] = 3
    rate: Annotated[float | None, Bounds(0, below=1, title="rate of learning")] = None
    way: Annotated[str, OneOf(("short", "long"))] = "short"
    label: int | str | None = None
    weights: dict[str, float] | float = 0.0
    rows: list[dict[str, Any]] = field(default_factory=list)
    table: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


parts = st.builds(Part, st.text("äb c\n"), st.sampled_from(Side), st.none() | st.tuples(*[st.floats(-1e9, 1e9)] * 3))
wholes = st.builds(
    Whole,
    st.lists(parts).map(tuple),
    st.integers(-5, 99),
    st.none() | st.floats(-2, 2),
    st.text("ab"),
    st.none() | st.integers(-9, 9) | st.text("ab"),
    st.floats(0, 1) | st.dictionaries(st.text("ab"), st.floats(0, 1)),
    st.lists(st.dictionaries(st.text("ab"), st.none() | st.booleans() | st.integers(-9, 9))),
    st.dictionaries(st.text("ab"), st.lists(st.integers(-9, 9)).map(tuple)),
)


@given(wholes)
def test_what_was_written_is_read_as_it_was(whole):
    assert read_fields(Whole, json.loads(json.dumps(as_json(whole)))) == whole


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({}, "its field parts is missing"),
        ({"parts": {}}, "its field parts must be a list, not an object"),
        ({"parts": [{"side": "left"}]}, "its field parts[0].name is missing"),
        ({"parts": [{"name": "a"}, {"name": "b", "syde": 1}]}, "it has no field 'parts[1].syde' (did you mean side?)"),
        ({"parts": [], "qqq": 1}, "it has no field qqq"),
        ({"parts": [{"name": "a", "side": "up"}]}, "its field 'parts[0].side' must be one of left, right, not up"),
        (
            {"parts": [{"name": "a", "side": []}]},
            "its field 'parts[0].side' must be one of left, right, not a list",
        ),
        (
            {"parts": [{"name": "a", "centre": [1, 2]}]},
            "its field 'parts[0].centre' must be a list of 3 values, not a list",
        ),
        ({"parts": [{"name": "a", "centre": [1, 2, "3"]}]}, "its field 'parts[0].centre[2]' must be a number, not '3'"),
        ({"parts": [], "label": 4.5}, "its field label must be a whole number or a text, not 4.5"),
        ({"parts": [], "weights": "x"}, "its field weights must be an object or a number, not x"),
        ({"parts": [], "weights": {"a": "x"}}, "its field 'weights.a' must be a number, not x"),
        ({"parts": [], "steps": True}, "its field steps must be a whole number, not true"),
        ({"parts": [], "way": "a\0b"}, "its field way must be a text, not 'a\\x00b'"),
        ({"parts": [], "table": {"a": [1, 2.5]}}, "its field 'table.a[1]' must be a whole number, not 2.5"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place_and_what_was_expected(content, sentence):
    with pytest.raises(FieldError) as caught:
        read_fields(Whole, content)
    assert str(caught.value) == sentence


def test_toml_has_settings_and_tables():
    with pytest.raises(FieldError, match="its setting parts must be a list, not a table"):
        read_fields(Whole, {"parts": {}}, Words("setting", "a table"))
    with pytest.raises(FieldError) as caught:
        read_fields(Part, {"nam": "a"}, Words("setting", "a table"))
    assert caught.value.remedy == "The settings are: centre, name, side."


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, None),
        ({"steps": 1, "rate": 0.0}, None),
        ({"steps": 0}, "steps must be between 1 and 64, not 0"),
        ({"steps": 65}, "steps must be between 1 and 64, not 65"),
        ({"rate": 1.0}, "rate of learning must be at least 0 and below 1, not 1.0"),
        ({"rate": float("nan")}, "rate of learning must be at least 0 and below 1, not nan"),
        ({"way": "wide"}, "way must be one of short, long, not wide"),
    ],
)
def test_bounds_are_those_of_the_dataclass(changes, words):
    assert out_of_bounds(Whole((), **changes)) == words


def test_a_field_that_is_declared_again_keeps_its_bounds():
    @dataclass(frozen=True)
    class Longer(Whole):
        steps: int = 30

    assert out_of_bounds(Longer((), 65)) == "steps must be between 1 and 64, not 65"


def test_a_dataclass_inside_may_read_itself():
    @dataclass
    class Holder:
        inner: SelfRead

    Holder.__annotations__["inner"] = SelfRead
    assert read_fields(Holder, {"inner": {"of old": 4}}).inner == SelfRead(4)


def test_toml_is_read_and_a_broken_file_is_named_with_the_place(tmp_path):
    (tmp_path / "a.toml").write_text('steps = 7\n[[parts]]\nname = "a"\ncentre = [1, 2, 3.5]\n')
    assert read_fields(Whole, read_toml(tmp_path / "a.toml")) == Whole((Part("a", centre=(1.0, 2.0, 3.5)),), 7)
    (tmp_path / "b.toml").write_text("a = 1\nb = = 2\n")
    with pytest.raises(VcmError, match=r"b\.toml cannot be used: it is no TOML: .*line 2") as caught:
        read_toml(tmp_path / "b.toml")
    assert caught.value.code is Code.FILE_UNREADABLE


def test_a_sealed_file_of_another_kind_is_refused_with_its_name(tmp_path):
    write_sealed(tmp_path / "part.json", as_json(Part("a")))
    assert read_sealed_as(Part, tmp_path / "part.json") == Part("a")
    with pytest.raises(VcmError, match=r"part\.json does not fit: it has no field name") as caught:
        read_sealed_as(SelfRead, tmp_path / "part.json")
    assert caught.value.code is Code.FILE_UNREADABLE
