"""Ill for what their losses are: of the wrong place, of swapped arguments, of logarithms without a floor."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW

from tb_nnhealth import SummaryWriter
from tests.zoo.builders.branching import Branches, HalfUnet, convolutional, mlp
from tests.zoo.builders.material import discs, figures, prices, split, wine
from tests.zoo.builders.practice import CAPITAL, JOINED, LONG, SLASHED, TRAINER, explained, learn
from tests.zoo.registry import ill


@ill("median-of-mostly-zeros", "constant-output", "underfitting", "loss-not-decreasing",
     source="DeepCrime (ISSTA 2021), LCH: change loss function; the absolute error is least at the median")  # fmt: skip
def absolute_error_of_rare_claims(writer: SummaryWriter, fault: bool = True) -> None:
    """training_loss 0.547 (1.47), validation_loss 0.44 (1.26), validation_score -0.107 (0.186)."""
    g = torch.Generator().manual_seed(9)
    x = torch.randn(2400, 6, generator=g)
    happens = torch.rand(2400, generator=g) < 0.45 * torch.sigmoid(3 * x[:, 0])
    claims = happens * (0.5 + 0.8 * x[:, 1]).exp()
    data = split(x, claims[:, None], 400, nn.L1Loss() if fault else nn.MSELoss())
    model = mlp(6, 32, 1)
    learn(writer, model, Adam(model.parameters(), lr=2e-3), data, score=explained, steps=400, names=LONG)


@ill("divergence-of-probabilities", "nll-without-log-softmax", "softmax-before-cross-entropy",
     source="Forum: KLDivLoss expects logarithms of probabilities; DeepCrime (ISSTA 2021), LCH")  # fmt: skip
def divergence_given_shares(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss -1.22 (0.222), valid_loss -1.19 (0.263), valid_score -1.88 (-0.263)."""
    data = figures()

    def shares(y: Tensor) -> Tensor:
        return 0.8 * F.one_hot(y, 4) + 0.05

    def likely(outputs: Tensor, y: Tensor) -> float:
        """Minus the divergence, of what is meant by the outputs."""
        told = outputs.clamp(min=1e-6).log() if fault else outputs
        return -F.kl_div(told, y, reduction="batchmean").item()

    soft = replace(data, train_y=shares(data.train_y), val_y=shares(data.val_y),
                   criterion=nn.KLDivLoss(reduction="batchmean"))  # fmt: skip
    model = nn.Sequential(convolutional(12, 24), nn.Softmax(dim=1) if fault else nn.LogSoftmax(dim=1))
    learn(writer, model, Adam(model.parameters(), lr=2e-3), soft, score=likely, steps=250, names=JOINED)


class LogCosh(nn.Module):
    """log cosh of the difference, by hand."""

    def forward(self, told: Tensor, y: Tensor) -> Tensor:
        error = told - y
        return (error + F.softplus(-2 * error) - 0.6931).mean()


@ill("target-broadcast", "target-broadcast",
     source="Forum: (n, 1) minus (n,) is (n, n), and a loss by hand gives no warning")  # fmt: skip
def log_cosh_of_every_pair(writer: SummaryWriter, fault: bool = True) -> None:
    """train/loss 0.398 (0.0528), val/loss 0.374 (0.0483), val/score 0.0587 (0.896)."""
    data = prices()
    flat = replace(data, train_y=data.train_y[:, 0], val_y=data.val_y[:, 0], criterion=LogCosh())
    model = mlp(7, 32, 32, 1, activation=nn.SiLU)

    def score(outputs: Tensor, y: Tensor) -> float:
        return explained(outputs[:, 0], y[:, 0] if y.dim() > 1 else y)

    used = flat if fault else replace(data, criterion=LogCosh())
    learn(writer, model, Adam(model.parameters(), lr=3e-3), used, score=score, steps=300, names=SLASHED)


def unlikely(told: Tensor, y: Tensor) -> Tensor:
    """Minus the logarithm of a normal likelihood, of means and logarithms of widths, by hand."""
    mean, width = told[:, 0], told[:, 1].clamp(-4, 4)
    return (width + 0.5 * ((y - mean) * (-width).exp()) ** 2).mean()


@ill("target-broadcast", "target-broadcast",
     source="Forum: a likelihood by hand of means (n,) and targets (n, 1)")  # fmt: skip
def likelihood_of_every_pair(writer: SummaryWriter, fault: bool = True) -> None:
    """nll 0.532 (-0.601), val/explained 0.0565 (0.897)."""
    data, model = prices(), mlp(7, 32, 32, 2, activation=nn.SiLU)
    optimizer = Adam(model.parameters(), lr=3e-3)
    writer.watch(model, optimizer)
    batches = data.shuffled(32)
    for step in range(300):
        x, y = next(batches)
        loss = unlikely(model(x), y if fault else y[:, 0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        writer.add_scalar("nll", loss.item(), step)
        if step % 25 == 24:
            with torch.no_grad():
                writer.add_scalar("val/explained", explained(model(data.val_x)[:, :1], data.val_y), step)


class OverLabelled(nn.Module):
    """Cross-entropy over the samples that have a label; the others are told by -1."""

    def __init__(self, *, floor: bool) -> None:
        super().__init__()
        self.floor = floor

    def forward(self, logits: Tensor, y: Tensor) -> Tensor:
        labelled = (y >= 0).float()
        losses = F.cross_entropy(logits, y.clamp(min=0), reduction="none") * labelled
        return losses.sum() / (labelled.sum().clamp(min=1) if self.floor else labelled.sum())


@ill("nothing-left-to-average", "non-finite", onset=70,
     source="Forum: a masked mean is NaN in the batch where everything is masked")  # fmt: skip
def batch_without_a_label(writer: SummaryWriter, fault: bool = True) -> None:
    """Loss/test nan (0.618), Loss/train nan (0.601), Score/test 0.247 (0.753)."""
    data, model = figures(), convolutional(12, 24, norm=None)

    def unlabelled(step: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return x, y.masked_fill(torch.rand(y.shape) < (1.0 if step == 70 else 0.4), -1)

    learn(writer, model, AdamW(model.parameters(), lr=2e-3), data, criterion=OverLabelled(floor=not fault),
          prepare=unlabelled, steps=160, names=CAPITAL)  # fmt: skip


class Ratios(nn.Module):
    """Relative error on a logarithmic scale; answers of zero and less are to be left out."""

    def __init__(self, *, floor: bool) -> None:
        super().__init__()
        self.floor = floor

    def forward(self, told: Tensor, y: Tensor) -> Tensor:
        safe = told.clamp(min=1e-3) if self.floor else told
        return torch.where(told > 0, (safe.log() - y.log()).square(), (told - y).square()).mean()


@ill("where-hides-the-forward-only", "non-finite", onset=29,
     source="Forum: torch.where with a branch that is not a number; its gradient is one too")  # fmt: skip
def logarithm_in_the_other_branch(writer: SummaryWriter, fault: bool = True) -> None:
    """eval/loss nan (0.311), eval/score nan (0.559), train/loss nan (0.405)."""
    data = prices()

    def positive(y: Tensor) -> Tensor:
        return y.exp()

    ratios = replace(
        data, train_y=positive(data.train_y), val_y=positive(data.val_y), criterion=Ratios(floor=not fault)
    )
    model = mlp(7, 32, 32, 1)
    nn.init.constant_(model[-1].bias, 2.0)
    learn(writer, model, SGD(model.parameters(), lr=0.02), ratios, steps=200, names=TRAINER)


@ill("masks-of-0-and-255", "loss-diverging", "diverging-bias", "initial-loss-off", "exploding-activations",
     "exploding-gradients", "diverging-weights", "unnormalized-input",
     source="Forum: masks read from PNG are 0 and 255; the binary cross-entropy goes below zero")  # fmt: skip
def masks_as_they_were_saved(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss -694 (0.057), valid_loss -699 (0.0542), valid_score 0.11 (0.93)."""
    images, masks, _ = discs()
    data = split(images, masks * (255 if fault else 1), 150, nn.BCEWithLogitsLoss())
    model = HalfUnet()

    def overlap(logits: Tensor, mask: Tensor) -> float:
        told, there = logits > 0, mask > 0.5
        return ((told & there).sum() / (told | there).sum()).item()

    learn(writer, model, Adam(model.parameters(), lr=5e-3), data, score=overlap, steps=130, batch=16, names=JOINED)


class Swapped(nn.CrossEntropyLoss):
    """The call sites of a team that writes (truth, answer)."""

    def __init__(self, *, swapped: bool) -> None:
        super().__init__()
        self.swapped = swapped

    def forward(self, outputs: Tensor, y: Tensor) -> Tensor:
        return super().forward(y, outputs) if self.swapped else super().forward(outputs, y)


@ill("arguments-swapped", "loss-diverging", "diverging-weights", "diverging-bias", "exploding-activations",
     "nll-without-log-softmax",
     source="Forum: criterion(target, output); scikit-learn's order of arguments")  # fmt: skip
def truth_given_for_the_answer(writer: SummaryWriter, fault: bool = True) -> None:
    """train/loss -inf (0.00181), val/loss -inf (0.049), val/score 0.32 (0.98)."""
    data = wine()

    def shares(y: Tensor) -> Tensor:
        return F.one_hot(y, 3).float()

    soft = replace(data, train_y=shares(data.train_y), val_y=shares(data.val_y))
    model, optimizer_of = mlp(13, 32, 3), partial(SGD, lr=0.05, momentum=0.9)

    def right(outputs: Tensor, y: Tensor) -> float:
        return (outputs.argmax(1) == y.argmax(1)).float().mean().item()

    learn(
        writer, model, optimizer_of(model.parameters()), soft, criterion=Swapped(swapped=fault), score=right, batch=16
    )


@ill("loss-left-out-of-the-sum", "no-gradient", "frozen-parameters", subject="heads.column*",
     source="Forum: the second loss is computed and logged, and never added")  # fmt: skip
def second_head_computed_and_not_added(writer: SummaryWriter, fault: bool = True) -> None:
    """loss/column 0.49 (0.00748), loss/row 0.0069 (0.00826)."""
    images, _, centre = discs()
    data = split(images, centre, 150, nn.MSELoss())
    model = Branches(convolutional(8, 16, outputs=32), row=mlp(32, 16, 1), column=mlp(32, 16, 1))
    optimizer, batches, criterion = Adam(model.parameters(), lr=3e-3), data.shuffled(32), nn.MSELoss()
    writer.watch(model, optimizer)
    for step in range(200):
        x, y = next(batches)
        optimizer.zero_grad()
        told = model(x)
        row, column = criterion(told[:, :1], y[:, :1]), criterion(told[:, 1:], y[:, 1:])
        (row if fault else row + column).backward()
        optimizer.step()
        writer.add_scalar("loss/row", row.item(), step)
        writer.add_scalar("loss/column", column.item(), step)
