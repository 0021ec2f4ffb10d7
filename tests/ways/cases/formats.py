"""Sparse gradients, complex numbers, eight bits, other layouts of memory."""

from __future__ import annotations

import torch
from torch import nn

from tests.ways.cases.small import STEPS, batch, loss_of, mlp
from tests.ways.registry import way
from tests.ways.trial import Trial


@way("formats", embedding={"bag": False}, embedding_bag={"bag": True})
def sparse_gradients(trial: Trial, bag: bool) -> None:
    table: nn.Module = nn.EmbeddingBag(9, 4, sparse=True) if bag else nn.Embedding(9, 4, sparse=True)
    model = nn.ModuleList([table, nn.Linear(4, 2)])
    sparse = torch.optim.SparseAdam(table.parameters(), 1e-2)
    dense = torch.optim.SGD(model[1].parameters(), 0.1)
    trial.watch(model, [sparse, dense])
    for _ in range(STEPS):
        model.zero_grad()
        found = model[0](torch.randint(0, 9, (5, 3)))
        trial.saw("0", found)
        loss_of(model[1](found)).backward()
        trial.note()
        sparse.step(), dense.step()
        trial.check()


class Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 4, dtype=torch.complex64)
        self.register_buffer("phase", torch.ones(4, dtype=torch.complex64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.to(torch.complex64)) * self.phase


@way("formats")
def complex_weights(trial: Trial) -> None:
    model = Complex()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    trial.watch(model, optimizer)
    for _ in range(STEPS):
        optimizer.zero_grad()
        output = model(batch())
        trial.saw("layer", output)
        output.abs().square().mean().backward()
        trial.step(optimizer)


class EightBits(nn.Module):
    """A frozen weight and a buffer in eight bits, beside a layer that learns."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.frozen = nn.Parameter(torch.randn(6, 6).to(dtype), requires_grad=False)
        self.register_buffer("scale", torch.ones(6).to(dtype))
        self.layer = nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x @ self.frozen.float() * self.scale.float())


@way("formats", **{str(d).split(".")[1]: {"dtype": d} for d in (torch.float8_e4m3fn, torch.float8_e5m2, torch.int8)})
def eight_bits(trial: Trial, dtype: torch.dtype) -> None:
    model = EightBits(dtype)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    trial.watch(model, optimizer)
    for _ in range(STEPS):
        optimizer.zero_grad()
        output = model(batch())
        trial.saw("layer", output, gradient=True)
        loss_of(output).backward()
        trial.step(optimizer)
        if dtype.is_floating_point:
            trial.gave("weight", "frozen", model.frozen.detach().float())


@way("formats")
def double_precision_within(trial: Trial) -> None:
    model = nn.ModuleList([nn.Linear(6, 4), nn.Linear(4, 2, dtype=torch.float64)])
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trial.watch(model, optimizer)
    for _ in range(STEPS):
        optimizer.zero_grad()
        output = model[1](model[0](batch()).double())
        trial.saw("1", output, gradient=True)
        loss_of(output).backward()
        trial.step(optimizer)


@way("formats")
def channels_last_and_strided(trial: Trial) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 2)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trial.watch(model, optimizer)
    for _ in range(STEPS):
        optimizer.zero_grad()
        output = model(torch.randn(2, 3, 12, 6)[:, :, ::2].contiguous(memory_format=torch.channels_last))
        trial.saw("2", output, gradient=True)
        loss_of(output).backward()
        trial.step(optimizer)


@way("formats")
def weights_of_no_or_one_element(trial: Trial) -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain, self.empty = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.empty(0, 3))
            self.inner = mlp()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.gain * self.inner(x) + self.empty.sum()

    model = Odd()
    optimizer = torch.optim.SGD([p for n, p in model.named_parameters() if n != "empty"], 0.1)
    trial.watch(model, optimizer)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss_of(model(batch())).backward()
        trial.step(optimizer)
        trial.absent("weight", "empty")


@way("formats")
def values_that_are_not_finite(trial: Trial) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trial.watch(model, optimizer)
    first = True
    for _ in range(STEPS):
        optimizer.zero_grad()
        x = batch()
        x[0, 0] = float("nan")
        loss_of(model(x)).backward()
        optimizer.step()
        for kind, name, count in (
            ("input", "", 1), ("gradient", "2.bias", 3), ("weight", "2.bias", 0 if first else 3),
            ("activation", "0", 8 if first else 40), ("activation", "2", 3 if first else 15),
        ):  # fmt: skip
            trial.value(count, kind, name, "nan_count")
        first = False
