"""Accumulation, clipping and gradients that are changed by hand: what is recorded is what is applied."""

from __future__ import annotations

import torch
from torch import nn

from tb_nnhealth import schema
from tests.ways.cases.small import STEPS, batch, loss_of, mlp
from tests.ways.registry import way
from tests.ways.trial import Trial


@way("gradients", **{f"over_{n}": {"batches": n} for n in (1, 2, 5)})
def accumulation(trial: Trial, batches: int) -> None:
    model = mlp()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    trial.watch(model, optimizer)
    for _ in range(STEPS):
        for _ in range(batches):
            output = model(batch())
            trial.saw("2", output, gradient=True)
            (loss_of(output) / batches).backward()
        trial.step(optimizer)
        optimizer.zero_grad()


@way("gradients", by_norm={"kind": "norm"}, by_value={"kind": "value"}, by_hand={"kind": "hand"})
def clipping(trial: Trial, kind: str) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trial.watch(model, optimizer)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss_of(model(10 * batch())).backward()
        if kind == "norm":
            trial.same(nn.utils.clip_grad_norm_(model.parameters(), 0.1))
        elif kind == "value":
            nn.utils.clip_grad_value_(model.parameters(), 0.01)
        else:
            for parameter in model.parameters():
                parameter.grad = parameter.grad.clamp(-0.02, 0.02)
        trial.step(optimizer)


def _halve(parameter: torch.Tensor) -> None:
    assert parameter.grad is not None
    parameter.grad.mul_(0.5)


@way("gradients")
def before_and_after_clipping(trial: Trial) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watch = trial.watch(model, optimizer)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss_of(model(10 * batch())).backward()
        if watch is not None:
            watch.observe(unclipped=True)
        trial.note()
        before = trial.trained[0].gradients
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        trial.step(optimizer)
        for name, gradient in before.items():
            trial.gave(schema.UNCLIPPED, name, gradient)


@way("gradients", on_a_tensor={"on": "tensor"}, after_accumulation={"on": "post"}, on_a_module={"on": "module"})
def changed_by_a_hook_of_the_user(trial: Trial, on: str) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    if on == "tensor":
        model[0].weight.register_hook(lambda gradient: gradient * 0.5)
    elif on == "post":
        model[0].weight.register_post_accumulate_grad_hook(_halve)
    else:
        model[0].register_full_backward_hook(lambda module, inputs, outputs: None)
    trial.watch(model, optimizer)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss_of(model(batch())).backward()
        trial.step(optimizer)


@way("gradients")
def noise_added_before_the_step(trial: Trial) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trial.watch(model, optimizer)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss_of(model(batch())).backward()
        for parameter in model.parameters():
            parameter.grad.add_(torch.randn_like(parameter), alpha=0.01)
        trial.step(optimizer)


@way("gradients")
def parameter_without_any(trial: Trial) -> None:
    model = nn.ModuleDict({"used": mlp(), "unused": nn.Linear(2, 2)})
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    trial.watch(model, optimizer)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss_of(model["used"](batch())).backward()
        trial.step(optimizer)
        trial.absent(schema.GRADIENT, "unused.weight")
        trial.absent(schema.UPDATE, "unused.weight")


@way("gradients", set_to_none={"to_none": True}, set_to_zero={"to_none": False}, by_the_model={"to_none": None})
def cleared(trial: Trial, to_none: bool | None) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    trial.watch(model, optimizer)
    for _ in range(STEPS):
        if to_none is None:
            model.zero_grad()
        else:
            optimizer.zero_grad(set_to_none=to_none)
        loss_of(model(batch())).backward()
        trial.step(optimizer)
        if trial.trained[0].records > 1:
            trial.value(0.0, schema.CARRIED, "")


@way("gradients")
def set_by_hand_without_a_backward_pass(trial: Trial) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trial.watch(model, optimizer)
    for _ in range(STEPS):
        output = model(batch())
        trial.saw("2", output)
        for parameter, gradient in zip(
            model.parameters(), torch.autograd.grad(loss_of(output), list(model.parameters())), strict=True
        ):
            parameter.grad = gradient
        trial.step(optimizer)
