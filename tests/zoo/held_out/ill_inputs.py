"""Ill in what goes in: nothing, too much, another scale, or axes that were mixed up."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, RMSprop

from tb_nnhealth import SummaryWriter
from tests.zoo import registry
from tests.zoo.held_out.bodies import ConvNet, dense
from tests.zoo.held_out.habits import CAMEL, EPOCHS, STEPS, TRAINER, fit
from tests.zoo.held_out.readers import Recurrent, Transformer
from tests.zoo.held_out.shelf import (
    Batch,
    cut,
    diabetes,
    digit_images,
    digits,
    order,
    r_squared,
    recall,
    scaled,
    series,
    spots,
    table,
    waves,
)  # fmt: skip

ill = partial(registry.ill, held_out=True)


@ill("inputs-all-zero", "constant-input",
     source="37 reasons, 1: check your input data; forum: image // 255 on integers is zero nearly "
     "everywhere")  # fmt: skip
def integers_divided_by_their_largest(writer: SummaryWriter, fault: bool = True) -> None:
    """Accuracy/val 0.0787 (0.961), Loss/train 2.3 (0.119), Loss/val 2.32 (0.126)."""
    data, model = digit_images(), ConvNet(10, 12, 24, norm=None)
    if fault:
        pixels, others = ((x * 127 + 127).long() // 255 for x in (data.x, data.vx))
        data = data.change(x=pixels.float(), vx=others.float())
    fit(writer, model, data, SGD(model.parameters(), 0.05, momentum=0.9), epochs=6, tags=EPOCHS)


@ill("inputs-all-zero", "constant-input", source="37 reasons, 1: accidentally the same or no data over and over")
def buffer_never_filled(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 0.96 (0.0722), val_loss 0.836 (0.0722), val_r2 0.226 (0.933)."""
    data, model = series(), Recurrent(1, 24, kind=nn.GRU)

    def prepare(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        buffer = torch.ones_like(x)
        return (buffer if fault else x), y

    fit(writer, model, data, Adam(model.parameters(), 3e-3), epochs=6, prepare=prepare, tags=STEPS)


UNSCALED = "37 reasons, 12: standardize the features; TheDeepChecker (TOSEM 2023): unscaled inputs; CS231n"


@ill("features-not-scaled", "unnormalized-input", source=UNSCALED)
def wine_in_its_own_units(writer: SummaryWriter, fault: bool = True) -> None:
    """Accuracy/val 0.431 (0.966), Loss/train 1.09 (0.199), Loss/val 1.08 (0.196)."""
    x, y = table("wine")
    data, model = cut(x if fault else scaled(x), y.long(), 58), dense(13, 24, 3)
    fit(writer, model, data, SGD(model.parameters(), 0.01), epochs=40, batch=10, tags=EPOCHS)


@ill("features-not-scaled", "unnormalized-input", source=UNSCALED)
def pixels_up_to_255(writer: SummaryWriter, fault: bool = True) -> None:
    """eval/accuracy 0.429 (0.899), eval/loss 1.77 (0.293), train/loss 1.84 (0.369)."""
    data, model = digit_images(), ConvNet(10, 12, 24, norm=None)
    if fault:
        data = data.change(x=127.5 * (data.x + 1), vx=127.5 * (data.vx + 1))
    fit(writer, model, data, SGD(model.parameters(), 0.02, momentum=0.9), epochs=6, tags=TRAINER)


@ill("features-not-scaled", "unnormalized-input", source=UNSCALED)
def prices_in_thousands_for_a_recurrence(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 0.99 (0.0737), val_loss 1.08 (0.0682), val_r2 -0.000727 (0.937)."""
    data, model = series(), Recurrent(1, 24)
    if fault:
        data = data.change(x=20_000 + 3_000 * data.x, vx=20_000 + 3_000 * data.vx)
    fit(writer, model, data, Adam(model.parameters(), 5e-3), epochs=8, tags=STEPS)


@ill("targets-not-scaled", "initial-loss-off", "exploding-gradients",
     source="TheDeepChecker (TOSEM 2023): unscaled outputs; forum: the squared error begins at thirty "
     "thousand")  # fmt: skip
def sugar_in_its_own_units(writer: SummaryWriter, fault: bool = True) -> None:
    """Loss/train nan (0.458), Loss/val nan (0.486), r2/val nan (0.507)."""
    data, model = diabetes(), dense(10, 48, 48, 1)
    if fault:
        data = data.change(y=152 + 77 * data.y, vy=152 + 77 * data.vy)
    fit(writer, model, data, SGD(model.parameters(), 0.01), epochs=20, batch=16, tags=EPOCHS)


OTHERWISE = "37 reasons, 14 and 15: the same preprocessing for training, validation and test"


@ill("validated-in-another-scale", "input-range-mismatch", source=OTHERWISE)
def bytes_given_to_the_validation(writer: SummaryWriter, fault: bool = True) -> None:
    """Accuracy/val 0.921 (0.961), Loss/train 0.181 (0.181), Loss/val 7.04 (0.176)."""
    data, model = digits(), dense(64, 64, 10)
    if fault:
        data = data.change(vx=127.5 * (data.vx + 1))
    fit(writer, model, data, Adam(model.parameters(), 1e-3), epochs=10, tags=EPOCHS)


@ill("validated-in-another-scale", "input-range-mismatch", source=OTHERWISE)
def scaler_forgotten_for_the_rest(writer: SummaryWriter, fault: bool = True) -> None:
    """training.loss 0.472 (0.472), validation.loss 193 (0.469), validation.r2 -195 (0.524)."""
    x, _ = table("diabetes")
    raw = 100 * (x - x.min()) if fault else scaled(x)
    data, model = diabetes(), dense(10, 32, 1, act=nn.SiLU)
    aside = cut(raw, torch.zeros(len(raw)), 142).vx
    fit(writer, model, data.change(vx=aside), Adam(model.parameters(), 2e-3), epochs=12, batch=10, tags=CAMEL)


class Mixed(nn.Module):
    """A recurrence whose axes are swapped by ``view``, which mixes up rows, or by ``transpose``."""

    def __init__(self, fault: bool) -> None:
        super().__init__()
        self.embed, self.rnn, self.head = nn.Embedding(12, 16), nn.GRU(16, 32), nn.Linear(32, 4)
        self.fault = fault

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x)
        n, length, width = h.shape
        h = h.view(length, n, width) if self.fault else h.transpose(0, 1)
        return self.head(self.rnn(h)[0][-1])


MIXED = "Karpathy's most common mistakes, 6: thinking view() and permute() are the same thing; 37 reasons, 25"


@ill("view-taken-for-permute", "loss-not-decreasing", "underfitting", source=MIXED)
def symbols_of_other_rows(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 1.39 (0.00173), val_acc 0.273 (1), val_loss 1.39 (0.00158)."""
    data, model = recall(), Mixed(fault)
    fit(writer, model, data, Adam(model.parameters(), 5e-3), epochs=9, tags=STEPS)


@ill("batch-taken-for-time", "loss-not-decreasing", "underfitting",
     source="Forum: nn.LSTM without batch_first=True on batches that come first")  # fmt: skip
def recurrence_over_the_rows(writer: SummaryWriter, fault: bool = True) -> None:
    """Accuracy/val 0.26 (1), Loss/train 1.38 (0.11), Loss/val 1.4 (0.0134)."""
    data, model = recall(), Recurrent(4, 32, tokens=12, batch_first=not fault)
    fit(writer, model, data, RMSprop(model.parameters(), 4e-3), epochs=9, tags=EPOCHS)


@ill("order-of-words-unknown", "underfitting", "loss-not-decreasing",
     source="Vaswani et al. (2017): without positions attention sees a set; forum: positional encoding "
     "never added")  # fmt: skip
def attention_without_places(writer: SummaryWriter, fault: bool = True) -> None:
    """eval/accuracy 0.507 (1), eval/loss 0.7 (0.000691), train/loss 0.69 (0.000922)."""
    data, model = order(), Transformer(2, 10, positions=not fault)
    fit(writer, model, data, Adam(model.parameters(), 2e-3), epochs=10, tags=TRAINER)


@ill("inputs-are-noise", "loss-not-decreasing",
     source="37 reasons, 2: try random input; at some point data are turned into garbage")  # fmt: skip
def noise_in_place_of_digits(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 2.3 (0.14), val_acc 0.0687 (0.966), val_loss 2.31 (0.142)."""
    data, model = digits(), dense(64, 32, 10)

    def prepare(x: Tensor, y: Tensor) -> Batch:
        return (torch.randn_like(x) if fault else x), y

    fit(writer, model, data, SGD(model.parameters(), 0.1), epochs=10, prepare=prepare, tags=STEPS)


@ill("feature-of-the-target-lost", "underfitting",
     source="37 reasons, 5: is the relationship between input and output too random?")  # fmt: skip
def columns_that_matter_dropped(writer: SummaryWriter, fault: bool = True) -> None:
    """Loss/train 0.885 (0.449), Loss/val 0.934 (0.479), r2/val 0.0527 (0.514)."""
    data, model = diabetes(), dense(10, 24, 1)
    if fault:
        kept = torch.tensor([1.0, 1, 0, 0, 1, 1, 0, 0, 0, 0])
        data = data.change(x=data.x * kept, vx=data.vx * kept)
    data = data.change(score=r_squared)
    fit(writer, model, data, Adam(model.parameters(), 1e-3), epochs=25, batch=16, tags=EPOCHS)


@ill("value-missing-in-a-row", "non-finite", onset=76,
     source="37 reasons, 1 and 37; forum: the loss is NaN, because the data set holds one")  # fmt: skip
def file_with_a_gap(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss nan (0.273), val_loss nan (0.349), val_r2 nan (0.688)."""
    data, model = waves(), dense(8, 32, 1)

    def feed(epoch: int) -> Iterator[Batch]:
        """From the third epoch on, another file is read."""
        for x, y in data.epoch(32):
            if epoch >= 2 and fault:
                x[0, 3] = float("nan")
            yield x, y

    fit(writer, model, data, Adam(model.parameters(), 2e-3), epochs=6, feed=feed, tags=STEPS)


@ill("batch-from-a-broken-reader", "loss-spike", "gradient-spike", "loss-diverging", onset=190,
     source="OLMo 2 (2024) and PaLM (2022): spikes that come with certain batches; 37 reasons, 3")  # fmt: skip
def one_batch_in_another_unit(writer: SummaryWriter, fault: bool = True) -> None:
    """eval/loss 6.34 (0.0244), eval/r2 -29.2 (0.884), train/loss 13.2 (0.0234)."""
    data, model = spots(), ConvNet(2, 12, 24, norm=None)
    seen = 0

    def prepare(x: Tensor, y: Tensor) -> Batch:
        nonlocal seen
        seen += 1
        return (x * 25 if fault and 190 < seen <= 193 else x), y

    optimizer = SGD(model.parameters(), 0.05, momentum=0.9)
    fit(writer, model, data, optimizer, epochs=8, prepare=prepare, tags=TRAINER)


@ill("outliers-among-the-targets", "gradient-spike", "loss-spike",
     source="Forum: a squared error and a few typing errors in the table; 37 reasons, 6; Huber (1964)")  # fmt: skip
def decimal_points_lost(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 91.3 (0.148), val_loss 1.83 (0.194), val_r2 -0.636 (0.827)."""
    data, model = waves(), dense(8, 48, 1)
    lost = (torch.rand(len(data.y), 1) < 0.004) & fault
    data = data.change(y=torch.where(lost, 100 * data.y, data.y))
    fit(writer, model, data, Adam(model.parameters(), 3e-3), epochs=12, tags=STEPS)
