"""Ill in the loss: what it is given, how it is reduced, what it is made of, and where it has no value."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW

from tb_nnhealth import SummaryWriter
from tests.zoo import registry
from tests.zoo.held_out.bodies import ConvNet, Signal, dense
from tests.zoo.held_out.habits import EPOCHS, KERAS, STEPS, TRAINER, fit
from tests.zoo.held_out.readers import Buyers, Recurrent, Transformer, Writer
from tests.zoo.held_out.shelf import (
    cancer,
    digit_images,
    digits,
    gratings,
    order,
    scaled,
    signals,
    spirals,
    text,
    visits,
    waves,
    wine,
)  # fmt: skip

ill = partial(registry.ill, held_out=True)

SOFTMAXED = "Karpathy's most common mistakes, 4: softmaxed outputs to a loss that expects raw logits; 37 reasons, 19"


@ill("probabilities-into-cross-entropy", "softmax-before-cross-entropy", source=SOFTMAXED)
def softmax_as_last_layer(writer: SummaryWriter, fault: bool = True) -> None:
    """Accuracy/val 0.0921 (0.921), Loss/train 2.28 (0.273), Loss/val 2.28 (0.223)."""
    model = ConvNet(10, 16, 32, norm=None)
    net = nn.Sequential(model, nn.Softmax(1)) if fault else model
    fit(writer, net, digit_images(), SGD(net.parameters(), 0.02, momentum=0.9), epochs=7, tags=EPOCHS)


class Sure(Transformer):
    def forward(self, x: Tensor) -> Tensor:
        return F.softmax(super().forward(x), 1)


@ill("probabilities-into-cross-entropy", "softmax-before-cross-entropy", source=SOFTMAXED)
def softmax_within_forward(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 2.82 (1.41), val_acc 0.442 (0.547), val_loss 2.81 (1.49)."""
    model = (Sure if fault else Transformer)(causal=True)
    fit(writer, model, text(), AdamW(model.parameters(), 2e-3), epochs=7, tags=STEPS)


@ill("sigmoid-before-a-loss-of-logits", "softmax-before-cross-entropy",
     source="Forum: BCEWithLogitsLoss behind a sigmoid; 37 reasons, 19: verify loss input")  # fmt: skip
def buyers_through_two_sigmoids(writer: SummaryWriter, fault: bool = True) -> None:
    """eval/accuracy 0.26 (0.892), eval/loss 0.683 (0.221), train/loss 0.686 (0.185)."""
    model = Buyers()
    if fault:
        model.tower.append(nn.Sigmoid())
    fit(writer, model, visits(), Adam(model.parameters(), 2e-3), epochs=7, tags=TRAINER)


NLL = "Forum: NLLLoss expects logarithms of probabilities; 37 reasons, 19; Jia et al. (2021)"


@ill("likelihood-of-what-is-no-logarithm", "nll-without-log-softmax", source=NLL)
def negative_likelihood_of_logits(writer: SummaryWriter, fault: bool = True) -> None:
    """Accuracy/val 0.862 (0.948), Loss/train -78.1 (0.0123), Loss/val -76.2 (0.126)."""
    model = dense(13, 24, 3, out=None if fault else partial(nn.LogSoftmax, dim=1))
    fit(writer, model, wine(), Adam(model.parameters(), 5e-3), epochs=20, batch=16, criterion=nn.NLLLoss(), tags=EPOCHS)


@ill("likelihood-of-what-is-no-logarithm", "nll-without-log-softmax", source=NLL)
def negative_likelihood_of_probabilities(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss -0.931 (0.0865), val_acc 0.897 (0.973), val_loss -0.875 (0.0913)."""
    model = nn.Sequential(Signal(4), nn.Softmax(1) if fault else nn.LogSoftmax(1))
    optimizer = SGD(model.parameters(), 0.01, momentum=0.9)
    fit(writer, model, signals(), optimizer, epochs=8, criterion=nn.NLLLoss(), tags=STEPS)


@ill("divergence-not-of-logarithms", "nll-without-log-softmax",
     source="Forum: KLDivLoss expects its input in logarithms, and is negative otherwise")  # fmt: skip
def student_told_in_probabilities(writer: SummaryWriter, fault: bool = True) -> None:
    """Accuracy/val 0.549 (0.966), Loss/train -0.855 (0.194), Loss/val -0.906 (0.199)."""
    data, net = digits(), dense(64, 48, 10)
    shares = F.one_hot(data.y, 10) * 0.9 + 0.01
    student = nn.Sequential(net, nn.Softmax(1) if fault else nn.LogSoftmax(1))
    aside = F.one_hot(data.vy, 10) * 0.9 + 0.01
    data = data.change(y=shares, vy=aside, score=lambda o, y: (o.argmax(1) == y.argmax(1)).float().mean().item())
    criterion = nn.KLDivLoss(reduction="batchmean")
    fit(writer, student, data, SGD(student.parameters(), 0.1), epochs=8, criterion=criterion, tags=EPOCHS)


BROADCAST = "Forum: 'Using a target size that is different to the input size'; 37 reasons, 19 and 25"


@ill("outputs-broadcast-over-targets", "nll-without-log-softmax", "softmax-before-cross-entropy", "constant-output",
     source=BROADCAST)  # fmt: skip
def column_against_row(writer: SummaryWriter, fault: bool = True) -> None:
    """Loss/train 0.963 (0.181), Loss/val 1.08 (0.256), r2/val 0.0349 (0.771)."""
    data, model = waves(), dense(8, 48, 48, 1)
    prepare = (lambda x, y: (x, y[:, 0])) if fault else (lambda x, y: (x, y))
    fit(writer, model, data, Adam(model.parameters(), 2e-3), epochs=10, prepare=prepare, tags=EPOCHS)


class OneHot(nn.Module):
    def __init__(self, distance: Callable[..., Tensor]) -> None:
        super().__init__()
        self.distance = distance

    def forward(self, outputs: Tensor, y: Tensor) -> Tensor:
        return self.distance(outputs, F.one_hot(y, outputs.shape[1]).float())


@ill("distance-in-place-of-cross-entropy", "constant-output", "loss-not-decreasing", "underfitting",
     source="DeepCrime (ISSTA 2021), LCH: change loss function; Ghosh et al. (2017)")  # fmt: skip
def absolute_distance_to_one_hot(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 0.106 (0.177), val_acc 0.32 (0.948), val_loss 0.107 (0.173)."""
    model = dense(64, 32, 10)
    criterion = OneHot(F.l1_loss) if fault else nn.CrossEntropyLoss()
    fit(writer, model, digits(), SGD(model.parameters(), 0.1), epochs=8, criterion=criterion, tags=STEPS)


TOO_HIGH = ("learning-rate-too-high", "update-ratio-too-high")


@ill("sum-for-a-mean", *TOO_HIGH, "initial-loss-off",
     source="Forum: reduction='sum' with the rate of a mean; TheDeepChecker (TOSEM 2023): wrong loss "
     "reduction")  # fmt: skip
def sum_of_sixty_four(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 116 (0.0516), val_acc 0.183 (0.947), val_loss 567 (0.122)."""
    model = ConvNet(6, 16, 24, norm=None)
    criterion = nn.CrossEntropyLoss(reduction="sum" if fault else "mean")
    optimizer = SGD(model.parameters(), 0.05, momentum=0.9)
    fit(writer, model, gratings(), optimizer, epochs=8, batch=64, criterion=criterion, tags=STEPS)


@ill("mean-of-a-mean", "learning-rate-too-low", "update-ratio-too-low",
     source="Forum: a mean that is divided by len(dataset) again; 37 reasons, 18")  # fmt: skip
def mean_over_the_data_set_again(writer: SummaryWriter, fault: bool = True) -> None:
    """Accuracy/val 0.39 (0.987), Loss/train 1.1 (0.115), Loss/val 1.09 (0.102)."""
    model = dense(2, 48, 48, 3, act=nn.Tanh)
    optimizer = SGD(model.parameters(), 0.3)

    def update(loss: Tensor) -> None:
        optimizer.zero_grad()
        (loss / 1200 if fault else loss).backward()
        optimizer.step()

    fit(writer, model, spirals(), optimizer, epochs=15, update=update, tags=EPOCHS)


@ill("sign-of-the-loss-wrong", "loss-diverging",
     source="Forum: the loss grows without end, gradient ascent; Humbatova et al. (2020): wrong loss "
     "calculation")  # fmt: skip
def likelihood_minimized(writer: SummaryWriter, fault: bool = True) -> None:
    """eval/accuracy 0.477 (1), eval/loss 20.5 (0.00245), train/loss 18 (0.00263)."""
    model = Recurrent(2, 24, tokens=10)
    optimizer = Adam(model.parameters(), 2e-3)

    def update(loss: Tensor) -> None:
        optimizer.zero_grad()
        (-loss if fault else loss).backward()
        optimizer.step()

    fit(writer, model, order(), optimizer, epochs=8, update=update, tags=TRAINER)


NUMBERS = "37 reasons, 37: solve NaNs; TheDeepChecker (TOSEM 2023): numerical errors"


class Entropy(nn.Module):
    """Binary cross-entropy by hand, whose logarithm meets a zero once the sigmoid is sure."""

    def forward(self, logits: Tensor, y: Tensor) -> Tensor:
        p = logits.sigmoid()
        return -(y * p.log() + (1 - y) * (1 - p).log()).mean()


@ill("logarithm-of-zero", "non-finite", onset=26, source=NUMBERS)
def entropy_by_hand(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss nan (0.00462), val_acc 0.391 (0.97), val_loss nan (0.0932)."""
    model = dense(30, 32, 1)
    criterion = Entropy() if fault else nn.BCEWithLogitsLoss()
    fit(writer, model, cancer(), Adam(model.parameters(), 2e-2), epochs=20, batch=16, criterion=criterion, tags=STEPS)


class Apart(nn.Module):
    """How far apart are two rows? (n, 2, 64) to (n, 1); a root has no slope at zero without a margin."""

    def __init__(self, margin: float) -> None:
        super().__init__()
        self.net, self.margin = dense(64, 48, 8), margin

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.net(x[:, 0]), self.net(x[:, 1])
        return ((first - second).square().sum(1, keepdim=True) + self.margin).sqrt()


class Contrast(nn.Module):
    def forward(self, apart: Tensor, same: Tensor) -> Tensor:
        return (same * apart.square() + (1 - same) * (2 - apart).relu().square()).mean()


def nearer(apart: Tensor, same: Tensor) -> float:
    return ((apart < 1) == (same > 0.5)).float().mean().item()


@ill(
    "zero-distance-under-a-root",
    "non-finite",
    source=NUMBERS + "; forum: the gradient of sqrt at a distance of zero is NaN",
)
def pairs_of_a_digit_and_itself(writer: SummaryWriter, fault: bool = True) -> None:
    """Accuracy/val 0.419 (0.938), Loss/train nan (0.225), Loss/val nan (0.326)."""
    data = digits()

    def paired(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        of_class = [torch.nonzero(y == c)[:, 0] for c in range(10)]
        like = torch.stack([of_class[c][torch.randint(len(of_class[c]), ())] for c in y.tolist()])
        other = torch.where(torch.rand(len(y)) < 0.5, like, torch.randperm(len(y)))
        other[::40] = torch.arange(len(y))[::40]
        return torch.stack([x, x[other]], 1), (y == y[other]).float()[:, None]

    (x, y), (vx, vy) = paired(data.x, data.y), paired(data.vx, data.vy)
    data, model = data.change(x=x, y=y, vx=vx, vy=vy, score=nearer), Apart(0.0 if fault else 1e-6)
    fit(writer, model, data, Adam(model.parameters(), 3e-3), epochs=8, criterion=Contrast(), tags=EPOCHS)


@ill("divided-by-no-deviation", "non-finite", source=NUMBERS + "; forum: a constant column and its z-score")
def z_scores_of_a_constant_column(writer: SummaryWriter, fault: bool = True) -> None:
    """epoch_loss nan (0.167), epoch_val_loss nan (0.254), epoch_val_score 0.74 (0.892)."""
    data, model = visits(), Buyers()

    def scores(x: Tensor) -> Tensor:
        numbers = torch.cat([x[:, 2:5], torch.ones(len(x), 1)], 1)
        numbers = (numbers - numbers.mean(0)) / numbers.std(0) if fault else scaled(numbers)
        return torch.cat([x[:, :2], numbers], 1)

    data = data.change(x=scores(data.x), vx=scores(data.vx))
    fit(writer, model, data, Adam(model.parameters(), 3e-3), epochs=6, tags=KERAS)


@ill("cut-off-losses-give-no-gradient", "underfitting",
     source="Karpathy, Recipe: clip the loss instead of the gradients, and outliers are ignored; 37 "
     "reasons, 18")  # fmt: skip
def rows_above_the_cut_ignored(writer: SummaryWriter, fault: bool = True) -> None:
    """Accuracy/val 0.0772 (0.655), Loss/train 2.4 (1.1), Loss/val 2.4 (1.12)."""
    model = Writer()
    criterion = Cut(2.6 if fault else 1e9)
    fit(writer, model, text(), Adam(model.parameters(), 3e-3), epochs=8, criterion=criterion, tags=EPOCHS)


class Cut(nn.Module):
    def __init__(self, most: float) -> None:
        super().__init__()
        self.most = most

    def forward(self, outputs: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(outputs, y, reduction="none").clamp(max=self.most).mean()
