"""Ill for what hides behind something that seems right: random biases, another optimizer's steps, another softmax."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam

from tb_nnhealth import SummaryWriter
from tests.zoo.builders.habits import descend
from tests.zoo.faulty.networks import Encoded, constant, initialize, mlp
from tests.zoo.faulty.problems import images, pixels, tumours
from tests.zoo.registry import ill


@ill("constant-initialization", "symmetric-units",
     source="Forum: weights set to zero, biases left as they are, and the loss creeps")  # fmt: skip
def zero_weights_with_default_biases(writer: SummaryWriter, fault: bool = True) -> None:
    data, model = pixels(), mlp(64, 64, 32, 10)
    if fault:
        initialize(model, constant(0.0))
    optimizer, batches = Adam(model.parameters(), lr=1e-3), data.shuffled(64)
    writer.watch(model, optimizer)

    def loss_of(step: int) -> Tensor:
        x, y = next(batches)
        return F.cross_entropy(model(x), y)

    descend(writer, optimizer, loss_of, 300, tag="Train/Loss")


@ill("one-of-two-optimizers-never-steps", "optimizer-misses-parameters", "frozen-parameters", subject="encoder*",
     source="Forum: two optimizers, and step() is called on one of them")  # fmt: skip
def encoder_whose_optimizer_rests(writer: SummaryWriter, fault: bool = True) -> None:
    data = tumours()
    model = Encoded(mlp(30, 24, 24, activation=nn.Tanh), nn.Linear(24, 1))
    optimizers = [SGD(part.parameters(), lr=0.1, momentum=0.9) for part in (model.encoder, model.head)]
    batches = data.shuffled(64)
    writer.watch(model, optimizers)

    def loss_of(step: int) -> Tensor:
        x, y = next(batches)
        return F.binary_cross_entropy_with_logits(model(x), y)

    descend(writer, optimizers[1:] if fault else optimizers, loss_of, 250)


@ill("softmax-within-a-convolutional-network", "vanishing-activations", "vanishing-gradients", "slow-start",
     source="AUTOTRAINER and DeepLocalize: softmax as the activation of hidden layers")  # fmt: skip
def channels_that_share_a_sum_of_one(writer: SummaryWriter, fault: bool = True) -> None:
    data = images()
    squash: nn.Module = nn.Softmax(dim=1) if fault else nn.ReLU()
    model = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), squash, nn.MaxPool2d(2), nn.Conv2d(12, 24, 3, padding=1), squash,
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(96, 10),
    )  # fmt: skip
    optimizer, batches = SGD(model.parameters(), lr=0.05, momentum=0.9), data.shuffled(32)
    writer.watch(model, optimizer)

    def loss_of(step: int) -> Tensor:
        x, y = next(batches)
        return F.cross_entropy(model(x), y)

    descend(writer, optimizer, loss_of, 250, tag="loss")
