"""Live, the command line and the tab say the same of a run."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorboard.backend import application
from tensorboard.backend.event_processing import data_ingester, data_provider, plugin_event_multiplexer
from tensorboard.plugins import base_plugin
from werkzeug.test import Client

from tb_nnhealth import schema
from tb_nnhealth.cli.main import main
from tb_nnhealth.plugin.loader import Loader

RUN = "."
PRINTED_ALONE = {"known"}
"""What the command line adds to a report: findings that a baseline file holds, which the tab has none of."""


def disagreement(log_dir: Path, live: Sequence[Mapping[str, Any]] | None) -> str | None:
    """Who says something else than ``nnhealth inspect`` of the run in ``log_dir``, and what; None where all agree.

    ``live`` are the findings of the writer as JSON, or None where they are not known.
    """
    printed = inspected(log_dir)
    if live is not None and json.dumps(live) != json.dumps([_told(finding) for finding in printed["findings"]]):
        return f"live {_named(live)}, command line {_named(printed['findings'])}"
    shown = in_the_tab(log_dir)
    keys = (printed.keys() | shown.keys()) - PRINTED_ALONE
    differing = sorted(key for key in keys if printed.get(key) != shown.get(key))
    return f"tab and command line differ in {', '.join(differing)}: {_named(shown['findings'])}" if differing else None


def inspected(log_dir: Path) -> dict[str, Any]:
    """The run as ``nnhealth inspect --format json`` prints it."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        status = main(["inspect", str(log_dir), "--format", "json", "--jobs", "1"])
    if status:
        raise RuntimeError(f"nnhealth inspect {log_dir}: exit status {status}")
    return next(run for run in json.loads(printed.getvalue())["runs"] if run["run"] == RUN)


def in_the_tab(log_dir: Path) -> dict[str, Any]:
    """The run as TensorBoard's application gives it to the tab."""
    kept = {**data_ingester.DEFAULT_TENSOR_SIZE_GUIDANCE, schema.PLUGIN_NAME: 0}
    multiplexer = plugin_event_multiplexer.EventMultiplexer(tensor_size_guidance=kept)
    multiplexer.AddRunsFromDirectory(str(log_dir))
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(log_dir))
    context = base_plugin.TBContext(data_provider=provider, logdir=str(log_dir), flags=argparse.Namespace())
    client = Client(application.TensorBoardWSGI([Loader().load(context)], data_provider=provider))
    response = client.get(f"/data/plugin/{schema.PLUGIN_NAME}/report", query_string={"run": RUN})
    if response.status_code != 200:
        raise RuntimeError(f"report of {log_dir}: {response.status} {response.get_data(as_text=True)}")
    run: dict[str, Any] = json.loads(response.get_data())["run"]
    return run


_FIELDS = (
    "rule", "severity", "subject", "first_step", "fired_step", "last_step", "count", "active", "caused_by", "message",
    "evidence", "advice",
)  # fmt: skip


def _told(finding: Mapping[str, Any]) -> dict[str, Any]:
    """A finding of the report without what the report adds for readers."""
    return {key: finding[key] for key in _FIELDS}


def _named(findings: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"{finding['rule']} in {finding['subject']!r} at {finding['fired_step']}" for finding in findings]
