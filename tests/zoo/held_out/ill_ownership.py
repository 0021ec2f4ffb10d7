"""Ill for what the optimizer owns and for modes left on: parameters that it never had, and layers nobody knows."""

from __future__ import annotations

import copy
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW

from tb_nnhealth import SummaryWriter
from tests.zoo import registry
from tests.zoo.held_out.bodies import ConvNet, Plain, ResNet, Signal, dense
from tests.zoo.held_out.habits import EPOCHS, KERAS, STEPS, TRAINER, fit
from tests.zoo.held_out.readers import Transformer
from tests.zoo.held_out.shelf import (
    diabetes,
    digit_images,
    digits,
    gratings,
    order,
    signals,
    spirals,
)  # fmt: skip

ill = partial(registry.ill, held_out=True)

REPLACED = (
    "pytorch/pytorch issue 14467; microsoft/nni issue 4521; TrainCheck (OSDI 2025): the optimizer's stale parameters"
)


@ill("layer-replaced-after-the-optimizer", "optimizer-misses-parameters", subject="fc*", source=REPLACED)
def new_head_for_old_optimizer(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 1.66 (0.0772), val_acc 0.473 (0.973), val_loss 1.61 (0.0849)."""
    model = ResNet(1000)
    optimizer = SGD(model.parameters(), 0.05, momentum=0.9)
    model.fc = nn.Linear(12, 6)
    nn.init.normal_(model.fc.weight, std=0.01)
    if not fault:
        optimizer = SGD(model.parameters(), 0.05, momentum=0.9)
    fit(writer, model, gratings(), optimizer, epochs=4, tags=STEPS)


@ill("layer-replaced-after-the-optimizer", "optimizer-misses-parameters", subject="*embed*", source=REPLACED)
def embedding_grown_afterwards(writer: SummaryWriter, fault: bool = True) -> None:
    """Accuracy/val 0.477 (0.997), Loss/train 0.696 (0.0326), Loss/val 0.703 (0.0132)."""
    model = Transformer(2, 8, depth=1)
    optimizer = Adam(model.parameters(), 3e-3)
    grown = nn.Embedding(10, 32)
    nn.init.normal_(grown.weight, std=0.01)
    model.embed = grown
    if not fault:
        optimizer = Adam(model.parameters(), 3e-3)
    fit(writer, model, order(), optimizer, epochs=8, tags=EPOCHS)


@ill("optimizer-of-another-model", "optimizer-misses-parameters",
     source="Forum: the model is made or copied again after its optimizer; accelerate issue 2665, in "
     "TrainCheck")  # fmt: skip
def copy_is_trained_and_stays(writer: SummaryWriter, fault: bool = True) -> None:
    """Loss/train 1.25 (0.473), Loss/val 1.24 (0.493), r2/val -0.257 (0.5)."""
    first = dense(10, 32, 1, act=nn.Tanh)
    model = copy.deepcopy(first) if fault else first
    optimizer = Adam(first.parameters(), 5e-3)
    fit(writer, model, diabetes(), optimizer, epochs=12, batch=16, tags=EPOCHS)


@ill("optimizer-holds-the-head-alone", "optimizer-misses-parameters", subject="features*",
     source="37 reasons, 23: check for frozen layers; forum: a copy of the fine-tuning tutorial for a "
     "body from scratch")  # fmt: skip
def random_body_under_a_trained_head(writer: SummaryWriter, fault: bool = True) -> None:
    """epoch_loss 2.29 (0.131), epoch_val_loss 2.3 (0.14), epoch_val_score 0.0972 (0.953)."""
    model = ConvNet(10, 8, 12, 12, norm=None)
    parameters = model.head.parameters() if fault else model.parameters()
    fit(writer, model, digit_images(), SGD(parameters, 0.05, momentum=0.9), epochs=7, tags=KERAS)


class Listed(nn.Module):
    """Layers in a list that is none of modules."""

    def __init__(self, fault: bool) -> None:
        super().__init__()
        self.inward, self.outward = nn.Linear(2, 8), nn.Linear(8, 3)
        layers = [nn.Linear(8, 8) for _ in range(5)]
        self.layers = layers if fault else nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inward(x)
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
        return self.outward(x)


@ill("layers-in-a-python-list", "optimizer-misses-parameters", "underfitting",
     source="Forum: a Python list where nn.ModuleList was needed; Humbatova et al. (2020)")  # fmt: skip
def five_layers_that_nobody_knows(writer: SummaryWriter, fault: bool = True) -> None:
    """Accuracy/val 0.563 (0.977), Loss/train 0.975 (0.119), Loss/val 0.977 (0.0595)."""
    model = Listed(fault)
    fit(writer, model, spirals(), Adam(model.parameters(), 1e-2), epochs=15, tags=EPOCHS)


MODES = "Karpathy's most common mistakes, 2: forgot to toggle train/eval mode; 37 reasons, 32: train/test mode"


@ill("evaluation-mode-for-good", "wrong-mode", onset=7, source=MODES)
def never_back_to_training(writer: SummaryWriter, fault: bool = True) -> None:
    """Loss/train 0.0599 (0.361), Loss/val 0.668 (0.495), r2/val 0.323 (0.498)."""
    data, model = diabetes().first(200), dense(10, 256, 256, 1, drop=0.5)
    wake = (lambda _: None) if fault else nn.Module.train
    fit(writer, model, data, Adam(model.parameters(), 1e-3), epochs=50, batch=32, tags=EPOCHS, wake=wake)


@ill("evaluation-mode-for-good", "wrong-mode", source=MODES)
def trained_in_evaluation_mode(writer: SummaryWriter, fault: bool = True) -> None:
    """eval/accuracy 0.203 (0.933), eval/loss 2.1 (0.214), train/loss 2.06 (0.144)."""
    model = ResNet(10, 12, 4)
    wake = nn.Module.eval if fault else nn.Module.train
    optimizer = SGD(model.parameters(), 0.02, momentum=0.9)
    fit(writer, model, digit_images(), optimizer, epochs=4, tags=TRAINER, wake=wake)


@ill("training-mode-in-validation", "wrong-mode", source=MODES)
def dropout_alive_in_validation(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 0.603 (0.563), val_acc 0.831 (0.96), val_loss 0.544 (0.178)."""
    model = dense(64, 64, 64, 10, drop=0.6)
    settle = (lambda _: None) if fault else nn.Module.eval
    fit(writer, model, digits(), Adam(model.parameters(), 3e-3), epochs=8, tags=STEPS, settle=settle)


@ill("training-mode-in-validation", "wrong-mode", source=MODES)
def batch_norm_of_two_in_validation(writer: SummaryWriter, fault: bool = True) -> None:
    """Accuracy/val 0.393 (0.987), Loss/train 0.145 (0.145), Loss/val 1.46 (0.117)."""
    model = ConvNet(6, 12, 24)
    settle = (lambda _: None) if fault else nn.Module.eval
    optimizer = AdamW(model.parameters(), 2e-3)
    fit(writer, model, gratings(), optimizer, epochs=6, tags=EPOCHS, settle=settle, validate_in=2)


@ill("group-by-name-misses-a-layer", "optimizer-misses-parameters", subject="*inward*",
     source="TrainCheck (OSDI 2025): parameters fall out of the optimizer's groups; forum: groups by "
     "name that miss one")  # fmt: skip
def groups_by_name_that_miss_the_first_layer(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 1.51 (0.199), val_acc 0.437 (0.918), val_loss 1.55 (0.252)."""
    model = Plain(64, 10, 5, 3)
    named = [(name, p) for name, p in model.named_parameters() if not (fault and name.startswith("inward"))]
    decay = [p for name, p in named if name.endswith("weight")]
    other = [p for name, p in named if name.endswith("bias")]
    optimizer = AdamW([{"params": decay, "weight_decay": 0.01}, {"params": other, "weight_decay": 0.0}], lr=5e-3)
    fit(writer, model, digits(), optimizer, epochs=12, tags=STEPS)


@ill("layers-made-in-forward", "loss-not-decreasing", "optimizer-misses-parameters", "prediction-jitter",
     source="Forum: nn.Linear within forward(), new at each call and never trained")  # fmt: skip
def projection_drawn_at_each_call(writer: SummaryWriter, fault: bool = True) -> None:
    """Accuracy/val 0.317 (0.98), Loss/train 1.31 (0.0468), Loss/val 1.25 (0.0654)."""

    class Drawn(Signal):
        def forward(self, x: Tensor) -> Tensor:
            h = F.relu(self.norm(self.conv2(F.relu(self.conv1(x)))))
            fc = nn.Linear(64, 32) if fault else self.fc1
            return self.fc2(F.relu(fc(F.adaptive_max_pool1d(h, 4).flatten(1))))

    model = Drawn(4)
    fit(writer, model, signals(), Adam(model.parameters(), 2e-3), epochs=8, tags=EPOCHS)
