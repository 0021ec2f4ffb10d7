"""Ill from the first step: how weights, biases and embeddings begin."""

from __future__ import annotations

from functools import partial

from torch import nn
from torch.optim import SGD, Adam, AdamW

from tb_nnhealth import SummaryWriter
from tests.zoo import registry
from tests.zoo.held_out.bodies import ConvNet, dense
from tests.zoo.held_out.habits import CAMEL, EPOCHS, STEPS, TRAINER, fit
from tests.zoo.held_out.readers import Factors, Transformer
from tests.zoo.held_out.shelf import digit_images, digits, gratings, ratings, text, waves, wine

ill = partial(registry.ill, held_out=True)

WCI = "DeepCrime (ISSTA 2021), WCI: change weights initialisation; 37 reasons, 28; CS231n: all zero initialization"


@ill("units-begin-alike", "symmetric-units", source=WCI)
def every_weight_a_tenth(writer: SummaryWriter, fault: bool = True) -> None:
    """Accuracy/val 0.707 (0.948), Loss/train 0.54 (0.0613), Loss/val 0.595 (0.0963)."""
    model = dense(13, 32, 3, act=nn.Tanh)
    if fault:
        for p in model.parameters():
            nn.init.constant_(p, 0.1)
    fit(writer, model, wine(), SGD(model.parameters(), 0.05), epochs=20, batch=12, tags=EPOCHS)


@ill("units-begin-alike", "symmetric-units", source=WCI)
def every_weight_zero(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 1.79 (0.0557), val_acc 0.143 (0.97), val_loss 1.79 (0.105)."""
    model = ConvNet(6, 12, 24, norm=None)
    if fault:
        for p in model.parameters():
            nn.init.zeros_(p)
    fit(writer, model, gratings(), Adam(model.parameters(), 3e-3), epochs=6, tags=STEPS)


LARGE = "DeepCrime (ISSTA 2021), WCI; TheDeepChecker (TOSEM 2023): poor weight initialization; CS231n"


@ill("weights-begin-at-one", "poor-init-scale", "saturated-units", source=LARGE)
def normal_weights_under_tanh(writer: SummaryWriter, fault: bool = True) -> None:
    """Accuracy/val 0.645 (0.933), Loss/train 0.423 (0.41), Loss/val 2.15 (0.375)."""
    model = dense(64, 128, 128, 10, act=nn.Tanh)
    if fault:
        for p in model.parameters():
            nn.init.normal_(p)
    fit(writer, model, digits(), SGD(model.parameters(), 0.02), epochs=12, tags=EPOCHS)


@ill("weights-begin-at-one", "poor-init-scale", "exploding-activations", "initial-loss-off", source=LARGE)
def normal_filters(writer: SummaryWriter, fault: bool = True) -> None:
    """eval/accuracy 0.559 (0.913), eval/loss 82.6 (0.29), train/loss 81.3 (0.332)."""
    model = ConvNet(10, 16, 24, 32, norm=None)
    if fault:
        for p in model.parameters():
            nn.init.normal_(p)
    fit(writer, model, digit_images(), Adam(model.parameters(), 1e-3), epochs=6, tags=TRAINER)


SMALL = "DeepCrime (ISSTA 2021), WCI; CS231n: small random numbers die out in deep networks; Mishkin and Matas (2016)"


@ill("weights-begin-tiny", "poor-init-scale", "vanishing-activations", "vanishing-gradients", source=SMALL)
def filters_of_a_thousandth(writer: SummaryWriter, fault: bool = True) -> None:
    """Accuracy/val 0.15 (0.957), Loss/train 1.8 (0.0767), Loss/val 1.8 (0.139)."""
    model = ConvNet(6, 12, 12, 16, 16, norm=None)
    for p in model.parameters():
        if p.dim() > 1:
            nn.init.kaiming_normal_(p)
            p.data *= 0.01 if fault else 1
    fit(writer, model, gratings(), SGD(model.parameters(), 0.05, momentum=0.9), epochs=7, tags=EPOCHS)


@ill("weights-begin-tiny", "poor-init-scale", "vanishing-activations", "vanishing-gradients", source=SMALL)
def hundredths_under_tanh(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 0.971 (0.245), val_loss 1.12 (0.358), val_r2 -0.00396 (0.681)."""
    model = dense(8, *[48] * 5, 1, act=nn.Tanh)
    for p in model.parameters():
        if p.dim() > 1:
            nn.init.normal_(p, std=0.01) if fault else nn.init.xavier_normal_(p)
    fit(writer, model, waves(), SGD(model.parameters(), 0.1), epochs=10, tags=STEPS)


@ill("embeddings-begin-at-one", "initial-loss-off", "poor-init-scale",
     source="Forum: nn.Embedding draws from a unit normal; factors of it predict with the deviation of "
     "their rank")  # fmt: skip
def factors_of_unit_normals(writer: SummaryWriter, fault: bool = True) -> None:
    """training.loss 2.73 (0.02), validation.loss 8.59 (0.193), validation.r2 -6.96 (0.821)."""
    model = Factors(32, std=1.0 if fault else 0.2)
    fit(writer, model, ratings(), AdamW(model.parameters(), 1e-2), epochs=8, batch=128, tags=CAMEL)


@ill("embeddings-begin-at-one", "initial-loss-off", "poor-init-scale",
     source="Press and Wolf (2017): tied embeddings; forum: the first loss of a tied model is in the tens")  # fmt: skip
def head_tied_to_unit_normals(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 2.14 (1.62), val_acc 0.342 (0.493), val_loss 2.25 (1.67)."""
    model = Transformer(causal=True, width=64)
    nn.init.normal_(model.embed.weight, std=1.0 if fault else 0.05)
    model.head.weight = model.embed.weight
    if fault:
        nn.init.constant_(model.norm.weight, 2.0)
    fit(writer, model, text(), SGD(model.parameters(), 0.1), epochs=6, tags=STEPS)


INIT_WELL = "Karpathy, Recipe: init well, verify the loss at its beginning; CS231n: look for the correct loss at chance"


@ill("head-begins-too-sure", "initial-loss-off", "poor-init-scale", source=INIT_WELL)
def logits_of_a_hundred(writer: SummaryWriter, fault: bool = True) -> None:
    """Accuracy/val 0.121 (0.982), Loss/train 2.28 (0.124), Loss/val 2.31 (0.111)."""
    model = ConvNet(10, 16, 32)
    if fault:
        nn.init.normal_(model.head.weight, std=15.0)
    fit(writer, model, digit_images(), SGD(model.parameters(), 0.01, momentum=0.9), epochs=6, tags=EPOCHS)


@ill("head-begins-far-off", "initial-loss-off", "diverging-bias", source=INIT_WELL)
def mean_of_the_targets_left_to_be_learned(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 40.9 (0.166), val_loss 36.8 (0.212), val_r2 -31.9 (0.811)."""
    data, model = waves(), dense(8, 48, 1)
    data = data.change(y=data.y + 50, vy=data.vy + 50)
    if not fault:
        nn.init.constant_(model[2].bias, 50.0)
    fit(writer, model, data, Adam(model.parameters(), 3e-3), epochs=12, tags=STEPS)
