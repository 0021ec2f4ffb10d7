"""A run that grows while it is looked at: its new state comes with TensorBoard's reload and nothing else moves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect
from tabs import Serve, Watched, tab

from tb_nnhealth import Recorder

pytestmark = [pytest.mark.browser, pytest.mark.slow]
LAYERS = 6


def grow(recorder: Recorder, first: int, last: int) -> None:
    rng = np.random.default_rng(first)
    for step in range(first, last):
        statistics: dict[str, dict[str, float]] = {"loss": {"mean": 2.0 / (1 + step) + float(rng.random()) * 0.01}}
        for layer in range(LAYERS):
            statistics[f"layers.{layer}.weight"] = {"rms": 0.1, "mean": 0.0, "std": 0.1}
            statistics[f"layers.{layer}.weight:gradient"] = {"rms": float(rng.random()) * 1e-2, "mean": 0.0}
            statistics[f"layers.{layer}.weight:update"] = {"rms": 1e-4, "mean": 0.0}
        recorder.record(step, statistics)
    recorder.flush()


def test_new_data_come_with_the_reload_and_keep_the_place(watched: Watched, serve: Serve, tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "run")
    grow(recorder, 0, 100)
    address = serve(tmp_path, "--load_fast=false", "--reload_interval", "1")
    watched.open(f"{address}#nnhealth&p.nnhealth.run=run&p.nnhealth.statistic=weight-norm")
    view = tab(watched.page)
    steps = view.get_by_role("region", name="Layers × steps")
    expect(view.get_by_role("table", name="Weight norm by layer")).to_be_attached()
    expect(steps).to_contain_text("99")
    grow(recorder, 100, 300)
    recorder.close()
    watched.page.wait_for_timeout(5_000)  # TensorBoard reads the log every second, and tells nobody
    watched.page.locator(".reload-button").click()
    expect(steps).to_contain_text("299")
    expect(view.get_by_role("table", name="Weight norm by layer")).to_be_attached()
    assert "statistic=weight-norm" in watched.page.url
    assert watched.faults == []
