"""The decoder of the protocol, for a stream that comes in pieces, with anything in it."""

import json
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from vcm.protocol import (
    Cancel,
    Garbage,
    Generate,
    LineDecoder,
    Shutdown,
    encode,
)
from vcm.protocol.lines import MAX_LINE_BYTES

STREAM = [Cancel("größer 脳"), Generate("b", "/tmp/out"), Shutdown()]


@given(st.lists(st.integers(0, 400), max_size=12))
def test_a_stream_cut_anywhere_gives_the_same_messages(cuts):
    # Not our own encoder: a client may send UTF-8 as it is, which a cut can split within a character.
    stream = b"".join(json.dumps(json.loads(encode(m)), ensure_ascii=False).encode() + b"\r\n" for m in STREAM)
    decoder, items, edges = LineDecoder(), [], [0, *sorted(cut % len(stream) for cut in cuts), len(stream)]
    for begin, end in pairwise(edges):
        items += decoder.feed(stream[begin:end])
    assert items == STREAM


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_no_bytes_whatever_spoil_the_message_after_them(noise):
    decoder = LineDecoder(limit=120)
    items = decoder.feed(noise + b"\n" + encode(Cancel("a")))
    assert items[-1] == Cancel("a")
    assert all(isinstance(item, Garbage) for item in items[:-1])


def test_garbage_tells_its_text_and_the_reason():
    (item,) = LineDecoder().feed("Läuft: 3 %\n".encode())
    assert item.text == "Läuft: 3 %"
    assert "not JSON" in item.error.sentence


def test_a_line_over_the_limit_is_told_once_and_dropped_to_its_end():
    decoder = LineDecoder(limit=100)
    items = []
    for _ in range(50):
        items += decoder.feed(b"x" * 30)
    items += decoder.feed(b"\n" + encode(Shutdown()))
    assert [type(item) for item in items] == [Garbage, Shutdown]
    assert "longer than 100 bytes" in items[0].error.sentence


def test_a_line_at_the_limit_is_read():
    line = encode(Cancel("a" * 60))
    assert LineDecoder(limit=len(line) - 1).feed(line) == [Cancel("a" * 60)]
    assert isinstance(LineDecoder(limit=len(line) - 2).feed(line)[0], Garbage)


def test_a_long_line_that_comes_at_once_does_not_take_its_neighbours_along():
    pieces = encode(Cancel("a")) + b"y" * (MAX_LINE_BYTES + 1) + b"\n" + encode(Cancel("b"))
    assert [getattr(item, "id", None) for item in LineDecoder().feed(pieces)] == ["a", None, "b"]


def test_empty_lines_are_passed_over():
    assert LineDecoder().feed(b"\n\r\n   \n" + encode(Shutdown()) + b"\n") == [Shutdown()]


def test_a_line_without_its_end_is_told_when_the_stream_ends():
    decoder = LineDecoder()
    assert decoder.feed(b'{"type":"can') == []
    (item,) = decoder.end()
    assert isinstance(item, Garbage) and item.text == '{"type":"can'
    assert decoder.end() == []
