"""Gradients left from the last step: seen when they are, never in a loop that clears them, whatever its form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from memory_recorder import MemoryRecorder
from torch import nn
from torch.nn import functional as F

from tb_nnhealth import schema
from tb_nnhealth.record.watch import Watch

STEPS = 6


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))


def carried(
    loop: Callable[[], Any], model: nn.Module, optimizers: Any, *, every: int = 1, exclude: Sequence[str] = ()
) -> list[float]:
    """The row's values over the steps of a training; NaN where it was not measured."""
    recorder = MemoryRecorder()
    watch = Watch(recorder, model, optimizers, every=every, exclude=exclude)
    loop()
    watch.remove()
    assert recorder.stream.errors == []
    if (schema.CARRIED, "") not in {(row.kind, row.subject) for row in recorder.stream.layouts[-1].rows}:
        return [float("nan")] * len(recorder.stream.records)
    return [recorder.stream.value(schema.CARRIED, "", schema.MEAN, i) for i in range(len(recorder.stream.records))]


def loss_of(model: nn.Module, samples: int = 5) -> torch.Tensor:
    return model(torch.randn(samples, 4)).square().mean()


def test_forgotten_zero_grad_is_seen_from_the_second_step_on() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)

    def loop() -> None:
        for _ in range(STEPS):
            loss_of(model).backward()
            optimizer.step()

    values = carried(loop, model, optimizer)
    assert np.isnan(values[0])
    assert values[1:] == [1.0] * (STEPS - 1)
    assert carried(loop, model, optimizer, every=3)[1:] == [1.0]


def test_gradients_of_a_part_that_are_never_cleared_are_told_apart() -> None:
    model, recorder = net(), MemoryRecorder()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    watch = Watch(recorder, model, optimizer, every=1)
    for i in range(2 * STEPS):
        (model[2] if i < STEPS else model).zero_grad()
        loss_of(model).backward()
        optimizer.step()
    watch.remove()
    values = [
        [recorder.stream.value(schema.CARRIED, of, schema.MEAN, i) for i in range(1, 2 * STEPS)]
        for of in ("", "0.weight")
    ]
    assert values[0] == [0.0] * (2 * STEPS - 1)
    assert values[1] == [1.0] * (STEPS - 1) + [0.0] * STEPS
    assert not recorder.stream.has(schema.CARRIED, "2.weight")
    assert recorder.stream.errors == []


@pytest.mark.parametrize("clipped", ["each batch", "each step"])
def test_forgotten_zero_grad_with_accumulation_and_clipping_is_seen(clipped: str) -> None:
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)

    def loop() -> None:
        for _ in range(STEPS):
            for _ in range(3):
                loss_of(model).backward()
                if clipped == "each batch":
                    nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            optimizer.step()

    assert carried(loop, model, optimizer)[1:] == [1.0] * (STEPS - 1)


def test_forgotten_zero_grad_of_a_critic_is_seen_though_the_generator_adds_to_its_gradients() -> None:
    generator, critic = net(), nn.Linear(3, 1)
    first, second = torch.optim.SGD(generator.parameters(), 0.01), torch.optim.SGD(critic.parameters(), 0.01)

    def loop() -> None:
        for _ in range(STEPS):
            critic(generator(torch.randn(5, 4)).detach()).mean().backward()
            second.step()
            first.zero_grad()
            (-critic(generator(torch.randn(5, 4))).mean()).backward()
            first.step()

    assert carried(loop, critic, second)[1:] == [1.0] * (STEPS - 1)


def test_forgotten_zero_grad_in_a_closure_is_seen() -> None:
    model = net()
    optimizer = torch.optim.LBFGS(model.parameters(), 0.01, max_iter=2)

    def closure() -> Any:
        loss = loss_of(model)
        loss.backward()
        return loss

    assert carried(lambda: [optimizer.step(closure) for _ in range(STEPS)], model, optimizer)[1:] == [1.0] * (STEPS - 1)


@pytest.mark.parametrize("set_to_none", [True, False])
@pytest.mark.parametrize("place", ["before the forward", "before the backward", "after the step", "by the model"])
def test_wherever_gradients_are_cleared(place: str, set_to_none: bool) -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)

    def clear(here: str) -> None:
        if here == place:
            (model if place == "by the model" else optimizer).zero_grad(set_to_none=set_to_none)

    def loop() -> None:
        for _ in range(STEPS):
            clear("by the model")
            clear("before the forward")
            loss = loss_of(model)
            clear("before the backward")
            loss.backward()
            optimizer.step()
            clear("after the step")

    assert carried(loop, model, optimizer)[1:] == [0.0] * (STEPS - 1)


def accumulated(model: nn.Module, optimizer: Any, set_to_none: bool) -> None:
    for _ in range(STEPS):
        optimizer.zero_grad(set_to_none=set_to_none)
        for _ in range(3):
            loss_of(model).backward()
        optimizer.step()


def penalty_in_a_pass_of_its_own(model: nn.Module, optimizer: Any, set_to_none: bool) -> None:
    """The first pass goes through no module at all."""
    for _ in range(STEPS):
        optimizer.zero_grad(set_to_none=set_to_none)
        sum(p.square().sum() for p in model.parameters()).backward()  # type: ignore[union-attr]
        loss_of(model).backward()
        optimizer.step()


def gradients_set_by_hand(model: nn.Module, optimizer: Any, set_to_none: bool) -> None:
    for _ in range(STEPS):
        for p in model.parameters():
            p.grad = 0.1 * p.detach()
        loss_of(model).backward()
        optimizer.step()


def scaled_with_a_step_skipped(model: nn.Module, optimizer: Any, set_to_none: bool) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for step in range(STEPS + 1):
        optimizer.zero_grad(set_to_none=set_to_none)
        scaler.scale(loss_of(model) * (float("inf") if step == 2 else 1.0)).backward()
        scaler.step(optimizer)
        scaler.update()


def in_a_closure(model: nn.Module, optimizer: Any, set_to_none: bool) -> None:
    def closure() -> Any:
        optimizer.zero_grad(set_to_none=set_to_none)
        loss = loss_of(model)
        loss.backward()
        return loss

    for _ in range(STEPS):
        optimizer.step(closure)


def in_the_backward_pass(model: nn.Module, optimizer: Any, set_to_none: bool) -> None:
    """The step is made, and the gradient cleared, by a hook that waits for the last gradient."""

    def stepped(parameter: Any) -> None:
        optimizer.step()
        optimizer.zero_grad(set_to_none=set_to_none)

    handle = next(model.parameters()).register_post_accumulate_grad_hook(stepped)
    for _ in range(STEPS):
        loss_of(model).backward()
    handle.remove()


def two_losses_with_a_retained_graph(model: nn.Module, optimizer: Any, set_to_none: bool) -> None:
    for _ in range(STEPS):
        optimizer.zero_grad(set_to_none=set_to_none)
        output = model(torch.randn(5, 4))
        output.mean().backward(retain_graph=True)
        output.square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("set_to_none", [True, False])
@pytest.mark.parametrize(
    "loop",
    [
        accumulated, penalty_in_a_pass_of_its_own, gradients_set_by_hand, scaled_with_a_step_skipped, in_a_closure,
        in_the_backward_pass, two_losses_with_a_retained_graph,
    ],
    ids=lambda loop: loop.__name__,
)  # fmt: skip
def test_right_loops(loop: Callable[..., None], set_to_none: bool) -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    found = carried(lambda: loop(model, optimizer, set_to_none), model, optimizer)[1:]
    assert len(found) >= STEPS - 1
    assert set(found) == {0.0}


@pytest.mark.parametrize("set_to_none", [True, False])
@pytest.mark.parametrize("watched", ["generator", "critic", "both"])
def test_adversaries_that_clear_their_own_gradients(watched: str, set_to_none: bool) -> None:
    """The generator's pass adds to the critic's gradients, which are cleared only before the critic's own."""
    both = nn.ModuleDict({"generator": net(), "critic": nn.Linear(3, 1)})
    generator, critic = both["generator"], both["critic"]
    first, second = torch.optim.SGD(generator.parameters(), 0.01), torch.optim.SGD(critic.parameters(), 0.01)

    def loop() -> None:
        for _ in range(STEPS):
            for _ in range(2):
                second.zero_grad(set_to_none=set_to_none)
                sum(p.square().sum() for p in critic.parameters()).backward()  # type: ignore[union-attr]
                critic(generator(torch.randn(5, 4)).detach()).mean().backward()
                second.step()
            first.zero_grad(set_to_none=set_to_none)
            (-critic(generator(torch.randn(5, 4))).mean()).backward()
            first.step()

    model, optimizers = {"generator": (generator, first), "critic": (critic, second), "both": (both, [first, second])}[
        watched
    ]
    assert not any(value == 1 for value in carried(loop, model, optimizers))


@pytest.mark.parametrize("later", [2, 3])
def test_optimizer_that_steps_less_often_than_another(later: int) -> None:
    model = net()
    first, second = torch.optim.SGD(model[0].parameters(), 0.01), torch.optim.SGD(model[2].parameters(), 0.01)

    def loop() -> None:
        for step in range(3 * STEPS):
            first.zero_grad()
            loss_of(model).backward()
            first.step()
            if step % later == later - 1:
                second.step()
                second.zero_grad()

    assert not any(value == 1 for value in carried(loop, model, [first, second]))


class Functional(nn.Module):
    """Its own weight is used after the last of its modules, so its gradient comes before any module's."""

    def __init__(self) -> None:
        super().__init__()
        self.relu, self.weight = nn.ReLU(), nn.Parameter(torch.randn(3, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(self.relu(x), self.weight)


def test_weights_that_no_module_of_their_own_applies() -> None:
    model = Functional()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)

    def loop() -> None:
        for _ in range(STEPS):
            optimizer.zero_grad()
            model(torch.randn(5, 4, requires_grad=True)).square().mean().backward()
            optimizer.step()

    assert not any(value == 1 for value in carried(loop, model, optimizer))


@pytest.mark.parametrize("reentrant", [True, False])
def test_shared_module_in_checkpoints(reentrant: bool) -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)

    def loop() -> None:
        from torch.utils.checkpoint import checkpoint

        for _ in range(STEPS):
            optimizer.zero_grad()
            x = torch.randn(5, 4, requires_grad=True)
            both = checkpoint(model, x, use_reentrant=reentrant) + checkpoint(model, 2 * x, use_reentrant=reentrant)
            both.square().mean().backward()
            optimizer.step()

    values = carried(loop, model, optimizer)[1:]
    assert values == [0.0] * (STEPS - 1)


def test_without_an_optimizer_nothing_is_said() -> None:
    model = net()

    def loop() -> None:
        for _ in range(STEPS):
            loss_of(model).backward()

    assert np.isnan(carried(loop, model, None)).all()


def test_first_step_after_a_pause_is_not_judged() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    recorder = MemoryRecorder()
    watch = Watch(recorder, model, optimizer, every=1)
    for step in range(6):
        optimizer.zero_grad()
        loss_of(model).backward()
        if step == 3:
            with watch.paused():
                loss_of(model).backward()
        optimizer.step()
    values = [recorder.stream.value(schema.CARRIED, "", schema.MEAN, i) for i in range(6)]
    assert np.isnan(values[3])
    assert values[1:3] + values[4:] == [0.0] * 4
    watch.remove()
