"""Messages to and from lines of JSON, and a decoder for a stream that arrives in pieces."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vcm.core.errors import Code, VcmError
from vcm.core.plain_text import is_readable, plain
from vcm.core.records import Record
from vcm.protocol.answers import FROM_WORKER, Ending, Failed, Said
from vcm.protocol.message import Message
from vcm.protocol.requests import FROM_CLIENT

PROTOCOL_VERSION = 1
MAX_LINE_BYTES = 4 * 1024 * 1024
SHOWN_CHARACTERS = 200
EXACT = {"id", "file", "path", "out", "folder", "report_path", "montage_path", "uncontrolled_path"}
"""Fields that a client uses as they are."""
BY_TYPE: dict[str, type[Message]] = {message.type: message for message in (*FROM_CLIENT, *FROM_WORKER)}


class ProtocolError(VcmError):
    """A line that is no message. `id` is that of the request it seems to speak of, or empty."""

    def __init__(self, sentence: str, remedy: str = "", id: str = "") -> None:
        super().__init__(Code.BAD_REQUEST, sentence, remedy)
        self.id = id


@dataclass(frozen=True, eq=False, repr=False)
class Garbage(Record):
    """A line that could not be read: the head of its text, and why."""

    text: str
    error: ProtocolError


def encode(message: Message) -> bytes:
    r"""One line, ASCII alone, so that no reader can cut a character in two; TypeError where a field does not fit.

    What a worker says to people is escaped where it holds a terminal's commands; ids and paths are left as they are.

    >>> from vcm.protocol import Cancel
    >>> encode(Cancel("größer"))
    b'{"type":"cancel","version":1,"id":"gr\\u00f6\\u00dfer"}\n'
    """
    from vcm.core.typed_json import FieldError, as_json, read_fields

    try:
        content = as_json(message)
        if isinstance(message, FROM_WORKER):
            content = {name: _for_people(value, name) for name, value in content.items()}
        read_fields(type(message), content)
        line = json.dumps(
            {"type": message.type, "version": PROTOCOL_VERSION, **content}, allow_nan=False, separators=(",", ":")
        )
    except (FieldError, TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"the message {message.type} cannot be sent: {error}") from error
    return line.encode("ascii") + b"\n"


def encode_answer(message: Message) -> bytes:
    """As `encode`, and never in vain: what cannot be sent becomes a message that says so, under the same id."""
    try:
        return encode(message)
    except TypeError as error:
        sentence, id = f"The worker's answer could not be sent: {error}.", getattr(message, "id", "")
        if isinstance(message, Ending):
            details = {"where": f"the message {message.type}"}
            return encode(Failed(id, Code.INTERNAL, sentence, "Report it together with this sentence.", details))
        return encode(Said(id, sentence))


def decode(line: bytes | str) -> Message:
    """The message of one line, or a ProtocolError whose sentence says what does not fit.

    >>> decode('{"type": "cancel", "version": 1, "id": "a"}')
    Cancel(id='a')
    >>> decode('{"type": "cancel", "version": 1}')
    Traceback (most recent call last):
    vcm.protocol.lines.ProtocolError: The message cancel does not fit: its field id is missing.
    """
    from vcm.core.typed_json import FieldError, read_fields

    content = _read_object(line)
    tag, version, identity = content.pop("type", None), content.pop("version", None), content.get("id", "")
    identity = identity if isinstance(identity, str) and is_readable(identity) else ""
    if type(version) is not int or version != PROTOCOL_VERSION:
        raise ProtocolError(
            f"The message speaks version {_head(version)} of the worker's protocol; "
            f"this side speaks version {PROTOCOL_VERSION}.",
            "Bring VCMSlicer and the packages of its worker to the same version.",
            identity,
        )
    cls = BY_TYPE.get(tag) if isinstance(tag, str) else None
    if cls is None:
        raise ProtocolError(f"There is no message of the type {_head(tag)}.", id=identity)
    try:
        return read_fields(cls, content)
    except (FieldError, RecursionError) as error:
        raise ProtocolError(f"The message {tag} does not fit: {error}.", id=identity) from error


def _for_people(value: Any, name: str) -> Any:
    if isinstance(value, Mapping):
        return {plain(str(key)): _for_people(item, str(key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_for_people(item, name) for item in value]
    if not isinstance(value, str) or (name in EXACT and is_readable(value)):
        return value
    return plain(value)


def _read_object(line: bytes | str) -> dict[str, Any]:
    try:
        text = line.decode("utf-8") if isinstance(line, bytes) else line
        content = _STRICT_JSON.decode(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"The line is not JSON in UTF-8: {error}.") from error
    if not isinstance(content, Mapping):
        raise ProtocolError("The line is JSON, but not an object.")
    return dict(content)


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:20]} is too large a number")
    return number


def _refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return content


_STRICT_JSON = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_refuse_twice)


def _head(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (RecursionError, ValueError):
        return "that cannot be shown"
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"


class LineDecoder:
    r"""Turns pieces of a byte stream into messages, wherever the pieces were cut.

    What is no message comes out as `Garbage` and spoils nothing that follows. A line longer than `limit` bytes is
    dropped up to its end.

    >>> decoder = LineDecoder()
    >>> decoder.feed(b'{"type":"cancel","version":1,')
    []
    >>> decoder.feed(b'"id":"a"}\r\nhello\n')[0]
    Cancel(id='a')
    """

    def __init__(self, limit: int = MAX_LINE_BYTES) -> None:
        self._limit = limit
        self._rest = bytearray()
        self._dropping = False

    def feed(self, piece: bytes) -> list[Message | Garbage]:
        """The messages that `piece` completes, in order."""
        items: list[Message | Garbage] = []
        *complete, rest = bytes(piece).split(b"\n")
        for end in complete:
            self._keep(end, items)
            items += self._take()
            self._dropping = False
        self._keep(rest, items)
        return items

    def end(self) -> list[Message | Garbage]:
        """What is left when the stream has ended: a last line without its newline."""
        return self._take()

    def _keep(self, part: bytes, items: list[Message | Garbage]) -> None:
        if self._dropping:
            return
        self._rest += part
        if len(self._rest) > self._limit:
            reason = ProtocolError(f"The line is longer than {self._limit} bytes.")
            items.append(Garbage(_readable(self._rest), reason))
            self._rest.clear()
            self._dropping = True

    def _take(self) -> list[Message | Garbage]:
        line = bytes(self._rest).strip()
        self._rest.clear()
        if not line:
            return []
        try:
            return [decode(line)]
        except ProtocolError as error:
            return [Garbage(_readable(line), error)]
        except Exception as error:  # whatever a peer sends, the lines after it are read
            return [Garbage(_readable(line), ProtocolError(f"The line cannot be read: {type(error).__name__}."))]


def _readable(line: bytes | bytearray) -> str:
    return bytes(line[: 4 * SHOWN_CHARACTERS]).decode("utf-8", "replace")[:SHOWN_CHARACTERS]
