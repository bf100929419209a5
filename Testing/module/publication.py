"""Set where the repository is published: `python Testing/module/publication.py https://github.com/NAME/SlicerBrainMRISynthesis`.

The address stands in three files that Slicer's build and the extension index read as they are, without variables, and
in the link of the module's help. The
index asks for a repository named "Slicer" and the extension's name, and for an extension whose name says what it is for
and does not begin with "Slicer". See docs/slicer.md.
"""

import json
import re
import sys

from packaged_files import ROOT

EXTENSION = "BrainMRISynthesis"
ENTRY = ROOT / f"{EXTENSION}.json"
FILES = (ROOT / "CMakeLists.txt", ROOT / "VCMSlicer.s4ext", ENTRY, ROOT / "VCMSlicer" / "VCMSlicer.py")
FORM = re.compile(rf"https://github\.com/([\w.-]+)/(Slicer{EXTENSION})")
ADDRESS = re.compile(r"https://(?:github\.com|raw\.githubusercontent\.com)/([\w.-]+/[\w.-]+)")
OTHERS = {"Slicer/Slicer"}  # the catalogue entry's schema


def repository() -> str:
    """The address as the catalogue entry has it."""
    return str(json.loads(ENTRY.read_text("utf-8"))["scm_url"])


def branch() -> str:
    """The branch that the index builds."""
    return str(json.loads(ENTRY.read_text("utf-8"))["scm_revision"])


def named() -> set[str]:
    """Every repository that these files speak of, but for others'."""
    return {found for path in FILES for found in ADDRESS.findall(path.read_text("utf-8"))} - OTHERS


def publishAt(address: str) -> None:
    """Write another address into all of them."""
    if FORM.fullmatch(address) is None:
        raise SystemExit(f"{address} is not of the form https://github.com/NAME/Slicer{EXTENSION}")
    before, after = (FORM.fullmatch(url).group(1, 2) for url in (repository(), address))
    for path in FILES:
        text = path.read_text("utf-8").replace("/".join(before), "/".join(after))
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    publishAt(sys.argv[1] if len(sys.argv) > 1 else "")
