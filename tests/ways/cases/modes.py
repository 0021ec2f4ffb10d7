"""Evaluation, inference, modes and transforms of functions beside the training."""

from __future__ import annotations

import torch
from torch import nn
from torch.func import functional_call, grad, jacrev, vmap
from torch.utils._python_dispatch import TorchDispatchMode

from tb_nnhealth import schema
from tests.ways.cases.small import STEPS, batch, loss_of, mlp
from tests.ways.registry import way
from tests.ways.trial import Trial


@way(
    "modes",
    no_grad={"mode": torch.no_grad, "evaluating": True},
    inference_mode={"mode": torch.inference_mode, "evaluating": True},
    gradients_on={"mode": torch.enable_grad, "evaluating": True},
    no_grad_in_train_mode={"mode": torch.no_grad, "evaluating": False},
)
def validation_between_forward_and_step(trial: Trial, mode: type, evaluating: bool) -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.4), nn.Linear(8, 2))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    trial.watch(model, optimizer)
    for _ in range(STEPS):
        optimizer.zero_grad()
        output = model(batch())
        trial.saw("2", output, gradient=True)
        loss_of(output).backward()
        model.train(not evaluating)
        with mode():
            trial.same(model(1000 * batch()))
        model.train()
        trial.step(optimizer)
        if mode is not torch.enable_grad:
            trial.value(1.0, schema.EVALUATION, "eval" if evaluating else "train")


@way("modes")
def training_in_evaluation_mode(trial: Trial) -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).eval()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trial.watch(model, optimizer)
    for _ in range(STEPS):
        optimizer.zero_grad()
        output = model(batch())
        trial.saw("2", output, gradient=True)
        loss_of(output).backward()
        trial.step(optimizer)


@way("modes")
def per_sample_gradients_by_vmap(trial: Trial) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trial.watch(model, optimizer)
    for _ in range(STEPS):
        optimizer.zero_grad()
        x = batch()
        weights = {name: p.detach() for name, p in model.named_parameters()}
        each = vmap(grad(lambda w, s: loss_of(functional_call(model, w, (s,)))), (None, 0))(weights, x)
        output = model(x)
        loss_of(output).backward()
        for name, parameter in model.named_parameters():  # as differentially private training does
            parameter.grad = each[name].clamp(-0.1, 0.1).mean(0)
        trial.step(optimizer)


@way("modes")
def functional_call_with_other_weights(trial: Trial) -> None:
    """One inner step of meta-learning: the outer gradient goes through weights that the model never had."""
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trial.watch(model, optimizer)
    for _ in range(STEPS):
        optimizer.zero_grad()
        weights = dict(model.named_parameters())
        inner = torch.autograd.grad(
            loss_of(functional_call(model, weights, (batch(),))), list(weights.values()), create_graph=True
        )
        moved = {name: w - 0.1 * g for (name, w), g in zip(weights.items(), inner, strict=True)}
        loss_of(functional_call(model, moved, (batch(),))).backward()
        trial.step(optimizer)


@way("modes")
def jacobian_and_hessian_product(trial: Trial) -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 2))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trial.watch(model, optimizer)
    for _ in range(STEPS):
        optimizer.zero_grad()
        x = batch()
        weights = {name: p.detach() for name, p in model.named_parameters()}
        trial.same(jacrev(lambda s, w=weights: functional_call(model, w, (s,)))(x[0]))
        trial.same(torch.autograd.functional.jacobian(model, x[0]))
        loss_of(model(x)).backward()
        trial.step(optimizer)


class Counting(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.calls += "profiler" not in str(func)
        return func(*args, **(kwargs or {}))


@way("modes")
def dispatch_mode_of_the_user(trial: Trial) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, foreach=False)
    trial.watch(model, optimizer)
    for _ in range(STEPS):
        trial.note()
        with Counting() as counting:
            optimizer.zero_grad()
            loss_of(model(batch())).backward()
            trial.note_gradients()
            seen = counting.calls
            optimizer.step()
        trial.same(seen, counting.calls)
        trial.check()


@way("modes")
def anomaly_detection_and_deterministic_algorithms(trial: Trial) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trial.watch(model, optimizer)
    torch.use_deterministic_algorithms(True)
    try:
        with torch.autograd.detect_anomaly(check_nan=True):
            for _ in range(STEPS):
                optimizer.zero_grad()
                output = model(batch())
                trial.saw("2", output, gradient=True)
                loss_of(output).backward()
                trial.step(optimizer)
    finally:
        torch.use_deterministic_algorithms(False)


@way("modes")
def saved_tensors_kept_elsewhere(trial: Trial) -> None:
    """Hooks on saved tensors, as offloading to the host sets them."""
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trial.watch(model, optimizer)
    packed: list[int] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        packed.append(tensor.numel())
        return tensor.clone()

    for _ in range(STEPS):
        optimizer.zero_grad()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            output = model(batch())
            trial.saw("2", output)
            loss = loss_of(output)
        loss.backward()
        trial.step(optimizer)
    trial.same(packed)
