"""Documents that can go stale do not: generated ones, links, and the code and commands that they show."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tb_nnhealth import SummaryWriter, preflight
from tb_nnhealth.cli.main import _parser
from tb_nnhealth.rules.configuration import Tuning

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "tb_nnhealth" / "plugin" / "http_api.md"])
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def test_generated_documents_are_fresh() -> None:
    done = subprocess.run(
        [sys.executable, "tools/documents.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"run `make docs`\n{done.stdout}{done.stderr}"


def broken_links(document: Path, text: str) -> list[str]:
    """Links of ``document`` to files or headings that are not there; those into the web are left alone."""
    broken = []
    for link in LINK.findall(FENCED.sub("", text)):
        address, _, heading = link.partition("#")
        target = (document.parent / address).resolve() if address else document
        if re.match(r"[a-z]+:", link):
            continue
        if not target.exists() or (heading and heading not in headings(target.read_text("utf-8"))):
            broken.append(link)
    return broken


def headings(text: str) -> set[str]:
    """Anchors as GitHub makes them: lower case, spaces as hyphens, no other punctuation."""
    titles = re.findall(r"^#+ (.+)$", FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles}


@every_document
def test_links_lead_somewhere(document: Path) -> None:
    assert broken_links(document, document.read_text("utf-8")) == []


def test_a_broken_link_is_seen() -> None:
    text = "# A title\n[a](README.md) [b](nothing.md) [c](docs/tuning.md#in-a-file)\n"
    text += "[d](docs/tuning.md#in-no-file) [e](https://example.org)"
    assert broken_links(ROOT / "README.md", text) == ["nothing.md", "docs/tuning.md#in-no-file"]
    assert headings(text) == {"a-title"}


def test_every_document_is_in_the_list_of_documents() -> None:
    listed = set(LINK.findall((ROOT / "docs" / "README.md").read_text("utf-8")))
    there = {path.name for path in ROOT.glob("docs/*.md")} - {"README.md"}
    assert there <= listed
    assert {f"../{path.name}" for path in ROOT.glob("*.md")} - {"../README.md"} <= listed


CALLED: dict[str, Callable[..., Any]] = {
    "watch": SummaryWriter.watch,
    "observe": SummaryWriter.observe,
    "preflight": preflight,
}


def shown_calls(text: str) -> Iterator[tuple[str, ast.Call]]:
    """Calls of ours in the Python that a document shows."""
    for language, code in FENCED.findall(text):
        if language == "python":
            for node in ast.walk(ast.parse(code)):
                if isinstance(node, ast.Call):
                    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                    if name in CALLED:
                        yield name, node


@every_document
def test_calls_that_are_shown_exist(document: Path) -> None:
    for name, call in shown_calls(document.read_text("utf-8")):
        keywords = {keyword.arg: keyword.value for keyword in call.keywords}
        assert keywords.keys() <= inspect.signature(CALLED[name]).parameters.keys(), name
        tuned = {key: ast.literal_eval(keywords[key]) for key in ("rules", "scalars") if key in keywords}
        Tuning(**tuned)


def test_the_documents_show_calls_to_be_checked() -> None:
    shown = [name for document in DOCUMENTS for name, _ in shown_calls(document.read_text("utf-8"))]
    assert set(shown) == CALLED.keys()


@every_document
def test_commands_that_are_shown_are_understood(document: Path) -> None:
    for language, code in FENCED.findall(document.read_text("utf-8")):
        for line in code.splitlines():
            words = (
                shlex.split(line.removeprefix("$ "), comments=True) if line.startswith(("nnhealth ", "$ nn")) else []
            )
            if words and language in ("", "sh", "bash") and words[1:] != ["--help"]:
                _parser().parse_args(words[1:])


@pytest.fixture
def zoo_tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "tools")
    spec = importlib.util.spec_from_file_location("zoo_tool", ROOT / "tools" / "zoo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def part(name: str, first: float | None, *, alarmed: int = 0, broken: int = 0) -> dict[str, Any]:
    score = {"runs": 8, "first": first, "among_first": 1.0, "on_subject": 0.5, "alarmed": 1.0}
    criteria = [
        {"name": each, "kinds_covered": 3, "named": named, "named_of_all": 0.25, "alarmed": 1.0, "false_alarms": 1,
         "healthy": 8}
        for each, named in (("nnhealth", 0.75), ("peer", None))
    ]  # fmt: skip
    return {
        "part": name, "ill_kinds": 4, "score": {**score, "delay": 9.5, "headlines": 1.25, "headlines_most": 3},
        "healthy_kinds": 2, "false_alarms": {"runs": 8, "alarmed": alarmed, "rules": {}}, "criteria": criteria,
        "broken": broken,
    }  # fmt: skip


def test_the_zoos_totals_are_shown_part_by_part(zoo_tool: ModuleType) -> None:
    text = zoo_tool.summary({"totals": [part("tuned", 0.75), part("held-out", None, alarmed=1)]})
    assert "|  | tuned part | part set aside | goal |" in text
    assert "| ill trainings (kinds) | 8 (4) | 8 (4) |  |" in text
    assert "| right cause first | 75 % | – | ≥ 85 % |" in text
    assert "| of them with a false alarm | 0 (0.0 %) | 1 (12.5 %) | ≤ 2 % |" in text
    assert "| peer | – · – | 25 % · 25 % | 100 % · 100 % | 12.5 % · 12.5 % |" in text
    assert "broke" not in text


def test_trainings_that_broke_are_told(zoo_tool: ModuleType) -> None:
    text = zoo_tool.summary({"totals": [part("tuned", 0.75, broken=2)]})
    assert "| trainings that broke, and are not scored | 2 | 0 |" in text


def test_the_zoo_writes_its_pieces_and_leaves_the_rest(
    zoo_tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {}
    for name, pieces in (("README.md", ["zoo"]), ("docs/zoo.md", ["measured", "tools", "kinds"])):
        text = "# Kept\n" + "".join(f"<!-- {piece}: command -->\nold\n<!-- end -->\nkept\n" for piece in pieces)
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        kept[name] = len(pieces)
    results = tmp_path / "zoo.json"
    told = {
        "totals": [part("tuned", 0.75)],
        "tables": {"Misses": "- one"},
        "results": [{"seconds": 2.0, "error": None}],
    }
    results.write_text(json.dumps(told))
    monkeypatch.setattr(zoo_tool, "ROOT", tmp_path)
    monkeypatch.setattr(zoo_tool, "PAGE", tmp_path / "docs" / "zoo.md")
    monkeypatch.setattr(sys, "argv", ["zoo.py", str(results)])
    zoo_tool.main()
    for name, count in kept.items():
        text = (tmp_path / name).read_text("utf-8")
        assert "\nold\n" not in text
        assert text.startswith("# Kept\n<!-- ")
        assert text.count("\nkept\n") == count
    assert "### Misses\n\n- one" in text
    assert "median 2.0 s, at most 2 s" in text
