"""The engine's imports against the table of layers in docs/architecture.md."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ENGINE = ROOT / "VCMSlicer" / "vcm"
TABLE = ROOT / "docs" / "architecture.md"


@dataclass(frozen=True)
class Layer:
    """A row of the table: its modules, and the packages from outside that may be imported from there on."""

    name: str
    patterns: tuple[str, ...]
    packages: frozenset[str]
    late_packages: frozenset[str]


@dataclass(frozen=True)
class Import:
    """What a module imports: a module of the engine, or a package from outside; `late` inside a function."""

    module: str
    target: str
    late: bool


def read_layers() -> list[Layer]:
    section = TABLE.read_text("utf-8").split("## Layers")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")][1:]
    names = [[re.findall(r"`([^`]+)`", cell) for cell in row] for row in rows]
    return [
        Layer(row[0].strip(), tuple(cells[1]), frozenset(cells[2]), frozenset(cells[3]))
        for row, cells in zip(rows, names, strict=True)
    ]


LAYERS = read_layers()
MODULES = {
    ".".join(path.relative_to(ENGINE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ENGINE.rglob("*.py"))
    if path != ENGINE / "__init__.py"
}


def rank(module: str) -> int:
    """The row of a module, by the pattern that says most about it."""
    found = [
        (len(pattern), index)
        for index, layer in enumerate(LAYERS)
        for pattern in layer.patterns
        if pattern == module or (pattern.endswith(".*") and f"{module}.".startswith(pattern[:-1]))
    ]
    assert found, f"{module} stands in no row of the table in docs/architecture.md"
    return max(found)[1]


def imports_of(module: str) -> list[Import]:
    found: list[Import] = []

    def look(node: ast.AST, late: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.Import):
                found.extend(Import(module, alias.name, late) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{module} imports by a relative path"
                inner = [f"{child.module}.{alias.name}" for alias in child.names]
                parts = [name for name in inner if name.removeprefix("vcm.") in MODULES]
                found.extend(Import(module, name, late) for name in parts or [str(child.module)])
            else:
                function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
                look(child, late or function)

    look(ast.parse(MODULES[module].read_text("utf-8")), False)
    return found


def test_every_row_of_the_table_speaks_of_modules_that_there_are():
    for layer in LAYERS:
        for pattern in layer.patterns:
            assert any(pattern in (module, f"{module.split('.')[0]}.*") for module in MODULES), pattern
    assert (LAYERS[0].name, LAYERS[-1].name) == ("core", "doors")


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_its_own_layer_and_those_above(module):
    own = rank(module)
    for entry in imports_of(module):
        if entry.target.startswith("vcm."):
            target = entry.target.removeprefix("vcm.")
            assert rank(target) <= own, (
                f"{module} ({LAYERS[own].name}) imports {target} ({LAYERS[rank(target)].name}), which stands below it"
            )


@pytest.mark.parametrize("module", MODULES)
def test_a_module_uses_only_the_packages_that_its_layer_names(module):
    rows = LAYERS[: rank(module) + 1]
    early = {name for row in rows for name in row.packages}
    late = early | {name for row in rows for name in row.late_packages}
    for entry in imports_of(module):
        package = entry.target.split(".")[0]
        if package != "vcm" and package not in sys.stdlib_module_names:
            assert package in (late if entry.late else early), f"{module} imports {package}"


def test_the_pattern_that_says_most_decides_and_an_import_in_a_function_is_told_from_one_outside(tmp_path, monkeypatch):
    assert rank("packs.store") < rank("models.backbones.latents") < rank("packs.importing") < rank("cli.packs")
    late = "def f():\n from vcm.runs.run import g\n"
    source = f"import torch\nfrom vcm.sampling import generator\nif TYPE_CHECKING:\n import rich\n{late}"
    (tmp_path / "a.py").write_text(source)
    monkeypatch.setitem(MODULES, "a", tmp_path / "a.py")
    expected = [("torch", False), ("vcm.sampling.generator", False), ("vcm.runs.run", True)]
    assert imports_of("a") == [Import("a", target, late) for target, late in expected]


def test_what_is_done_before_a_model_is_loaded_loads_no_torch():
    before = (
        "runs.run",
        "runs.choice",
        "conditions.doctor",
        "packs.store",
        "cli.generate",
        "cli.doctor",
        "worker.service",
    )
    modules = ", ".join(f"vcm.{name}" for name in before)
    look = f"import sys, {modules}; print([name for name in ('torch', 'monai', 'slicer', 'qt') if name in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"


def test_no_module_comes_back_to_itself_through_what_it_imports():
    found = {m: {e.target.removeprefix("vcm.") for e in imports_of(m) if not e.late} & MODULES.keys() for m in MODULES}
    while leaves := [module for module, targets in found.items() if not targets & found.keys()]:
        for module in leaves:
            del found[module]
    assert not found, f"a circle runs through {', '.join(sorted(found))}"


FOLDERS = sorted({path.parent for top in ("VCMSlicer", "tools") for path in (ROOT / top).rglob("*.py")})


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_no_folder_has_more_than_fifteen_modules(folder):
    assert len([path for path in folder.glob("*.py") if path.name != "__init__.py"]) <= 15


FAMILIES = re.compile(r"\b(LatentDiffusion|MedDiffusion|BiFlowNet|Maisi|VcmControl|VcmNetwork|PatchNetwork)\b")


def test_no_module_outside_models_names_a_family():
    outside = [path for path in [*ENGINE.rglob("*.py"), *(ROOT / "tools").rglob("*.py")] if "models" not in path.parts]
    assert not [str(path) for path in outside if FAMILIES.search(path.read_text("utf-8"))]
