"""ARCHITECTURE.md's table of rooms is true: read from the imports, and by importing without torch."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
PACKAGE = REPOSITORY / "tb_nnhealth"
PLAIN_DATA = ("schema", "messages", "findings", "phases", "checks", "history")
"""Open to every room below them in the table."""
TORCH_ROOMS = {"record", "sanity", "init", "integrations"}
MODULE = re.compile(r"`([a-z_]+)(?:\.py|\.proto|/)`")


def table() -> dict[str, set[str]]:
    """Each room of ARCHITECTURE.md's table with those that it may import."""
    rooms: dict[str, set[str]] = {}
    for line in (REPOSITORY / "ARCHITECTURE.md").read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        names = MODULE.findall(cells[0]) if len(cells) == 3 and line.startswith("| `") else []
        above = set(PLAIN_DATA) & rooms.keys()
        for name in names:
            rooms[name] = above | (set(re.findall(r"[a-z]+", cells[2])) if cells[2] != "nothing of ours" else set())
    return rooms


def room_of(module: str) -> str:
    """``rules`` for ``tb_nnhealth.rules.engine``."""
    return module.split(".")[1] if "." in module else "__init__"


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(REPOSITORY).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(path: Path, module: str) -> Iterator[tuple[str, int]]:
    """Names of the modules that ``path`` imports, anywhere in it, with their lines."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text("utf-8"), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*package.split(".")[: len(package.split(".")) - node.level + 1], base]).rstrip(".")
            for alias in node.names:
                yield (f"{base}.{alias.name}" if base == "tb_nnhealth" else base), node.lineno


def arrows() -> Iterator[tuple[str, str, str]]:
    for module, path in modules():
        if module == "tb_nnhealth":
            continue  # its exports are lazy; the type checker alone follows them
        for imported, line in imports(path, module):
            if imported.split(".")[0] == "tb_nnhealth" and imported != "tb_nnhealth.__version__":
                yield room_of(module), room_of(imported), f"{path.relative_to(REPOSITORY)}:{line} imports {imported}"


def test_every_room_stands_in_the_table() -> None:
    rooms = {room_of(module) for module, _ in modules()} - {"__init__"}
    assert rooms <= table().keys()


def test_imports_follow_the_table() -> None:
    allowed = table()
    wrong = [where for importer, imported, where in arrows() if imported not in {importer, *allowed[importer]}]
    assert wrong == []


def test_torch_is_imported_by_the_recording_side_alone() -> None:
    wrong = [
        f"{path.relative_to(REPOSITORY)}:{line}"
        for module, path in modules()
        for imported, line in imports(path, module)
        if imported.split(".")[0] == "torch" and room_of(module) not in TORCH_ROOMS
    ]
    assert wrong == []


def test_a_forbidden_arrow_would_be_seen(tmp_path: Path) -> None:
    file = tmp_path / "example.py"
    file.write_text("from tb_nnhealth import history\nfrom ..source import files\nimport tb_nnhealth.record.watch\n")
    assert [name for name, _ in imports(file, "tb_nnhealth.rules.example")] == [
        "tb_nnhealth.history",
        "tb_nnhealth.source",
        "tb_nnhealth.record.watch",
    ]
    assert "source" not in table()["rules"]
    assert "record" not in table()["plugin"]


BLOCKED = """
import sys, importlib
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ImportError("torch is blocked")
sys.meta_path.insert(0, Block())
importlib.import_module(sys.argv[1])
assert not any(name.split(".")[0] in ("torch", "tensorflow") for name in sys.modules), "torch was imported"
"""


@pytest.mark.parametrize(
    "module",
    ["tb_nnhealth", "tb_nnhealth.plugin.loader", "tb_nnhealth.plugin.plugin", "tb_nnhealth.cli.main"],
)
def test_the_readers_side_needs_no_torch(module: str) -> None:
    done = subprocess.run([sys.executable, "-c", BLOCKED, module], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_the_package_imports_no_tensorboard() -> None:
    code = "import sys, tb_nnhealth; assert not {'torch', 'tensorboard', 'numpy'} & sys.modules.keys()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
