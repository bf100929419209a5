"""What the extension must package, and writing the engine's list: `python Testing/module/packaged_files.py --write`.

A script that CMake does not list works from the source tree and is missing after installation, without a word.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "VCMSlicer"
LIST = MODULE / "Files.cmake"
NOT_PACKAGED = re.compile(r"(^|/)(__pycache__|\.|CMakeLists\.txt$|Files\.cmake$)|\.egg-info/|\.pyc$|\.part$")
# What the module's worker never imports: training, evaluation, cohorts and the command line come with `pip install`.
NOT_FOR_THE_MODULE = re.compile(r"vcm/((training|teach|cohort|evaluation|cli)/|__main__\.py$)")


def scripts() -> list[str]:
    """The Python files that Slicer compiles and packages."""
    return [path for path in packaged() if path.endswith(".py")]


def resources() -> list[str]:
    """All other files."""
    return [path for path in packaged() if not path.endswith(".py")]


def packaged() -> list[str]:
    """What the module needs of the files in its folder that git knows or would, in the order of their names."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "."]
    try:
        found = subprocess.run(command, cwd=MODULE, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        found = [path.relative_to(MODULE).as_posix() for path in MODULE.rglob("*")]
    left_out = (NOT_PACKAGED.search, NOT_FOR_THE_MODULE.match)
    return sorted({path for path in found if (MODULE / path).is_file() and not any(out(path) for out in left_out)})


def listed(name: str) -> list[str]:
    """The files in CMake's list of that name."""
    body = re.search(rf"set\({name}\n(.*?)\n\)", LIST.read_text("utf-8"), re.DOTALL)
    return body[1].split() if body else []


def write() -> None:
    """Bring the lists up to date."""
    sections = [("MODULE_PYTHON_SCRIPTS", scripts()), ("MODULE_PYTHON_RESOURCES", resources())]
    text = "".join(f"set({name}\n" + "".join(f"  {path}\n" for path in paths) + ")\n\n" for name, paths in sections)
    LIST.write_text(
        "# Every file that is packaged. After adding one: python Testing/module/packaged_files.py --write\n\n"
        + text.rstrip()
        + "\n",
        "utf-8",
    )


if __name__ == "__main__" and "--write" in sys.argv:
    write()
