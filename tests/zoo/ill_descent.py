"""Ill for how they descend, and for what the optimizer is given."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from tb_nnhealth import SummaryWriter
from tests.zoo.faulty.loop import descend_scaled, scheduled, train
from tests.zoo.faulty.networks import Half, Recurrent, Transformer, cnn, mlp
from tests.zoo.faulty.problems import diabetes, images, pixels, rows, tumours
from tests.zoo.registry import ill

ASCENT = "Forum: loss with the wrong sign, maximize=True; TheDeepChecker (TOSEM 2023): divergence"
MOMENTUM = "Goh, Why Momentum Really Works (2017): effective rate lr / (1 - momentum)"
CLEARED = "Forum: zero_grad between backward and step"
UNSCALED = "PyTorch, Automatic Mixed Precision examples: unscale before clipping"
COPY = "TrainCheck (OSDI 2025): optimizer holding stale parameters"
TOO_LOW = ("update-ratio-too-low", "learning-rate-too-low")


@ill("ascent", "loss-diverging", source=ASCENT)
def optimizer_that_maximizes(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 48, 10, activation=nn.Tanh)
    train(writer, model, SGD(model.parameters(), lr=0.02, maximize=fault), pixels(), steps=150)


@ill("ascent", "loss-diverging", onset=80, source=ASCENT)
def sign_of_the_loss_turned_midway(writer: SummaryWriter, fault: bool = True) -> None:
    model = cnn((8, 16), norm=False)
    optimizer = Adam(model.parameters(), lr=5e-4)

    def update(step: int, loss: Tensor) -> None:
        optimizer.zero_grad()
        (-loss if fault and step >= 80 else loss).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    train(writer, model, optimizer, images(), update=update, steps=200)


HEAVY = ("loss-oscillating", "learning-rate-too-high", "update-ratio-too-high", "loss-diverging")


@ill("momentum-too-high", *HEAVY, source=MOMENTUM)
def momentum_of_0_999(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 64, 64, 10)
    train(writer, model, SGD(model.parameters(), lr=0.1, momentum=0.999 if fault else 0.5), pixels(), steps=300)


@ill("momentum-too-high", *HEAVY, source=MOMENTUM)
def nesterov_momentum_of_0_998_in_a_recurrent_network(writer: SummaryWriter, fault: bool = True) -> None:
    model = Recurrent(nn.RNN, 48)
    momentum = 0.998 if fault else 0.8
    train(writer, model, SGD(model.parameters(), lr=0.05, momentum=momentum, nesterov=True), rows(), steps=300)


@ill(
    "dropout-too-strong", "over-regularized", "underfitting", source="DeepCrime (ISSTA 2021), RCD: change dropout rate"
)
def nineteen_of_twenty_units_dropped(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 64, 64, 10, dropout=0.95 if fault else 0.1)
    train(writer, model, Adam(model.parameters(), lr=1e-3), pixels(), steps=400)


@ill(
    "dropout-too-strong", "over-regularized", "underfitting", source="DeepCrime (ISSTA 2021), RCD: change dropout rate"
)
def keep_probability_taken_for_dropout(writer: SummaryWriter, fault: bool = True) -> None:
    model = cnn((8, 16), dropout=0.97 if fault else 0.03)
    train(writer, model, SGD(model.parameters(), lr=0.02, momentum=0.9), images(), steps=300)


def clearing_too_late(optimizer: Optimizer, since: int, *, to_none: bool = True) -> Callable[[int, Tensor], None]:
    """``zero_grad`` after ``backward`` from a step on."""

    def update(step: int, loss: Tensor) -> None:
        if step < since:
            optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if step >= since:
            optimizer.zero_grad(set_to_none=to_none)
        optimizer.step()

    return update


@ill("zero-grad-after-backward", "no-gradient", "frozen-parameters", source=CLEARED)
def cleared_between_backward_and_step(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(30, 32, 1)
    optimizer = Adam(model.parameters(), lr=1e-3)
    update = clearing_too_late(optimizer, 0, to_none=False) if fault else None
    train(writer, model, optimizer, tumours(), update=update)


@ill("zero-grad-after-backward", "no-gradient", "frozen-parameters", onset=60, source=CLEARED)
def cleared_too_late_since_a_refactoring(writer: SummaryWriter, fault: bool = True) -> None:
    model = Transformer(depth=1)
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.0)
    update = clearing_too_late(optimizer, 60, to_none=False) if fault else None
    train(writer, model, optimizer, rows(), update=update)


def clipped_while_scaled(
    model: nn.Module, optimizer: Optimizer, scaler: torch.amp.GradScaler, *, unscale: bool
) -> Callable[[int, Tensor], None]:
    def clip() -> None:
        if unscale:
            scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)

    return descend_scaled(optimizer, scaler, clip)


@ill("clipped-before-unscaling", *TOO_LOW, source=UNSCALED)
def norm_of_scaled_gradients_clipped(writer: SummaryWriter, fault: bool = True) -> None:
    model = Half(mlp(64, 64, 64, 10), torch.float16)
    optimizer, scaler = SGD(model.parameters(), lr=0.1), torch.amp.GradScaler("cpu")
    update = clipped_while_scaled(model, optimizer, scaler, unscale=not fault)
    train(writer, model, optimizer, pixels(), update=update, scaler=scaler)


@ill("clipped-before-unscaling", *TOO_LOW, source=UNSCALED)
def scaled_gradients_of_convolutions_clipped(writer: SummaryWriter, fault: bool = True) -> None:
    model = Half(cnn((8, 16)), torch.float16)
    optimizer, scaler = SGD(model.parameters(), lr=0.02, momentum=0.9), torch.amp.GradScaler("cpu")
    update = clipped_while_scaled(model, optimizer, scaler, unscale=not fault)
    train(writer, model, optimizer, images(), update=update, scaler=scaler, steps=150)


@ill("optimizer-of-a-copy", "optimizer-misses-parameters", "frozen-parameters", source=COPY)
def model_copied_after_the_optimizer_was_built(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(10, 32, 1)
    optimizer = Adam(model.parameters(), lr=2e-3)
    if fault:
        model = copy.deepcopy(model)
    train(writer, model, optimizer, diabetes(), batch_size=32)


@ill("optimizer-of-a-copy", "optimizer-misses-parameters", "frozen-parameters", source=COPY)
def model_loaded_after_the_optimizer_was_built(writer: SummaryWriter, fault: bool = True) -> None:
    built = cnn((8, 16))
    optimizer = AdamW(built.parameters(), lr=1e-3)
    model = cnn((8, 16)) if fault else built
    model.load_state_dict(built.state_dict())
    train(writer, model, optimizer, images())


def rising(start: float, factor: float, since: int, top: float) -> Callable[[int], float]:
    return lambda step: min(top, start * factor ** max(0, step - since))


@ill(
    "learning-rate-grows", "learning-rate-too-high", "update-ratio-too-high", "loss-diverging", onset=60,
    source="Forum: ExponentialLR with gamma above 1",
)  # fmt: skip
def gamma_above_one(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 64, 64, 10, activation=nn.Tanh)
    optimizer = SGD(model.parameters(), lr=0.05)
    rate = scheduled(writer, optimizer, rising(0.05, 1.08 if fault else 1.0, 60, 100.0))
    train(writer, model, optimizer, pixels(), before_step=rate, steps=250)


@ill(
    "learning-rate-grows", "learning-rate-too-high", "update-ratio-too-high", "loss-diverging", onset=50,
    source="Forum: a warm-up that never ends",
)  # fmt: skip
def warm_up_without_an_end(writer: SummaryWriter, fault: bool = True) -> None:
    model = cnn((8, 16))
    optimizer = Adam(model.parameters(), lr=1e-3)
    rate = scheduled(writer, optimizer, rising(1e-3, 1.1 if fault else 1.0, 50, 5.0))
    train(writer, model, optimizer, images(), before_step=rate, steps=180)


class Generator(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(*mlp(16, 64, 64), nn.Tanh())


@ill(
    "zero-grad-of-the-other-network",
    "stale-gradients",
    source="Forum: DCGAN; the discriminator keeps the generator's gradients",
)
def discriminator_that_keeps_the_generators_gradients(writer: SummaryWriter, fault: bool = True) -> None:
    torch.manual_seed(0)
    data, generator, discriminator = pixels(), Generator(), mlp(64, 64, 1, activation=nn.ELU)
    opt_g, opt_d = Adam(generator.parameters(), lr=5e-4), SGD(discriminator.parameters(), lr=0.02)
    criterion, batches = nn.BCEWithLogitsLoss(), data.shuffled(64)
    writer.watch(discriminator, opt_d, criterion=criterion, name="D")
    ones, zeros = torch.ones(64, 1), torch.zeros(64, 1)
    for step in range(220):
        real, fake = next(batches)[0].tanh(), generator(torch.randn(64, 16))
        if not fault:
            opt_d.zero_grad()
        loss_d = criterion(discriminator(real), ones) + criterion(discriminator(fake.detach()), zeros)
        loss_d.backward()
        opt_d.step()
        opt_g.zero_grad()
        loss_g = nn.functional.softplus(-discriminator(fake)).mean()
        loss_g.backward()
        opt_g.step()
        writer.add_scalar("loss_D", loss_d.item(), step)
        writer.add_scalar("loss_G", loss_g.item(), step)


@ill(
    "zero-grad-of-the-other-network", "stale-gradients", source="Forum: two optimizers, zero_grad called on one of them"
)
def head_whose_own_optimizer_is_never_cleared(writer: SummaryWriter, fault: bool = True) -> None:
    model = Transformer(depth=1)
    body = [p for name, p in model.named_parameters() if not name.startswith("head")]
    optimizers = AdamW(body, lr=1e-3), SGD(model.head.parameters(), lr=0.5)

    def update(step: int, loss: Tensor) -> None:
        for optimizer in optimizers[: 1 if fault else 2]:
            optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for optimizer in optimizers:
            optimizer.step()

    train(writer, model, optimizers, rows(), update=update, steps=180)


class Writing(RMSprop):
    """An optimizer after whose steps some weights are written back as they were."""

    def __init__(self, *args: Any, kept: list[Tensor], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.kept = kept

    def step(self, closure: Any = None) -> Any:  # type: ignore[override]
        before = [weight.detach().clone() for weight in self.kept]
        result = super().step(closure)
        with torch.no_grad():
            for weight, value in zip(self.kept, before, strict=True):
                weight.copy_(value)
        return result


@ill(
    "weights-written-back",
    "frozen-parameters",
    subject="[02]*",
    source="TheDeepChecker (TOSEM 2023): parameters not updated",
)
def tied_copy_that_undoes_the_step(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 16, 16, 10)
    kept = [model[0].weight, model[2].weight] if fault else []
    train(writer, model, Writing(model.parameters(), lr=1e-3, kept=kept), pixels())  # type: ignore[arg-type]


@ill(
    "weights-written-back",
    "frozen-parameters",
    subject="recurrent*",
    source="Forum: weight_hh overwritten by a constraint in each step",
)
def constraint_that_restores_the_recurrent_weights(writer: SummaryWriter, fault: bool = True) -> None:
    model = Recurrent(nn.RNN, 16)
    kept = [weight for name, weight in model.recurrent.named_parameters() if "weight" in name] if fault else []
    train(writer, model, Writing(model.parameters(), lr=2e-3, kept=kept), rows())
