"""One specimen trained in this process, and its log judged."""

from __future__ import annotations

import json
import os
import random
import traceback
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import sklearn.datasets  # noqa: F401
import torch
import torch._dynamo  # imported once here; the first step of an optimizer would do so in every process

from tb_nnhealth import SummaryWriter
from tb_nnhealth.history import Run
from tb_nnhealth.rules.engine import judge
from tb_nnhealth.source.files import FileSource
from tests.zoo.catalogue import SPECIMENS, folder
from tests.zoo.peers import PEERS
from tests.zoo.registry import Specimen
from tests.zoo.runner.agreement import disagreement

NOTES = "training.json"
"""Beside the event files: what the log does not tell of the training."""


@dataclass(frozen=True)
class Result:
    """What came of one specimen. ``findings`` are those of ``nnhealth inspect --format json``, in its order."""

    name: str
    findings: list[dict[str, Any]] = field(default_factory=list)
    peers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Alarms by peer."""
    seconds: float = 0.0
    """Processor time of the training, of all its processes."""
    steps: int = 0
    error: str | None = None
    """Traceback of a broken one."""
    disagreement: str | None = None

    @property
    def recording_error(self) -> str | None:
        """What the recording of a training that went well says it could not record."""
        return next((finding["message"] for finding in self.findings if finding["rule"] == "shim-error"), None)


def train(specimen: Specimen, log_dir: Path) -> list[dict[str, Any]]:
    """Trains into ``log_dir``, seeded by the specimen's name, on one core. Returns the live findings.

    Raises whatever the training raises.
    """
    seed = zlib.crc32(specimen.name.encode())
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    before = _processor_seconds()
    notes: dict[str, Any] = {"error": "its training did not end"}
    log_dir.mkdir(parents=True, exist_ok=True)
    (log_dir / NOTES).write_text(json.dumps(notes))
    try:
        with SummaryWriter(str(log_dir)) as writer:
            specimen.train(writer)
        notes["error"] = None
        return [finding.to_json() for finding in writer.findings()]
    except Exception:
        notes["error"] = traceback.format_exc()
        raise
    finally:
        notes["seconds"] = _processor_seconds() - before
        (log_dir / NOTES).write_text(json.dumps(notes))


def read(log_dir: Path) -> Run:
    """The specimen's run from its event files."""
    source = FileSource([log_dir])
    source.refresh()
    return source.run(".")


def work(name: str, logs: Path, *, trained: bool = False, agreement: bool = False) -> Result:
    """The result of one specimen, whose log is below ``logs`` already where ``trained``. Never raises."""
    specimen = SPECIMENS[name]
    log_dir = logs / folder(specimen)
    try:
        live = None if trained else train(specimen, log_dir)
        notes = json.loads((log_dir / NOTES).read_text())
        if notes["error"] is not None:
            return Result(name, error=notes["error"])
        run = read(log_dir)
        return Result(
            name,
            [finding.to_json() for finding in judge(run).findings],
            {peer.name: tuple(sorted(peer.alarms(run))) for peer in PEERS},
            notes["seconds"],
            run.last_step or 0,
            disagreement=disagreement(log_dir, live) if agreement else None,
        )
    except Exception:
        return Result(name, error=traceback.format_exc())


def _processor_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
