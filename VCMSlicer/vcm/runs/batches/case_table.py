"""`cases.csv`: a row a case, each a run of its own with the command line's options as defaults."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vcm.conditions.attributes import canonical_name
from vcm.core.csv_tables import read_rows
from vcm.core.errors import Code, VcmError
from vcm.core.reading import missing_as, open_text
from vcm.runs.condition_text import Acting, number_or_word, read_window, split_label
from vcm.runs.job import ConditionFile, GenerateJob

NAME = "case"
OPTIONS = ("seed", "samples", "sampler", "steps", "noise", "uncontrolled")
ACTING = ("strength", "window", "region")
UNFIT = re.compile(
    r'[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069/\\:*?"<>|]|^[-.=+@(]|[. ]$'
    r"|(?i:^(con|prn|aux|nul|com\d|lpt\d)(\.|$))"
)
LONGEST_NAME = 100
"""In bytes: systems count so, and the files of a case have longer names."""
YES_OR_NO = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


@dataclass(frozen=True)
class Case:
    """A row: what to make, or the `fault` that keeps it from being made."""

    name: str
    job: GenerateJob | None
    fault: VcmError | None = None


@dataclass(frozen=True)
class Known:
    """What the columns may speak of: the names of the conditions and of the attributes there are."""

    conditions: tuple[str, ...]
    attributes: tuple[str, ...]


@dataclass(frozen=True)
class Column:
    """What a column holds: `kind` is `case`, `option`, `condition`, `acting`, `attribute` or `raw`.

    `part` says which of `ACTING` it is; `name` is then the condition's, or empty for all of a case.
    """

    header: str
    kind: str
    name: str
    part: str = ""


def read_case_table(
    path: Path, defaults: GenerateJob, known: Known, acting: Mapping[str, Acting] | None = None
) -> list[Case]:
    """The cases of a table, in its order. Files are sought beside the table; `defaults.out` takes a folder a case.

    `acting` says how conditions act where a row does not. A table whose columns are not clear is refused whole; a row
    that holds nonsense becomes a case with a `fault`, called by its line where its name cannot be used.
    """
    lines = _lines(path)
    _, header = next(lines, (1, []))
    if not header:
        raise _empty(path)
    reader = _RowReader(path, _columns(path, header, known), _by_known_names(defaults, known), acting or {})
    cases: dict[str, Case] = {}
    for line, cells in lines:
        case = reader.read(line, cells)
        own = unicodedata.normalize("NFC", case.name).casefold()  # as file systems compare names
        if own in cases:
            fault = VcmError(
                Code.BAD_REQUEST,
                f"{path}, line {line}: there is a case {cases[own].name} already, and each has a folder by its name.",
                "Give every row a name of its own in the column case.",
            )
            case = Case(own := _by_line(line), None, fault)
        cases[own] = case
    if not cases:
        raise _empty(path)
    return list(cases.values())


def seed_of(name: str, base: int | None) -> int:
    """The seed of a case that was given none: it follows from the name, so not from its row or its shard.

    >>> seed_of("sub-0001", 0), seed_of("sub-0002", 0)
    (1701787141, 381267883)
    """
    return int.from_bytes(hashlib.sha256(f"{base or 0} {name}".encode()).digest()[:4], "big") >> 1


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The lines that hold anything, with their numbers; commas, semicolons and tabs may part the cells."""
    with missing_as(f"There is no file {path}.", "Check the path given with --cases."):
        stream = open_text(path, nul=True)  # a cell with NUL costs its row alone
    header = stream.readline()
    stream.seek(0)
    try:
        for line, cells in read_rows(stream, max(",;\t", key=header.count)):
            yield line, [cell.strip() for cell in cells]
    except ValueError as error:
        raise VcmError(
            Code.FILE_UNREADABLE, f"{path} cannot be read as a table: {error}.", "Save the table again as CSV."
        ) from None


def _empty(path: Path) -> VcmError:
    return VcmError(Code.BAD_REQUEST, f"{path} holds no case: it needs a line of column names and a line a case.")


def _columns(path: Path, header: list[str], known: Known) -> list[Column]:
    columns = [_column(name, known) for name in header]
    strange = [name or "(without a name)" for name, column in zip(header, columns, strict=True) if column is None]
    if strange:
        raise VcmError(
            Code.BAD_REQUEST,
            f"{path} has columns that say nothing here: {', '.join(strange)}. Known are {_list_known(known)}.",
            "Rename or remove them.",
        )
    found = [column for column in columns if column is not None]
    meanings = [(column.kind, column.name, column.part) for column in found]
    repeated = [c.header for c, meaning in zip(found, meanings, strict=True) if meanings.count(meaning) > 1]
    twice = list(dict.fromkeys(repeated))
    if twice:
        raise VcmError(Code.BAD_REQUEST, f"{path} says the same thing in several columns: {', '.join(twice)}.")
    if NAME not in header:
        raise VcmError(
            Code.BAD_REQUEST,
            f"{path} has no column {NAME}, which names each case and its folder. Known are {_list_known(known)}.",
            "The first line of the table must hold the columns' names.",
        )
    return found


def _column(header: str, known: Known) -> Column | None:
    name, _, part = header.rpartition(".")
    for kind, names in (("case", (NAME,)), ("option", OPTIONS), ("condition", known.conditions)):
        if header in names:
            return Column(header, kind, header)
    if header in ACTING or (name in known.conditions and part in ACTING):
        return Column(header, "acting", name, part or header)
    attribute = canonical_name(name if part == "raw" else header, known.attributes)
    if attribute in known.attributes:
        return Column(header, "raw" if part == "raw" else "attribute", attribute)
    return None


def _list_known(known: Known) -> str:
    conditions = ", ".join(known.conditions) or "none"
    return (
        f"{NAME}; the conditions {conditions} (files); {', '.join(ACTING)}, for one condition NAME.strength and so on; "
        f"the attributes {', '.join(known.attributes) or 'none'}, NAME.raw for the network's 0–1; {', '.join(OPTIONS)}"
    )


def _by_known_names(defaults: GenerateJob, known: Known) -> GenerateJob:
    """The defaults with their attributes called as the backbone calls them."""
    human = {canonical_name(name, known.attributes): value for name, value in defaults.attributes.items()}
    raw = {canonical_name(name, known.attributes): value for name, value in defaults.raw_attributes.items()}
    return replace(defaults, attributes=human, raw_attributes=raw)


class _RowReader:
    """Turns the cells of one line into a Case."""

    def __init__(self, path: Path, columns: list[Column], defaults: GenerateJob, acting: Mapping[str, Acting]) -> None:
        self._path, self._columns, self._defaults, self._acting = path, columns, defaults, acting

    def read(self, line: int, cells: list[str]) -> Case:
        name = _by_line(line)
        try:
            if len(cells) != len(self._columns):
                # Which cell is missing cannot be known, so neither can the case's name.
                sentence = f"{len(cells)} cells where there are {len(self._columns)} columns."
                raise VcmError(Code.BAD_REQUEST, sentence, "Mend the line; text with commas needs quotes around it.")
            filled = {c: cell for c, cell in zip(self._columns, cells, strict=True) if cell}
            if any("\0" in cell for cell in cells):
                raise VcmError(Code.BAD_REQUEST, "a cell holds zero bytes.", "Save the table again as CSV in UTF-8.")
            name = _checked_name(next((cell for c, cell in filled.items() if c.kind == "case"), ""))
            return Case(name, self._job(name, filled))
        except VcmError as fault:
            sentence = f"{self._path}, line {line}: {fault.sentence}"
            return Case(name, None, VcmError(fault.code, sentence, fault.remedy))

    def _job(self, name: str, filled: Mapping[Column, str]) -> GenerateJob:
        def of(kind: str) -> dict[str, str]:
            return {column.name: cell for column, cell in filled.items() if column.kind == kind}

        options = {option: self._option(option, cell) for option, cell in of("option").items()}
        raw = {attribute: _number(f"{attribute}.raw", cell) for attribute, cell in of("raw").items()}
        human = {attribute: number_or_word(cell) for attribute, cell in of("attribute").items()}
        defaults = self._defaults
        seed = options.pop("seed", seed_of(name, defaults.seed))
        return replace(
            defaults,
            out=defaults.out / name,
            conditions=self._conditions(of("condition"), filled),
            # What a row says of an attribute, in either way, goes before the default of both.
            attributes={n: v for n, v in defaults.attributes.items() if n not in raw} | human,
            raw_attributes={n: v for n, v in defaults.raw_attributes.items() if n not in human} | raw,
            seed=seed,
            **options,
        )

    def _conditions(self, cells: Mapping[str, str], filled: Mapping[Column, str]) -> tuple[ConditionFile, ...]:
        files = {file.name: file for file in self._defaults.conditions}
        for name, cell in cells.items():
            files[name] = ConditionFile(name, *split_label(str(self._path.parent / cell)))
        said: dict[str, dict[str, Any]] = {}
        for column, cell in filled.items():
            if column.kind == "acting":
                said.setdefault(column.name, {})[column.part] = self._how_it_acts(column, cell)
        idle = [name for name in said if name and name not in files]
        if idle or (said and not files):
            about = ", ".join(idle) or "conditions"
            raise VcmError(Code.BAD_REQUEST, f"the row says how {about} should act, but gives no such file.")
        return tuple(self._acted(file, said.get("", {}) | said.get(file.name, {})) for file in files.values())

    def _acted(self, file: ConditionFile, said: Mapping[str, Any]) -> ConditionFile:
        default = self._acting.get(file.name, Acting())
        strength = said.get("strength", default.strength)
        start, end = said.get("window", default.window) or (0.0, 1.0)
        region = said.get("region", default.region)
        return replace(file, strength=1.0 if strength is None else strength, start=start, end=end, region=region)

    def _how_it_acts(self, column: Column, cell: str) -> Any:
        if column.part == "region":
            return self._path.parent / cell
        if column.part == "window":
            return _read(column.header, cell, read_window, "START:END")
        return _number(column.header, cell)

    def _option(self, name: str, cell: str) -> Any:
        if name == "noise":
            return self._path.parent / cell
        if name == "sampler":
            return cell
        if name == "uncontrolled":
            return _read(name, cell, lambda text: YES_OR_NO[text.lower()], "yes or no")
        return _read(name, cell, int, "a whole number")


def _checked_name(name: str) -> str:
    if not name or UNFIT.search(name) or len(os.fsencode(name)) > LONGEST_NAME:
        shown = name if len(name) <= LONGEST_NAME else f"{name[:20]}…"
        raise VcmError(
            Code.BAD_REQUEST,
            f"a case's name must do as a folder's name, and {shown!r} does not.",
            f"Use up to {LONGEST_NAME} letters, digits, - and _.",
        )
    return name


def _by_line(line: int) -> str:
    """What a row is called that has no name of its own: `(line 7)`, which no row may be named."""
    return f"(line {line})"


def _number(header: str, cell: str) -> float:
    return _read(header, cell, float, "a number")


def _read(header: str, cell: str, read: Callable[[str], Any], expected: str) -> Any:
    try:
        return read(cell)
    except (ValueError, KeyError):
        raise VcmError(Code.BAD_REQUEST, f"the column {header} holds {cell!r} where {expected} is expected.") from None
