"""The report as lines of JSON: one object for each run, then one for each problem; ``type`` says which."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from tb_nnhealth.history import Problem
from tb_nnhealth.report.build import SCHEMA


def render(reports: Sequence[dict[str, Any]], problems: Iterable[Problem]) -> str:
    """``{"schema": …, "type": "run", …}`` with the fields of a run in ``--format json``; ``problem`` likewise."""
    lines: list[dict[str, Any]] = [{"schema": SCHEMA, "type": "run", **report} for report in reports]
    lines += [{"schema": SCHEMA, "type": "problem", "path": p.path, "message": p.message} for p in problems]
    return "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
