"""Ill for what the layers do: too deep for their activations, dead, saturated, or with the wrong ones."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW

from tb_nnhealth import SummaryWriter
from tests.zoo import registry
from tests.zoo.held_out.bodies import AutoEncoder, ConvNet, Plain, dense
from tests.zoo.held_out.habits import CAMEL, EPOCHS, KERAS, STEPS, TRAINER, fit
from tests.zoo.held_out.readers import GraphNet, Recurrent, Transformer, Writer
from tests.zoo.held_out.shelf import (
    digit_images,
    digits,
    graph,
    gratings,
    order,
    r_squared,
    recall,
    series,
    spirals,
    spots,
    text,
    waves,
)  # fmt: skip

ill = partial(registry.ill, held_out=True)

VANISHING = "AUTOTRAINER (ICSE 2021): vanishing gradient, of depth and activation; 37 reasons, 35"


@ill("sigmoids-in-a-deep-stack", "vanishing-gradients", source=VANISHING)
def seven_sigmoids_on_digits(writer: SummaryWriter, fault: bool = True) -> None:
    """Accuracy/val 0.0787 (0.978), Loss/train 2.31 (0.049), Loss/val 2.31 (0.0795)."""
    model = dense(64, *[48] * 7, 10, act=nn.Sigmoid if fault else nn.ReLU)
    if not fault:
        _he(model)
    fit(writer, model, digits(), SGD(model.parameters(), 0.1), epochs=10, tags=EPOCHS)


@ill("sigmoids-in-a-deep-stack", "vanishing-gradients", source=VANISHING)
def sigmoids_between_convolutions(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 1.79 (0.0269), val_acc 0.15 (0.957), val_loss 1.79 (0.115)."""
    model = ConvNet(6, 12, 12, 16, 16, 16, 16, norm=None, act=nn.Sigmoid if fault else nn.ReLU)
    if not fault:
        _he(model)
    fit(writer, model, gratings(), Adam(model.parameters(), 5e-4), epochs=8, tags=STEPS)


def _he(model: nn.Module) -> nn.Module:
    for layer in model.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return model


@ill("deep-without-shortcuts", "vanishing-gradients", "vanishing-activations",
     source="He et al. (2016): plain networks degrade with depth; AUTOTRAINER (ICSE 2021)")  # fmt: skip
def thirty_plain_layers(writer: SummaryWriter, fault: bool = True) -> None:
    """eval/accuracy 0.0838 (0.963), eval/loss 2.32 (0.0955), train/loss 2.3 (0.0435)."""
    model = Plain(64, 10, 48, 24, skip=not fault)
    fit(writer, model, digits(), AdamW(model.parameters(), 1e-3), epochs=9, tags=TRAINER)


@ill("recurrence-forgets", "vanishing-gradients", "loss-not-decreasing",
     source="Bengio et al. (1994): long-term dependencies; forum: nn.RNN cannot remember")  # fmt: skip
def plain_recurrence_over_forty_symbols(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 0.692 (0.00624), val_acc 0.487 (1), val_loss 0.719 (0.00533)."""
    model = Recurrent(4, 32, tokens=12, kind=nn.RNN if fault else nn.GRU)
    fit(writer, model, recall(24), Adam(model.parameters(), 4e-3), epochs=12, tags=STEPS)


EXPLODING = "AUTOTRAINER (ICSE 2021): exploding gradient, of initialization and depth; 37 reasons, 35"


@ill("weights-blow-up-with-depth", "exploding-activations", "exploding-gradients", "poor-init-scale", source=EXPLODING)
def ten_layers_of_half(writer: SummaryWriter, fault: bool = True) -> None:
    """Accuracy/val 0.549 (0.968), Loss/train 359 (0.033), Loss/val 860 (0.0995)."""
    model = dense(64, *[64] * 9, 10)
    _he(model)
    for layer in model:
        if isinstance(layer, nn.Linear) and fault:
            nn.init.normal_(layer.weight, std=0.5)
    fit(writer, model, digits(), Adam(model.parameters(), 1e-3), epochs=8, tags=EPOCHS)


@ill("recurrence-blows-up", "exploding-gradients", "exploding-activations", "poor-init-scale", "non-finite",
     source="Pascanu et al. (2013); AUTOTRAINER (ICSE 2021): exploding gradient in recurrent networks")  # fmt: skip
def relu_recurrence_of_gain_two(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 692 (0.0586), val_loss 647 (0.0485), val_r2 -598 (0.955)."""
    model = Recurrent(1, 24, kind=partial(nn.RNN, nonlinearity="relu"))
    nn.init.orthogonal_(model.rnn.weight_hh_l0, gain=2.0 if fault else 0.9)
    fit(writer, model, series(), Adam(model.parameters(), 1e-3), epochs=8, tags=STEPS)


DYING = "AUTOTRAINER (ICSE 2021): dying ReLU; CS231n: a ReLU network whose units never activate; Lu et al. (2020)"


@ill("units-dead", "dead-units", subject="*", source=DYING)
def biases_far_below_zero(writer: SummaryWriter, fault: bool = True) -> None:
    """Accuracy/val 0.0838 (0.941), Loss/train 2.3 (0.331), Loss/val 2.31 (0.276)."""
    model = dense(64, 64, 64, 10)
    for layer in model:
        if isinstance(layer, nn.Linear) and fault:
            nn.init.constant_(layer.bias, -1.6)
    fit(writer, model, digits(), SGD(model.parameters(), 0.05), epochs=8, tags=EPOCHS)


@ill("units-dead", "dead-units", "learning-rate-too-high", "update-ratio-too-high", source=DYING)
def filters_killed_by_the_first_steps(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 2.31 (0.18), val_acc 0.0838 (0.945), val_loss 2.32 (0.16)."""
    model = ConvNet(10, 16, 24, 32, norm=None)
    optimizer = Adam(model.parameters(), 0.08 if fault else 2e-3)
    fit(writer, model, digit_images(), optimizer, epochs=6, tags=STEPS)


@ill("units-dead", "dead-units", source="TheDeepChecker (TOSEM 2023): dead activations; DeepCrime, AAL: add activation")
def code_through_a_rectifier(writer: SummaryWriter, fault: bool = True) -> None:
    """training.loss 0.293 (0.118), validation.loss 0.296 (0.116), validation.r2 -0.0042 (0.607)."""
    model = AutoEncoder(code=6, act=nn.Tanh)
    if fault:
        model.encoder.append(nn.ReLU())
        nn.init.constant_(model.encoder[2].bias, -1.2)
    data = digits()
    data = data.change(y=data.x, vy=data.vx, criterion=nn.MSELoss, score=r_squared)
    fit(writer, model, data, Adam(model.parameters(), 2e-3), epochs=10, tags=CAMEL)


@ill("no-activation-between-layers", "underfitting", source="DeepCrime (ISSTA 2021), ARM: remove activation function")
def spirals_by_a_linear_network(writer: SummaryWriter, fault: bool = True) -> None:
    """Accuracy/val 0.497 (0.997), Loss/train 0.873 (0.0149), Loss/val 0.888 (0.0155)."""
    model = dense(2, 48, 48, 3, act=nn.Identity if fault else nn.ReLU)
    fit(writer, model, spirals(), Adam(model.parameters(), 5e-3), epochs=18, tags=EPOCHS)


OUTPUT = "DeepCrime (ISSTA 2021), AAL: add activation function; forum: ReLU or sigmoid behind the last layer"


@ill("rectified-outputs", "dead-units", "no-gradient", source=OUTPUT)
def logits_through_a_rectifier(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 1.66 (0.17), val_acc 0.358 (0.972), val_loss 1.77 (0.155)."""
    model = dense(64, 64, 10, out=nn.ReLU if fault else None)
    if fault:
        nn.init.constant_(model[2].bias, -0.3)
    fit(writer, model, digits(), SGD(model.parameters(), 0.1), epochs=8, tags=STEPS)


@ill("squashed-outputs", "saturated-units", "underfitting", source=OUTPUT)
def sigmoid_for_a_number_of_either_sign(writer: SummaryWriter, fault: bool = True) -> None:
    """Loss/train 0.61 (0.0709), Loss/val 0.738 (0.142), r2/val 0.341 (0.873)."""
    model = dense(8, 48, 48, 1, out=nn.Sigmoid if fault else None)
    fit(writer, model, waves(), Adam(model.parameters(), 3e-3), epochs=15, tags=EPOCHS)


@ill("squashed-outputs", "saturated-units", "underfitting", source=OUTPUT)
def tanh_for_places_in_pixels(writer: SummaryWriter, fault: bool = True) -> None:
    """eval/loss 5.23 (0.507), eval/r2 0.309 (0.933), train/loss 4.55 (0.4)."""
    data, model = spots(), nn.Sequential(ConvNet(2, 12, 24), nn.Tanh() if fault else nn.Identity())
    data = data.change(y=6 * data.y + 1, vy=6 * data.vy + 1)
    fit(writer, model, data, Adam(model.parameters(), 5e-3), epochs=12, tags=TRAINER)


@ill("softmax-as-hidden-activation", "vanishing-activations", "vanishing-gradients",
     source="DeepCrime (ISSTA 2021), ACH: change activation function; forum: softmax in the hidden layers")  # fmt: skip
def hidden_layers_share_one(writer: SummaryWriter, fault: bool = True) -> None:
    """epoch_loss 2.31 (0.0209), epoch_val_loss 2.32 (0.11), epoch_val_score 0.0938 (0.972)."""
    act = partial(nn.Softmax, dim=1) if fault else nn.ReLU
    model = dense(64, 96, 96, 10, act=act)
    fit(writer, model, digits(), SGD(model.parameters(), 0.1, momentum=0.9), epochs=8, tags=KERAS)


@ill("too-few-units", "underfitting", source="37 reasons, 24: increase network size; CS231n: low capacity")
def two_units_for_ten_digits(writer: SummaryWriter, fault: bool = True) -> None:
    """Accuracy/val 0.186 (0.97), Loss/train 1.78 (0.0345), Loss/val 1.78 (0.0956)."""
    model = dense(64, 32, 1 if fault else 32, 10, act=nn.Tanh)
    fit(writer, model, digits(), Adam(model.parameters(), 3e-3), epochs=12, tags=EPOCHS)


@ill("too-few-units", "underfitting", source="37 reasons, 24; TheDeepChecker (TOSEM 2023): lack of capacity")
def language_of_two_numbers(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 2.54 (0.971), val_acc 0.252 (0.655), val_loss 2.53 (1.05)."""
    model = Writer(2 if fault else 48)
    fit(writer, model, text(), AdamW(model.parameters(), 1e-2), epochs=12, tags=STEPS)


@ill("attention-not-scaled", "saturated-units", "exploding-activations",
     source="Vaswani et al. (2017): large products push the softmax where its gradients vanish")  # fmt: skip
def logits_eight_times_as_large(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 0.695 (0.393), val_acc 0.52 (0.853), val_loss 0.685 (0.322)."""
    model = Transformer(2, 10, scale=40.0 if fault else None)
    for layer in model.layers:
        nn.init.normal_(layer.attn.qkv.weight, std=0.25)
    fit(writer, model, order(), SGD(model.parameters(), 0.1, momentum=0.9), epochs=8, tags=STEPS)


@ill("neighbours-averaged-too-often", "vanishing-gradients", "vanishing-activations", "constant-output",
     source="Li et al. (2018): graph convolutions smooth over what they are repeated on")  # fmt: skip
def sixteen_graph_convolutions(writer: SummaryWriter, fault: bool = True) -> None:
    """train/loss 0.73 (0.149), val/acc 0.608 (0.859)."""
    nodes = graph()
    model = GraphNet(nodes.adjacency, 14 if fault else 2)
    optimizer, criterion = Adam(model.parameters(), 5e-3), nn.CrossEntropyLoss()
    writer.watch(model, optimizer)
    for epoch in range(150):
        logits = model(nodes.x)
        loss = criterion(logits[nodes.train], nodes.y[nodes.train])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        writer.add_scalar("train/loss", loss.item(), epoch)
        right = (logits.argmax(1) == nodes.y)[~nodes.train].float().mean()
        writer.add_scalar("val/acc", right.item(), epoch)


class Homogeneous(nn.Module):
    """Three rectified layers, with biases or without."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(2, 48, bias=bias), nn.Linear(48, 48, bias=bias)
        self.out = nn.Linear(48, 3, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.relu(self.fc2(F.relu(self.fc1(x)))))


@ill("biases-left-out", "underfitting",
     source="DeepCrime (ISSTA 2021), WRB: remove bias; rectified layers without biases tell directions")  # fmt: skip
def spirals_told_by_direction(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 0.783 (0.0155), val_acc 0.51 (0.993), val_loss 0.822 (0.0135)."""
    model = Homogeneous(bias=not fault)
    fit(writer, model, spirals(), Adam(model.parameters(), 5e-3), epochs=18, tags=STEPS)


class Stepped(nn.Module):
    """A hidden layer of yes and no, of which nothing is learned, or a sigmoid."""

    def __init__(self, hard: bool) -> None:
        super().__init__()
        self.inward, self.middle, self.outward = nn.Linear(8, 8), nn.Linear(8, 32), nn.Linear(32, 1)
        self.hard = hard

    def forward(self, x: Tensor) -> Tensor:
        h = self.inward(x)
        h = (h > 0).float() if self.hard else torch.sigmoid(h)
        return self.outward(torch.tanh(self.middle(h)))


@ill("step-function-between-layers", "no-gradient", subject="inward*",
     source="Forum: comparisons, argmax and round have no gradient; 37 reasons, 22: custom layers")  # fmt: skip
def yes_and_no_within(writer: SummaryWriter, fault: bool = True) -> None:
    """Loss/train 0.769 (0.356), Loss/val 0.892 (0.469), r2/val 0.203 (0.581)."""
    model = Stepped(fault)
    fit(writer, model, waves(), Adam(model.parameters(), 5e-3), epochs=15, tags=EPOCHS)
