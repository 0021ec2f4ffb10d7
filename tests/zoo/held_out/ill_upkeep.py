"""Ill in the loop: gradients that stay or never come, optimizers of something else, modes left on."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, RMSprop

from tb_nnhealth import SummaryWriter
from tests.zoo import registry
from tests.zoo.held_out.bodies import ConvNet, dense
from tests.zoo.held_out.habits import CAMEL, EPOCHS, STEPS, TRAINER, fit
from tests.zoo.held_out.readers import Recurrent
from tests.zoo.held_out.shelf import (
    cancer,
    digit_images,
    digits,
    recall,
    series,
    spirals,
)  # fmt: skip

ill = partial(registry.ill, held_out=True)

STALE = (
    "Karpathy's most common mistakes, 3: forgot to .zero_grad(); Stack Overflow: why do we need to call zero_grad()?"
)


@ill("gradients-pile-up", "stale-gradients", source=STALE)
def loop_without_zero_grad(writer: SummaryWriter, fault: bool = True) -> None:
    """Accuracy/test 0.946 (0.965), Loss/train 1.23 (0.26)."""
    data, model = digit_images(), ConvNet(10, 12, 24)
    optimizer, criterion, step = SGD(model.parameters(), lr=0.05), nn.CrossEntropyLoss(), 0
    writer.watch(model, optimizer, criterion=criterion)
    for epoch in range(7):
        model.train()
        for x, y in data.epoch(32):
            if not fault:
                optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            writer.add_scalar("Loss/train", loss.item(), step)
            step += 1
        model.eval()
        with torch.no_grad():
            writer.add_scalar("Accuracy/test", data.score(model(data.vx), data.vy), epoch)


@ill("gradients-pile-up", "stale-gradients", source=STALE)
def adam_upon_all_gradients_so_far(writer: SummaryWriter, fault: bool = True) -> None:
    """eval/loss 0.335 (0.055), eval/r2 0.69 (0.949), train/loss 0.475 (0.0571)."""
    data, model = series(), Recurrent(1, 24)
    optimizer = Adam(model.parameters(), 3e-3)

    def update(loss: Tensor) -> None:
        loss.backward()
        optimizer.step()
        if not fault:
            model.zero_grad()

    fit(writer, model, data, optimizer, epochs=7, update=update, tags=TRAINER, told="observed")


@ill("gradients-cleared-before-the-step", "no-gradient", "frozen-parameters",
     source="Forum: zero_grad() between backward() and step()")  # fmt: skip
def cleared_too_soon(writer: SummaryWriter, fault: bool = True) -> None:
    """Accuracy/val 0.497 (0.976), Loss/train 0.688 (0.0502), Loss/val 0.691 (0.0849)."""
    model = dense(30, 24, 1)
    optimizer = AdamW(model.parameters(), 3e-3, weight_decay=0.0)

    def update(loss: Tensor) -> None:
        loss.backward()
        if fault:
            optimizer.zero_grad()
        optimizer.step()
        optimizer.zero_grad()

    fit(writer, model, cancer(), optimizer, epochs=12, update=update, tags=EPOCHS)


@ill("no-step-at-all", "frozen-parameters", "loss-not-decreasing",
     source="Forum: optimizer.step() is missing; Humbatova et al. (2020): missing optimiser step")  # fmt: skip
def backward_and_nothing_more(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 1.09 (0.0548), val_acc 0.317 (0.98), val_loss 1.1 (0.0512)."""
    model = dense(2, 32, 32, 3)
    optimizer = Adam(model.parameters(), 5e-3)

    def update(loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        if not fault:
            optimizer.step()

    fit(writer, model, spirals(), optimizer, epochs=10, update=update, tags=STEPS)


class Encoded(nn.Module):
    """A recurrent encoder and a dense decoder, each with an optimizer of its own in the tutorials."""

    def __init__(self, cut: bool = False, quiet: bool = False) -> None:
        super().__init__()
        self.encoder = nn.GRU(12, 32, batch_first=True)
        self.decoder = dense(32, 32, 4)
        self.cut, self.quiet = cut, quiet

    def forward(self, x: Tensor) -> Tensor:
        tokens = F.one_hot(x, 12).float()
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.quiet):
            states, _ = self.encoder(tokens)
        h = states[:, -1].detach() if self.cut else states[:, -1]
        return self.decoder(h)


@ill("one-optimizer-never-steps", "frozen-parameters", subject="encoder*",
     source="Forum: encoder_optimizer.step() is missing in a copy of the seq2seq tutorial")  # fmt: skip
def encoder_waits_for_its_step(writer: SummaryWriter, fault: bool = True) -> None:
    """loss 1.38 (0.000286)."""
    model, data, criterion, step = Encoded(), recall(), nn.CrossEntropyLoss(), 0
    first, second = Adam(model.encoder.parameters(), 5e-3), Adam(model.decoder.parameters(), 5e-3)
    writer.watch(model, [first, second], criterion=criterion)
    for _ in range(8):
        for x, y in data.epoch(32):
            loss = criterion(model(x), y)
            first.zero_grad()
            second.zero_grad()
            loss.backward()
            if not fault:
                first.step()
            second.step()
            writer.add_scalar("loss", loss.item(), step)
            step += 1


@ill("output-detached", "no-gradient", subject="encoder*",
     source="37 reasons, 23; forum: .detach() or .data on the way; TrainCheck (OSDI 2025)")  # fmt: skip
def encoder_detached(writer: SummaryWriter, fault: bool = True) -> None:
    """Accuracy/val 0.263 (1), Loss/train 1.38 (0.00249), Loss/val 1.39 (0.00201)."""
    model = Encoded(cut=fault)
    fit(writer, model, recall(), Adam(model.parameters(), 5e-3), epochs=8, tags=EPOCHS)


@ill("part-under-no-grad", "no-gradient", subject="encoder*",
     source="Forum: torch.no_grad() left around the encoder; 37 reasons, 23")  # fmt: skip
def encoder_without_grad(writer: SummaryWriter, fault: bool = True) -> None:
    """training.loss 1.37 (0.000676), validation.loss 1.4 (0.000615), validation.score 0.233 (1)."""
    model = Encoded(quiet=fault)
    fit(writer, model, recall(), RMSprop(model.parameters(), 3e-3), epochs=8, tags=CAMEL, told="nothing")


@ill("loss-made-a-new-leaf", "no-gradient", "loss-not-decreasing",
     source="Stack Overflow: 'element 0 of tensors does not require grad', answered by "
     "Variable(loss.data, True)")  # fmt: skip
def loss_wrapped_again(writer: SummaryWriter, fault: bool = True) -> None:
    """eval/accuracy 0.134 (0.948), eval/loss 2.3 (0.168), train/loss 2.32 (0.172)."""
    model = dense(64, 48, 10)
    optimizer = SGD(model.parameters(), 0.1)

    def update(loss: Tensor) -> None:
        optimizer.zero_grad()
        (loss.detach().requires_grad_() if fault else loss).backward()
        optimizer.step()

    fit(writer, model, digits(), optimizer, epochs=8, update=update, tags=TRAINER)
