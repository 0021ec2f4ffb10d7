"""Ill for how their losses weigh: rare answers, tasks in their own units, padding that counts, no gradient at all."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW

from tb_nnhealth import SummaryWriter
from tests.zoo.builders.branching import Branches, mlp
from tests.zoo.builders.material import friedman, order_of_words, prices
from tests.zoo.builders.practice import CAPITAL, LONG, SLASHED, TRAINER, explained, learn
from tests.zoo.faulty.problems import pixels
from tests.zoo.registry import ill


@ill("positive-weight-of-a-thousand", "initial-loss-off", "loss-oscillating", "learning-rate-too-high",
     "update-ratio-too-high", "exploding-gradients", "gradient-spike", "constant-output", "loss-spike",
     source="Forum: pos_weight taken for a percentage; all becomes positive")  # fmt: skip
def alarms_weighted_a_thousandfold(writer: SummaryWriter, fault: bool = True) -> None:
    """training_loss 4.55 (0.352), validation_loss 4.39 (0.484), validation_score 0 (0.732)."""
    data = friedman()

    def failed(y: Tensor) -> Tensor:
        return (y > 1.0).float()

    def informed(outputs: Tensor, y: Tensor) -> float:
        """Recall plus specificity minus one."""
        told, there = outputs > 0, y > 0.5
        return (told[there].float().mean() - told[~there].float().mean()).item()

    weight = torch.tensor([1000.0 if fault else 5.0])
    alarms = replace(data, train_y=failed(data.train_y), val_y=failed(data.val_y),
                     criterion=nn.BCEWithLogitsLoss(pos_weight=weight))  # fmt: skip
    model = mlp(10, 32, 32, 1)
    optimizer = SGD(model.parameters(), lr=0.02, momentum=0.9)
    learn(writer, model, optimizer, alarms, score=informed, steps=300, names=LONG)


@ill("task-in-dollars", "loss-term-imbalance", "initial-loss-off", "diverging-bias", "exploding-gradients",
     source="Kendall et al., Multi-Task Learning Using Uncertainty (CVPR 2018); TheDeepChecker: unscaled "
     "targets")  # fmt: skip
def price_in_dollars_beside_a_class(writer: SummaryWriter, fault: bool = True) -> None:
    """accuracy/inland 0.607 (0.853), loss/inland 0.687 (0.307), loss/price 1.26e+04 (0.094)."""
    data, g = prices(), torch.Generator().manual_seed(8)
    inland = (torch.randn(len(data.train_y), generator=g) * 0.3 + data.train_x[:, 0] * data.train_x[:, 5] > 0).float()
    model = Branches(nn.Sequential(mlp(7, 48, 48), nn.ReLU()), price=nn.Linear(48, 1), inland=nn.Linear(48, 1))
    optimizer = Adam(model.parameters(), lr=2e-3)
    writer.watch(model, optimizer)
    for step in range(400):
        chosen = torch.randint(len(inland), (64,))
        told = model(data.train_x[chosen])
        price = data.train_y[chosen, 0] * (300.0 if fault else 1.0)
        losses = {
            "loss/price": F.mse_loss(told[:, 0], price),
            "loss/inland": F.binary_cross_entropy_with_logits(told[:, 1], inland[chosen]),
        }
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        for tag, loss in losses.items():
            writer.add_scalar(tag, loss.item(), step)
        if step % 25 == 24:
            with torch.no_grad():
                answers = model(data.train_x)[:, 1]
            writer.add_scalar("accuracy/inland", ((answers > 0) == (inland > 0.5)).float().mean().item(), step)


class Tagger(nn.Module):
    """A tag for each word, as (n, tags, time)."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(21, 16)
        self.layers = nn.Sequential(nn.Conv1d(16, 24, 3, padding=1), nn.ReLU(), nn.Conv1d(24, 5, 1))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.layers(self.words(tokens).transpose(1, 2))


@ill("padding-in-the-loss", "class-imbalance", "constant-output",
     source="Forum: ignore_index is not set and most labels are padding; TheDeepChecker: "
     "non-representative loss")  # fmt: skip
def tags_of_padding_count(writer: SummaryWriter, fault: bool = True) -> None:
    """eval/loss 0.095 (0.0176), eval/score 0.364 (1), train/loss 0.0965 (0.019)."""
    data = order_of_words()

    def padded(x: Tensor) -> tuple[Tensor, Tensor]:
        return F.pad(x, (0, 180), value=20), F.pad(1 + x % 4, (0, 180), value=0)

    (x, y), (val_x, val_y) = padded(data.train_x), padded(data.val_x)
    criterion = nn.CrossEntropyLoss() if fault else nn.CrossEntropyLoss(ignore_index=0)
    longer = replace(data, train_x=x, train_y=y, val_x=val_x, val_y=val_y, criterion=criterion)

    def tagged(outputs: Tensor, y: Tensor) -> float:
        return (outputs.argmax(1) == y)[y > 0].float().mean().item()

    model = Tagger()
    learn(writer, model, SGD(model.parameters(), lr=0.2), longer, score=tagged, steps=150, names=TRAINER)


class Exponential(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.exp()


@ill("exponential-before-a-squared-error", "non-finite", "exploding-gradients", "gradient-spike", "loss-spike",
     "learning-rate-too-high", "loss-diverging", "exploding-activations", "update-ratio-too-high",
     source="TheDeepChecker (TOSEM 2023): out-of-range activations; forum: exp on the output of a count "
     "model")  # fmt: skip
def rates_by_exp_and_a_squared_error(writer: SummaryWriter, fault: bool = True) -> None:
    """train/loss 4.44 (0.123), val/loss 2.49 (0.209), val/score 0.357 (0.655)."""
    data = prices()

    def counts(y: Tensor) -> Tensor:
        return (3 + y).clamp(0, 8).exp().div(20).round()

    counted = replace(data, train_y=counts(data.train_y), val_y=counts(data.val_y))
    model = mlp(7, 48, 48, 1)
    if fault:
        model.append(Exponential())
    criterion = nn.MSELoss() if fault else nn.PoissonNLLLoss()

    def score(outputs: Tensor, y: Tensor) -> float:
        return explained(outputs if fault else outputs.exp(), y)

    optimizer = SGD(model.parameters(), lr=5e-3)
    learn(writer, model, optimizer, counted, criterion=criterion, score=score, steps=300, names=SLASHED)


@ill("loss-wrapped-anew", "no-gradient", "frozen-parameters",
     source="Forum: torch.tensor(loss, requires_grad=True) so that backward does not complain")  # fmt: skip
def loss_made_a_tensor_again(writer: SummaryWriter, fault: bool = True) -> None:
    """Loss/test 2.39 (0.122), Loss/train 2.4 (0.0829), Score/test 0.0907 (0.965)."""
    data = pixels()
    model = nn.Sequential(nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 12, 3), nn.GELU(), nn.Flatten(), nn.Linear(432, 10))
    optimizer = AdamW(model.parameters(), lr=2e-3)

    def update(step: int, loss: Tensor) -> None:
        if fault:
            loss = torch.tensor(loss.item(), requires_grad=True)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    learn(writer, model, optimizer, data, update=update, steps=200, names=CAPITAL)
