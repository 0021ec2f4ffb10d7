"""torch.compile: before and after the watch, of the whole model, in place and in parts."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch._dynamo.utils import counters
from torch.utils.checkpoint import checkpoint

from tb_nnhealth import schema
from tests.ways.cases.small import STEPS, batch, loss_of, mlp
from tests.ways.registry import way
from tests.ways.trial import Trial

TAKING = {"backend": "aot_eager", "fullgraph": True}


class _Graphs:
    """Counts graphs and breaks, and that a watch adds none."""

    def __enter__(self) -> _Graphs:
        torch._dynamo.reset()
        counters.clear()
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to undo."""

    def are_one(self, trial: Trial, graphs: int = 1) -> None:
        trial.same(graphs == counters["stats"]["unique_graphs"], dict(counters["graph_break"]))
        if counters["graph_break"] or counters["stats"]["unique_graphs"] != graphs:
            trial.wrong.append(f"{dict(counters['stats'])}, breaks {dict(counters['graph_break'])}")


def _train(trial: Trial, model: nn.Module, call: Any, optimizer: Any, *, layer: str = "", of: Any = None) -> None:
    """``layer`` names one whose output is worked out by hand, by ``of(x)``."""
    for _ in range(STEPS):
        optimizer.zero_grad()
        x = batch()
        output = call(x)
        if layer:
            trial.saw(layer, of(x))
        loss_of(output).backward()
        trial.step(optimizer)
        trial.same(output)


@way(
    "torch.compile",
    compiles=True,
    before_the_watch={"order": "before"},
    after_the_watch={"order": "after"},
    in_place_before={"order": "in place, before"},
    in_place_after={"order": "in place, after"},
)
def whole_model(trial: Trial, order: str) -> None:
    model = Block()
    call: Any = model
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    with _Graphs() as graphs:
        if order == "before":
            call = model = torch.compile(model, **TAKING)
        elif order == "in place, before":
            model.compile(**TAKING)
        trial.watch(model, optimizer)
        if order == "after":
            call = torch.compile(model, **TAKING)
        elif order == "in place, after":
            model.compile(**TAKING)
        _train(trial, model, call, optimizer)
        graphs.are_one(trial)


@way(
    "torch.compile",
    compiles=True,
    before_the_watch={"order": "before"},
    after_the_watch={"order": "after"},
    in_place={"order": "in place"},
)
def activations_by_compiled_True(trial: Trial, order: str) -> None:
    model = inner = Block()
    call: Any = model
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    with _Graphs() as graphs:
        if order == "before":
            call = model = torch.compile(inner, **TAKING)
        trial.watch(model, optimizer, compiled=True)
        if order == "after":
            call = torch.compile(inner, **TAKING)
        elif order == "in place":
            inner.compile(**TAKING)
        _train(
            trial,
            model,
            call,
            optimizer,
            layer="inner",
            of=lambda x: nn.functional.linear(x, *inner.inner.parameters()),
        )
        graphs.are_one(trial)


@way("torch.compile", compiles=True)
def gradients_of_activations_by_compiled_True(trial: Trial) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trial.watch(model, optimizer, compiled=True)
    call = torch.compile(model, **TAKING)
    for _ in range(STEPS):
        optimizer.zero_grad()
        output = call(batch())
        trial.saw("2", output, gradient=True)
        loss_of(output).backward()
        trial.step(optimizer)


@way("torch.compile", compiles=True)
def dynamic_batch_sizes(trial: Trial) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with _Graphs() as graphs:
        trial.watch(model, optimizer, compiled=True)
        call = torch.compile(model, dynamic=True, **TAKING)
        for samples in (3, 7, 5, 4):
            optimizer.zero_grad()
            output = call(batch(samples))
            trial.saw("2", output)
            loss_of(output).backward()
            trial.step(optimizer)
        graphs.are_one(trial)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.act = nn.Linear(6, 6), nn.GELU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.act(self.inner(x))


@way("torch.compile", compiles=True, by_default={"compiled": False}, with_compiled_True={"compiled": True})
def twelve_like_blocks_share_their_graphs(trial: Trial, compiled: bool) -> None:
    model = nn.Sequential(nn.Linear(6, 6), *(Block() for _ in range(12)))
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    with _Graphs() as graphs:
        trial.watch(model, optimizer, compiled=compiled)
        for block in model[1:]:
            block.compile(**TAKING)
        for _ in range(STEPS):
            optimizer.zero_grad()
            output = model(batch())
            loss_of(output).backward()
            trial.step(optimizer)
        graphs.are_one(trial)
    if compiled and trial.trained[0].stream is not None:
        assert len(trial.trained[0].stream.subjects(schema.ACTIVATION)) == 25


@way("torch.compile", compiles=True, non_reentrant={"reentrant": False}, reentrant={"reentrant": True})
def checkpointed_and_compiled_True(trial: Trial, reentrant: bool) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.block = nn.Linear(6, 6), mlp()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return checkpoint(self.block, self.stem(x), use_reentrant=reentrant)

    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with _Graphs() as graphs:
        trial.watch(model, optimizer, compiled=True)
        call = torch.compile(model, **TAKING)
        _train(
            trial, model, call, optimizer, layer="block.0",
            of=lambda x: nn.functional.linear(
                nn.functional.linear(x, *model.stem.parameters()), *model.block[0].parameters()
            ),
        )  # fmt: skip
        graphs.are_one(trial)


@way("torch.compile", compiles=True)
def validation_between_steps_is_kept_apart(trial: Trial) -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trial.watch(model, optimizer, compiled=True)
    call = torch.compile(model, **TAKING)
    for _ in range(STEPS):
        optimizer.zero_grad()
        output = call(batch())
        trial.saw("2", output)
        loss_of(output).backward()
        model.eval()
        with torch.no_grad():
            trial.same(call(100 * batch()))
        model.train()
        trial.step(optimizer)


@way("torch.compile", compiles=True, says="saw no activation")
def watch_after_the_first_call_is_told(trial: Trial) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    call = torch.compile(model, **TAKING)
    loss_of(call(batch())).backward()
    trial.watch(model, optimizer, compiled=True)
    _train(trial, model, call, optimizer)


@way("torch.compile", compiles=True)
def pause_and_go_on(trial: Trial) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watch = trial.watch(model, optimizer, compiled=True)
    call = torch.compile(model, **TAKING)
    _train(trial, model, call, optimizer)
    if watch is not None:
        with watch.paused():
            assert not any(module._forward_hooks for module in model)
    for _ in range(2):
        optimizer.zero_grad()
        output = call(batch())
        trial.saw("2", output)
        loss_of(output).backward()
        trial.step(optimizer)


@way("torch.compile", compiles=True)
def copy_of_a_compiled_watched_model_is_deaf(trial: Trial) -> None:
    import copy

    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trial.watch(model, optimizer, compiled=True)
    call = torch.compile(model, **TAKING)
    twin = copy.deepcopy(model)
    other = torch.compile(twin, **TAKING)
    for _ in range(STEPS):
        optimizer.zero_grad()
        trial.same(other(100 * batch()), twin(100 * batch()))
        output = call(batch())
        trial.saw("2", output)
        loss_of(output).backward()
        trial.step(optimizer)


@way("torch.compile", compiles=True)
def part_of_the_model(trial: Trial) -> None:
    model = nn.Sequential(nn.Linear(6, 6), mlp())
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trial.watch(model, optimizer, compiled=True)
    model[1] = torch.compile(model[1], **TAKING)
    for _ in range(STEPS):
        optimizer.zero_grad()
        hidden = model[0](batch())
        trial.saw("0", hidden)
        output = model[1](hidden)
        trial.saw("1.2", output)
        loss_of(output).backward()
        trial.step(optimizer)


@way("torch.compile", compiles=True)
def teacher_beside_the_model(trial: Trial) -> None:
    """The compiled module is no part of what is watched: activations are recorded, and torch warns of no hooks."""
    model, teacher = mlp(), Block()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trial.watch(model, optimizer)
    call = torch.compile(teacher, **TAKING)
    for _ in range(STEPS):
        optimizer.zero_grad()
        with torch.no_grad():
            x = call(batch())
        output = model(x)
        trial.saw("2", output, gradient=True)
        loss_of(output).backward()
        trial.step(optimizer)


@way("torch.compile", compiles=True)
def compiled_optimizer(trial: Trial) -> None:
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), torch.tensor(1e-2), foreach=False)
    trial.watch(model, optimizer, compiled=True)
    step = torch.compile(optimizer.step, backend="aot_eager")
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss_of(model(batch())).backward()
        trial.note()
        step()
        trial.check()


@way("torch.compile", compiles=True)
def inductor_with_compiled_True(trial: Trial) -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.SiLU(), nn.LayerNorm(8), nn.Dropout(0.2), nn.Linear(8, 2), nn.Softmax(1))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    with _Graphs() as graphs:
        trial.watch(model, optimizer, compiled=True)
        call = torch.compile(model, fullgraph=True)
        for _ in range(STEPS):
            optimizer.zero_grad()
            output = call(batch())
            trial.saw("5", output)
            loss_of(output).backward()
            trial.step(optimizer)
            trial.same(output)
        graphs.are_one(trial)
