"""Optimizers of every make: several, with closures, in the backward pass, in two steps, wrapped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.distributed.optim import _apply_optimizer_in_backward

from tb_nnhealth import schema
from tests.ways.cases.small import STEPS, batch, loss_of, mlp
from tests.ways.registry import way
from tests.ways.trial import Trial

Make = Callable[[Any], torch.optim.Optimizer]
MAKES: dict[str, Make] = {
    "SGD": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "SGD_for_loop": lambda p: torch.optim.SGD(p, 0.1, foreach=False),
    "SGD_maximizing": lambda p: torch.optim.SGD(p, 0.01, maximize=True),
    "Adam": lambda p: torch.optim.Adam(p, 1e-2),
    "Adam_foreach": lambda p: torch.optim.Adam(p, 1e-2, foreach=True),
    "Adam_fused": lambda p: torch.optim.Adam(p, 1e-2, fused=True),
    "Adam_with_amsgrad": lambda p: torch.optim.Adam(p, 1e-2, amsgrad=True),
    "Adam_with_a_tensor_rate": lambda p: torch.optim.Adam(p, torch.tensor(1e-2), foreach=False),
    "AdamW_fused": lambda p: torch.optim.AdamW(p, 1e-2, fused=True),
    "Adagrad": lambda p: torch.optim.Adagrad(p, 1e-2),
    "Adadelta": lambda p: torch.optim.Adadelta(p, 1.0),
    "Adafactor": lambda p: torch.optim.Adafactor(p, 1e-2),
    "Adamax": lambda p: torch.optim.Adamax(p, 1e-2),
    "NAdam": lambda p: torch.optim.NAdam(p, 1e-2),
    "RAdam": lambda p: torch.optim.RAdam(p, 1e-2),
    "RMSprop": lambda p: torch.optim.RMSprop(p, 1e-2, centered=True),
    "Rprop": lambda p: torch.optim.Rprop(p, 1e-2),
    "ASGD": lambda p: torch.optim.ASGD(p, 1e-2),
}  # fmt: skip


@way("optimizers", **{name: {"make": make} for name, make in MAKES.items()})
def of_torch(trial: Trial, make: Make) -> None:
    model = mlp()
    optimizer = make(model.parameters())
    trial.watch(model, optimizer)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss_of(model(batch())).backward()
        trial.step(optimizer)
        trial.value(float(optimizer.param_groups[0]["lr"]), schema.LEARNING_RATE, "0.0")


@way("optimizers")
def muon_beside_adam(trial: Trial) -> None:
    model = mlp()
    matrices = torch.optim.Muon([p for p in model.parameters() if p.dim() == 2], lr=0.02)
    vectors = torch.optim.AdamW([p for p in model.parameters() if p.dim() != 2], lr=1e-2)
    trial.watch(model, [matrices, vectors])
    for _ in range(STEPS):
        model.zero_grad()
        loss_of(model(batch())).backward()
        trial.note()
        matrices.step(), vectors.step()
        trial.check()


@way("optimizers")
def three_of_them_with_groups_and_schedules(trial: Trial) -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2), nn.Linear(2, 2))
    groups = [{"params": model[0].parameters(), "lr": 0.1}, {"params": model[1].parameters(), "lr": 0.01}]
    optimizers = [
        torch.optim.SGD(groups, 0.1),
        torch.optim.Adam(model[2].parameters(), 1e-2),
        torch.optim.RMSprop(model[3].parameters(), 1e-3),
    ]
    schedules = [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5) for optimizer in optimizers]
    trial.watch(model, optimizers)
    for step in range(STEPS):
        model.zero_grad()
        loss_of(model(batch())).backward()
        trial.note()
        for optimizer in optimizers:
            optimizer.step()
        trial.check()
        trial.value(0.01 * 0.5**step, schema.LEARNING_RATE, "0.1")
        trial.value(0.001 * 0.5**step, schema.LEARNING_RATE, "2.0")
        for schedule in schedules:
            schedule.step()


def _closure(trial: Trial, model: nn.Module, optimizer: Any, x: torch.Tensor) -> Callable[[], torch.Tensor]:
    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = loss_of(model(x) - 1)
        loss.backward()
        trial.same(loss)
        return loss

    return closure


@way(
    "optimizers",
    SGD={"make": lambda p: torch.optim.SGD(p, 0.1)},
    Adam_fused={"make": lambda p: torch.optim.Adam(p, 1e-2, fused=True)},
    LBFGS={"make": lambda p: torch.optim.LBFGS(p, max_iter=4)},
    LBFGS_with_line_search={"make": lambda p: torch.optim.LBFGS(p, max_iter=3, line_search_fn="strong_wolfe")},
)
def closure(trial: Trial, make: Make) -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    optimizer = make(model.parameters())
    trial.watch(model, optimizer)
    x = batch()
    for _ in range(STEPS):
        trial.step(optimizer, _closure(trial, model, optimizer, x))


@way("optimizers", one_for_each_parameter={"own": True}, by_torch={"own": False})
def step_in_the_backward_pass(trial: Trial, own: bool) -> None:
    model = mlp()
    if own:
        optimizers = [torch.optim.SGD([p], 0.1) for p in model.parameters()]
        for parameter, each in zip(model.parameters(), optimizers, strict=True):
            parameter.register_post_accumulate_grad_hook(_stepping(trial, each))
    else:
        _apply_optimizer_in_backward(torch.optim.SGD, model.parameters(), {"lr": 0.1})
        optimizers = [o for p in model.parameters() for o in p._in_backward_optimizers]
    trial.watch(model, optimizers)
    for _ in range(STEPS):
        if own:
            trial.note()
        output = model(batch())
        trial.saw("2", output)
        loss_of(output).backward()
        trial.check()


def _stepping(trial: Trial, optimizer: torch.optim.Optimizer) -> Callable[[nn.Parameter], None]:
    def step(parameter: nn.Parameter) -> None:
        trained = trial.trained[0]
        for name, each in trained.parameters().items():
            if each is parameter:
                trained.gradients[name] = parameter.grad.detach().double()
        optimizer.step()
        optimizer.zero_grad()

    return step


class ScheduleFree(torch.optim.Optimizer):
    """Schedule-free SGD (Defazio et al., 2024, arXiv:2405.15682): ``train`` and ``eval`` move the weights between
    the point at which gradients are taken and the average of the iterates."""

    def __init__(self, parameters: Any, lr: float, beta: float = 0.9) -> None:
        super().__init__(parameters, {"lr": lr, "beta": beta, "steps": 0, "training": True})

    @torch.no_grad()
    def _towards(self, weight: float, training: bool) -> None:
        for group in self.param_groups:
            if group["training"] is not training:
                for p in group["params"]:
                    p.lerp_(self.state[p].setdefault("z", p.clone()), weight)
                group["training"] = training

    def train(self) -> None:
        self._towards(1 - self.param_groups[0]["beta"], True)

    def eval(self) -> None:
        self._towards(1 - 1 / self.param_groups[0]["beta"], False)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            group["steps"] += 1
            for p in group["params"]:
                z = self.state[p].setdefault("z", p.clone())
                p.lerp_(z, 1 / group["steps"])
                p.add_(p.grad, alpha=group["lr"] * (group["beta"] * (1 - 1 / group["steps"]) - 1))
                z.sub_(p.grad, alpha=group["lr"])


@way("optimizers")
def schedule_free(trial: Trial) -> None:
    model = mlp()
    optimizer = ScheduleFree(model.parameters(), 0.1)
    trial.watch(model, optimizer)
    for _ in range(STEPS):
        optimizer.train()
        optimizer.zero_grad()
        loss_of(model(batch())).backward()
        trial.step(optimizer)
        optimizer.eval()
        with torch.no_grad():
            trial.same(model(batch()))


class SharpnessAware(torch.optim.Optimizer):
    """SAM (Foret et al., 2021, arXiv:2010.01412) in the form people copy: two steps around a base optimizer."""

    def __init__(self, parameters: Any, lr: float, rho: float = 0.05) -> None:
        super().__init__(parameters, {"lr": lr, "rho": rho})
        self.base = torch.optim.SGD(self.param_groups, lr)

    @torch.no_grad()
    def first_step(self) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["old"] = p.clone()
                p.add_(p.grad, alpha=group["rho"])

    @torch.no_grad()
    def second_step(self) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                p.copy_(self.state[p]["old"])
        self.base.step()

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        closure = torch.enable_grad()(closure)
        self.first_step()
        self.zero_grad()
        closure()
        self.second_step()


@way("optimizers")
def sharpness_aware_by_closure(trial: Trial) -> None:
    model = mlp()
    optimizer = SharpnessAware(model.parameters(), 0.1)
    trial.watch(model, optimizer)
    for _ in range(STEPS):
        x = batch()
        optimizer.zero_grad()
        loss_of(model(x)).backward()
        trial.step(optimizer, _closure(trial, model, optimizer, x))


@way("optimizers")
def sharpness_aware_in_two_calls(trial: Trial) -> None:
    """Watched is the base, whose step is the real one: its gradient is that at the sharper point."""
    model = mlp()
    optimizer = SharpnessAware(model.parameters(), 0.1)
    trial.watch(model, optimizer.base)
    for _ in range(STEPS):
        x = batch()
        loss_of(model(x)).backward()
        optimizer.first_step()
        optimizer.zero_grad()
        loss_of(model(x)).backward()
        with torch.no_grad():
            trial.note()
            trial.trained[0].weights = {
                name: optimizer.state[p]["old"].double() for name, p in trial.trained[0].parameters().items()
            }
        optimizer.second_step()
        trial.check()
        optimizer.zero_grad()


class Lookahead:
    """Lookahead (Zhang et al., 2019, arXiv:1907.08610) as a plain wrapper, with no hooks of its own."""

    def __init__(self, optimizer: torch.optim.Optimizer, every: int = 2) -> None:
        self.optimizer, self.every, self.steps = optimizer, every, 0
        self.slow = [[p.detach().clone() for p in group["params"]] for group in optimizer.param_groups]

    @torch.no_grad()
    def step(self) -> None:
        self.optimizer.step()
        self.steps += 1
        if self.steps % self.every == 0:
            for group, slow in zip(self.optimizer.param_groups, self.slow, strict=True):
                for p, s in zip(group["params"], slow, strict=True):
                    s.lerp_(p, 0.5)
                    p.copy_(s)


@way("optimizers")
def lookahead_around_another(trial: Trial) -> None:
    model = mlp()
    optimizer = Lookahead(torch.optim.SGD(model.parameters(), 0.1))
    trial.watch(model, optimizer)
    for step in range(STEPS):
        model.zero_grad()
        loss_of(model(batch())).backward()
        trial.note()
        if step % 2 == 0:
            optimizer.step()
            trial.check()
        else:  # the record is of the inner step: the weights go back only after it
            inner = {n: w - 0.1 * trial.trained[0].gradients[n] for n, w in trial.trained[0].weights.items()}
            optimizer.step()
            trial.trained[0].gradients.clear()
            trial.check()
            trial.same(*inner.values())


@way("optimizers")
def two_steps_on_one_gradient(trial: Trial) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    trial.watch(model, optimizer)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss_of(model(batch())).backward()
        trial.step(optimizer)
        trial.step(optimizer)


@way("optimizers")
def none_at_all(trial: Trial) -> None:
    """Weights changed by hand; a step ends with the backward pass, and no update is told."""
    model = mlp()
    trial.watch(model)
    for _ in range(STEPS):
        model.zero_grad()
        output = model(batch())
        trial.saw("2", output, gradient=True)
        loss_of(output).backward()
        trial.note()
        trial.check(updates=False)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.1 * parameter.grad


@way("optimizers")
def state_loaded_midway(trial: Trial) -> None:
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    trial.watch(model, optimizer)
    for step in range(STEPS):
        if step == 2:
            optimizer.load_state_dict(optimizer.state_dict())
            model.load_state_dict(model.state_dict())
        optimizer.zero_grad()
        loss_of(model(batch())).backward()
        trial.step(optimizer)
