"""Parameters that come, go, freeze and thaw while the model is watched."""

from __future__ import annotations

import torch
from torch import nn

from tb_nnhealth import schema
from tests.ways.cases.small import STEPS, batch, loss_of, mlp
from tests.ways.registry import way
from tests.ways.trial import Trial


@way("parameters")
def group_added_after_the_watch(trial: Trial) -> None:
    model = mlp()
    optimizer = torch.optim.Adam(model[0].parameters(), 1e-2)
    trial.watch(model, optimizer)
    for step in range(STEPS):
        if step == 2:
            optimizer.add_param_group({"params": list(model[2].parameters()), "lr": 1e-3})
        model.zero_grad()
        loss_of(model(batch())).backward()
        trial.step(optimizer)


@way("parameters", in_the_optimizer={"held": True}, out_of_it={"held": False})
def frozen_and_thawed(trial: Trial, held: bool) -> None:
    model = mlp()
    model[0].requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters() if held else model[2].parameters(), 0.1)
    trial.watch(model, optimizer)
    for step in range(STEPS):
        if step == 2:
            model[0].requires_grad_(True)
            if not held:
                optimizer.add_param_group({"params": list(model[0].parameters())})
        elif step == 3:
            model[2].requires_grad_(False)
        optimizer.zero_grad()
        loss_of(model(batch())).backward()
        trial.step(optimizer)
        if step < 2:
            trial.absent(schema.UPDATE, "0.weight")


@way("parameters", by_assignment={"how": "assign"}, through_data={"how": "data"}, converted={"how": "double"})
def replaced(trial: Trial, how: str) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trial.watch(model, optimizer)
    for step in range(STEPS):
        if step == 2:
            if how == "assign":
                model[0].weight = nn.Parameter(torch.randn(8, 6))
                optimizer.param_groups[0]["params"][0] = model[0].weight
            elif how == "data":
                model[0].weight.data = torch.randn(8, 6)
            else:
                model.double()
        optimizer.zero_grad()
        loss_of(model(batch().to(model[0].weight.dtype))).backward()
        trial.step(optimizer)


@way("parameters")
def layer_added_and_layer_taken_away(trial: Trial) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trial.watch(model, optimizer)
    for step in range(STEPS):
        if step == 1:
            model.append(nn.Linear(3, 2))
            optimizer.add_param_group({"params": list(model[3].parameters())})
        elif step == 3:
            del model[3]
            del optimizer.param_groups[1]
        optimizer.zero_grad()
        loss_of(model(batch())).backward()
        trial.step(optimizer)


@way("parameters")
def low_rank_adapters_on_a_frozen_model(trial: Trial) -> None:
    class Adapted(nn.Module):
        def __init__(self, base: nn.Linear) -> None:
            super().__init__()
            self.base = base.requires_grad_(False)
            self.down = nn.Linear(base.in_features, 2, bias=False)
            self.up = nn.Linear(2, base.out_features, bias=False)
            nn.init.zeros_(self.up.weight)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.base(x) + self.up(self.down(x))

    model = nn.Sequential(Adapted(nn.Linear(6, 8)), nn.ReLU(), Adapted(nn.Linear(8, 2)))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-2)
    trial.watch(model, optimizer)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss_of(model(batch()) - 1).backward()
        trial.step(optimizer)
        trial.absent(schema.GRADIENT, "0.base.weight")


@way("parameters")
def loaded_with_assign(trial: Trial) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trial.watch(model, optimizer)
    for step in range(STEPS):
        if step == 2:
            model.load_state_dict({name: torch.randn_like(p) for name, p in model.state_dict().items()}, assign=True)
            optimizer.param_groups[0]["params"][:] = list(model.parameters())
        optimizer.zero_grad()
        loss_of(model(batch())).backward()
        trial.step(optimizer)


@way("parameters")
def swapped_for_an_average_and_back(trial: Trial) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trial.watch(model, optimizer)
    shadow = [p.detach().clone() for p in model.parameters()]
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss_of(model(batch())).backward()
        trial.step(optimizer)
        with torch.no_grad():
            for average, parameter in zip(shadow, model.parameters(), strict=True):
                average.lerp_(parameter, 0.1)
                kept = parameter.clone()
                parameter.copy_(average)
                average.copy_(average)
                parameter.copy_(kept)
