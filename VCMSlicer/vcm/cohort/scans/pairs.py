"""Which segmentation belongs to which scan: by the files' names, or by a table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vcm.core.csv_tables import read_records
from vcm.core.errors import Code, VcmError
from vcm.core.reading import missing_as, open_text
from vcm.volumes.image_refusals import READABLE

OTHER_IMAGES = (".mha", ".mhd", ".img", ".dcm")
KINDS = {
    "t1", "t1w", "t2", "t2w", "flair", "mprage", "anat", "mri", "brain", "seg", "dseg", "segmentation", "segmented",
    "label", "labels", "labelmap", "synthseg", "aseg", "aparc",
}  # fmt: skip
"""Words at the end of a file's name that say what it is, not whose."""
FOLDERS = {"anat", "mri"}
COLUMNS = ("image", "segmentation")


@dataclass(frozen=True)
class Scan:
    """A scan and its segmentation; `given` are the further cells of its row in the table, by their column.

    `shown` are the names of the two files in sentences and tables: relative to what the user gave.
    """

    name: str
    image: Path
    segmentation: Path
    given: Mapping[str, str] = field(default_factory=dict)
    shown: tuple[str, str] = field(default=("", ""), compare=False)

    @property
    def image_name(self) -> str:
        return self.shown[0] or self.image.name

    @property
    def segmentation_name(self) -> str:
        return self.shown[1] or self.segmentation.name

    def in_words(self, sentence: str) -> str:
        """A sentence about one of the files, with the name that is shown in place of its path."""
        for path, name in ((self.image, self.image_name), (self.segmentation, self.segmentation_name)):
            sentence = sentence.replace(str(path), name)
        return sentence


@dataclass(frozen=True)
class Refusal:
    """What could not be brought in, and the sentence that says why; files by the names that are shown."""

    name: str
    image: str
    segmentation: str
    code: str
    sentence: str
    remedy: str


@dataclass(frozen=True)
class Scans:
    """The pairs that were found, and what is left over."""

    pairs: tuple[Scan, ...]
    refusals: tuple[Refusal, ...] = ()
    table: Path | None = None

    @property
    def files(self) -> list[Path]:
        """All files that are read: the table, scans and segmentations."""
        paired = [path for one in self.pairs for path in (one.image, one.segmentation)]
        return [*([self.table] if self.table else []), *paired]


def find_scans(images: Path, segmentations: Path | None) -> Scans:
    """The scans of a folder and their segmentations in another, or those of a table (`images` is a .csv file)."""
    if images.suffix.lower() == ".csv":
        return pair_by_table(images)
    if segmentations is None:
        raise VcmError(
            Code.BAD_REQUEST,
            f"The segmentations of the scans in {images} were not given.",
            "Give their folder with --segmentations, or a table with the columns image and segmentation.",
        )
    return pair_by_name(images, segmentations)


def pair_by_name(images: Path, segmentations: Path) -> Scans:
    """Pair the files below two folders whose names agree but for the words that say what a file is."""
    scans, labels = (_by_key(folder) for folder in (images, segmentations))
    pairs, refusals = [], []
    for key in sorted({*scans, *labels}):
        mine, theirs = scans.get(key, []), labels.get(key, [])
        if len(mine) == len(theirs) == 1:
            shown = _relative(mine[0], images), _relative(theirs[0], segmentations)
            pairs.append(Scan(key, mine[0], theirs[0], shown=shown))
            continue
        if not theirs:
            sentence = "has no segmentation: none in {folder} is named like it."
            remedy = "Name the segmentation as the scan, or pair them in a table with the columns image, segmentation."
        elif not mine:
            sentence = "is a segmentation of no scan: none in {folder} is named like it."
            remedy = "Name it as the scan, or leave it out."
        else:
            sentence = "cannot be paired: several files are named {key}."
            remedy = "Pair them in a table with the columns image, segmentation."
        for number in range(max(len(mine), len(theirs))):
            image, label = (
                _relative(files[number], folder) if number < len(files) else ""
                for files, folder in ((mine, images), (theirs, segmentations))
            )
            text = sentence.format(folder=(segmentations if mine else images).name or "the folder", key=key)
            refusals.append(Refusal(key, image, label, "UNPAIRED", f"{image or label} {text}", remedy))
    if not pairs and not refusals:
        raise VcmError(Code.FILE_MISSING, f"{images} holds no scans ({', '.join(READABLE)}).", "Check the path.")
    return Scans(tuple(pairs), tuple(refusals))


def pair_by_table(path: Path) -> Scans:
    """Pair what stands in one row of a table; its paths are relative to it."""
    pairs: list[Scan] = []
    refusals = []
    taken: dict[str, int] = {}
    for number, row in enumerate(_rows(path), start=2):
        image, label = (row[column].strip() for column in COLUMNS)
        places = [path.parent / text if text else None for text in (image, label)]
        shown = tuple(_relative(place, path.parent) if place else "" for place in places)
        if places[0] is None or places[1] is None:
            lacking = COLUMNS[0] if places[0] is None else COLUMNS[1]
            refusals.append(
                Refusal(
                    f"row {number}",
                    shown[0],
                    shown[1],
                    "UNPAIRED",
                    f"Row {number} of {path.name} names no {lacking}.",
                    "Fill it in, or remove the row.",
                )
            )
            continue
        key = key_of(places[0], path.parent)
        taken[key] = taken.get(key, 0) + 1
        name = key if taken[key] == 1 else f"{key}-{taken[key]}"
        given = {column: cell for column, cell in row.items() if column not in COLUMNS and cell.strip()}
        pairs.append(Scan(name, places[0], places[1], given, (shown[0], shown[1])))
    return Scans(tuple(pairs), tuple(refusals), path)


def _relative(path: Path, folder: Path) -> str:
    """A file's name from the folder that was given; one that lies elsewhere is shown without its folders."""
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else path.name


def key_of(path: Path, root: Path) -> str:
    """Whose scan a file is: its name without the words that say what it is, else the name of its folder.

    >>> key_of(Path("in/sub-01_T1w.nii.gz"), Path("in")), key_of(Path("in/Smith_aparc+aseg.nrrd"), Path("in"))
    ('sub-01', 'Smith')
    >>> key_of(Path("in/sub-02/mri/aseg.nii"), Path("in"))
    'sub-02'
    """
    folders = [part for part in path.parent.relative_to(root).parts if part.lower() not in FOLDERS]
    own = _whose(_without_ending(path.name))
    return _plain(own or (folders[-1] if folders else _without_ending(path.name)))


def _whose(stem: str) -> str:
    parts = re.split(r"([_\-.+ ]+)", stem)
    while parts and parts[-1].lower() in KINDS:
        del parts[-2:]
    return "".join(parts)


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._-") or "scan"


def _without_ending(name: str) -> str:
    ending = next((end for end in (*READABLE, *OTHER_IMAGES) if name.lower().endswith(end)), "")
    return name[: len(name) - len(ending)]


def _by_key(folder: Path) -> dict[str, list[Path]]:
    if not folder.is_dir():
        raise VcmError(Code.FILE_MISSING, f"There is no folder {folder}.", "Check the path.")
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.is_file() and path.name.lower().endswith((*READABLE, *OTHER_IMAGES)):
            found.setdefault(key_of(path, folder), []).append(path)
    return found


def _rows(path: Path) -> Iterable[Mapping[str, str]]:
    with missing_as(f"There is no table {path}."):
        stream = open_text(path)
    first = stream.readline()
    stream.seek(0)
    try:
        header, rows = read_records(stream, ";" if ";" in first and "," not in first else ",")
    except ValueError as error:
        raise VcmError(Code.FILE_UNREADABLE, f"{path} is no table: {error}.", "Save it again as CSV.") from error
    names = [name.strip().lower() for name in header]
    if missing := [column for column in COLUMNS if column not in names]:
        raise VcmError(
            Code.FILE_UNREADABLE,
            f"{path} has no column {' and no column '.join(missing)}; it has {', '.join(names) or 'none'}.",
            "A table of scans has the columns image, segmentation and, where known, sex and age.",
        )
    plain_names = dict(zip(header, names, strict=True))
    return [{plain_names[name]: cell for name, cell in row.items()} for row in rows]
