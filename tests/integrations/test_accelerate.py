"""The tracker in Accelerate, and plain ``watch`` of what it prepares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from digits import FAULTS, diagnosed, digits, judged, network, optimizer, recorded, same
from torch import nn
from torch.utils.data import DataLoader

from tb_nnhealth import SummaryWriter, schema

accelerate = pytest.importorskip("accelerate")
pytestmark = pytest.mark.slow


def prepared(fault: str, **arguments: Any) -> tuple[Any, Any, Any, Any]:
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerate.state.GradientState._reset_state()
    accelerate.utils.set_seed(1)
    accelerator = accelerate.Accelerator(cpu=True, **arguments)
    net = network(fault)
    batches = DataLoader(digits()[0], 64, shuffle=True)
    return accelerator, *accelerator.prepare(net, optimizer(net, fault), batches)


def train(accelerator: Any, model: Any, sgd: Any, batches: Any, criterion: nn.Module, epochs: int = 4) -> int:
    """Trains as Accelerate's guide does, under accumulation; returns how many batches it saw."""
    seen = 0
    for _ in range(epochs):
        for pixels, labels in batches:
            with accelerator.accumulate(model):
                loss = criterion(model(pixels), labels)
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), 10.0)
                sgd.step()
                sgd.zero_grad()
            accelerator.log({"train_loss": loss.item()}, step=seen)
            seen += 1
    accelerator.end_training()
    return seen


def tracked(place: Path, fault: str = "", **arguments: Any) -> tuple[Any, Any, int]:
    from tb_nnhealth.integrations.accelerate import NNHealthTracker

    tracker = NNHealthTracker("exp1", place)
    accelerator, model, sgd, batches = prepared(fault, log_with=tracker, **arguments)
    accelerator.init_trackers("exp1")
    criterion = nn.CrossEntropyLoss()
    tracker.watch(model, sgd, criterion=criterion, every=1)
    return tracker, model, train(accelerator, model, sgd, batches, criterion)


@pytest.mark.parametrize("accumulation", [1, 4])
def test_one_run_of_scalars_and_health_and_nothing_changes(accumulation: int, tmp_path: Path) -> None:
    tracker, watched, batches = tracked(tmp_path, gradient_accumulation_steps=accumulation)
    accelerator, alone, sgd, data = prepared("", gradient_accumulation_steps=accumulation)
    train(accelerator, alone, sgd, data, nn.CrossEntropyLoss())
    assert same(watched, alone)
    ((name, run),) = recorded(tmp_path).items()
    assert name == "exp1"
    assert len(run.scalars["train_loss"]) == batches
    steps = run.watches[schema.DEFAULT_WATCH].steps
    assert len(steps) == (batches if accumulation == 1 else sgd_steps(batches, accumulation))
    diagnosed(tracker.findings(), "")


def sgd_steps(batches: int, accumulation: int) -> int:
    """Optimizer steps in four epochs, each of which ends with one."""
    return 4 * -(-(batches // 4) // accumulation)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_first(fault: str, tmp_path: Path) -> None:
    tracker, _, _ = tracked(tmp_path, fault)
    diagnosed(tracker.findings(), fault)
    diagnosed(judged(tmp_path), fault)


def test_plain_watch_works_with_what_is_prepared(tmp_path: Path) -> None:
    accelerator, model, sgd, batches = prepared("", gradient_accumulation_steps=2)
    criterion = nn.CrossEntropyLoss()
    with SummaryWriter(tmp_path) as writer:
        writer.watch(model, sgd, criterion=criterion, every=1)
        seen = train(accelerator, model, sgd, batches, criterion)
    (run,) = recorded(tmp_path).values()
    assert len(run.watches[schema.DEFAULT_WATCH]) == sgd_steps(seen, 2)
    diagnosed(writer.findings(), "")
