"""No module of the engine changes a file but through `vcm.outputs`: read from the source."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ENGINE = Path(__file__).resolve().parents[3] / "VCMSlicer" / "vcm"
DOOR = {"atomic_files.py", *(f"outputs/{path.name}" for path in (ENGINE / "outputs").glob("*.py"))}
ELSEWHERE = {
    "packs/download.py": "what arrives, in the hidden folder of downloads, under the lock of its pack",
    "packs/acquiring.py": "removes that hidden folder",
    "judging/synthseg.py": "the log of a program that works in a temporary folder",
    "volumes/volume_files.py": "fills a temporary file of the door's, to learn why it cannot be written",
}
"""Modules that may, and what they write that is nobody's result."""

METHODS = {
    *("write_text", "write_bytes", "unlink", "rmdir", "mkdir", "touch", "rename", "symlink_to", "hardlink_to"),
    *("chmod", "savefig", "tofile", "to_csv", "extractall", "writestr"),
}
FUNCTIONS = {
    "os": {
        *("remove", "unlink", "rename", "replace", "renames", "mkdir", "makedirs", "rmdir", "removedirs", "truncate"),
        *("link", "symlink", "chmod", "mkfifo", "mknod"),
    },
    "shutil": {"rmtree", "move", "copy", "copy2", "copyfile", "copytree", "copyfileobj", "make_archive"},
    "tempfile": {"mkdtemp", "mkstemp", "NamedTemporaryFile"},
    "json": {"dump"},
    "pickle": {"dump"},
    "torch": {"save"},
    "np": {"save", "savez", "savez_compressed", "savetxt", "memmap"},
    "sitk": {"WriteImage"},
}
BARE = {"save_file", "serialize_file"}
"""Writers of libraries: allowed into a buffer in memory, or into the temporary file that `atomic_path` hands out."""


def changes(source: str) -> list[str]:
    """What in a module's source changes files on its own, as `line: code`."""
    tree = ast.parse(source)
    lent = _lent_names(tree)
    return [
        f"{node.lineno}: {ast.unparse(node)[:80]}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and _writes(node) and not _into(node, lent)
    ]


def _lent_names(tree: ast.AST) -> set[str]:
    """Names of temporary files of `atomic_path`, of buffers in memory, and of archives that are written into them."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.withitem) and isinstance(node.context_expr, ast.Call):
            ours = ast.unparse(node.context_expr.func) == "atomic_path" or _into(node.context_expr, names)
            if ours and isinstance(node.optional_vars, ast.Name):
                names.add(node.optional_vars.id)
        elif isinstance(node, ast.Assign) and ast.unparse(node.value).startswith(("io.BytesIO(", "io.StringIO(")):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def _into(node: ast.Call, lent: set[str]) -> bool:
    inner = [node.func.value] if isinstance(node.func, ast.Attribute) else []
    given = [*node.args, *(keyword.value for keyword in node.keywords), *inner]
    return any(isinstance(part, ast.Name) and part.id in lent for one in given for part in ast.walk(one))


def _writes(node: ast.Call) -> bool:
    function = node.func
    if isinstance(function, ast.Name):
        return function.id in BARE or (function.id == "open" and _mode(node, 1))
    if not isinstance(function, ast.Attribute):
        return False
    name, owner = function.attr, ast.unparse(function.value)
    if owner in FUNCTIONS and name in FUNCTIONS[owner]:
        return True
    if name == "open":
        if owner == "os":
            return any(flag in ast.unparse(node) for flag in ("O_WRONLY", "O_RDWR", "O_CREAT")) and "devnull" not in (
                ast.unparse(node)
            )
        return _mode(node, 0)
    if name == "replace":  # of a path; that of a text takes two arguments, that of a dataclass is no method
        return len(node.args) == 1 and not node.keywords
    if name == "save":  # a picture's
        return bool(node.args) and owner not in ("self", "record", "store")
    if name == "ZipFile":
        return _mode(node, 1)
    return name in METHODS


def _mode(node: ast.Call, place: int) -> bool:
    given = [keyword.value for keyword in node.keywords if keyword.arg == "mode"] + node.args[place : place + 1]
    return any(isinstance(one, ast.Constant) and set(str(one.value)) & set("wax+") for one in given)


@pytest.mark.parametrize("path", sorted(ENGINE.rglob("*.py")), ids=lambda path: str(path.relative_to(ENGINE)))
def test_a_module_writes_through_the_door(path):
    name = path.relative_to(ENGINE).as_posix()
    found = changes(path.read_text("utf-8"))
    if name in ELSEWHERE:
        assert found, f"{name} needs no exception any more"
    elif name not in DOOR:
        assert not found, f"{name} changes files beside vcm.outputs: {found}"


@pytest.mark.parametrize(
    "code",
    [
        "path.write_text('x')", "open(path, 'w')", "path.open('ab')", "path.open(mode='r+')", "path.replace(other)",
        "os.replace(a, b)", "shutil.rmtree(a)", "path.unlink()", "picture.save(path)", "torch.save(state, path)",
        "np.save(path, array)", "save_file(tensors, path)", "sitk.WriteImage(image, str(path))",
        "zipfile.ZipFile(path, 'w')", "os.open(path, os.O_WRONLY | os.O_CREAT)", "tempfile.mkdtemp(dir=out)",
        "with atomic_path(a) as temporary:\n    picture.save(path)", "json.dump(data, file)", "folder.mkdir()",
    ],
)  # fmt: skip
def test_what_goes_around_the_door_is_seen(code):
    assert len(changes(code)) == 1


@pytest.mark.parametrize(
    "code",
    [
        "path.read_text()", "open(path)", "path.open('rb')", "text.replace('a', 'b')", "replace(job, out=out)",
        "with atomic_path(a) as temporary:\n    picture.save(temporary, 'PNG')\n    sitk.WriteImage(i, str(temporary))",
        "buffer = io.BytesIO()\ntorch.save(state, buffer)", "write_json(path, data)", "store.save(result, inputs)",
    ],
)  # fmt: skip
def test_what_goes_through_the_door_or_only_reads_is_let_pass(code):
    assert changes(code) == []
