"""A small real training for every trainer: handwritten digits, a network, three faults and the rules that name each."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tb_nnhealth.findings import Finding
from tb_nnhealth.history import Run
from tb_nnhealth.rules.engine import judge
from tb_nnhealth.source.files import FileSource

FAULTS = {
    "learning rate": ("update-ratio-too-high", "learning-rate-too-high"),
    "softmax": ("softmax-before-cross-entropy",),
    "frozen": ("frozen-parameters",),
}
CLASSES = 10


@functools.cache
def digits() -> tuple[TensorDataset, TensorDataset]:
    """Standardized pixels, float32 of shape (n, 64), and labels, int64 of shape (n,): for training and validation."""
    x, y = load_digits(return_X_y=True)
    pixels = torch.tensor((x - x.mean(0)) / (x.std(0) + 1e-6), dtype=torch.float32)
    labels = torch.tensor(y)
    return TensorDataset(pixels[:1400], labels[:1400]), TensorDataset(pixels[1400:], labels[1400:])


def loaders() -> tuple[DataLoader[Any], DataLoader[Any]]:
    train, validation = digits()
    return DataLoader(train, 64, shuffle=True), DataLoader(validation, 128)


def network(fault: str = "") -> nn.Sequential:
    """Seeds torch; the same weights each time."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, CLASSES))
    if fault == "softmax":
        net.append(nn.Softmax(1))
    if fault == "frozen":
        net[2].requires_grad_(False)
    return net


def rate(fault: str = "") -> float:
    """A learning rate for SGD with momentum 0.9."""
    return 5.0 if fault == "learning rate" else 0.05


def optimizer(net: nn.Module, fault: str = "") -> torch.optim.SGD:
    return torch.optim.SGD([p for p in net.parameters() if p.requires_grad], rate(fault), momentum=0.9)


def diagnosed(findings: Iterable[Finding], fault: str) -> None:
    """What a training with ``fault`` must show: the rule first that names it, and without fault no alarm."""
    found = list(findings)
    if fault:
        assert found[0].rule in FAULTS[fault], found
    else:
        assert [finding for finding in found if finding.severity != "info"] == []


def recorded(directory: Path) -> dict[str, Run]:
    """The runs below ``directory``, by their names relative to it."""
    source = FileSource([directory])
    source.refresh()
    return {name: source.run(name) for name in source.runs()}


def judged(directory: Path) -> list[Finding]:
    """The findings of the one run below ``directory``, as a reader of its files has them."""
    (run,) = recorded(directory).values()
    return list(judge(run).findings)


def same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two models have the same state, bit for bit."""
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
