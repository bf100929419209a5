"""A zip for whoever is asked for help: versions, log, settings; nothing that tells who the user or a patient is.

It keeps an allow-list. Of a text only those words stay that stand in the program's own messages, and short numbers;
everything else, whatever it is the name of, is left out.
"""

from __future__ import annotations

import builtins
import getpass
import json
import platform
import re
import socket
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from VCMSlicerLib.preflight import PreflightItem

HIDDEN = "…"
SOURCES = ("vcm", "VCMSlicerLib")
PACKAGES = {"vcm", "python", "torch", "monai", "numpy", "SimpleITK", "safetensors", "slicer", "system", "release"} | {
    "machine"
}
VERSION = re.compile(r"[\w.+-]{1,40}")
# A time of day, a share, a number with its unit, a version. A longer number may be that of a patient or a phone.
NUMBER = re.compile(
    r"[+-]?\d{1,4}([.,:×]\d{1,3})*\s?(%|s|it/s|ms|GB|MB|kB|mm|ml)?|\d{1,5}/\d{1,5}|it/s|\d+(\.\d+){2,3}"
)
EDGES = re.compile(r"^([^\w+-]*)(.*?)([^\w%+]*)$", re.DOTALL)
DOCSTRING = re.compile(r'r?"""[\s\S]*?"""')
LITERAL = re.compile(r'"([^"\n\\]*)"')


def writeBundle(
    path: str | Path,
    *,
    versions: Mapping[str, str],
    log: str,
    settings: Mapping[str, Any],
    preflight: Sequence[PreflightItem],
) -> Path:
    """Write the zip, whole or not at all."""
    path = Path(path)
    kept = {name: value if VERSION.fullmatch(str(value)) else HIDDEN for name, value in versions.items()}
    contents = {
        "versions.json": json.dumps(
            {**systemVersions(), **{name: value for name, value in kept.items() if name in PACKAGES}}, indent=1
        ),
        "settings.json": json.dumps({name: _setting(value) for name, value in settings.items()}, indent=1),
        "preflight.txt": "\n".join(f"{i.level.value:6} {known(i.name)}: {known(i.words)}" for i in preflight),
        "log.txt": known(log),
    }
    partial = path.with_name(f"{path.name}.part")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in contents.items():
            bundle.writestr(name, content)
    partial.replace(path)
    return path


def systemVersions() -> dict[str, str]:
    """The kind of machine, without its name."""
    return {
        "system": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }


def known(text: str) -> str:
    r"""A text without any word that is not the program's own, its lines as they were.

    >>> known("There is no file C:\\Scans\\Xyzzy^Q\\t1.nii: Xyzzy 19570302. Check the path.")
    'There is no file … Check the path.'
    >>> known("12/32 steps, 3 it/s, torch 2.4.1")
    '12/32 steps, 3 it/s, torch 2.4.1'
    """
    return "\n".join(" ".join(_withoutRepeats(map(_word, line.split()))) for line in text.splitlines())


def _word(word: str) -> str:
    core = EDGES.match(word).group(2)  # type: ignore[union-attr]
    if NUMBER.fullmatch(core) or not core:
        return word
    parts = [part for part in re.split(r"[-_.+']+|(?<=[a-z])(?=[A-Z])", core) if part]
    numbers = [part for part in parts if part.isdecimal()]
    # `dpm++2` is a word of ours, a date in a file's name is not.
    few = len(numbers) < 2 and all(len(part) < 3 for part in numbers)
    ours = few and all(part.lower() in vocabulary() for part in parts if not part.isdecimal())
    return word if ours else HIDDEN


def _withoutRepeats(words: Iterable[str]) -> list[str]:
    kept: list[str] = []
    for word in words:
        if word != HIDDEN or kept[-1:] != [HIDDEN]:
            kept.append(word)
    return kept


def _setting(value: Any) -> Any:
    return value if value is None or isinstance(value, (bool, int, float)) else known(str(value))


@cache
def vocabulary() -> frozenset[str]:
    """The words of the program's own messages and of Python's errors, in small letters; no user's or machine's name."""
    words = {part.lower() for name in dir(builtins) for part in re.split(r"(?<=[a-z])(?=[A-Z])", name)}
    module = Path(__file__).resolve().parents[1]
    for folder in SOURCES:
        for path in (module / folder).rglob("*.py"):
            for literal in LITERAL.findall(DOCSTRING.sub("", path.read_text("utf-8"))):
                words.update(word.lower() for word in re.findall(r"[^\W_]+", re.sub(r"\{[^}]*\}", " ", literal)))
    return frozenset(words - {name.lower() for name in (_userName(), *re.split(r"\W+", socket.gethostname()))})


def _userName() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""
