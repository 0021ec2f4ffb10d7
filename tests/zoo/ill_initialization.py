"""Ill for their first weights: copies of one unit, far too small, far too large, or a head that shouts."""

from __future__ import annotations

from torch import nn
from torch.optim import SGD, Adam, AdamW

from tb_nnhealth import SummaryWriter
from tests.zoo.faulty.loop import train
from tests.zoo.faulty.networks import HandWritten, Residual, Transformer, cnn, constant, initialize, mlp, normal
from tests.zoo.faulty.problems import images, pixels, rows
from tests.zoo.registry import ill

WCI = "DeepCrime (ISSTA 2021), WCI: change weights initialisation"
TOO_SMALL = "AUTOTRAINER (ICSE 2021): depth, tanh, RandomNormal of small std; vanishing"
TOO_LARGE = "TheDeepChecker (TOSEM 2023): poor weight initialization"


@ill("zero-initialization", "symmetric-units", source=WCI)
def zeros_in_a_relu_network(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 64, 64, 10)
    if fault:
        initialize(model, nn.init.zeros_, nn.init.zeros_)
    train(writer, model, SGD(model.parameters(), lr=0.1), pixels())


@ill("zero-initialization", "symmetric-units", source=WCI)
def zeros_in_a_convolutional_network(writer: SummaryWriter, fault: bool = True) -> None:
    model = cnn((8, 16), norm=False, activation=nn.Tanh)
    if fault:
        initialize(model, nn.init.zeros_, nn.init.zeros_)
    train(writer, model, Adam(model.parameters(), lr=1e-3), images())


@ill("constant-initialization", "symmetric-units", source=WCI)
def ones_over_fan_in_a_tanh_network(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 64, 64, 10, activation=nn.Tanh)
    if fault:
        initialize(model, constant(1 / 64), nn.init.zeros_)
    train(writer, model, SGD(model.parameters(), lr=0.05, momentum=0.9), pixels())


@ill("constant-initialization", "symmetric-units", source=WCI)
def every_kernel_filled_with_one_number(writer: SummaryWriter, fault: bool = True) -> None:
    model = cnn((12, 24), norm=False)
    if fault:
        initialize(model, constant(0.02), nn.init.zeros_)
    train(writer, model, AdamW(model.parameters(), lr=1e-3), images())


@ill("initialization-too-small", "poor-init-scale", "vanishing-activations", "vanishing-gradients", source=TOO_SMALL)
def eight_tanh_layers_of_std_0_01(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, *[64] * 8, 10, activation=nn.Tanh)
    initialize(model, normal(0.01) if fault else nn.init.xavier_normal_)
    train(writer, model, SGD(model.parameters(), lr=0.05), pixels())


@ill("initialization-too-small", "poor-init-scale", "vanishing-activations", "vanishing-gradients", source=TOO_SMALL)
def convolutions_of_std_0_003(writer: SummaryWriter, fault: bool = True) -> None:
    model = cnn((16, 16, 16, 16), norm=False)
    initialize(model, normal(0.003) if fault else nn.init.kaiming_normal_, nn.init.zeros_)
    train(writer, model, SGD(model.parameters(), lr=0.02, momentum=0.9), images())


@ill("initialization-too-small", "poor-init-scale", "vanishing-activations", "slow-start", source=TOO_SMALL)
def recurrence_of_tiny_weights(writer: SummaryWriter, fault: bool = True) -> None:
    model = HandWritten(0.9, repeats=1)
    if fault:
        initialize(model, normal(0.002))
    train(writer, model, Adam(model.parameters(), lr=3e-4), rows())


@ill("initialization-too-large", "poor-init-scale", "exploding-activations", source=TOO_LARGE)
def standard_normal_weights_in_a_deep_network(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, *[96] * 6, 10)
    initialize(model, normal(1.0) if fault else nn.init.kaiming_normal_)
    train(writer, model, Adam(model.parameters(), lr=1e-3), pixels())


@ill("initialization-too-large", "poor-init-scale", "exploding-activations", source=TOO_LARGE)
def standard_normal_kernels(writer: SummaryWriter, fault: bool = True) -> None:
    model = cnn((16, 32, 32), norm=False)
    initialize(model, normal(1.0) if fault else nn.init.kaiming_normal_, nn.init.zeros_)
    train(writer, model, SGD(model.parameters(), lr=1e-3, momentum=0.9), images())


@ill(
    "head-too-large", "initial-loss-off", "poor-init-scale", source="Karpathy, A Recipe: init well, verify loss at init"
)
def last_layer_of_std_10(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 96, 10, norm=nn.BatchNorm1d)
    if fault:
        nn.init.normal_(model[-1].weight, std=10.0)  # type: ignore[arg-type]
    train(writer, model, Adam(model.parameters(), lr=1e-3), pixels())


@ill(
    "head-too-large", "initial-loss-off", "poor-init-scale", source="Karpathy, A Recipe: init well, verify loss at init"
)
def transformer_head_of_std_8(writer: SummaryWriter, fault: bool = True) -> None:
    model = Transformer()
    if fault:
        nn.init.normal_(model.head.weight, std=8.0)
    train(writer, model, AdamW(model.parameters(), lr=1e-3), rows(), steps=150)


@ill("residual-without-scale", "exploding-activations", "poor-init-scale", source="Zhang et al., Fixup (ICLR 2019)")
def twenty_branches_that_double_the_variance(writer: SummaryWriter, fault: bool = True) -> None:
    branches: list[nn.Module] = [mlp(48, 48, 48) for _ in range(20)]
    for branch in branches:
        initialize(branch, nn.init.kaiming_normal_)
        if not fault:
            nn.init.zeros_(branch[-1].weight)  # type: ignore[index]
    model = Residual(nn.Linear(64, 48), branches, nn.Linear(48, 10))
    train(writer, model, SGD(model.parameters(), lr=0.01), pixels(), steps=120)


@ill("residual-without-scale", "exploding-activations", "poor-init-scale", source="Zhang et al., Fixup (ICLR 2019)")
def convolutional_branches_without_normalization(writer: SummaryWriter, fault: bool = True) -> None:
    def branch() -> nn.Module:
        layers = [nn.Conv2d(12, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 12, 3, padding=1)]
        initialize(nn.Sequential(*layers), nn.init.kaiming_normal_, nn.init.zeros_)
        return nn.Sequential(*layers, *([] if fault else [nn.BatchNorm2d(12)]))

    head = nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(48, 10))
    model = Residual(nn.Conv2d(1, 12, 3, padding=1), [branch() for _ in range(10)], head)
    train(writer, model, Adam(model.parameters(), lr=1e-3), images(), steps=100, batch_size=32)
