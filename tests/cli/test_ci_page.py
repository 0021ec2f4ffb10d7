"""What docs/ci.md and the GitHub example tell a reader to run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from tb_nnhealth.cli.main import _parser
from tb_nnhealth.report.formats import FORMATS

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "ci.md").read_text("utf-8")
WORKFLOW = yaml.safe_load((ROOT / "examples" / "github-action.yml").read_text("utf-8"))


def commands() -> list[str]:
    steps = [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]
    return [line for step in steps for line in step.get("run", "").splitlines() if line.startswith("nnhealth")]


def test_the_workflow_has_the_parts_of_one() -> None:
    assert WORKFLOW[True] == "pull_request", "YAML reads the key `on` as a truth value"
    for job in WORKFLOW["jobs"].values():
        assert job["runs-on"]
        assert all(("uses" in step) != ("run" in step) for step in job["steps"])
    assert WORKFLOW["permissions"]["security-events"] == "write", "code scanning takes no upload without it"


@pytest.mark.parametrize("command", commands())
def test_the_command_line_takes_the_workflows_commands(command: str) -> None:
    words = shlex.split(command.partition(">>")[0])
    assert _parser().parse_args(words[1:]).logdirs == ["runs"]


def test_a_critical_finding_fails_the_job() -> None:
    assert any("--fail-on critical" in command for command in commands())


def test_the_page_tells_of_every_format() -> None:
    assert set(FORMATS) <= set(re.findall(r"^\| `([a-z]+)` \|", PAGE, re.MULTILINE))
