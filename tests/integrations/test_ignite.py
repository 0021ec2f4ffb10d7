"""The logger in PyTorch-Ignite, and plain ``watch`` beside its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from digits import FAULTS, diagnosed, judged, loaders, network, optimizer, recorded, same
from torch import nn

from tb_nnhealth import schema

ignite = pytest.importorskip("ignite")
pytestmark = pytest.mark.slow


def trained(place: Path | None, fault: str = "", epochs: int = 6) -> tuple[Any, Any]:
    """The network, and the logger, which has logged as Ignite's guide does; without ``place`` there is none."""
    from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
    from ignite.handlers.tensorboard_logger import global_step_from_engine
    from ignite.metrics import Accuracy, Loss

    net, criterion = network(fault), nn.CrossEntropyLoss()
    sgd = optimizer(net, fault)
    trainer = create_supervised_trainer(net, sgd, criterion)
    evaluator = create_supervised_evaluator(net, {"loss": Loss(criterion), "accuracy": Accuracy()})
    train, validation = loaders()
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(validation))
    logger = None
    if place is not None:
        from tb_nnhealth.integrations.ignite import NNHealthLogger

        logger = NNHealthLogger(log_dir=place)
        logger.watch(trainer, net, sgd, criterion=criterion, every=1)
        logger.attach_output_handler(
            trainer, Events.ITERATION_COMPLETED(every=2), tag="training", output_transform=lambda loss: {"loss": loss}
        )
        logger.attach_output_handler(
            evaluator, Events.EPOCH_COMPLETED, tag="validation", metric_names="all",
            global_step_transform=global_step_from_engine(trainer),
        )  # fmt: skip
        logger.attach_opt_params_handler(trainer, Events.ITERATION_STARTED(every=10), optimizer=sgd)
    torch.manual_seed(1)
    trainer.run(train, max_epochs=epochs)
    if logger is not None:
        logger.close()
    return net, logger


def test_one_run_of_scalars_and_health_and_nothing_changes(tmp_path: Path) -> None:
    watched, logger = trained(tmp_path)
    alone, _ = trained(None)
    assert same(watched, alone)
    assert not watched._forward_pre_hooks
    (run,) = recorded(tmp_path).values()
    assert {"training/loss", "validation/loss", "validation/accuracy"} <= run.scalars.keys()
    records = run.watches[schema.DEFAULT_WATCH]
    assert records.steps.tolist() == list(range(1, 6 * 22 + 1))
    assert set(run.scalars["training/loss"].steps) <= set(records.steps)
    diagnosed(logger.findings(), "")
    diagnosed(judged(tmp_path), "")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_first(fault: str, tmp_path: Path) -> None:
    _, logger = trained(tmp_path, fault)
    diagnosed(logger.findings(), fault)
    diagnosed(judged(tmp_path), fault)
