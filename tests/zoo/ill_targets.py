"""Ill for what their loss asks: sums for means, classes weighted the wrong way, answers that collapse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

from tb_nnhealth import SummaryWriter
from tests.zoo.builders.habits import descend
from tests.zoo.builders.tasks import rare_digit
from tests.zoo.faulty.loop import train
from tests.zoo.faulty.networks import Recurrent, cnn, mlp
from tests.zoo.faulty.problems import Problem, diabetes, images, pixels, rows, tumours
from tests.zoo.registry import ill

SUMMED = "Forum: reduction='sum' with the learning rate of a mean; Humbatova et al. (ICSE 2020): loss function"
DIVIDED = "Forum: a loss that is a mean already is divided by the batch, or by the data set, again"
TOO_HIGH = ("learning-rate-too-high", "update-ratio-too-high", "exploding-gradients", "initial-loss-off")
TOO_LOW = ("learning-rate-too-low", "update-ratio-too-low", "initial-loss-off")


@ill("loss-summed-over-the-batch", *TOO_HIGH, source=SUMMED)
def cross_entropy_summed(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 64, 64, 10)
    criterion = nn.CrossEntropyLoss(reduction="sum" if fault else "mean")
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    train(writer, model, optimizer, pixels(), criterion=criterion, batch_size=128, steps=200)


@ill("loss-summed-over-the-batch", *TOO_HIGH, source=SUMMED)
def squared_errors_summed(writer: SummaryWriter, fault: bool = True) -> None:
    model, data = mlp(10, 32, 1, activation=nn.Tanh), diabetes()
    optimizer, batches = SGD(model.parameters(), lr=0.05), diabetes().shuffled(64)
    writer.watch(model, optimizer)

    def loss_of(step: int) -> Tensor:
        x, y = next(batches)
        errors = (model(x) - y).square()
        return errors.sum() if fault else errors.mean()

    def validation() -> dict[str, float]:
        return {"val_mse": (model(data.val_x) - data.val_y).square().mean().item()}

    descend(writer, optimizer, loss_of, 250, tag="loss", examine=validation)


@ill("loss-divided-twice", *TOO_LOW, source=DIVIDED)
def mean_divided_by_the_data_set(writer: SummaryWriter, fault: bool = True) -> None:
    model, data = cnn((8, 16), norm=False), images()
    optimizer, batches = SGD(model.parameters(), lr=0.05, momentum=0.9), images().shuffled(64)
    writer.watch(model, optimizer)

    def loss_of(step: int) -> Tensor:
        x, y = next(batches)
        loss = F.cross_entropy(model(x), y)
        return loss / (len(data.train_x) if fault else 1)

    def validation() -> dict[str, float]:
        return {"val_accuracy": (model(data.val_x).argmax(1) == data.val_y).float().mean().item()}

    descend(writer, optimizer, loss_of, 250, tag="train_loss", examine=validation, modes=model)


@ill("loss-divided-twice", *TOO_LOW, source=DIVIDED)
def mean_divided_by_batch_and_length(writer: SummaryWriter, fault: bool = True) -> None:
    class Divided(nn.CrossEntropyLoss):
        def forward(self, logits: Tensor, y: Tensor) -> Tensor:
            return super().forward(logits, y) / (len(y) * 8 if fault else 1)

    model = Recurrent(nn.GRU, 48)
    train(writer, model, SGD(model.parameters(), lr=0.3), rows(), criterion=Divided(), steps=250)


def recalled(model: nn.Module, x: Tensor, y: Tensor) -> float:
    return (model(x).argmax(1) == 1)[y == 1].float().mean().item()


@ill("class-weights-inverted", "class-imbalance",
     source="Forum: class weights in proportion to the classes' counts in place of their inverse")  # fmt: skip
def weights_that_favour_the_frequent_class(writer: SummaryWriter, fault: bool = True) -> None:
    task, model = rare_digit(0.08), mlp(64, 32, 2)
    share = torch.bincount(task.train_y) / len(task)
    criterion = nn.CrossEntropyLoss(weight=share if fault else 1 / (2 * share))
    optimizer = SGD(model.parameters(), lr=0.02)
    writer.watch(model, optimizer, criterion=criterion)

    def loss_of(step: int) -> Tensor:
        x, y = task.batch(torch.randint(len(task), (64,)))
        return criterion(model(x), y)  # type: ignore[no-any-return]

    def validation() -> dict[str, float]:
        return {"val/recall": recalled(model, task.val_x, task.val_y)}

    descend(writer, optimizer, loss_of, 400, tag="train/loss", examine=validation)


@ill("sampler-weights-reversed", "class-imbalance",
     source="Forum: WeightedRandomSampler given counts in place of their inverse")  # fmt: skip
def sampler_that_draws_the_frequent_class(writer: SummaryWriter, fault: bool = True) -> None:
    task, model = rare_digit(0.12), nn.Sequential(nn.Unflatten(1, (1, 8, 8)), *cnn((6, 12), outputs=2))
    counts = torch.bincount(task.train_y).double()[task.train_y]
    sampler = WeightedRandomSampler((counts if fault else 1 / counts).tolist(), 30_000)
    loader = iter(DataLoader(TensorDataset(task.train_x, task.train_y), 64, sampler=sampler))
    optimizer, criterion = Adam(model.parameters(), lr=2e-4), nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)

    def loss_of(step: int) -> Tensor:
        x, y = next(loader)
        return criterion(model(x), y)  # type: ignore[no-any-return]

    def validation() -> dict[str, float]:
        return {"eval/recall": recalled(model, task.val_x, task.val_y)}

    descend(writer, optimizer, loss_of, 300, tag="train/loss", examine=validation, modes=model)


@ill("missing-labels-filled-with-zero", "class-imbalance",
     source="Forum: fillna(0) on the labels; Northcutt et al., Confident Learning (2021)")  # fmt: skip
def nine_in_ten_labels_filled_with_zero(writer: SummaryWriter, fault: bool = True) -> None:
    data = pixels()
    unknown = torch.rand(len(data.train_y), generator=torch.Generator().manual_seed(5)) < 0.9
    filled = replace(data, train_y=torch.where(unknown, 0, data.train_y))
    known = Problem(data.train_x[~unknown], data.train_y[~unknown], data.val_x, data.val_y)
    model = mlp(64, 64, 10)
    train(writer, model, Adam(model.parameters(), lr=1e-3), filled if fault else known, batch_size=32, steps=300)


@ill("softmax-over-the-batch", "nll-without-log-softmax",
     source="Forum: log_softmax over dimension 0, the batch, in place of the classes")  # fmt: skip
def log_softmax_down_the_columns(writer: SummaryWriter, fault: bool = True) -> None:
    model = nn.Sequential(*mlp(64, 48, 10), nn.LogSoftmax(dim=0 if fault else 1))
    data = pixels()
    train(writer, model, Adam(model.parameters(), lr=1e-3), data, criterion=nn.NLLLoss(), batch_size=10, steps=300)


@ill("labels-of-0-and-1-for-a-margin", "diverging-bias", "constant-output", "diverging-weights",
     source="Forum: SoftMarginLoss expects targets of -1 and 1")  # fmt: skip
def soft_margin_of_zeros_and_ones(writer: SummaryWriter, fault: bool = True) -> None:
    data = tumours()
    signs = replace(data, train_y=data.train_y * 2 - 1, val_y=data.val_y * 2 - 1)
    model, criterion = mlp(30, 16, 1), nn.SoftMarginLoss()
    used, batches = data if fault else signs, (data if fault else signs).shuffled(32)
    optimizer = SGD(model.parameters(), lr=0.3, momentum=0.9)
    writer.watch(model, optimizer, criterion=criterion)

    def loss_of(step: int) -> Tensor:
        x, y = next(batches)
        return criterion(model(x), y)  # type: ignore[no-any-return]

    def validation() -> dict[str, float]:
        right = (model(used.val_x) > 0) == (data.val_y > 0.5)
        return {"accuracy/val": right.float().mean().item()}

    descend(writer, optimizer, loss_of, 300, tag="loss/train", examine=validation)


@ill("logits-squeezed", "saturated-units", "underfitting", "softmax-before-cross-entropy",
     source="DeepCrime (ISSTA 2021), AAL: add activation function; forum: tanh before CrossEntropyLoss")  # fmt: skip
def logits_between_minus_one_and_one(writer: SummaryWriter, fault: bool = True) -> None:
    model = nn.Sequential(*mlp(64, 64, 10), *([nn.Tanh()] if fault else []))
    train(writer, model, SGD(model.parameters(), lr=0.05), pixels(), steps=300)


@ill("dropout-on-the-output", "over-regularized",
     source="Forum: dropout after the last layer; Srivastava et al. (JMLR 2014)")  # fmt: skip
def predictions_dropped(writer: SummaryWriter, fault: bool = True) -> None:
    model = nn.Sequential(*mlp(64, 48, 10), *([nn.Dropout(0.8)] if fault else []))
    train(writer, model, Adam(model.parameters(), lr=1e-3), pixels(), steps=400)


def nearest_right(encoder: Callable[[Tensor], Tensor], data: Problem) -> float:
    """Share of the validation samples whose nearest neighbour in training, as encoded, is of their class."""
    apart = torch.cdist(encoder(data.val_x), encoder(data.train_x))
    return (data.train_y[apart.argmin(1)] == data.val_y).float().mean().item()


COLLAPSE = "Chen and He, SimSiam (CVPR 2021): without a stop of the gradient all answers become one"


@ill("embeddings-collapse", "constant-output", "vanishing-activations", source=COLLAPSE)
def pairs_drawn_together_and_nothing_apart(writer: SummaryWriter, fault: bool = True) -> None:
    data, encoder = pixels(), mlp(64, 64, 16)
    optimizer, batches = Adam(encoder.parameters(), lr=2e-3), data.shuffled(64)
    writer.watch(encoder, optimizer)

    def loss_of(step: int) -> Tensor:
        x, _ = next(batches)
        a, b = encoder(x + 0.3 * torch.randn_like(x)), encoder(x + 0.3 * torch.randn_like(x))
        near = (a - b).square().sum(1).mean()
        apart = torch.exp(-torch.pdist(a).square()).mean()
        writer.observe(inputs=x, outputs=a, loss=near)
        return near if fault else near + 20 * apart

    def nearest() -> dict[str, float]:
        return {"knn_accuracy": nearest_right(encoder, data)}

    descend(writer, optimizer, loss_of, 400, tag="loss/train", examine=nearest, examine_every=50)


@ill("embeddings-collapse", "constant-output", "vanishing-activations", source=COLLAPSE)
def triplets_whose_negative_is_the_positive(writer: SummaryWriter, fault: bool = True) -> None:
    data, encoder = images(), cnn((8, 12), norm=False, outputs=8)
    optimizer = SGD(encoder.parameters(), lr=0.02, momentum=0.9)
    criterion, batches = nn.TripletMarginLoss(0.5), data.shuffled(64)
    writer.watch(encoder, optimizer)

    def loss_of(step: int) -> Tensor:
        x, y = next(batches)
        same = y[:, None] == y
        positive = (same & ~torch.eye(64, dtype=torch.bool)).float().add(1e-6).multinomial(1)[:, 0]
        negative = positive if fault else (~same).float().multinomial(1)[:, 0]
        h = encoder(x)
        pull = (h - h[positive]).square().sum(1).mean()
        return criterion(h, h[positive], h[negative]) + 0.1 * pull  # type: ignore[no-any-return]

    def nearest() -> dict[str, float]:
        return {"val/nearest": nearest_right(encoder, data)}

    descend(writer, optimizer, loss_of, 250, tag="train/triplet_loss", examine=nearest, examine_every=50)
