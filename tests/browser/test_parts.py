"""Views that only some trainings have: filters of a convolution, ranks of a job."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from playwright.sync_api import Page, expect
from synthetic_logs import write_log
from tabs import Serve, Watched, barriers, tab
from torch import nn

from tb_nnhealth import SummaryWriter, schema
from tb_nnhealth.rules.synthetic import Network

pytestmark = [pytest.mark.browser, pytest.mark.slow]
LIGHT_AND_DARK = pytest.mark.parametrize("theme", ["light", "dark"])


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    logs = tmp_path_factory.mktemp("parts")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 12, 5), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 2))
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    with SummaryWriter(str(logs / "cnn")) as writer:
        writer.watch(model, optimizer, every=1)
        for _ in range(60):
            optimizer.zero_grad()
            model(torch.randn(8, 3, 12, 12)).square().mean().backward()
            optimizer.step()
    network = Network(steps=120)
    network.layout.ranks = 4
    for rank in range(4):
        network.add_row(schema.RANK_SECONDS, str(rank), mean=np.full(120, 0.9 if rank == 2 else 0.3))
        network.add_row(schema.RANK_LOSS, str(rank), mean=np.linspace(2, 1, 120))
        network.add_row(schema.RANK_BATCH, str(rank), mean=np.full(120, float(rank == 0)))
    write_log(logs / "job", network)
    return logs


@LIGHT_AND_DARK
def test_filters_of_the_first_convolution_over_time(
    watched: Watched, serve: Serve, logs: Path, picture: Callable[[Page, str], None], theme: str
) -> None:
    page = watched.open(f"{serve(logs, '--load_fast=false')}#nnhealth&p.nnhealth.run=cnn&p.nnhealth.layer=0")
    if theme == "dark":
        page.evaluate("document.body.classList.add('dark-mode')")
    shown = tab(page).get_by_role("region", name="Filters over time")
    expect(shown.get_by_role("img", name="12 filters at step 0")).to_be_visible()
    assert shown.locator("canvas").count() >= 3
    colours = shown.locator("canvas").first.evaluate(
        "canvas => new Set(new Uint32Array(canvas.getContext('2d').getImageData(0, 0, 60, 24).data.buffer)).size"
    )
    assert colours > 20, "the filters are drawn"
    picture(page, f"filters-{theme}")
    assert barriers(tab(page)) == []
    assert watched.faults == []


@LIGHT_AND_DARK
def test_ranks_side_by_side(
    watched: Watched, serve: Serve, logs: Path, picture: Callable[[Page, str], None], theme: str
) -> None:
    page = watched.open(f"{serve(logs, '--load_fast=false')}#nnhealth&p.nnhealth.run=job")
    page.set_viewport_size({"width": 1440, "height": 1800})
    if theme == "dark":
        page.evaluate("document.body.classList.add('dark-mode')")
    ranks = tab(page).get_by_role("region", name="Ranks")
    expect(ranks.get_by_role("row")).to_have_count(5)
    expect(ranks.get_by_role("row").nth(3)).to_contain_text("3×")
    expect(ranks).to_contain_text("1 slow rank")
    picture(page, f"ranks-{theme}")
    assert barriers(tab(page)) == []
    assert watched.faults == []
