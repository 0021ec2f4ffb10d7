"""Ill for their layers: what stands between them, how they begin, and what holds their weights."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, RMSprop

from tb_nnhealth import SummaryWriter
from tests.zoo.builders.habits import descend
from tests.zoo.builders.sequences import Decoder
from tests.zoo.builders.tasks import alphabet, text, waves
from tests.zoo.faulty.loop import train
from tests.zoo.faulty.networks import cnn, initialize, mlp
from tests.zoo.faulty.problems import Problem, images, pixels
from tests.zoo.registry import ill

ACH = "DeepCrime (ISSTA 2021), ACH: change activation function"
GROWING = ("exploding-activations", "exploding-gradients", "non-finite")
FADING = ("vanishing-activations", "vanishing-gradients")
ZERO_GAMMA = "Goyal et al. (2017), 5.1: gamma of zero is for the last layer of a residual block"
COPIES = "Chen et al., Net2Net (ICLR 2016): copied units need noise to part"


@ill("softmax-between-layers", *FADING, "slow-start", source=ACH)
def hidden_softmax_in_an_mlp(writer: SummaryWriter, fault: bool = True) -> None:
    activation = partial(nn.Softmax, dim=1) if fault else nn.GELU
    model = mlp(64, 64, 64, 64, 10, activation=activation)  # type: ignore[arg-type]
    train(writer, model, SGD(model.parameters(), lr=0.1, momentum=0.9), pixels(), steps=250)


@ill("softmax-between-layers", *FADING, "slow-start", source=ACH)
def softmax_over_the_channels(writer: SummaryWriter, fault: bool = True) -> None:
    activation = partial(nn.Softmax, dim=1) if fault else nn.LeakyReLU
    model = cnn((16, 16, 16), norm=False, activation=activation)  # type: ignore[arg-type]
    optimizer, data, criterion = SGD(model.parameters(), lr=0.05, momentum=0.9), images(), nn.CrossEntropyLoss()
    writer.watch(model, optimizer)
    batches = data.shuffled(48)

    def loss_of(step: int) -> Tensor:
        x, y = next(batches)
        return criterion(model(x), y)  # type: ignore[no-any-return]

    def test() -> dict[str, float]:
        return {"Accuracy/test": (model(data.val_x).argmax(1) == data.val_y).float().mean().item()}

    descend(writer, optimizer, loss_of, 200, tag="Loss/train", examine=test, modes=model)


class Squared(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x


class Exponential(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.exp()


@ill("activation-that-grows", *GROWING, source=ACH)
def squares_between_six_layers(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, *[64] * 6, 10, activation=Squared if fault else nn.ReLU)
    initialize(model, nn.init.xavier_normal_, nn.init.zeros_)
    train(writer, model, Adam(model.parameters(), lr=1e-3), pixels(), steps=150)


@ill("activation-that-grows", *GROWING, source=ACH)
def exponentials_between_convolutions(writer: SummaryWriter, fault: bool = True) -> None:
    model = cnn((8, 12), norm=False, activation=Exponential if fault else nn.ELU)
    train(writer, model, SGD(model.parameters(), lr=0.02, momentum=0.9), images(), steps=150)


@ill("gamma-zero-without-a-shortcut", "vanishing-activations", "dead-units", "constant-output", "poor-init-scale",
     source=ZERO_GAMMA)  # fmt: skip
def every_batch_norm_starts_at_zero(writer: SummaryWriter, fault: bool = True) -> None:
    model = cnn((12, 24))
    if fault:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.zeros_(module.weight)
    train(writer, model, SGD(model.parameters(), lr=0.05, momentum=0.9), images(), steps=150)


class Gated(nn.Module):
    """The answer of a linear layer times an open or shut gate."""

    def __init__(self, fan_in: int, fan_out: int, bias: float) -> None:
        super().__init__()
        self.value, self.gate, self.open = nn.Linear(fan_in, fan_out), nn.Linear(fan_in, fan_out), nn.Sigmoid()
        nn.init.constant_(self.gate.bias, bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.open(self.gate(x)) * torch.tanh(self.value(x))  # type: ignore[no-any-return]


@ill("gates-initialized-shut", "saturated-units", "poor-init-scale", *FADING,
     source="Jozefowicz et al. (ICML 2015), Srivastava et al., Highway Networks (2015): biases of gates")  # fmt: skip
def gates_with_biases_of_minus_eight(writer: SummaryWriter, fault: bool = True) -> None:
    bias = -8.0 if fault else 1.0
    model = nn.Sequential(Gated(64, 48, bias), Gated(48, 48, bias), Gated(48, 48, bias), nn.Linear(48, 10))
    train(writer, model, Adam(model.parameters(), lr=1e-3), pixels(), steps=250)


@ill("negative-initialization", "dead-units", "poor-init-scale", "constant-output", "vanishing-activations",
     source="Lu et al., Dying ReLU and Initialization (2019); DeepCrime (ISSTA 2021), WCI")  # fmt: skip
def weights_below_zero_on_inputs_above(writer: SummaryWriter, fault: bool = True) -> None:
    data = pixels()
    low, high = data.train_x.min(), data.train_x.max()
    grey = Problem((data.train_x - low) / (high - low), data.train_y, (data.val_x - low) / (high - low), data.val_y)
    model = mlp(64, 48, 48, 10)
    if fault:
        nn.init.uniform_(model[0].weight, -0.25, 0.0)  # type: ignore[arg-type]
        nn.init.zeros_(model[0].bias)  # type: ignore[arg-type]
    train(writer, model, Adam(model.parameters(), lr=2e-3), grey, steps=250)


@ill("units-copied-to-widen", "symmetric-units", subject="[02]*", source=COPIES)
def two_units_copied_to_forty_eight(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 48, 10, activation=nn.Tanh)
    if fault:
        with torch.no_grad():
            model[0].weight.copy_(model[0].weight[:2].repeat(24, 1))  # type: ignore[operator, index, union-attr]
            model[0].bias.copy_(model[0].bias[:2].repeat(24))  # type: ignore[operator, index, union-attr]
            model[2].weight.copy_(model[2].weight[:, :2].repeat(1, 24))  # type: ignore[operator, index, union-attr]
    train(writer, model, SGD(model.parameters(), lr=0.05), pixels(), steps=250)


@ill("units-copied-to-widen", "symmetric-units", source=COPIES)
def one_filter_copied_to_every_channel(writer: SummaryWriter, fault: bool = True) -> None:
    task = waves()
    model = nn.Sequential(
        nn.Conv1d(1, 16, 9, stride=4), nn.ReLU(), nn.Conv1d(16, 16, 5, stride=2), nn.ReLU(),
        nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(16, 4),
    )  # fmt: skip
    if fault:
        with torch.no_grad():
            for layer in (model[0], model[2]):
                layer.weight.copy_(layer.weight[:1, :1].expand_as(layer.weight))  # type: ignore[operator, index, union-attr]
                layer.bias.zero_()  # type: ignore[operator, union-attr]
            model[6].weight.copy_(model[6].weight[:, :1].expand(4, 16))  # type: ignore[operator, index, union-attr]
    data = Problem(task.train_x, task.train_y, task.val_x, task.val_y)
    train(writer, model, Adam(model.parameters(), lr=5e-3), data, steps=250)


@ill("tied-embedding-of-unit-variance", "initial-loss-off", "poor-init-scale",
     source="nn.Embedding starts at N(0, 1); Press and Wolf (2017); Karpathy, minGPT: 0.02")  # fmt: skip
def letters_tied_to_an_embedding_of_std_1(writer: SummaryWriter, fault: bool = True) -> None:
    task, model = text(), Decoder(alphabet(), width=64, depth=1, tied=True)
    if fault:
        nn.init.normal_(model.token.weight)
    optimizer, criterion = AdamW(model.parameters(), lr=1e-3), nn.CrossEntropyLoss()
    writer.watch(model, optimizer)

    def loss_of(step: int) -> Tensor:
        x, y = task.batch(torch.randint(len(task), (24,)))
        logits = model(x).flatten(0, 1)
        loss: Tensor = criterion(logits, y.flatten())
        writer.observe(inputs=x, targets=y.flatten(), outputs=logits, loss=loss)
        return loss

    descend(writer, optimizer, loss_of, 150, tag="train/loss")


class Averaging(nn.Module):
    """Rounds of averaging over the neighbours in one graph; each row of the input is a node."""

    def __init__(self, neighbours: Tensor, rounds: int) -> None:
        super().__init__()
        self.register_buffer("neighbours", neighbours)
        self.layers = nn.ModuleList([nn.Linear(16, 24), *(nn.Linear(24, 24) for _ in range(rounds - 1))])
        self.head = nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.tanh(layer(self.neighbours @ x))
        return self.head(x)  # type: ignore[no-any-return]


@ill("over-smoothed-graph", "constant-output", *FADING,
     source="Li et al., Deeper Insights into Graph Convolutional Networks (AAAI 2018)")  # fmt: skip
def fourteen_rounds_over_a_dense_graph(writer: SummaryWriter, fault: bool = True) -> None:
    generator = torch.Generator().manual_seed(21)
    label = torch.randint(3, (240,), generator=generator)
    near = torch.where(label[:, None] == label, 0.12, 0.04) > torch.rand(240, 240, generator=generator)
    near = (near | near.T | torch.eye(240, dtype=torch.bool)).float()
    x = torch.randn(3, 16, generator=generator)[label] + 1.5 * torch.randn(240, 16, generator=generator)
    model = Averaging(near / near.sum(1, keepdim=True), 14 if fault else 2)
    optimizer, known = SGD(model.parameters(), lr=0.1, momentum=0.9), torch.arange(240) < 160
    writer.watch(model, optimizer)

    def loss_of(step: int) -> Tensor:
        outputs = model(x)
        loss = F.cross_entropy(outputs[known], label[known])
        writer.observe(inputs=x, outputs=outputs, loss=loss)
        return loss

    def score() -> dict[str, float]:
        return {"acc/val": (model(x).argmax(1) == label)[~known].float().mean().item()}

    descend(writer, optimizer, loss_of, 200, tag="loss/train", examine=score)


@ill("weights-clamped-too-tightly", *FADING, "over-regularized",
     source="Gulrajani et al. (2017): clipped weights let gradients vanish")  # fmt: skip
def weights_held_within_a_hundredth(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 64, 64, 64, 10, activation=nn.LeakyReLU)
    optimizer, data, criterion = RMSprop(model.parameters(), lr=1e-3), pixels(), nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    batches = data.shuffled(64)

    def loss_of(step: int) -> Tensor:
        x, y = next(batches)
        return criterion(model(x), y)  # type: ignore[no-any-return]

    @torch.no_grad()
    def clamp(step: int) -> None:
        for parameter in model.parameters():
            parameter.clamp_(*((-0.01, 0.01) if fault else (-1.0, 1.0)))

    def validation() -> dict[str, float]:
        return {"validation_loss": criterion(model(data.val_x), data.val_y).item()}

    descend(writer, optimizer, loss_of, 250, tag="training_loss", after_step=clamp, examine=validation, modes=model)
