"""Writes slicerApi.json: what Python can reach of the Qt-facing classes of Slicer, read from the sources.

    python Testing/harness/readSlicerApi.py --slicer SLICER --ctk CTK --pythonqt PYTHONQT

PYTHONQT is a checkout of MeVisLab/pythonqt, with `src/` and the generated wrappers in `generated_cpp_515/`. Of a class
derived from QObject PythonQt offers properties, signals, public slots, invokable methods and enumerations, and what
decorators add; of Qt's own classes all public methods besides, by the generated wrappers. Qt's headers are not needed:
the properties, signals and slots of its classes come from PySide6's meta objects.
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

from apiNames import namedClasses
from PySide6 import QtCore, QtGui, QtTest, QtUiTools, QtWidgets

HERE = Path(__file__).parent
QT_MODULES = (QtCore, QtGui, QtWidgets, QtUiTools, QtTest)
_COMMENTS = re.compile(r"//[^\n]*|/\*.*?\*/|^\s*#[^\n]*", re.S | re.M)
_SECTION = re.compile(r"\b(public|protected|private)?\s*(Q_SLOTS|slots|Q_SIGNALS|signals)?\s*:(?!:)")
_FUNCTION = re.compile(
    r"(?P<returns>[\w:<>,\s*&]+?)[\s*&]*?(?P<pointer>\*?)\s*\b(?P<name>~?\w+)\s*\((?P<arguments>.*)\)", re.S
)
_PROPERTY = re.compile(r"Q_PROPERTY\s*\(\s*([\w:<>*]+(?:\s*\*)?)\s+\*?(\w+)\s+([^;]*?)\)\s*(?=\n|;|$)")
_WORDS = re.compile(r"\b(Q_INVOKABLE|Q_SCRIPTABLE|QT_DEPRECATED|virtual|static|explicit|inline|override|final)\b")
# What these lead to is part of what a module reaches: slicer.app.layoutManager().sliceWidget("Red").
_ENTRANCES = ("qMRMLLayoutManager", "qSlicerApplication", "qSlicerCoreApplication")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("slicer", "ctk", "pythonqt"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=HERE / "slicerApi.json")
    options = parser.parse_args()
    headers = _headers([options.slicer, options.ctk])
    wrappers = _wrappers(options.pythonqt)
    decorators = _decorators([options.slicer, options.ctk])
    found: dict[str, Any] = {}
    wanted = [*namedClasses(), "QObject", "Qt"]
    while wanted:
        name = wanted.pop()
        if name in found:
            continue
        entry = _ofQt(name, wrappers) if name.startswith("Q") else _ofSource(name, headers)
        if entry is None:
            print(f"not found: {name}")
            continue
        for method, signatures in decorators.get(name, {}).items():
            entry["methods"].setdefault(method, []).extend(signatures)
        found[name] = entry
        if entry["base"]:
            wanted.append(entry["base"])
        if name in _ENTRANCES:
            wanted.extend(type_ for type_ in _returned(entry) if type_ in headers)
    lines = [f"{json.dumps(name)}: {json.dumps(found[name], sort_keys=True)}" for name in sorted(found)]
    options.out.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")
    print(f"{len(found)} classes in {options.out}")


def _returned(entry: dict[str, Any]) -> list[str]:
    """Classes that a method leads on to, as `layoutManager()` does."""
    returns = (signature.split(" -> ")[1] for all_ in entry["methods"].values() for signature in all_)
    return [type_[:-1] for type_ in returns if re.fullmatch(r"(qMRML|qSlicer|ctk)\w+\*", type_)]


def _headers(folders: list[Path]) -> dict[str, Path]:
    return {path.stem: path for folder in folders for path in sorted(folder.rglob("*.h")) if path.stem[0] in "qc"}


def _wrappers(folder: Path) -> dict[str, str]:
    """The body of the wrapper of each Qt class."""
    found = {}
    for path in sorted((folder / "generated_cpp_515").rglob("*.h")):
        text = _COMMENTS.sub("", path.read_text("utf-8", "replace"))
        for match in re.finditer(r"class PythonQtWrapper_(\w+)\s*:\s*public[^{]*\{", text):
            found[match[1]] = _block(text, match.end())
    standard = _COMMENTS.sub("", (folder / "src" / "PythonQtStdDecorators.h").read_text("utf-8"))
    match = re.search(r"class PYTHONQT_EXPORT PythonQtStdDecorators[^{]*\{", standard)
    found["QObject"] = _block(standard, match.end()) + found["QObject"]
    found["QTimer"] += "public slots: void static_QTimer_singleShot(int msec, PyObject* callable);"
    return found


def _decorators(folders: list[Path]) -> dict[str, dict[str, list[str]]]:
    """Methods that decorators of Slicer and CTK add to a class: the type of their first argument, or in their name."""
    found: dict[str, dict[str, list[str]]] = {}
    for path in (path for folder in folders for path in sorted(folder.rglob("*PythonQtDecorators.h"))):
        text = _COMMENTS.sub("", path.read_text("utf-8", "replace"))
        for match in re.finditer(r"class\s+\w*PythonQtDecorators\s*:\s*public[^{]*\{", text):
            for section, declaration in _declarations(_block(text, match.end())):
                function = _function(declaration)
                if section != "slots" or function is None or function["name"].startswith(("new_", "delete_")):
                    continue
                name, types = function["name"], function["types"]
                static = re.fullmatch(r"static_([a-zA-Z]+)_(\w+)", name)
                owner, name = static.groups() if static else (types[0].removesuffix("*") if types else "", name)
                signature = f"({','.join(types if static else types[1:])}) -> {function['returns']}"
                found.setdefault(owner, {}).setdefault(name, []).append(signature)
    return found


def _block(text: str, start: int) -> str:
    """From behind an opening brace to the one that closes it."""
    depth = 1
    for index in range(start, len(text)):
        depth += (text[index] == "{") - (text[index] == "}")
        if depth == 0:
            return text[start:index]
    return text[start:]


def _withoutBodies(text: str) -> str:
    """Function bodies and initial values replaced by a semicolon; enumerations are left out."""
    kept, depth = [], 0
    for character in text:
        if character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
            if depth == 0:
                kept.append(";")
        elif depth == 0:
            kept.append(character)
    return "".join(kept)


def _declarations(body: str) -> list[tuple[str, str]]:
    """The declarations of a class, each with its section: public, slots, signals, or hidden."""
    flat = _withoutBodies(
        re.sub(
            r"\b(Q_ENUMS?|Q_FLAGS?|Q_OBJECT|Q_DISABLE_COPY|Q_DECLARE_\w+|QVTK_OBJECT|Q_PROPERTY)\b(\s*\([^;{}]*?\)(?=\s*(\n|;|$)))?",
            "",
            body,
        )
    )
    section, found = "hidden", []
    for statement in flat.split(";"):
        rest = statement
        while (match := _SECTION.search(rest)) and "(" not in rest[: match.start()] and (match[1] or match[2]):
            section = _section(match[1], match[2])
            rest = rest[match.end() :]
        found.append((section, " ".join(rest.split())))
    return found


def _section(access: str | None, kind: str | None) -> str:
    if kind in ("Q_SIGNALS", "signals"):
        return "signals"
    if access != "public":
        return "hidden"
    return "slots" if kind else "public"


def _function(declaration: str) -> dict[str, Any] | None:
    invokable = "Q_INVOKABLE" in declaration
    declaration = _WORDS.sub(" ", declaration)
    declaration = re.sub(r"\)\s*(const|noexcept|=\s*0|:.*)?\s*$", ")", declaration)
    match = _FUNCTION.match(declaration.strip())
    if match is None or "operator" in declaration:
        return None
    arguments = _split(match["arguments"])
    returns = _type(match["returns"] + match["pointer"])
    return {
        "name": match["name"],
        "returns": returns,
        "invokable": invokable,
        "types": [_type(re.sub(r"\s*=.*$", "", each, flags=re.S), named=True) for each in arguments],
    }


def _split(arguments: str) -> list[str]:
    parts, depth = [""], 0
    for character in arguments:
        depth += (character in "<(") - (character in ">)")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip() and part.strip() != "void"]


def _type(text: str, named: bool = False) -> str:
    text = re.sub(r"\b(const|struct|class)\b|&", " ", text).strip()
    if named:
        text = (
            re.sub(r"(?<=[\w*>])\s*\b(?!int\b|long\b|char\b|short\b|double\b)\w+\s*(\[\d*\])?$", "", text)
            if re.search(r"[\w>*]\s+\**\w+(\[\d*\])?$|\*\w+$", text)
            else text
        )
    return re.sub(r"\s+", " ", text).replace(" *", "*").strip()


def _enumerators(body: str) -> list[str]:
    names: list[str] = []
    for match in re.finditer(r"\benum\s+(?:class\s+)?(\w*)[^{;]*\{([^}]*)\}", body):
        names += [match[1], *re.findall(r"(?:^|,)\s*(\w+)", match[2])]
    return sorted({name for name in names if name})


def _ofSource(name: str, headers: dict[str, Path]) -> dict[str, Any] | None:
    if name not in headers:
        return None
    text = _COMMENTS.sub("", headers[name].read_text("utf-8", "replace"))
    match = re.search(rf"class\s+(?:\w+\s+)?{name}\s*(?:final\s*)?:\s*public\s+(\w+)[^{{;]*\{{", text)
    if match is None:
        return None
    body = _block(text, match.end())
    entry = _empty(match[1])
    for kind, property_, rest in _PROPERTY.findall(body):
        entry["properties"][property_] = kind if "WRITE" in rest else f"{kind} (read only)"
    entry["enums"] = _enumerators(body)
    for section, declaration in _declarations(body):
        function = _function(declaration)
        if function is None or section == "hidden" or function["name"] in (name, f"~{name}"):
            continue
        if section == "signals":
            entry["signals"].append(f"{function['name']}({','.join(function['types'])})")
        elif section == "slots" or function["invokable"]:
            entry["methods"].setdefault(function["name"], []).append(
                f"({','.join(function['types'])}) -> {function['returns']}"
            )
    entry["signals"].sort()
    return entry


def _empty(base: str) -> dict[str, Any]:
    return {"base": base, "properties": {}, "methods": {}, "signals": [], "enums": []}


def _ofQt(name: str, wrappers: dict[str, str]) -> dict[str, Any] | None:
    cls = next((getattr(module, name) for module in QT_MODULES if hasattr(module, name)), None)
    if cls is None:
        return None
    isObject = isinstance(cls, type) and issubclass(cls, QtCore.QObject)
    base = next((b.__name__ for b in getattr(cls, "__mro__", ())[1:] if b.__name__.startswith("Q")), "")
    entry = _empty(base)
    body = wrappers.get(name, "")
    for section, declaration in _declarations(body):
        function = _function(declaration)
        if function is None or section != "slots" or function["name"].startswith(("new_", "delete_", "py_q_")):
            continue
        static = f"static_{name}_"
        called, types = function["name"].removeprefix(static), function["types"]
        if not function["name"].startswith(static):
            if not types or types[0].removesuffix("*") != name:
                continue
            types = types[1:]
        entry["methods"].setdefault(called, []).append(f"({','.join(types)}) -> {function['returns']}")
    entry["enums"] = _enumerators(body)
    if isObject:
        _addMeta(entry, cls.staticMetaObject)
    else:
        entry["enums"] = sorted({*entry["enums"], *(n for n in vars(cls) if n[0].isupper())})
    if name == "QObject":
        # PythonQtInstanceWrapper.cpp and PythonQtClassWrapper.cpp; `name` is objectName by PythonQtClassInfo.cpp.
        for added in ("delete", "className", "help", "inherits"):
            entry["methods"].setdefault(added, ["() -> void"])
        entry["properties"]["name"] = "QString"
    return entry


def _addMeta(entry: dict[str, Any], meta: QtCore.QMetaObject) -> None:
    for index in range(meta.propertyOffset(), meta.propertyCount()):
        each = meta.property(index)
        # PythonQtClassInfo.cpp leaves this one out, in favour of the static method.
        if not (meta.className() == "QTimer" and each.name() == "singleShot"):
            entry["properties"][each.name()] = each.typeName() + ("" if each.isWritable() else " (read only)")
    for index in range(meta.methodOffset(), meta.methodCount()):
        method = meta.method(index)
        signature, name = method.methodSignature().data().decode(), method.name().data().decode()
        if method.methodType() == QtCore.QMetaMethod.MethodType.Signal:
            entry["signals"].append(signature)
        elif method.access() == QtCore.QMetaMethod.Access.Public and name not in entry["methods"]:
            entry["methods"][name] = [f"{signature[len(name) :]} -> {method.typeName() or 'void'}"]
    for index in range(meta.enumeratorOffset(), meta.enumeratorCount()):
        enumerator = meta.enumerator(index)
        keys = [enumerator.key(n) for n in range(enumerator.keyCount())]
        entry["enums"] = sorted({*entry["enums"], enumerator.name(), *keys})
    entry["signals"].sort()


if __name__ == "__main__":
    main()
