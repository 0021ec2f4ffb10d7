"""The report as the JSON object that ``interface.md``'s readers rely on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from tb_nnhealth.history import Problem
from tb_nnhealth.report.build import SCHEMA


def render(reports: Sequence[dict[str, Any]], problems: Iterable[Problem]) -> str:
    """One object: ``schema``, ``runs`` (as ``build`` made them), ``problems``."""
    report = {
        "schema": SCHEMA,
        "runs": list(reports),
        "problems": [{"path": problem.path, "message": problem.message} for problem in problems],
    }
    return json.dumps(report, indent=1, allow_nan=False) + "\n"
