"""MONAI's networks without the rest of MONAI.

`import monai.networks.nets` runs the `__init__` of `monai`, which imports some 400 modules, that of
`monai.networks.nets`, which imports every network there is, and that of `monai.utils`, which imports Matplotlib. After
`defer_monai()` a network comes alone: `from monai.networks.nets import UNet` imports `monai.networks.nets.unet` and
what that needs. Whoever asks for anything but networks (`monai.losses`, `monai.data`) gets all of MONAI, imported as if
nothing had been put off; modules and classes stay the same, and are pickled as ever.

Nothing is done where MONAI was imported before, or where its packages are not laid out as they are known here.
"""

from __future__ import annotations

import ast
import importlib
import re
import sys
import threading
from collections.abc import Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from vcm.core.errors import VcmError
from vcm.core.reading import read_text

ROOT, APPS, NETS = "monai", "monai.apps", "monai.networks.nets"
COLLECTIONS = (
    APPS, "monai.config", "monai.utils", "monai.networks", "monai.networks.layers", "monai.networks.blocks", NETS
)  # fmt: skip
"""Packages whose `__init__` does nothing but import names from their modules."""

LIGHT = re.compile(r"monai(\.(networks|utils|config|apps\.generation|_extensions)(\..*)?|\.apps(\.utils)?|\._.*)?")
"""The modules that may be imported without all of MONAI; they import no others, but for single networks."""
IMPORTS = re.compile(r"^(?:from|import) (monai[\w.]*)", re.MULTILINE)

Origins = Mapping[str, str]
"""In which module of a package each of its names is."""

_lock = threading.RLock()


def defer_monai() -> None:
    """Put off what importing MONAI imports; to be called before the first import of a network of MONAI's."""
    with _lock:
        if ROOT in sys.modules or any(isinstance(finder, _Finder) for finder in sys.meta_path):
            return
        packages = _packages()
        if packages is not None:
            sys.meta_path.insert(0, _Finder(packages))


def _packages() -> dict[str, Origins] | None:
    """The packages that are put off, with the names they import; None where MONAI is another."""
    spec = find_spec(ROOT)
    if spec is None or not spec.submodule_search_locations:
        return None
    home = Path(spec.submodule_search_locations[0])
    if not (home / "_version.py").is_file():
        return None
    found: dict[str, Origins] = {ROOT: {}}
    try:
        for name in COLLECTIONS:
            source = read_text(home.joinpath(*name.split(".")[1:]) / "__init__.py")
            found[name] = _origins(ast.parse(source))
    except (VcmError, OSError, SyntaxError, ValueError):
        return None
    return found


def _origins(tree: ast.Module) -> Origins:
    """The names that a package imports from its modules; a ValueError where it does anything else."""
    origins: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if not isinstance(node, ast.ImportFrom) or node.level != 1 or node.module is None:
            raise ValueError(f"line {node.lineno} is no import from the package itself")
        for alias in node.names:
            if alias.asname is not None or alias.name == "*":
                raise ValueError(f"line {node.lineno} imports under another name")
            origins[alias.name] = node.module
    return origins


class _Deferred(ModuleType):
    """A package whose `__init__` has not run yet."""

    _origins: Origins
    _loader: Loader

    def __getattr__(self, name: str) -> Any:
        if name == "__version__" and self.__name__ == ROOT:
            # MONAI's own modules ask for it while they are imported.
            return importlib.import_module(f"{ROOT}._version").get_versions()["version"]
        if name in self._origins:
            value = getattr(importlib.import_module(f"{self.__name__}.{self._origins[name]}"), name)
            setattr(self, name, value)
            return value
        if not name.startswith("__") and find_spec(f"{self.__name__}.{name}") is not None:
            return importlib.import_module(f"{self.__name__}.{name}")
        if not name.startswith("__") or name in ("__all__", "__basedir__", "__copyright__", "__revision_id__"):
            _import_all()
        return ModuleType.__getattribute__(self, name)

    def __dir__(self) -> list[str]:
        _import_all()
        return list(ModuleType.__dir__(self))


def _import_all() -> None:
    """Run what was put off, in the order of a plain import: MONAI's modules import each other in circles."""
    with _lock:
        finders = [finder for finder in sys.meta_path if isinstance(finder, _Finder)]
        for finder in finders:
            sys.meta_path.remove(finder)
        if not finders:
            return
        # All of MONAI starts with its apps.
        waiting = [sys.modules.get(name) for name in (APPS, ROOT, *COLLECTIONS[1:])]
        packages = [package for package in waiting if isinstance(package, _Deferred)]
        for package in packages:
            package._loader.exec_module(package)
        for package in packages:
            del package._origins, package._loader
            package.__class__ = ModuleType  # type: ignore[assignment]


class _Finder(MetaPathFinder):
    """Asked for each module of MONAI's that is imported, it has the packages wait, or imports all of MONAI."""

    def __init__(self, packages: Mapping[str, Origins]) -> None:
        self.packages = packages

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] != ROOT:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return spec
        if fullname in self.packages:
            spec.loader = _Deferring(spec.loader, self.packages[fullname])
        elif not LIGHT.fullmatch(fullname) or (fullname.startswith(f"{NETS}.") and not _is_light(spec)):
            _import_all()
            if fullname in sys.modules:
                spec.loader = _Present(sys.modules[fullname])
        return spec


def _is_light(spec: ModuleSpec) -> bool:
    """Whether a network needs nothing of MONAI but what may be imported alone."""
    try:
        source = read_text(Path(spec.origin or ""))
    except (VcmError, OSError):
        return False
    return all(LIGHT.fullmatch(name) for name in IMPORTS.findall(source))


class _Deferring(Loader):
    """Makes a package whose own loader is asked later."""

    def __init__(self, loader: Loader, origins: Origins) -> None:
        self.loader, self.origins = loader, origins

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        package = _Deferred(spec.name)
        package._origins, package._loader = self.origins, self.loader
        return package

    def exec_module(self, module: ModuleType) -> None:
        """Nothing runs yet."""


class _Present(Loader):
    """Gives a module that was imported meanwhile."""

    def __init__(self, module: ModuleType) -> None:
        self.module, self.spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        """It has run; only the import system has set its spec anew."""
        module.__spec__ = self.spec
