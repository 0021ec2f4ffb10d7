"""The formats of ``nnhealth inspect --format``: name -> renderer. To add one: write its file, add its line here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tb_nnhealth.history import Problem
from tb_nnhealth.report import github, json, jsonl, junit, markdown, openmetrics, sarif, text

Renderer = Callable[[Sequence[dict[str, Any]], Iterable[Problem]], str]
"""From the reports as ``build`` made them, and what could not be read, to the whole text, with its last line's end.

Pure. What comes out may hold any name that a stranger gave to a run, a layer or a tag, and shows it as text.
"""

FORMATS: Mapping[str, Renderer] = {
    "text": text.render,
    "json": json.render,
    "jsonl": jsonl.render,
    "markdown": markdown.render,
    "sarif": sarif.render,
    "junit": junit.render,
    "github": github.render,
    "openmetrics": openmetrics.render,
}
