"""Copies, pickles, traces and exports of a watched model."""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from tests.ways.cases.small import STEPS, batch, loss_of, mlp
from tests.ways.registry import way
from tests.ways.trial import Trial

Make = Callable[[nn.Module, torch.Tensor], Any]


def _train(trial: Trial, model: nn.Module, optimizer: Any, beside: Callable[[], Any]) -> None:
    """``beside`` is done in the middle of each step; what it gives must be the same, and none of it recorded."""
    for _ in range(STEPS):
        optimizer.zero_grad()
        output = model(batch())
        trial.saw("2", output, gradient=True)
        loss_of(output).backward()
        trial.same(beside())
        trial.step(optimizer)


@way(
    "copies",
    deepcopy={"make": copy.deepcopy},
    EMA={"make": lambda m: AveragedModel(m, multi_avg_fn=get_ema_multi_avg_fn(0.9))},
    pickle={"make": lambda m: pickle.loads(pickle.dumps(m))},
)
def in_use_beside_the_model(trial: Trial, make: Callable[[nn.Module], nn.Module]) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trial.watch(model, optimizer)
    twin = make(model)

    def beside() -> torch.Tensor:
        if isinstance(twin, AveragedModel):
            twin.update_parameters(model)
        output = twin(100 * batch())
        loss_of(output).backward()
        return output

    _train(trial, model, optimizer, beside)


def _saved(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)(x)


def _state_saved(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    twin = mlp()
    twin.load_state_dict(torch.load(file, weights_only=True))
    return twin(x)


def _traced(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.trace(model, x)(x)


def _exported(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    program = torch.export.export(model, (x,))
    assert {str(node.target) for node in program.graph.nodes if node.op == "call_function"} == {
        "aten.linear.default", "aten.relu.default"
    }  # fmt: skip
    return program.module()(x)


def _functorched(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    weights, buffers = torch.func.stack_module_state([model, copy.deepcopy(model)])
    base = copy.deepcopy(model).to("meta")
    return torch.vmap(lambda w, b: torch.func.functional_call(base, (w, b), (x,)))(weights, buffers)


def _symbolically_traced(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return torch.fx.symbolic_trace(model)(x)


@way(
    "copies",
    torch_save={"make": _saved},
    state_dict={"make": _state_saved},
    jit_trace={"make": _traced},
    export={"make": _exported},
    ensemble_by_vmap={"make": _functorched},
    fx={"make": _symbolically_traced},
)
def made_in_every_step(trial: Trial, make: Make) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trial.watch(model, optimizer)

    def beside() -> torch.Tensor:
        with torch.no_grad():
            return make(model, 100 * batch())

    _train(trial, model, optimizer, beside)


@way("copies")
def scripted_in_a_pause(trial: Trial) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watch = trial.watch(model, optimizer)

    def script() -> torch.Tensor:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore", DeprecationWarning)
            return torch.jit.script(model)(batch())

    for _ in range(STEPS):
        if watch is None:
            trial.same(script())
        else:
            with watch.paused():
                trial.same(script())
        optimizer.zero_grad()
        output = model(batch())
        trial.saw("2", output)
        loss_of(output).backward()
        trial.step(optimizer)


@way("copies")
def averaged_with_batch_norm_brought_up_to_date(trial: Trial) -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trial.watch(model, optimizer)
    average = AveragedModel(model)

    def beside() -> torch.Tensor:
        average.update_parameters(model)
        update_bn([100 * batch() for _ in range(2)], average)
        return average.module[1].running_mean

    _train(trial, model, optimizer, beside)


@way("copies")
def optimizer_copied_and_pickled(trial: Trial) -> None:
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    trial.watch(model, optimizer)

    def beside() -> int:
        copy.deepcopy(optimizer).step()
        return len(pickle.loads(pickle.dumps(optimizer)).param_groups)

    _train(trial, model, optimizer, beside)


@way("copies")
def weights_shared_with_a_second_model(trial: Trial) -> None:
    model = mlp()
    other = mlp()
    for ours, theirs in zip(model, other, strict=True):
        theirs._parameters.update(ours._parameters)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trial.watch(model, optimizer)

    def beside() -> torch.Tensor:
        output = other(2 * batch())
        loss_of(output).backward()
        return output

    _train(trial, model, optimizer, beside)
