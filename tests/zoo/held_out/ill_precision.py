"""Ill for the numbers in which it is computed."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import SGD, Adam

from tb_nnhealth import SummaryWriter
from tests.zoo import registry
from tests.zoo.held_out.bodies import ConvNet, dense
from tests.zoo.held_out.habits import EPOCHS, STEPS, TRAINER, fit
from tests.zoo.held_out.readers import Transformer
from tests.zoo.held_out.shelf import digits, gratings, recall

ill = partial(registry.ill, held_out=True)

LOST = "Micikevicius et al. (2018): updates below half a unit in the last place are lost; TrainCheck (OSDI 2025)"


@ill("weights-kept-in-sixteen-bits", "low-precision-range", "frozen-parameters", source=LOST)
def brain_floats_for_small_steps(writer: SummaryWriter, fault: bool = True) -> None:
    """Accuracy/val 0.38 (0.814), Loss/train 2.14 (1.49), Loss/val 2.15 (1.5)."""
    data, model = digits(), dense(64, 64, 10)
    if fault:
        model = model.bfloat16()
        data = data.change(x=data.x.bfloat16(), vx=data.vx.bfloat16())
    fit(writer, model, data, SGD(model.parameters(), 2e-3, momentum=0.0), epochs=20, batch=16, tags=EPOCHS)


class Halved(nn.Module):
    """A model in half precision between inputs and outputs in single."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model.half()

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x.half()).float()


@ill("adam-in-half-precision", "non-finite", "low-precision-range",
     source="Forum: model.half() under Adam, whose epsilon of 1e-8 is zero in half precision")  # fmt: skip
def epsilon_rounded_to_nothing(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss nan (0.207), val_acc 0.104 (0.943), val_loss nan (0.187)."""
    model = dense(64, 64, 64, 10)
    net = Halved(model) if fault else model
    fit(writer, net, digits(), Adam(net.parameters(), 1e-3), epochs=6, tags=STEPS)


@ill("scaled-gradients-clipped", "update-ratio-too-low", "learning-rate-too-low",
     source="pytorch/examples issue 1196: clip_grad_norm_ without scaler.unscale_ before it")  # fmt: skip
def scaled_gradients_clipped_at_one(writer: SummaryWriter, fault: bool = True) -> None:
    """Accuracy/val 0.143 (0.973), Loss/train 1.81 (0.131), Loss/val 1.82 (0.0834)."""
    model = ConvNet(6, 12, 24)
    optimizer, scaler = SGD(model.parameters(), 0.1, momentum=0.9), torch.amp.GradScaler("cpu")

    def update(loss: Tensor) -> None:
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        if not fault:
            scaler.unscale_(optimizer)
        clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()

    fit(writer, model, gratings(), optimizer, epochs=6, update=update, tags=EPOCHS)


@ill("scale-of-the-loss-collapses", "loss-scale-collapse", "non-finite", "low-precision-range",
     source="pytorch/pytorch issue 40497: mixed precision causes NaN, and the scale gets very small "
     "quickly")  # fmt: skip
def masked_with_what_half_cannot_hold(writer: SummaryWriter, fault: bool = True) -> None:
    """eval/accuracy 0.25 (1), eval/loss nan (3.17e-07), train/loss nan (2.8e-07)."""
    model = Masked(1e6 if fault else 1e3)
    optimizer, scaler = Adam(model.parameters(), 4e-3), torch.amp.GradScaler("cpu", init_scale=2.0**12)

    def update(loss: Tensor) -> None:
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    fit(writer, model, recall(), optimizer, epochs=5, update=update, tags=TRAINER, told="nothing")


class Masked(Transformer):
    """The first token is masked out by a penalty, in half precision."""

    def __init__(self, penalty: float) -> None:
        super().__init__(4, 12, depth=1)
        self.penalty = penalty

    def forward(self, x: Tensor) -> Tensor:
        scores = self.head(self.layers(self.embed(x) + self.place[: x.shape[1]])).half()
        far = torch.zeros(x.shape[1], 1).half()
        far[0] = self.penalty
        return (scores - far * (x[:, :1] < 0).half()[:, :, None]).float().mean(1)
