"""A training whose steps are not seen says so, and no other does."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tb_nnhealth import SummaryWriter
from tb_nnhealth.record.faults import ShimWarning


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def train(model: nn.Module, optimizer: Any, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(5, 3)).square().mean().backward()
        optimizer.step()


def test_another_optimizer_trains_the_model(tmp_path: Path) -> None:
    model = network()
    writer = SummaryWriter(tmp_path)
    writer.watch(model, torch.optim.SGD(model.parameters(), 0.1))
    train(model, torch.optim.Adam(model.parameters()), 20)
    with pytest.warns(ShimWarning, match="no step of SGD was seen, and yet the weights of Sequential were changed 20"):
        writer.close()
    assert [finding.rule for finding in writer.findings()] == ["shim-error"]


@pytest.mark.parametrize("every", [1, 50])
def test_the_optimizer_is_made_anew_midway(every: int, tmp_path: Path) -> None:
    model = network()
    writer = SummaryWriter(tmp_path)
    first = torch.optim.Adam(model.parameters())
    writer.watch(model, first, every=every)
    train(model, first, 30)
    train(model, torch.optim.SGD(model.parameters(), 0.1), 25)
    told = "since the last of 30 steps of Adam that were seen, the weights of Sequential were changed 25 times"
    with pytest.warns(ShimWarning, match=told):
        writer.close()


def test_the_next_phase_is_watched_by_itself(tmp_path: Path) -> None:
    model = network()
    writer = SummaryWriter(tmp_path)
    first = torch.optim.Adam(model.parameters())
    writer.watch(model, first, name="whole")
    train(model, first, 30)
    second = torch.optim.SGD(model[0].parameters(), 0.1)
    writer.watch(model[0], second, name="body")
    for _ in range(25):
        model[0](torch.randn(5, 3)).square().mean().backward()
        second.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        writer.close()


def test_weights_swapped_for_an_average_now_and_then_are_no_training(tmp_path: Path) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    writer = SummaryWriter(tmp_path)
    writer.watch(model, optimizer)
    train(model, optimizer, 3)
    with torch.no_grad(), warnings.catch_warnings():
        for _ in range(4):
            for parameter in model.parameters():
                parameter.mul_(1.0)
        warnings.simplefilter("error")
        writer.close()


def test_compiled_step(tmp_path: Path) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    writer = SummaryWriter(tmp_path)
    writer.watch(model, optimizer)
    step = torch.compile(optimizer.step, backend="eager")
    for _ in range(20):
        optimizer.zero_grad()
        model(torch.randn(5, 3)).square().mean().backward()
        step()
    with pytest.warns(ShimWarning, match="compiled=True"):
        writer.close()


@pytest.mark.parametrize("how", ["steps seen", "checkpoint loaded", "never trained", "model gone", "no optimizer"])
def test_nothing_is_said(how: str, tmp_path: Path) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    writer = SummaryWriter(tmp_path)
    writer.watch(model, None if how == "no optimizer" else optimizer)
    if how in ("steps seen", "no optimizer"):
        train(model, optimizer, 20)
    elif how == "checkpoint loaded":
        model.load_state_dict(copy.deepcopy(model.state_dict()))
    elif how == "model gone":
        train(model, torch.optim.Adam(model.parameters()), 20)
        del model, optimizer
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        writer.close()
    assert not any(finding.rule == "shim-error" for finding in writer.findings())
