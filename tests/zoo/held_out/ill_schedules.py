"""Ill for how long the step stays as it is: clipping, accumulation, warm-up and decay."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, lr_scheduler

from tb_nnhealth import SummaryWriter
from tests.zoo import registry
from tests.zoo.held_out.bodies import AutoEncoder, ConvNet, dense
from tests.zoo.held_out.habits import EPOCHS, STEPS, TRAINER, fit
from tests.zoo.held_out.readers import Recurrent, Transformer, Writer
from tests.zoo.held_out.shelf import (
    cancer,
    digits,
    gratings,
    order,
    r_squared,
    series,
    signals,
    spirals,
    text,
)  # fmt: skip

ill = partial(registry.ill, held_out=True)

TOO_HIGH = ("learning-rate-too-high", "update-ratio-too-high")
TOO_LOW = ("learning-rate-too-low", "update-ratio-too-low")


@ill("clip-far-below-the-gradients", *TOO_LOW,
     source="DeepCrime (ISSTA 2021), OCG: change gradient clip")  # fmt: skip
def clipped_at_a_thousandth(writer: SummaryWriter, fault: bool = True) -> None:
    """eval/accuracy 0.0727 (0.633), eval/loss 3.16 (1.28), train/loss 3.16 (1.28)."""
    model = Writer(kind=nn.LSTM)
    optimizer = SGD(model.parameters(), 1.0)
    fit(writer, model, text(), optimizer, epochs=8, clip=1e-4 if fault else 1.0, tags=TRAINER)


@ill("clipping-removed", "gradient-spike", "exploding-gradients", "loss-spike", *TOO_HIGH,
     source="DeepCrime (ISSTA 2021), OCG: change gradient clip; Pascanu et al. (2013)")  # fmt: skip
def tides_without_a_clip(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss nan (0.0766), val_loss nan (0.0787), val_r2 nan (0.927)."""
    model = Recurrent(1, 32, kind=nn.RNN)
    nn.init.orthogonal_(model.rnn.weight_hh_l0, gain=1.3)
    optimizer = SGD(model.parameters(), 0.1, momentum=0.9)
    fit(writer, model, series(), optimizer, epochs=8, clip=None if fault else 0.25, tags=STEPS)


EARLY = ("early-lr-decay", "learning-rate-too-low")
EACH_BATCH = (
    "Forum: scheduler.step() stands in the loop over the batches; Karpathy, Recipe: do not trust decay defaults"
)


@ill("schedule-steps-with-each-batch", *EARLY, source=EACH_BATCH)
def tenfold_less_every_five_batches(writer: SummaryWriter, fault: bool = True) -> None:
    """lr 1.78e-48 (0.002), train_loss 1.7 (0.0665), val_acc 0.39 (0.987), val_loss 1.71 (0.0677)."""
    model = ConvNet(6, 16, 24)
    optimizer = SGD(model.parameters(), 0.02, momentum=0.9)
    schedule = lr_scheduler.StepLR(optimizer, 6, 0.1)

    def step(at: int) -> None:
        writer.add_scalar("lr", optimizer.param_groups[0]["lr"], at)
        if fault or at % 38 == 37:
            schedule.step()

    fit(writer, model, gratings(), optimizer, epochs=8, tags=STEPS, after_step=step)


@ill("schedule-steps-with-each-batch", *EARLY, source=EACH_BATCH)
def exponential_decay_of_batches(writer: SummaryWriter, fault: bool = True) -> None:
    """Loss/train 0.392 (0.0936), Loss/val 0.393 (0.0953), learning_rate 4.09e-24 (0.000847), r2/val -0.336 (0.676)."""
    model = AutoEncoder()
    optimizer = Adam(model.parameters(), 3e-3)
    schedule = lr_scheduler.ExponentialLR(optimizer, 0.9)
    data = digits()
    data = data.change(y=data.x, vy=data.vx, criterion=nn.MSELoss, score=r_squared)

    def step(at: int) -> None:
        if fault or at % 38 == 37:
            schedule.step()

    def epoch(at: int, val: float) -> None:
        writer.add_scalar("learning_rate", schedule.get_last_lr()[0], at)

    fit(writer, model, data, optimizer, epochs=12, tags=EPOCHS, after_step=step, after_epoch=epoch)


@ill("plateau-of-the-wrong-mode", *EARLY,
     source="Forum: ReduceLROnPlateau(mode='max') that is given a loss")  # fmt: skip
def falling_loss_taken_for_a_plateau(writer: SummaryWriter, fault: bool = True) -> None:
    """Loss/train 0.123 (0.0446), Loss/val 0.121 (0.0407), lr 1e-08 (0.001), r2/val 0.888 (0.962)."""
    model = Recurrent(1, 24)
    optimizer = Adam(model.parameters(), 1e-3)
    schedule = lr_scheduler.ReduceLROnPlateau(optimizer, "max" if fault else "min", factor=0.1, patience=1)

    def epoch(at: int, val: float) -> None:
        schedule.step(val)
        writer.add_scalar("lr", optimizer.param_groups[0]["lr"], at)

    fit(writer, model, series(), optimizer, epochs=12, tags=EPOCHS, after_epoch=epoch)


@ill("micro-batches-not-averaged", *TOO_HIGH,
     source="Forum: gradient accumulation without dividing the loss by its number of steps")  # fmt: skip
def sixteen_backwards_summed(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 0.105 (0.0338), val_acc 0.923 (0.973), val_loss 0.834 (0.0706)."""
    model = dense(30, 32, 1, act=nn.Tanh)
    optimizer, done = SGD(model.parameters(), 1.5), 0

    def update(loss: Tensor) -> None:
        nonlocal done
        (loss if fault else loss / 16).backward()
        done += 1
        if done % 16 == 0:
            optimizer.step()
            optimizer.zero_grad()

    fit(writer, model, cancer(), optimizer, epochs=20, batch=4, update=update, tags=STEPS)


@ill("warm-up-left-out", *TOO_HIGH, "slow-start", "vanishing-gradients",
     source="Xiong et al. (2020): norms behind their layers need a warm-up; forum: my transformer does "
     "not learn")  # fmt: skip
def post_norm_at_full_rate(writer: SummaryWriter, fault: bool = True) -> None:
    """eval/accuracy 0.477 (0.893), eval/loss 0.7 (0.259), train/loss 0.691 (0.389)."""
    model = Transformer(2, 10, depth=5, post=True)
    optimizer = Adam(model.parameters(), 1e-2 if fault else 1e-3)
    warm = lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 if fault else min(1.0, (step + 1) / 100))
    fit(writer, model, order(), optimizer, epochs=6, tags=TRAINER, after_step=lambda _: warm.step())


@ill("momentum-diverges", "loss-diverging", *TOO_HIGH, "non-finite",
     source="CS231n: very high learning rate, the loss goes up; seen in ordinary scalars alone")  # fmt: skip
def autoencoder_that_runs_away(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss nan (1.42), val_loss nan (1.41), val_r2 nan (0.701)."""
    model = AutoEncoder(act=nn.ReLU)
    data = digits()
    data = data.change(y=4 * data.x, vy=4 * data.vx, criterion=nn.MSELoss, score=r_squared)
    optimizer = SGD(model.parameters(), 1.6 if fault else 0.05, momentum=0.9)
    fit(writer, model, data, optimizer, epochs=8, tags=STEPS, told="unwatched")


@ill("rate-raised-in-the-middle", *TOO_HIGH, "loss-spike", onset=152,
     source="Forum: a typing error in MultiStepLR, gamma of 10 for 0.1; DeepCrime, HLR")  # fmt: skip
def tenfold_up_in_place_of_down(writer: SummaryWriter, fault: bool = True) -> None:
    """lr 0.3 (0.003), train_loss 1.21 (0.393), val_acc 0.347 (0.713), val_loss 1.23 (0.586)."""
    model = dense(48, 48, 48, 4)
    data = signals()
    data = data.change(x=data.x.flatten(1), vx=data.vx.flatten(1))
    optimizer = SGD(model.parameters(), 0.03, momentum=0.9)
    schedule = lr_scheduler.MultiStepLR(optimizer, [152], gamma=10.0 if fault else 0.1)

    def step(at: int) -> None:
        schedule.step()
        writer.add_scalar("lr", schedule.get_last_lr()[0], at)

    fit(writer, model, data, optimizer, epochs=8, tags=STEPS, after_step=step)


@ill("warm-up-by-whole-numbers", *TOO_LOW, "frozen-parameters",
     source="Forum: LambdaLR(lambda step: step // warmup) is zero all the while; DeepCrime, HLR")  # fmt: skip
def rate_rounded_down_to_nothing(writer: SummaryWriter, fault: bool = True) -> None:
    """lr 0 (0.002), train_loss 2.34 (0.103), val_acc 0.0988 (0.968), val_loss 2.35 (0.119)."""
    model = dense(64, 64, 10, act=nn.GELU)
    optimizer = Adam(model.parameters(), 2e-3)
    warm = lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, step // 1000 if fault else (step + 1) / 50))

    def step(at: int) -> None:
        warm.step()
        writer.add_scalar("lr", warm.get_last_lr()[0], at)

    fit(writer, model, digits(), optimizer, epochs=9, tags=STEPS, after_step=step)


@ill("decay-planned-for-a-shorter-run", *EARLY,
     source="Forum: num_training_steps counts epochs or is left from a trial; Karpathy, Recipe")  # fmt: skip
def linear_to_zero_after_thirty_steps(writer: SummaryWriter, fault: bool = True) -> None:
    """lr 5e-09 (0.000483), train_loss 0.697 (0.053), val_acc 0.547 (0.977), val_loss 0.724 (0.0473)."""
    model = dense(2, 48, 48, 3)
    optimizer = AdamW(model.parameters(), 5e-3)
    schedule = lr_scheduler.LinearLR(optimizer, 1.0, 1e-6, total_iters=60 if fault else 600)

    def step(at: int) -> None:
        schedule.step()
        writer.add_scalar("lr", schedule.get_last_lr()[0], at)

    fit(writer, model, spirals(), optimizer, epochs=15, tags=STEPS, after_step=step)


@ill("large-batch-at-the-rate-of-small", "large-batch", "learning-rate-too-low", "still-improving",
     source="DeepCrime (ISSTA 2021), HBS: change batch size; Goyal et al. (2017); 37 reasons, 11")  # fmt: skip
def six_hundred_digits_a_step(writer: SummaryWriter, fault: bool = True) -> None:
    """Accuracy/val 0.559 (0.971), Loss/train 2.03 (0.0852), Loss/val 2.03 (0.112)."""
    model = dense(64, 64, 10, act=nn.Tanh)
    optimizer = SGD(model.parameters(), 0.02)
    fit(writer, model, digits(), optimizer, epochs=25, batch=600 if fault else 8, tags=EPOCHS)
