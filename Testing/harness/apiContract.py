"""Holds Python code against slicerApi.json: which attribute, call or connection Slicer's classes do not have."""

import ast
import functools
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

API: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "slicerApi.json").read_text("utf-8"))


def chain(name: str) -> Iterator[dict[str, Any]]:
    """The class and those it is derived from."""
    while name:
        entry = API.get(name)
        if entry is None:
            return
        yield entry
        name = entry["base"]


def kindOf(name: str, attribute: str) -> str:
    """What an attribute is: a property (which hides a method of its name, as in PythonQt), method, signal or enum."""
    for entry in chain(name):
        if attribute in entry["properties"]:
            return "read only" if entry["properties"][attribute].endswith("(read only)") else "property"
    for entry in chain(name):
        if attribute in entry["methods"]:
            return "method"
        if any(signal.split("(")[0] == attribute for signal in entry["signals"]):
            return "signal"
        if attribute in entry["enums"]:
            return "enum"
    # PythonQtClassInfo::member looks up `exec_` without its underscore, too.
    return kindOf(name, attribute[:-1]) if re.search(r"[^_]_$", attribute) else ""


def hasSignal(name: str, signature: str) -> bool:
    """Whether there is a signal of just this signature, after Qt's normalisation."""
    wanted = re.sub(r"\bconst\b|&|\s", "", signature)
    return any(wanted == re.sub(r"\s", "", signal) for entry in chain(name) for signal in entry["signals"])


@functools.cache
def widgetsOf(uiFiles: tuple[Path, ...]) -> dict[str, set[str]]:
    """The classes of the objects in .ui files, by object name."""
    found: dict[str, set[str]] = {}
    for path in uiFiles:
        for element in ElementTree.parse(path).iter():
            if element.tag in ("widget", "layout", "action") and element.get("name"):
                found.setdefault(element.get("name"), set()).add(element.get("class", "QAction"))
    return found


class Reader(ast.NodeVisitor):
    """Follows the types it can know, which those of .ui files, of constructors and of what methods return are."""

    def __init__(self, path: Path, widgets: dict[str, set[str]]) -> None:
        self.path, self.widgets = path, widgets
        self.problems: list[str] = []
        self.checked = 0
        self._names: list[dict[str, str]] = [{}]
        self._members: dict[str, str] = {}
        self._called: set[int] = set()
        tree = ast.parse(path.read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign):
                self._learn(node)
        self.visit(tree)

    def _learn(self, node: ast.Assign) -> None:
        """Attributes of `self` that are made once, anywhere in the file, and never anything else."""
        for target in node.targets:
            if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == "self":
                known = self._members.get(target.attr)
                found = self.typeOf(node.value)
                self._members[target.attr] = found if known in (None, found) else ""

    def typeOf(self, node: ast.expr) -> str:
        """The class of an expression, empty if it cannot be known."""
        if isinstance(node, ast.Name):
            return next((names[node.id] for names in reversed(self._names) if node.id in names), "")
        if isinstance(node, ast.Call):
            return self._typeOfCall(node)
        if not isinstance(node, ast.Attribute):
            return ""
        if _isUi(node.value):
            classes = self.widgets.get(node.attr, set())
            return next(iter(classes)) if len(classes) == 1 else ""
        if isinstance(node.value, ast.Name) and node.value.id == "self":
            return self._members.get(node.attr, "")
        return "qSlicerApplication" if ast.unparse(node) == "slicer.app" else ""

    def _typeOfCall(self, node: ast.Call) -> str:
        if isinstance(node.func, ast.Attribute):
            if ast.unparse(node.func.value) in ("qt", "ctk", "slicer") and node.func.attr in API:
                return node.func.attr
            if ast.unparse(node.func) == "slicer.util.mainWindow":
                return "qSlicerMainWindow"
            owner = self.typeOf(node.func.value)
            for entry in chain(owner) if owner else ():
                if node.func.attr in entry["methods"]:
                    returns = {s.split(" -> ")[1] for s in entry["methods"][node.func.attr]}
                    # Which layout it is, only the .ui file knows.
                    return returns.pop().removesuffix("*") if len(returns) == 1 and returns != {"QLayout*"} else ""
        return ""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._names.append(dict.fromkeys((a.arg for a in ast.walk(node.args) if isinstance(a, ast.arg)), ""))
        self.generic_visit(node)
        self._names.pop()

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        for target in node.targets:
            if isinstance(target, ast.Name):
                known, found = self._names[-1].get(target.id), self.typeOf(node.value)
                self._names[-1][target.id] = found if known in (None, found) else ""

    def visit_For(self, node: ast.For) -> None:
        if isinstance(node.target, ast.Name) and isinstance(node.iter, ast.Tuple | ast.List):
            types = {self.typeOf(each) for each in node.iter.elts}
            self._names[-1][node.target.id] = types.pop() if len(types) == 1 else ""
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        self._called.add(id(node.func))
        self.generic_visit(node)
        function = node.func
        if not isinstance(function, ast.Attribute) or function.attr not in ("connect", "disconnect") or not node.args:
            return
        owner, signature = self.typeOf(function.value), node.args[0]
        if owner in API and isinstance(signature, ast.Constant) and isinstance(signature.value, str):
            self.checked += 1
            if not hasSignal(owner, signature.value):
                self._say(node, f"{owner} has no signal {signature.value}")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.generic_visit(node)
        if _isUi(node.value) and node.attr not in self.widgets:
            self._say(node, f"no .ui file has an object {node.attr}")
        owner = self.typeOf(node.value)
        static = ast.unparse(node.value)
        if re.fullmatch(r"(qt|ctk|slicer)\.\w+", static) and static.split(".")[1] in API:
            owner = static.split(".")[1]
        if owner not in API:
            return
        self.checked += 1
        kind = kindOf(owner, node.attr)
        if not kind:
            self._say(node, f"{owner} has no {node.attr}")
        elif isinstance(node.ctx, ast.Store) and kind != "property":
            self._say(node, f"{owner}.{node.attr} cannot be set: {kind}")
        elif id(node) in self._called and kind in ("property", "read only"):
            self._say(node, f"{owner}.{node.attr} is a property, which is not called")

    def _say(self, node: ast.AST, words: str) -> None:
        self.problems.append(f"{self.path.name}:{node.lineno}: {words}")


def _isUi(node: ast.expr) -> bool:
    return (isinstance(node, ast.Name) and node.id == "ui") or (isinstance(node, ast.Attribute) and node.attr == "ui")
