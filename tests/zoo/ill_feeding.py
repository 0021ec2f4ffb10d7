"""Ill for what they are fed, and for a last layer that does not suit the criterion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from sklearn.datasets import load_wine
from tb_nnhealth.demo.data import Characters, characters
from tb_nnhealth.demo.models import CharacterTransformer
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from tb_nnhealth import SummaryWriter
from tests.zoo.faulty.loop import train
from tests.zoo.faulty.networks import cnn, mlp
from tests.zoo.faulty.problems import Batches, Problem, diabetes, images, pixels, tumours
from tests.zoo.registry import ill

UNITS = "37 Reasons, 12: standardize the features; CS231n: data preprocessing"
WORKERS = "TrainCheck (OSDI 2025): identical seeds in data workers; forum: duplicated batches of an IterableDataset"
ONE_CLASS = "37 Reasons, 11: batches of a single class"
TWICE = "Forum: sigmoid before BCEWithLogitsLoss"
CONSTANT = "Forum: softmax over one output is always 1; Karpathy, A Recipe: input-independent baseline"
TCL = "DeepCrime (ISSTA 2021), TCL: change labels of training data"


@ill("measurements-in-their-own-units", "unnormalized-input", source=UNITS)
def areas_in_square_millimetres(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(30, 32, 32, 1, activation=nn.Tanh)
    train(writer, model, SGD(model.parameters(), lr=0.02, momentum=0.9), tumours(not fault), batch_size=32)


def wine(standardized: bool) -> Problem:
    """Thirteen measurements of 178 wines, among them proline of up to 1,680 mg/l, in three classes."""
    x, y = load_wine(return_X_y=True)
    features, labels = torch.tensor(x, dtype=torch.float32), torch.tensor(y)
    if standardized:
        features = (features - features.mean(0)) / features.std(0)
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(0))
    train_rows, val_rows = order[:130], order[130:]
    return Problem(features[train_rows], labels[train_rows], features[val_rows], labels[val_rows])


@ill("measurements-in-their-own-units", "unnormalized-input", source=UNITS)
def proline_beside_hue(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(13, 48, 3)
    train(writer, model, Adam(model.parameters(), lr=2e-3), wine(not fault), batch_size=26, steps=250)


class Stream(IterableDataset[tuple[Tensor, Tensor]]):
    """Endless batches of a problem; ``apart`` gives each worker a seed of its own."""

    def __init__(self, data: Problem, size: int, *, apart: bool) -> None:
        super().__init__()
        self.data = data
        self.size = size
        self.apart = apart

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        worker = get_worker_info()
        seed = worker.id if worker is not None and self.apart else 0
        return self.data.shuffled(self.size, seed)


class Windows(IterableDataset[tuple[Tensor, Tensor]]):
    """Random windows of a text, drawn with a generator that each worker makes anew."""

    def __init__(self, text: Characters, *, apart: bool) -> None:
        super().__init__()
        self.text = text
        self.apart = apart

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        worker = get_worker_info()
        generator = torch.Generator().manual_seed(worker.id if worker is not None and self.apart else 42)
        while True:
            yield self.text.batch(16, 24, generator)


def loaded(dataset: IterableDataset[tuple[Tensor, Tensor]], workers: int) -> Batches:
    return ((x, y) for x, y in DataLoader(dataset, batch_size=None, num_workers=workers))


@ill("workers-with-one-seed", "repeated-batch", source=WORKERS)
def three_workers_that_draw_the_same(writer: SummaryWriter, fault: bool = True) -> None:
    model, data = mlp(64, 64, 10), pixels()
    batches = loaded(Stream(data, 32, apart=not fault), 3)
    train(writer, model, SGD(model.parameters(), lr=0.02), data, batches=batches, steps=240)


@ill("workers-with-one-seed", "repeated-batch", source=WORKERS)
def two_workers_on_the_same_text(writer: SummaryWriter, fault: bool = True) -> None:
    text = characters()
    model = CharacterTransformer(len(text.alphabet), length=24, width=32, depth=2)
    val_x, val_y = text.batch(64, 24, torch.Generator().manual_seed(9), val=True)
    batches = loaded(Windows(text, apart=not fault), 2)
    data = Problem(val_x[:0], val_y[:0], val_x, val_y)
    train(writer, model, AdamW(model.parameters(), lr=3e-3), data, batches=batches, steps=160)


def of_one_class(data: Problem, size: int, since: int) -> Batches:
    """Shuffled batches; from ``since`` on each holds one class, drawn at random."""
    generator = torch.Generator().manual_seed(4)
    for step, batch in enumerate(data.shuffled(size)):
        label = int(torch.randint(10, (), generator=generator))
        members = (data.train_y == label).nonzero().squeeze(1)
        chosen = members[torch.randint(len(members), (size,), generator=generator)]
        yield (data.train_x[chosen], data.train_y[chosen]) if step >= since else batch


@ill("one-class-per-batch", "single-class-batches", source=ONE_CLASS)
def sampler_that_groups_by_class(writer: SummaryWriter, fault: bool = True) -> None:
    model, data = mlp(64, 96, 10, norm=nn.BatchNorm1d), pixels()
    batches = of_one_class(data, 32, 0) if fault else data.shuffled(32)
    train(writer, model, Adam(model.parameters(), lr=1e-3), data, batches=batches)


@ill("one-class-per-batch", "single-class-batches", onset=90, source=ONE_CLASS)
def archive_of_one_class_at_a_time_midway(writer: SummaryWriter, fault: bool = True) -> None:
    model, data = cnn((8, 16), norm=False), images()
    batches = of_one_class(data, 48, 90) if fault else data.shuffled(48)
    train(writer, model, SGD(model.parameters(), lr=0.02, momentum=0.9), data, batches=batches, steps=220)


@ill("sigmoid-twice", "softmax-before-cross-entropy", source=TWICE)
def sigmoid_before_the_logistic_loss(writer: SummaryWriter, fault: bool = True) -> None:
    model = nn.Sequential(*mlp(30, 32, 1), *([nn.Sigmoid()] if fault else []))
    train(writer, model, Adam(model.parameters(), lr=3e-3), tumours(), steps=250)


@ill("sigmoid-twice", "softmax-before-cross-entropy", source=TWICE)
def sigmoid_before_the_loss_of_ten_labels(writer: SummaryWriter, fault: bool = True) -> None:
    model = nn.Sequential(*cnn((8, 16)), *([nn.Sigmoid()] if fault else []))
    data = images()
    one_hot = replace(
        data, train_y=F.one_hot(data.train_y).float(), val_y=F.one_hot(data.val_y).float(),
        criterion=nn.BCEWithLogitsLoss(),
    )  # fmt: skip
    train(writer, model, SGD(model.parameters(), lr=0.1, momentum=0.9), one_hot)


@ill("constant-by-construction", "constant-output", source=CONSTANT)
def softmax_over_a_single_output(writer: SummaryWriter, fault: bool = True) -> None:
    last: nn.Module = nn.Softmax(dim=1) if fault else nn.Sigmoid()
    model = nn.Sequential(*mlp(30, 32, 1), last)
    train(writer, model, Adam(model.parameters(), lr=1e-3), tumours(), criterion=nn.BCELoss())


@ill("constant-by-construction", "constant-output", source=CONSTANT)
def normalization_over_a_single_feature(writer: SummaryWriter, fault: bool = True) -> None:
    model = nn.Sequential(*mlp(10, 32, 32, 1, activation=nn.SiLU), *([nn.LayerNorm(1)] if fault else []))
    train(writer, model, SGD(model.parameters(), lr=0.05), diabetes(), batch_size=32, steps=250)


def mislabelled(data: Problem, share: float) -> Problem:
    """A share of the training labels drawn anew, once and for all."""
    generator = torch.Generator().manual_seed(3)
    wrong = torch.rand(len(data.train_y), generator=generator) < share
    drawn = torch.randint(10, data.train_y.shape, generator=generator)
    return replace(data, train_y=torch.where(wrong, drawn, data.train_y))


@ill("wrong-labels-memorized", "overfitting", source=TCL)
def half_the_labels_wrong(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 256, 256, 10)
    data = pixels().first(500)
    train(
        writer, model, Adam(model.parameters(), lr=1e-3), mislabelled(data, 0.5) if fault else data,
        steps=500, validate_every=10,
    )  # fmt: skip


@ill("wrong-labels-memorized", "overfitting", source=TCL)
def a_third_of_the_images_mislabelled(writer: SummaryWriter, fault: bool = True) -> None:
    model = cnn((12, 24))
    data = images().first(400)
    train(
        writer, model, AdamW(model.parameters(), lr=2e-3), mislabelled(data, 0.4) if fault else data,
        batch_size=40, steps=300, validate_every=10,
    )  # fmt: skip
