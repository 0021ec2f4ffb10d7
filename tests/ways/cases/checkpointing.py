"""Activation checkpointing: what is computed again in the backward pass is no second call."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from tb_nnhealth import schema
from tests.ways.cases.small import STEPS, batch, loss_of, mlp
from tests.ways.registry import way
from tests.ways.trial import Trial


class Checkpointed(nn.Module):
    def __init__(self, *, reentrant: bool) -> None:
        super().__init__()
        self.stem, self.block, self.head = nn.Linear(6, 6), nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.3)), mlp()
        self.reentrant = reentrant

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = checkpoint(self.block, self.stem(x), use_reentrant=self.reentrant)
        return hidden, self.head(hidden)


@way("checkpointing", reentrant={"reentrant": True}, non_reentrant={"reentrant": False})
def of_a_block(trial: Trial, reentrant: bool) -> None:
    model = Checkpointed(reentrant=reentrant)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    trial.watch(model, optimizer)
    for _ in range(STEPS):
        optimizer.zero_grad()
        hidden, output = model(batch())
        trial.saw("block.1", hidden, gradient=True)
        trial.saw("head.2", output, gradient=True)
        loss_of(output).backward()
        trial.step(optimizer)


@way("checkpointing", reentrant={"reentrant": True}, non_reentrant={"reentrant": False})
def of_every_layer_with_accumulation(trial: Trial, reentrant: bool) -> None:
    model = nn.Sequential(*(nn.Linear(6, 6) for _ in range(4)))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trial.watch(model, optimizer)
    for _ in range(STEPS):
        optimizer.zero_grad()
        for _ in range(2):
            output = checkpoint_sequential(model, 2, batch().requires_grad_(), use_reentrant=reentrant)
            trial.saw("3", output, gradient=True)
            loss_of(output).backward()
        trial.step(optimizer)


@way("checkpointing", reentrant={"reentrant": True}, non_reentrant={"reentrant": False})
def of_the_whole_model_is_no_evaluation(trial: Trial, reentrant: bool) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trial.watch(model, optimizer)
    for _ in range(STEPS):
        optimizer.zero_grad()
        output = checkpoint(model, batch().requires_grad_(), use_reentrant=reentrant)
        trial.saw("2", output)
        loss_of(output).backward()
        trial.step(optimizer)
        trial.value(0.0, schema.EVALUATION, "train")


@way("checkpointing")
def within_mixed_precision(trial: Trial) -> None:
    model = Checkpointed(reentrant=False)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trial.watch(model, optimizer)
    for _ in range(STEPS):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden, output = model(batch())
        trial.saw("block.1", hidden)
        loss_of(output.float()).backward()
        trial.step(optimizer)
