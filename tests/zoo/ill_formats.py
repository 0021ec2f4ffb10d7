"""Ill for the formats that numbers are kept in, and for losses that have no floor."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam

from tb_nnhealth import SummaryWriter
from tests.zoo.builders.generative import EvidenceBound, Variational
from tests.zoo.builders.habits import descend
from tests.zoo.builders.tasks import line
from tests.zoo.faulty.loop import train
from tests.zoo.faulty.networks import Half, cnn, mlp
from tests.zoo.faulty.problems import images, pixels
from tests.zoo.registry import ill


@ill("adam-in-pure-float16", "non-finite", "low-precision-range",
     source="Forum: NaN after the first step of Adam on a model.half(); eps of 1e-8 is zero in float16")  # fmt: skip
def epsilon_that_float16_rounds_to_zero(writer: SummaryWriter, fault: bool = True) -> None:
    dtype = torch.float16 if fault else torch.float32
    model = mlp(64, 64, 64, 10).to(dtype)
    train(
        writer, model, Adam(model.parameters(), lr=1e-3), pixels(), steps=100,
        prepare=lambda step, x, y: (x.to(dtype), y), validation=lambda x: x.to(dtype),
    )  # fmt: skip


@ill("static-loss-scale-too-large", "non-finite", "low-precision-range",
     source="Micikevicius et al. (ICLR 2018), 3.2: a constant scale that overflows")  # fmt: skip
def constant_scale_of_two_to_the_24(writer: SummaryWriter, fault: bool = True) -> None:
    model, data, scale = Half(cnn((8, 16), norm=False), torch.float16), images(), 2.0**24 if fault else 2.0**7
    optimizer, criterion, batches = SGD(model.parameters(), lr=0.05), nn.CrossEntropyLoss(), data.shuffled(64)
    writer.watch(model, optimizer, criterion=criterion)
    for step in range(150):
        x, y = next(batches)
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        (loss * scale).backward()
        for p in model.parameters():
            assert p.grad is not None
            p.grad /= scale
        optimizer.step()
        writer.add_scalar("train/loss", loss.item(), step)


@ill("weights-rounded-after-each-step", "frozen-parameters", "low-precision-range", "update-ratio-too-low",
     source="Forum: weights exported with two decimals and loaded again")  # fmt: skip
def two_decimals_kept(writer: SummaryWriter, fault: bool = True) -> None:
    model, data, criterion = mlp(64, 48, 48, 10), pixels(), nn.CrossEntropyLoss()
    optimizer, batches = SGD(model.parameters(), lr=0.03), data.shuffled(64)
    writer.watch(model, optimizer, criterion=criterion)

    def loss_of(step: int) -> Tensor:
        x, y = next(batches)
        return criterion(model(x), y)  # type: ignore[no-any-return]

    @torch.no_grad()
    def rounded(step: int) -> None:
        for p in model.parameters() if fault else ():
            p.copy_((p * 20).round() / 20)

    def validation() -> dict[str, float]:
        return {"val_loss": criterion(model(data.val_x), data.val_y).item()}

    descend(writer, optimizer, loss_of, 250, tag="train_loss", after_step=rounded, examine=validation)


@ill("variance-without-a-floor", "exploding-gradients", "gradient-spike", "loss-spike", "loss-oscillating",
     "loss-diverging", source="Seitzer et al. (ICLR 2022): likelihoods whose variance goes to zero")  # fmt: skip
def told_variance_of_noiseless_data(writer: SummaryWriter, fault: bool = True) -> None:
    task, model = line(), mlp(4, 48, 2, activation=nn.Tanh)
    optimizer = Adam(model.parameters(), lr=2e-2)
    writer.watch(model, optimizer)

    def loss_of(step: int) -> Tensor:
        x, y = task.batch(torch.randint(len(task), (32,)))
        mean, log_variance = model(x).split(1, 1)
        if not fault:
            log_variance = log_variance.clamp_min(-4)
        return (log_variance + (y - mean).square() / log_variance.exp()).mean() / 2  # type: ignore[no-any-return]

    def validation() -> dict[str, float]:
        return {"val/mse": (model(task.val_x)[:, :1] - task.val_y).square().mean().item()}

    descend(writer, optimizer, loss_of, 500, tag="train/nll_loss", examine=validation)


@ill("posterior-collapse", "over-regularized", "loss-term-imbalance", "constant-output", "underfitting",
     source="Bowman et al. (CoNLL 2016): the divergence wins and the code says nothing")  # fmt: skip
def divergence_weighted_fiftyfold(writer: SummaryWriter, fault: bool = True) -> None:
    model, data = Variational(6), pixels()
    optimizer, batches = Adam(model.parameters(), lr=2e-3), data.shuffled(64)
    writer.watch(model, optimizer)
    bound = EvidenceBound(weight=0.0)

    def parts(x: Tensor) -> tuple[Tensor, Tensor]:
        answer = model(x)
        reconstruction = bound(answer, x)
        return reconstruction, EvidenceBound(weight=1.0)(answer, x) - reconstruction

    def loss_of(step: int) -> Tensor:
        reconstruction, divergence = parts(next(batches)[0])
        writer.add_scalar("loss/reconstruction", reconstruction.item(), step)
        writer.add_scalar("loss/divergence", divergence.item(), step)
        return reconstruction + (50.0 if fault else 1.0) * divergence

    def validation() -> dict[str, float]:
        return {"val/reconstruction": parts(data.val_x)[0].item()}

    descend(writer, optimizer, loss_of, 300, tag="loss/total", examine=validation, modes=model)


@ill("bootstrapping-diverges", "loss-diverging", "diverging-weights", "diverging-bias", "exploding-activations",
     source="Sutton and Barto, 11.3: the deadly triad; forum: values of terminal states are not masked")  # fmt: skip
def values_without_an_end(writer: SummaryWriter, fault: bool = True) -> None:
    net = mlp(11, 48, 2)
    optimizer = SGD(net.parameters(), lr=0.1, momentum=0.9)
    writer.watch(net, optimizer)
    place, action = torch.randint(11, (4000,)), torch.randint(2, (4000,))
    there = (place + 2 * action - 1).clamp(0, 10)

    def loss_of(step: int) -> Tensor:
        chosen = torch.randint(4000, (64,))
        now, then = F.one_hot(place[chosen], 11).float(), F.one_hot(there[chosen], 11).float()
        with torch.no_grad():
            after = net(then).amax(1)
            ended = (there[chosen] == 10).float()
            aim = ended + (1.02 * after if fault else 0.9 * after * (1 - ended))
        return F.mse_loss(net(now).gather(1, action[chosen, None])[:, 0], aim)

    descend(writer, optimizer, loss_of, 500, tag="td_loss")
