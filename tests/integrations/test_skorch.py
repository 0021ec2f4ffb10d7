"""The callback in skorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from digits import FAULTS, diagnosed, digits, judged, network, rate, recorded, same
from torch import nn

from tb_nnhealth import SummaryWriter, schema

skorch = pytest.importorskip("skorch")
pytestmark = pytest.mark.slow


def trained(fault: str = "", *callbacks: Any) -> Any:
    """The fitted net, after twelve epochs; skorch's own validation split."""
    net = skorch.NeuralNetClassifier(
        network, module__fault=fault, criterion=nn.CrossEntropyLoss, optimizer=torch.optim.SGD,
        optimizer__momentum=0.9, lr=rate(fault), batch_size=64, iterator_train__shuffle=True, max_epochs=12,
        callbacks=list(callbacks), verbose=0,
    )  # fmt: skip
    net.initialize()
    torch.manual_seed(1)
    train, _ = digits()
    net.partial_fit(train.tensors[0].numpy(), train.tensors[1].numpy())
    return net


def callback(place: Path) -> Any:
    from tb_nnhealth.integrations.skorch import NNHealthCallback

    return NNHealthCallback(SummaryWriter(place), watch={"every": 1})


def test_one_run_of_scalars_and_health_and_nothing_changes(tmp_path: Path) -> None:
    health = callback(tmp_path)
    watched, alone = trained("", health), trained()
    assert same(watched.module_, alone.module_)
    assert not watched.module_._forward_pre_hooks
    (run,) = recorded(tmp_path).values()
    assert {"Loss/train_loss", "Loss/valid_loss", "Loss/valid_acc"} <= run.scalars.keys()
    assert len(run.watches[schema.DEFAULT_WATCH]) == 12 * 18
    diagnosed(health.findings(), "")
    diagnosed(judged(tmp_path), "")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_first(fault: str, tmp_path: Path) -> None:
    health = callback(tmp_path)
    trained(fault, health)
    diagnosed(health.findings(), fault)
    diagnosed(judged(tmp_path), fault)
