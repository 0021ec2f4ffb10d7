"""Targets, value and shapes of a loss function come out of the graph that is being differentiated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from memory_recorder import MemoryRecorder, MemoryStream
from torch import Tensor, nn
from torch.nn import functional

from tb_nnhealth import schema
from tb_nnhealth.record.watch import Watch

Loss = Callable[[Tensor, Tensor], Tensor]


def trained(
    loss: Loss, *, outputs: int = 1, steps: int = 4, backward: Callable[[Tensor], Any] = Tensor.backward
) -> MemoryStream:
    """Trains on targets of shape (16,), which are the sums of the inputs."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    recorder = MemoryRecorder()
    Watch(recorder, model, optimizer, every=1)
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        x = torch.randn(16, 4, generator=generator)
        optimizer.zero_grad()
        backward(loss(model(x), x.sum(1)))
        optimizer.step()
    assert not recorder.stream.errors
    return recorder.stream


def mean_of_squares(z: Tensor, y: Tensor) -> Tensor:
    return functional.mse_loss(z, y[:, None])


def times_itself(errors: Tensor) -> Tensor:
    return errors * errors


@pytest.mark.parametrize(
    "loss",
    [
        mean_of_squares,
        lambda z, y: ((z.squeeze(1) - y) ** 2).mean(),
        lambda z, y: (y - z[:, 0]).square().mean(),
        lambda z, y: times_itself(z - y[:, None]).mean(),
        lambda z, y: mean_of_squares(z, y) / 4,
        lambda z, y: 1000 * mean_of_squares(z, y),
        lambda z, y: ((z - y[:, None]) ** 2).mean(1).mean(),
    ],
)
def test_targets_of_a_squared_error(loss: Loss) -> None:
    criterion = nn.MSELoss()
    module = trained(lambda z, y: criterion(z, y[:, None]), steps=1)
    function = trained(loss, steps=1)
    assert function.layouts[-1].criterion == module.layouts[-1].criterion
    for kind, statistic in (
        (schema.TARGET, schema.MEAN),
        (schema.TARGET, schema.STD),
        (schema.LOSS, schema.MEAN),
        (schema.PREDICTION, schema.RMS),
    ):
        told = [stream.value(kind, "", statistic) for stream in (function, module)]
        assert told[0] == pytest.approx(told[1], rel=1e-4), kind


def test_a_sum_of_squares_is_told_as_one() -> None:
    stream = trained(lambda z, y: ((z[:, 0] - y) ** 2).sum())
    assert stream.layouts[-1].criterion.type == "MSELoss"
    assert stream.layouts[-1].criterion.reduction == "sum"


@pytest.mark.parametrize(
    "loss",
    [
        lambda z, y: mean_of_squares(z, y).sqrt(),
        lambda z, y: mean_of_squares(z, y) + z.abs().mean(),
        lambda z, y: (y.abs()[:, None] * (z - y[:, None]) ** 2).mean(),
        lambda z, y: ((z - y[:, None]) ** 4).mean(),
        lambda z, y: mean_of_squares(z.sigmoid(), y),
        lambda z, y: mean_of_squares(z[:8], y[:8]),
        lambda z, y: functional.huber_loss(z, y[:, None]),
        lambda z, y: functional.l1_loss(z, y[:, None]),
        lambda z, y: z.square().mean(),
    ],
)
def test_nothing_is_claimed_of_other_losses(loss: Loss) -> None:
    stream = trained(loss)
    assert not stream.layouts[-1].HasField("criterion")
    assert not stream.has(schema.TARGET, "")
    assert not stream.has(schema.COMPARED, "difference")


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize(
    "loss",
    [
        functional.mse_loss,
        functional.huber_loss,
        functional.smooth_l1_loss,
        functional.l1_loss,
        lambda z, y: ((z - y) ** 2).mean(),
        lambda z, y: (y - z).abs().mean(),
        lambda z, y: (z - y).cosh().log().mean(),
    ],
)
def test_every_pair_is_told(loss: Loss) -> None:
    stream = trained(loss)
    assert stream.value(schema.COMPARED, "output", schema.MEAN) == 16
    assert stream.value(schema.COMPARED, "difference", schema.MEAN) == 256
    shapes = {row.subject: tuple(row.shape) for row in stream.layouts[-1].rows if row.kind == schema.COMPARED}
    assert shapes == {"output": (16, 1), "difference": (16, 16)}
    assert not stream.layouts[-1].HasField("criterion")


@pytest.mark.parametrize(
    "loss",
    [
        lambda z, y: -(z * y).mean(),
        lambda z, y: -(z.squeeze(1) * y[:, None]).sum() / 16,
        lambda z, y: -torch.minimum(z * y, z.clamp(0.8, 1.2) * y).mean(),
    ],
)
def test_products_of_every_pair_are_told(loss: Loss) -> None:
    stream = trained(loss)
    assert stream.value(schema.COMPARED, "product", schema.MEAN) == 256


@pytest.mark.parametrize(
    "loss",
    [
        lambda z, y: -(z[:, 0] * y).mean(),
        lambda z, y: -((y[:, None] > y) * z).sum(0).exp().log().mean(),
        lambda z, y: -(z * y[:, None]).mean(),
    ],
)
def test_other_products_are_not(loss: Loss) -> None:
    assert not trained(loss).has(schema.COMPARED, "product")


@pytest.mark.parametrize(
    "loss",
    [
        lambda z, y: ((z[:, 0].unsqueeze(1) - y.unsqueeze(0)) ** 2).mean(),
        lambda z, y: (z - z.transpose(0, 1)).square().mean(),
        lambda z, y: (z - torch.linspace(-1, 1, 5)).square().mean(),
        lambda z, y: (z.expand(16, 5) - y[:, None]).abs().mean(),
    ],
)
def test_pairs_that_are_meant_are_not_told(loss: Loss) -> None:
    assert not trained(loss).has(schema.COMPARED, "difference")


def test_several_backward_passes_and_other_ways_to_begin_one() -> None:
    def engine(loss: Tensor) -> None:
        torch.autograd.backward([loss], [torch.tensor(2.0)])

    def both(loss: Tensor) -> None:
        torch.autograd.backward([loss, loss * 2])

    assert trained(mean_of_squares, backward=lambda loss: loss.backward(retain_graph=True)).layouts[-1].criterion.type
    assert trained(mean_of_squares, backward=lambda loss: (3 * loss).backward()).layouts[-1].criterion.type
    assert not trained(mean_of_squares, backward=engine).layouts[-1].HasField("criterion")
    assert not trained(mean_of_squares, backward=both).layouts[-1].HasField("criterion")
