"""Ill trainings of which every tenth to thirtieth step is measured, and one loss an epoch is logged."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from tb_nnhealth import SummaryWriter
from tests.zoo.builders.branching import mlp
from tests.zoo.builders.material import friedman, wine
from tests.zoo.builders.practice import nothing
from tests.zoo.faulty.problems import Batches, Problem, diabetes, images, pixels, tumours
from tests.zoo.registry import ill


def by_epochs(
    writer: SummaryWriter, model: nn.Module, optimizer: Optimizer, data: Problem, *, every: int, epochs: int = 8,
    batches: Batches | None = None, criterion: nn.Module | None = None, validate: bool = True,
    after: object = nothing,
) -> None:  # fmt: skip
    """Thirty steps an epoch of 32 samples; the mean loss of each is logged, and that of the validation set."""
    criterion, source = criterion or data.criterion, batches or data.shuffled(32)
    writer.watch(model, optimizer, criterion=criterion, every=every)
    for epoch in range(epochs):
        model.train()
        total = 0.0
        for _ in range(30):
            x, y = next(source)
            loss = criterion(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() / 30
            after()  # type: ignore[operator]
        writer.add_scalar("loss/train", total, epoch)
        if validate:
            model.eval()
            with torch.no_grad():
                writer.add_scalar("loss/val", criterion(model(data.val_x), data.val_y).item(), epoch)


class Encoded(nn.Module):
    """Two convolutions, without gradients where ``cut``, and two layers that read them."""

    def __init__(self, *, cut: bool) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 12, 3), nn.ReLU(), nn.Conv2d(12, 12, 3), nn.ReLU(), nn.Flatten())
        self.head, self.cut = mlp(192, 32, 10), cut

    def forward(self, x: Tensor) -> Tensor:
        with torch.set_grad_enabled(self.training and not self.cut):
            codes = self.encoder(x)
        return self.head(codes)  # type: ignore[no-any-return]


@ill("cut-from-the-graph", "no-gradient", subject="encoder*",
     source="Forum: features are taken under torch.no_grad(), in training too")  # fmt: skip
def encoder_under_no_grad_seen_nine_times(writer: SummaryWriter, fault: bool = True) -> None:
    model = Encoded(cut=fault)
    by_epochs(writer, model, SGD(model.parameters(), lr=0.05, momentum=0.9), images(), every=20, epochs=6)


@ill("rate-of-zero", "learning-rate-too-low", "update-ratio-too-low", "loss-not-decreasing",
     source="Forum: a factor of LambdaLR that is divided as integers")  # fmt: skip
def factor_of_zero_for_eight_epochs(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(10, 48, 1)
    optimizer = AdamW(model.parameters(), lr=3e-3)
    schedule = LambdaLR(optimizer, lambda step: step // 1000 if fault else 1.0)
    by_epochs(writer, model, optimizer, friedman(), every=10, after=schedule.step)


class Clamped(nn.Module):
    def __init__(self, *, clamped: bool) -> None:
        super().__init__()
        self.network, self.clamped = mlp(10, 32, 1), clamped

    def forward(self, x: Tensor) -> Tensor:
        answers = self.network(x)
        return answers.clamp(0, 1) if self.clamped else answers  # type: ignore[no-any-return]


@ill("clamped-predictions", "saturated-units", "no-gradient", "constant-output",
     source="Forum: answers are clamped to 0 and 1 in forward, targets are standardized")  # fmt: skip
def standardized_targets_clamped_to_shares(writer: SummaryWriter, fault: bool = True) -> None:
    model = Clamped(clamped=fault)
    by_epochs(writer, model, Adam(model.parameters(), lr=5e-3), diabetes(), every=12, epochs=10)


@ill("softmax-twice", "softmax-before-cross-entropy", source="Forum: softmax before CrossEntropyLoss")
def softmax_seen_eight_times(writer: SummaryWriter, fault: bool = True) -> None:
    model = nn.Sequential(mlp(64, 64, 10), nn.Softmax(dim=1) if fault else nn.Identity())
    by_epochs(writer, model, Adam(model.parameters(), lr=2e-3), pixels(), every=30)


@ill("sorted-data", "unshuffled-data", "single-class-batches", source="37 Reasons, 8: dataset not shuffled")
def digits_in_their_order_seen_twelve_times(writer: SummaryWriter, fault: bool = True) -> None:
    data = pixels()
    order = data.train_y.argsort() if fault else torch.randperm(len(data.train_y))

    def batches() -> Batches:
        while True:
            for some in order.split(32):
                yield data.train_x[some], data.train_y[some]

    model = mlp(64, 48, 10)
    by_epochs(writer, model, SGD(model.parameters(), lr=0.05, momentum=0.9), data, every=17, batches=batches())


@ill("repeated-batch", "repeated-batch", "too-few-samples",
     source="Forum: __getitem__ takes the index modulo the batch size of an older script")  # fmt: skip
def index_modulo_32(writer: SummaryWriter, fault: bool = True) -> None:
    data = images()
    first = data.train_x[:32], data.train_y[:32]

    def batches() -> Batches:
        while True:
            yield first

    model = Encoded(cut=False)
    source = batches() if fault else None
    by_epochs(writer, model, Adam(model.parameters(), lr=2e-3), data, every=10, batches=source)


class Hinge(nn.Module):
    """The criterion of a support vector machine, for answers (n, 1) and targets of -1 and 1."""

    def forward(self, answers: Tensor, targets: Tensor) -> Tensor:
        return F.relu(1 - targets * answers).mean()


@ill("labels-of-0-and-1-for-a-margin", "no-gradient", "diverging-bias", "constant-output",
     source="Forum: hinge loss by hand with labels of 0 and 1")  # fmt: skip
def hinge_of_zeros_and_ones(writer: SummaryWriter, fault: bool = True) -> None:
    told = tumours()
    train_y, val_y = ((y if fault else 2 * y - 1).reshape(-1, 1) for y in (told.train_y, told.val_y))
    data = Problem(told.train_x, train_y, told.val_x, val_y, Hinge())
    model = mlp(30, 32, 1)
    by_epochs(writer, model, Adam(model.parameters(), lr=3e-3), data, every=5)


@ill("initialization-too-small", "vanishing-activations", "vanishing-gradients", "poor-init-scale", "slow-start",
     source="AUTOTRAINER (ICSE 2021): depth, activation, initialization: tanh, RandomNormal(stddev=0.05)")  # fmt: skip
def eight_tanh_layers_seen_ten_times(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(13, *([40] * 7), 3, activation=nn.Tanh)
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0, 0.03) if fault else nn.init.xavier_normal_(layer.weight)
    by_epochs(writer, model, SGD(model.parameters(), lr=0.05, momentum=0.9), wine(), every=20, epochs=7)
