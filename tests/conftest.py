"""Fixtures for every test; its place also lets tests import the helper modules beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from synthetic_logs import write_log

from tb_nnhealth.rules.synthetic import Network


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered between inspections is remembered for one test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def log(tmp_path: Path) -> Callable[..., Path]:
    """``log(run=network, ...)`` writes networks as runs below one log directory and gives the directory."""

    def write(**networks: Network) -> Path:
        for run, network in networks.items():
            write_log(tmp_path / "logs" / run, network)
        return tmp_path / "logs"

    return write
