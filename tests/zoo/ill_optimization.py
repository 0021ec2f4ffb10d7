"""Ill for how they descend: learning rates, schedules, batch sizes, clipping, and the sign of the step."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, RMSprop

from tb_nnhealth import SummaryWriter
from tests.zoo.faulty.loop import descend, scheduled, train
from tests.zoo.faulty.networks import HandWritten, Recurrent, Transformer, cnn, mlp
from tests.zoo.faulty.problems import diabetes, images, pixels, rows
from tests.zoo.registry import ill

HLR = "DeepCrime (ISSTA 2021), HLR: change learning rate"
HBS = "DeepCrime (ISSTA 2021), HBS: change batch size"
TOO_HIGH = ("learning-rate-too-high", "update-ratio-too-high")
TOO_LOW = ("learning-rate-too-low", "update-ratio-too-low")


@ill("learning-rate-too-high", *TOO_HIGH, source=HLR)
def adam_at_0_3(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 64, 64, 64, 10)
    train(writer, model, Adam(model.parameters(), lr=0.3 if fault else 1e-3), pixels())


@ill("learning-rate-too-high", *TOO_HIGH, source="AUTOTRAINER (ICSE 2021): large learning rate; oscillating loss")
def convolutions_at_sgd_1(writer: SummaryWriter, fault: bool = True) -> None:
    model = cnn((8, 16), norm=False)
    train(writer, model, SGD(model.parameters(), lr=1.0 if fault else 0.02, momentum=0.9), images(), steps=150)


@ill("learning-rate-too-high", *TOO_HIGH, source="TheDeepChecker (TOSEM 2023): unstable parameters, high learning rate")
def transformer_at_adam_0_2(writer: SummaryWriter, fault: bool = True) -> None:
    model = Transformer()
    train(writer, model, Adam(model.parameters(), lr=0.2 if fault else 3e-3), rows(), steps=150)


@ill("learning-rate-too-low", *TOO_LOW, source=HLR)
def sgd_at_1e_5(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 64, 64, 10)
    train(writer, model, SGD(model.parameters(), lr=1e-5 if fault else 0.1), pixels(), steps=300)


@ill("learning-rate-too-low", *TOO_LOW, source="AUTOTRAINER (ICSE 2021): small learning rate; slow convergence")
def convolutions_at_adam_1e_7(writer: SummaryWriter, fault: bool = True) -> None:
    model = cnn((8, 16))
    train(writer, model, Adam(model.parameters(), lr=1e-7 if fault else 1e-3), images(), steps=250)


@ill("learning-rate-too-low", *TOO_LOW, source="DeepCrime (ISSTA 2021), OCH: change optimisation function")
def rmsprop_with_the_rate_of_a_fine_tuning(writer: SummaryWriter, fault: bool = True) -> None:
    model = Recurrent(nn.LSTM, 32)
    train(writer, model, RMSprop(model.parameters(), lr=1e-6 if fault else 2e-3), rows(), steps=200)


@ill("learning-rate-too-low", *TOO_LOW, source="Forum: num_warmup_steps for many epochs, and the run has one")
def warm_up_of_twenty_times_the_run(writer: SummaryWriter, fault: bool = True) -> None:
    model = Transformer()
    optimizer = AdamW(model.parameters(), lr=2e-3)
    length = 6000 if fault else 30
    rate = scheduled(writer, optimizer, lambda step: 2e-3 * min(1.0, (step + 1) / length))
    train(writer, model, optimizer, rows(), before_step=rate, steps=300)


@ill("learning-rate-leaps", *TOO_HIGH, onset=100, source="Forum: a schedule in percent is taken as a factor")
def rate_times_500_after_a_hundred_steps(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 96, 96, 10, norm=nn.LayerNorm)
    optimizer = Adam(model.parameters(), lr=1e-3)
    rate = scheduled(writer, optimizer, lambda step: 0.5 if fault and step >= 100 else 1e-3)
    train(writer, model, optimizer, pixels(), before_step=rate, steps=250)


@ill("learning-rate-leaps", *TOO_HIGH, onset=80, source="Forum: a schedule in percent is taken as a factor")
def rate_of_the_wrong_group_after_eighty_steps(writer: SummaryWriter, fault: bool = True) -> None:
    model = Recurrent(nn.GRU, 48)
    optimizer = SGD(model.parameters(), lr=0.2, momentum=0.9)
    rate = scheduled(writer, optimizer, lambda step: 50.0 if fault and step >= 80 else 0.2)
    train(writer, model, optimizer, rows(), before_step=rate, steps=200)


@ill(
    "scheduler-steps-per-batch",
    "early-lr-decay",
    "learning-rate-too-low",
    source="Forum: scheduler.step() inside the batch loop",
)
def exponential_decay_each_batch(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 64, 64, 10)
    optimizer = SGD(model.parameters(), lr=0.1)
    rate = scheduled(writer, optimizer, lambda step: 0.1 * 0.9 ** (step if fault else step // 22))
    train(writer, model, optimizer, pixels(), before_step=rate, steps=250)


@ill(
    "scheduler-steps-per-batch", "early-lr-decay", "learning-rate-too-low", onset=30,
    source="Forum: scheduler.step() inside the batch loop",
)  # fmt: skip
def milestones_counted_in_batches(writer: SummaryWriter, fault: bool = True) -> None:
    model = cnn((8, 16), norm=False)
    optimizer = SGD(model.parameters(), lr=0.02, momentum=0.9)
    rate = scheduled(writer, optimizer, lambda step: 0.02 * 0.1 ** ((step if fault else step // 22) // 30))
    train(writer, model, optimizer, images(), before_step=rate, steps=200)


@ill(
    "scheduler-steps-per-batch",
    "early-lr-decay",
    "learning-rate-too-low",
    onset=20,
    source="Forum: T_max in epochs, step in batches",
)
def cosine_that_ends_after_forty_batches(writer: SummaryWriter, fault: bool = True) -> None:
    model = Transformer()
    optimizer = AdamW(model.parameters(), lr=1e-3)
    schedule = torch.cos(torch.arange(400) / (40 if fault else 400) * torch.pi).add(1).div(2).tolist()
    rate = scheduled(writer, optimizer, lambda step: 1e-3 * schedule[step] if step < 40 or not fault else 0.0)
    train(writer, model, optimizer, rows(), before_step=rate, steps=200)


@ill("clipped-to-nothing", *TOO_LOW, source="DeepCrime (ISSTA 2021), OCG: change gradient clip")
def norm_clipped_to_1e_5(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 64, 64, 10)
    optimizer = SGD(model.parameters(), lr=0.1)
    clip = descend(optimizer, lambda step: nn.utils.clip_grad_norm_(model.parameters(), 1e-5 if fault else 5.0))
    train(writer, model, optimizer, pixels(), update=clip)


@ill("clipped-to-nothing", *TOO_LOW, source="DeepCrime (ISSTA 2021), OCG: change gradient clip")
def values_clipped_to_1e_7(writer: SummaryWriter, fault: bool = True) -> None:
    model = Recurrent(nn.RNN, 48)
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    clip = descend(optimizer, lambda step: nn.utils.clip_grad_value_(model.parameters(), 1e-7 if fault else 1.0))
    train(writer, model, optimizer, rows(), update=clip)


@ill("recurrence-explodes", "exploding-gradients", source="Pascanu et al. (ICML 2013): exploding gradients")
def recurrent_matrix_of_gain_2(writer: SummaryWriter, fault: bool = True) -> None:
    model = HandWritten(2.2 if fault else 0.9, repeats=4)
    train(writer, model, Adam(model.parameters(), lr=5e-4), rows(), steps=150)


@ill("recurrence-explodes", "exploding-gradients", "poor-init-scale",
     source="Pascanu et al. (ICML 2013): exploding gradients")  # fmt: skip
def relu_rnn_of_gain_3(writer: SummaryWriter, fault: bool = True) -> None:
    model = Recurrent(nn.RNN, 64, nonlinearity="relu", num_layers=2)
    for name, weight in model.recurrent.named_parameters():
        if "weight_hh" in name:
            nn.init.orthogonal_(weight, gain=4.0 if fault else 1.0)
    train(writer, model, RMSprop(model.parameters(), lr=1e-4), rows(), steps=150)


@ill("batch-of-two", "loss-oscillating", "learning-rate-too-high", "prediction-jitter", source=HBS)
def two_samples_at_the_rate_of_hundreds(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 64, 10)
    train(
        writer, model, SGD(model.parameters(), lr=0.02, momentum=0.9), pixels(),
        batch_size=2 if fault else 128, steps=400, validate_every=25,
    )  # fmt: skip


@ill("batch-of-two", "loss-oscillating", "learning-rate-too-high", "prediction-jitter", source=HBS)
def two_images_at_the_rate_of_hundreds(writer: SummaryWriter, fault: bool = True) -> None:
    model = cnn((8, 16), norm=False)
    train(
        writer, model, Adam(model.parameters(), lr=0.012), images(),
        batch_size=2 if fault else 128, steps=300, validate_every=25,
    )  # fmt: skip


@ill(
    "batching-disabled",
    "large-batch",
    "learning-rate-too-low",
    source="DeepCrime (ISSTA 2021), HDB: disable data batching",
)
def the_whole_set_in_each_step(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 32, 10)
    optimizer = SGD(model.parameters(), lr=0.02)
    train(writer, model, optimizer, pixels(), batch_size=1400 if fault else 32, steps=150 if fault else 150 * 44)


@ill(
    "batching-disabled",
    "large-batch",
    "learning-rate-too-low",
    source="DeepCrime (ISSTA 2021), HDB: disable data batching",
)
def all_images_in_each_step(writer: SummaryWriter, fault: bool = True) -> None:
    model = cnn((4, 8), norm=False)
    optimizer = SGD(model.parameters(), lr=0.01)
    train(writer, model, optimizer, images(), batch_size=1400 if fault else 32, steps=100 if fault else 100 * 44)


@ill("too-few-epochs", "still-improving", "underfitting", source="DeepCrime (ISSTA 2021), HNE: change number of epochs")
def stopped_after_three_epochs(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 64, 64, 10)
    train(writer, model, SGD(model.parameters(), lr=0.03), pixels(), steps=70 if fault else 400, validate_every=10)


@ill("too-few-epochs", "still-improving", "underfitting", source="DeepCrime (ISSTA 2021), HNE: change number of epochs")
def regression_stopped_early(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(10, 32, 1)
    train(
        writer, model, Adam(model.parameters(), lr=3e-4), diabetes(),
        steps=80 if fault else 500, batch_size=32, validate_every=5,
    )  # fmt: skip
