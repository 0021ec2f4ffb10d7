"""Under which numbers steps are recorded, in a training that is resumed above all."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tb_nnhealth import SummaryWriter, schema
from tb_nnhealth.record.step_number import steps_made
from tb_nnhealth.source.files import FileSource

STEPS = 12


def made(kind: type[torch.optim.Optimizer], saved: tuple[Any, Any] | None = None) -> tuple[nn.Module, Any]:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    optimizer = kind(model.parameters(), lr=1e-3)  # type: ignore[call-arg]
    if saved is not None:
        saved = deepcopy(saved)  # torch steps on in the tensors it is given
        model.load_state_dict(saved[0])
        optimizer.load_state_dict(saved[1])
    return model, optimizer


def session(log_dir: Path, model: Any, optimizer: Any, steps: int = STEPS, **options: Any) -> tuple[Any, Any]:
    """Trains so many steps; returns the checkpoint after them."""
    writing = {key: options.pop(key) for key in ("purge_step",) if key in options}
    with SummaryWriter(str(log_dir), **writing) as writer:
        writer.watch(model, optimizer, every=1, **options)
        for _ in range(steps):
            optimizer.zero_grad()
            model(torch.randn(8, 4)).square().mean().backward()
            optimizer.step()
    return model.state_dict(), optimizer.state_dict()


def recorded(log_dir: Path) -> list[int]:
    source = FileSource([log_dir])
    source.refresh()
    steps: list[int] = source.run(".").watches[schema.DEFAULT_WATCH].steps.tolist()
    return steps


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad])
def test_a_resumed_training_goes_on_where_it_was(tmp_path: Path, kind: type[torch.optim.Optimizer]) -> None:
    saved = session(tmp_path, *made(kind))
    assert recorded(tmp_path) == list(range(STEPS))
    session(tmp_path, *made(kind, saved))
    assert recorded(tmp_path) == list(range(2 * STEPS))


def test_an_earlier_checkpoint_makes_obsolete_what_came_after_it(tmp_path: Path) -> None:
    model, optimizer = made(torch.optim.Adam)
    saved = session(tmp_path, model, optimizer, 8)
    session(tmp_path, *made(torch.optim.Adam, saved), 10)
    session(tmp_path, *made(torch.optim.Adam, saved), 3)
    assert recorded(tmp_path) == list(range(11))


def test_steps_before_the_watch_are_counted(tmp_path: Path) -> None:
    model, optimizer = made(torch.optim.Adam)
    for _ in range(5):
        model(torch.randn(8, 4)).mean().backward()
        optimizer.step()
    session(tmp_path, model, optimizer, 3)
    assert recorded(tmp_path) == [5, 6, 7]


def test_an_optimizer_without_a_count_begins_at_nought_or_at_the_purge_step(tmp_path: Path) -> None:
    saved = session(tmp_path, *made(torch.optim.SGD))
    session(tmp_path, *made(torch.optim.SGD, saved), purge_step=STEPS)
    assert recorded(tmp_path) == list(range(2 * STEPS))


def test_the_optimizer_counts_where_a_purge_step_is_of_another_kind(tmp_path: Path) -> None:
    """As a number of epochs is."""
    saved = session(tmp_path, *made(torch.optim.Adam))
    session(tmp_path, *made(torch.optim.Adam, saved), 2, purge_step=3)
    assert recorded(tmp_path)[-2:] == [STEPS, STEPS + 1]


def test_the_users_own_count_is_taken_as_it_is(tmp_path: Path) -> None:
    numbers = iter(range(100, 100 + STEPS))
    model, optimizer = made(torch.optim.Adam)
    session(tmp_path / "first", model, optimizer)
    session(tmp_path / "second", model, optimizer, step=lambda: next(numbers))
    assert recorded(tmp_path / "second") == list(range(100, 100 + STEPS))


def test_of_two_optimizers_the_one_that_stepped_less_counts(tmp_path: Path) -> None:
    """A step of health ends when both have stepped, as the generator and its critic, which steps twice."""
    model, slow = made(torch.optim.Adam)
    quick = torch.optim.Adam(nn.Linear(1, 1).parameters())
    for optimizer, steps in ((slow, 3), (quick, 6)):
        for _ in range(steps):
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = torch.ones_like(parameter)
            optimizer.step()
    with SummaryWriter(str(tmp_path)) as writer:
        writer.watch(model, [slow, quick], every=1)
        model(torch.randn(8, 4)).mean().backward()
        quick.step()
        slow.step()
    assert recorded(tmp_path) == [3]


@pytest.mark.parametrize(
    ("state", "count"),
    [({}, None), ({"momentum_buffer": 1}, None), ({"step": 7}, 7), ({"step": torch.tensor(7.0)}, 7), ({"step": -1}, 0)],
)
def test_the_count_of_an_optimizer(state: dict[str, Any], count: int | None) -> None:
    model, optimizer = made(torch.optim.SGD)
    optimizer.state[next(model.parameters())] = state
    assert steps_made(optimizer) == count
