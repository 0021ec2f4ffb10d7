"""The report as the JSON object that ``interface.md``'s readers rely on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from tb_nnhealth.history import Problem
from tb_nnhealth.report.build import SCHEMA

INDENTED = 20
"""Runs that are written for eyes; of more, each is a line: indenting takes Python ten times as long."""


def render(reports: Sequence[dict[str, Any]], problems: Iterable[Problem], **more: Any) -> str:
    """One object: ``schema``, ``runs`` (as ``build`` made them), ``problems``, and ``more``."""
    # Run by run: all of them as dicts would take many times the memory of the text.
    indent = 1 if len(reports) <= INDENTED else None
    runs = ",\n".join(json.dumps(report, indent=indent, allow_nan=False) for report in reports)
    runs = "[\n  " + runs.replace("\n", "\n  ") + "\n ]" if runs else "[]"
    rest = {"problems": [{"path": problem.path, "message": problem.message} for problem in problems], **more}
    told = json.dumps(rest, indent=1, allow_nan=False).removeprefix("{\n")
    return f'{{\n "schema": {SCHEMA},\n "runs": {runs},\n{told}\n'
