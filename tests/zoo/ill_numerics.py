"""Ill for their numbers: logarithms of zero, divisions by zero, formats too narrow, scales that collapse."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW

from tb_nnhealth import SummaryWriter
from tests.zoo.faulty.loop import descend_scaled, train
from tests.zoo.faulty.networks import Encoded, Half, cnn, initialize, mlp, normal
from tests.zoo.faulty.problems import images, pixels, rows
from tests.zoo.registry import ill

LOG = "37 Reasons, 37; forum: log of a probability of zero"
DIVISION = "Forum: division by a norm or standard deviation of zero"
OVERFLOW = "Micikevicius et al., Mixed Precision Training (ICLR 2018); forum: fp16 overflow"
UNDERFLOW = "Micikevicius et al., Mixed Precision Training (ICLR 2018): gradients and updates that become zero"


class HandWrittenCrossEntropy(nn.Module):
    """-log(softmax), as in a first exercise; ``safe`` takes the logarithm of the softmax in one."""

    def __init__(self, safe: bool) -> None:
        super().__init__()
        self.safe = safe
        self.temperature = 1.0

    def forward(self, logits: Tensor, y: Tensor) -> Tensor:
        logits = logits / self.temperature
        if self.safe:
            return F.cross_entropy(logits, y)
        shares = logits.exp() / logits.exp().sum(1, keepdim=True)
        return -(F.one_hot(y, logits.shape[1]) * shares.log()).sum(1).mean()


@ill("softmax-by-hand", "non-finite", source="Forum: exp overflows in a softmax by hand")
def exponentials_of_large_logits(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 64, 10)
    nn.init.normal_(model[2].weight, std=12.0)  # type: ignore[arg-type]
    optimizer = Adam(model.parameters(), lr=1e-3)
    train(writer, model, optimizer, pixels(), criterion=HandWrittenCrossEntropy(not fault), steps=120)


@ill("softmax-by-hand", "non-finite", onset=60, source=LOG)
def shares_that_become_zero_as_the_temperature_falls(writer: SummaryWriter, fault: bool = True) -> None:
    model = cnn((8, 16), norm=False)
    criterion = HandWrittenCrossEntropy(not fault)

    def anneal(step: int) -> None:
        criterion.temperature = 0.05 if step >= 60 else 1.0

    optimizer = Adam(model.parameters(), lr=1e-3)
    train(writer, model, optimizer, images(), before_step=anneal, criterion=criterion, steps=130)


class Standardize(nn.Module):
    """Each sample to mean 0 and standard deviation 1, without an epsilon where ``epsilon`` is 0."""

    def __init__(self, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + self.epsilon)


def blank_now_and_then(since: int) -> Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]]:
    """A blank sample in each seventh batch from ``since`` on: an empty page in the scanner."""

    def blank(step: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if step >= since and (step - since) % 7 == 0:
            x = x.clone()
            x[5] = 0.0
        return x, y

    return blank


@ill("division-by-zero", "non-finite", onset=70, source=DIVISION)
def standard_deviation_of_a_blank_page(writer: SummaryWriter, fault: bool = True) -> None:
    model = nn.Sequential(Standardize(0.0 if fault else 1e-5), *mlp(64, 64, 10))
    optimizer = Adam(model.parameters(), lr=1e-3)
    train(writer, model, optimizer, pixels(), prepare=blank_now_and_then(70), steps=140)


@ill("division-by-zero", "non-finite", onset=50, source=DIVISION)
def mean_over_no_valid_rows(writer: SummaryWriter, fault: bool = True) -> None:
    def pooled(h: Tensor) -> Tensor:
        valid = (h.abs().sum(2) > 0).float()
        count = valid.sum(1, keepdim=True)
        return (h * valid[:, :, None]).sum(1) / (count if fault else count.clamp_min(1))

    encoder = nn.Sequential(nn.Linear(8, 48, bias=False), nn.ReLU())
    model = Encoded(encoder, mlp(48, 48, 10), pooled)
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    train(writer, model, optimizer, rows(), prepare=blank_now_and_then(50), steps=120)


class Power(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.square() * x


@ill("half-precision-overflows", "non-finite", "low-precision-range", source=OVERFLOW)
def cubes_in_float16(writer: SummaryWriter, fault: bool = True) -> None:
    network = nn.Sequential(nn.Linear(64, 64), Power(), nn.Linear(64, 64), Power(), nn.LayerNorm(64), nn.Linear(64, 10))
    initialize(network, normal(0.4))
    model = Half(network, torch.float16 if fault else torch.bfloat16)
    train(writer, model, Adam(model.parameters(), lr=1e-3), pixels(), steps=120)


@ill("half-precision-overflows", "non-finite", "low-precision-range", source=OVERFLOW)
def convolutions_cubed_in_float16(writer: SummaryWriter, fault: bool = True) -> None:
    network = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), Power(), nn.Conv2d(16, 16, 3, padding=1), Power(), nn.GroupNorm(4, 16)),
        *(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16 * 16, 10)),
    )
    initialize(network, normal(0.4))
    model = Half(network, torch.float16 if fault else torch.bfloat16)
    train(writer, model, AdamW(model.parameters(), lr=3e-3), images(), steps=120)


@ill("weights-in-bfloat16", "low-precision-range", source=UNDERFLOW + "; Zamirai et al. (2020): pure bfloat16")
def updates_below_half_an_ulp(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 64, 64, 10).to(torch.bfloat16 if fault else torch.float32)
    dtype = next(model.parameters()).dtype
    train(
        writer, model, SGD(model.parameters(), lr=1e-2), pixels(), batch_size=32, steps=400,
        prepare=lambda step, x, y: (x.to(dtype), y), validation=lambda x: x.to(dtype),
    )  # fmt: skip


@ill("weights-in-bfloat16", "low-precision-range", source=UNDERFLOW + "; Zamirai et al. (2020): pure bfloat16")
def convolutions_in_pure_bfloat16(writer: SummaryWriter, fault: bool = True) -> None:
    model = cnn((8, 16), norm=False).to(torch.bfloat16 if fault else torch.float32)
    dtype = next(model.parameters()).dtype
    train(
        writer, model, SGD(model.parameters(), lr=2e-2), images(), batch_size=32, steps=250,
        prepare=lambda step, x, y: (x.to(dtype), y), validation=lambda x: x.to(dtype),
    )  # fmt: skip


class Small(nn.Module):
    """A criterion divided as a sum over very many parts would be; its gradients are tiny."""

    def __init__(self, parts: float) -> None:
        super().__init__()
        self.parts = parts

    def forward(self, logits: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(logits, y) / self.parts


@ill("float16-without-a-scaler", "low-precision-range", source=UNDERFLOW)
def gradients_that_float16_rounds_to_zero(writer: SummaryWriter, fault: bool = True) -> None:
    model = Half(mlp(64, 64, 64, 10), torch.float16 if fault else torch.bfloat16)
    train(writer, model, Adam(model.parameters(), lr=1e-3), pixels(), criterion=Small(1e6))


@ill("float16-without-a-scaler", "low-precision-range", source=UNDERFLOW)
def gradients_of_a_mean_over_positions(writer: SummaryWriter, fault: bool = True) -> None:
    network = nn.Sequential(nn.Flatten(), *mlp(64, 64, 64, 10, activation=nn.GELU))
    model = Half(network, torch.float16 if fault else torch.bfloat16)
    train(writer, model, AdamW(model.parameters(), lr=1e-3), rows(), criterion=Small(3e5))


def group_lasso(model: nn.Module, floor: float) -> Tensor:
    """The sum of the lengths of all parameters; ``floor`` is added below each root."""
    return torch.stack([(p.square().sum() + floor).sqrt() for p in model.parameters()]).sum()


COLLAPSE = "Forum: GradScaler's scale falls to zero, every step is skipped"


@ill("scale-collapses", "loss-scale-collapse", "non-finite", source=COLLAPSE)
def group_lasso_of_zero_biases_under_a_scaler(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 64, 64, 10)
    initialize(model, nn.init.kaiming_normal_, nn.init.zeros_)
    optimizer, scaler = Adam(model.parameters(), lr=1e-3), torch.amp.GradScaler("cpu")
    update = descend_scaled(optimizer, scaler)
    train(
        writer, model, optimizer, pixels(), scaler=scaler, steps=150,
        update=lambda step, loss: update(step, loss + 1e-4 * group_lasso(model, 0.0 if fault else 1e-6)),
    )  # fmt: skip


@ill("scale-collapses", "loss-scale-collapse", "non-finite", source=COLLAPSE)
def loss_far_too_large_for_float16(writer: SummaryWriter, fault: bool = True) -> None:
    model = Half(cnn((8, 16)), torch.float16)
    optimizer, scaler = SGD(model.parameters(), lr=0.02, momentum=0.9), torch.amp.GradScaler("cpu")
    criterion, update = Small(1e-6 if fault else 1.0), descend_scaled(optimizer, scaler)
    train(writer, model, optimizer, images(), update=update, criterion=criterion, scaler=scaler, steps=120)
