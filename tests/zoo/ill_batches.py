"""Ill for what is in their batches: values missing, spoiled, shifted, or of another distribution."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adagrad, Adam, AdamW, RMSprop
from torch.utils.data import DataLoader, IterableDataset

from tb_nnhealth import SummaryWriter
from tests.zoo.builders.habits import descend
from tests.zoo.builders.sequences import Windows
from tests.zoo.builders.tasks import reviews, surface, waves
from tests.zoo.faulty.loop import train
from tests.zoo.faulty.networks import cnn, mlp
from tests.zoo.faulty.problems import Batches, Problem, diabetes, images, pixels, tumours
from tests.zoo.registry import ill

MISSING = "Forum: NaN in the data; TheDeepChecker (TOSEM 2023): non-finite inputs"
TWICE = "Forum: ToTensor divides by 255 and the loader does so again"
IN_PLACE = "Forum: a transform that changes the data set's own tensors, anew in each epoch"


def grey(data: Problem, scale: float = 1.0) -> Problem:
    """Digits of 0 to ``scale``."""
    low, high = data.train_x.min(), data.train_x.max()
    train_x, val_x = ((x - low) / (high - low) * scale for x in (data.train_x, data.val_x))
    return replace(data, train_x=train_x, val_x=val_x)


@ill("missing-values-read-as-nan", "non-finite", onset=60, source=MISSING)
def measurement_missing_midway(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(30, 24, 24, 1, activation=nn.SiLU)

    def missing(step: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if fault and step >= 60:
            x = x.clone()
            x[0, 7] = float("nan")
        return x, y

    optimizer = AdamW(model.parameters(), lr=2e-3)
    train(writer, model, optimizer, tumours(), batch_size=32, prepare=missing, steps=140)


@ill("missing-values-read-as-nan", "non-finite", onset=45, source=MISSING)
def target_missing_midway(writer: SummaryWriter, fault: bool = True) -> None:
    data, model = diabetes(), mlp(10, 24, 1)
    optimizer, batches = SGD(model.parameters(), lr=0.02, momentum=0.9), diabetes().shuffled(32)
    writer.watch(model, optimizer)

    def loss_of(step: int) -> Tensor:
        x, y = next(batches)
        if fault and step == 45:
            y = y.clone()
            y[2] = float("nan")
        return (model(x) - y).square().mean()

    def test() -> dict[str, float]:
        return {"test_loss": (model(data.val_x) - data.val_y).square().mean().item()}

    descend(writer, optimizer, loss_of, 120, tag="train_loss", examine=test)


@ill("sentinel-values", "unnormalized-input",
     source="37 Reasons, 1 and 12; forum: missing values stored as -999")  # fmt: skip
def missing_values_of_minus_999(writer: SummaryWriter, fault: bool = True) -> None:
    data, generator = tumours(), torch.Generator().manual_seed(6)

    def stored(x: Tensor) -> Tensor:
        return x.masked_fill(torch.rand(x.shape, generator=generator) < 0.06, -999.0 if fault else 0.0)

    data = replace(data, train_x=stored(data.train_x), val_x=stored(data.val_x))
    model = mlp(30, 32, 16, 1, activation=nn.ELU)
    train(writer, model, RMSprop(model.parameters(), lr=1e-3), data, batch_size=32, steps=250)


@ill("divided-by-255-twice", "unnormalized-input", source=TWICE)
def pixels_of_0_to_1_over_255(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 64, 64, 10)
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    train(writer, model, optimizer, grey(pixels(), 1 / 255 if fault else 1.0), steps=250)


@ill("divided-by-255-twice", "unnormalized-input", source=TWICE)
def images_of_0_to_1_over_255(writer: SummaryWriter, fault: bool = True) -> None:
    data = grey(images(), 1 / 255 if fault else 1.0)
    model = cnn((8, 16), norm=False, activation=nn.Tanh)
    optimizer, batches = Adagrad(model.parameters(), lr=5e-3), data.shuffled(64)
    writer.watch(model, optimizer)

    def loss_of(step: int) -> Tensor:
        x, y = next(batches)
        logits = model(x)
        loss = nn.functional.cross_entropy(logits, y)
        writer.observe(inputs=x, targets=y, outputs=logits, loss=loss)
        return loss

    def validation() -> dict[str, float]:
        return {"acc/valid": (model(data.val_x).argmax(1) == data.val_y).float().mean().item()}

    descend(writer, optimizer, loss_of, 200, tag="loss/training", examine=validation, modes=model)


@ill("every-word-unknown", "constant-input", "constant-output",
     source="Forum: vocabulary in lower case, texts are not; every word becomes <unk>")  # fmt: skip
def vocabulary_that_knows_no_word(writer: SummaryWriter, fault: bool = True) -> None:
    task = reviews()
    known = (lambda tokens: torch.ones_like(tokens)) if fault else Tensor.clone
    data = Problem(known(task.train_x), task.train_y, known(task.val_x), task.val_y)
    train(writer, (model := Windows(1000)), Adam(model.parameters(), lr=5e-3), data, steps=250)


@ill("every-label-the-same", "single-class-batches", "class-imbalance",
     source="Forum: labels parsed from the wrong part of the path; Humbatova et al. (ICSE 2020)")  # fmt: skip
def label_of_the_parent_folder(writer: SummaryWriter, fault: bool = True) -> None:
    data = images()
    read = replace(data, train_y=torch.zeros_like(data.train_y)) if fault else data
    train(writer, (model := cnn((8, 16))), AdamW(model.parameters(), lr=1e-3), read, steps=150)


class Buffered(IterableDataset[tuple[Tensor, Tensor]]):
    """Samples in the order of their classes, through a shuffle buffer."""

    def __init__(self, data: Problem, buffer: int) -> None:
        super().__init__()
        self.data, self.buffer, self.random = data, buffer, random.Random(3)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        held: list[int] = []
        while True:
            for i in self.data.train_y.argsort(stable=True).tolist():
                held.append(i)
                if len(held) >= self.buffer:
                    chosen = held.pop(self.random.randrange(len(held)))
                    yield self.data.train_x[chosen], self.data.train_y[chosen]


@ill("shuffle-buffer-too-small", "unshuffled-data", "single-class-batches",
     source="Forum: Dataset.shuffle(buffer_size) far below the size of sorted data")  # fmt: skip
def buffer_of_forty_on_sorted_images(writer: SummaryWriter, fault: bool = True) -> None:
    data = pixels()
    batches: Batches = ((x, y) for x, y in DataLoader(Buffered(data, 40 if fault else 1400), 32))
    model = mlp(64, 48, 10)
    train(writer, model, SGD(model.parameters(), lr=0.05, momentum=0.9), data, batches=batches, steps=280)


@ill("data-changed-in-place", "unnormalized-input", "input-range-mismatch", onset=22, source=IN_PLACE)
def pixels_scaled_again_in_each_epoch(writer: SummaryWriter, fault: bool = True) -> None:
    data = pixels()
    own = replace(data, train_x=data.train_x.clone())

    def batches() -> Batches:
        epoch = own.shuffled(64)
        for step, (x, y) in enumerate(epoch):
            if fault and step and step % 22 == 0:
                own.train_x.sub_(0.5).div_(0.5)
            yield x, y

    model = mlp(64, 64, 64, 10, activation=nn.Tanh)
    train(writer, model, Adam(model.parameters(), lr=1e-3), own, batches=batches(), steps=250)


@ill("data-changed-in-place", "unnormalized-input", "input-range-mismatch", onset=50, source=IN_PLACE)
def signals_whose_noise_piles_up(writer: SummaryWriter, fault: bool = True) -> None:
    task = waves()
    own, generator = task.train_x.clone(), torch.Generator().manual_seed(2)
    model = nn.Sequential(
        nn.Conv1d(1, 12, 7, stride=2), nn.ReLU(), nn.Conv1d(12, 16, 5, stride=2), nn.ReLU(), nn.Flatten(),
        nn.Linear(144, 4),
    )  # fmt: skip
    optimizer, criterion = Adam(model.parameters(), lr=2e-3), nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)

    def loss_of(step: int) -> Tensor:
        chosen = torch.randint(len(own), (64,), generator=generator)
        noisy = own[chosen] + 0.8 * torch.randn(64, 1, 48, generator=generator)
        if fault:
            own[chosen] = noisy
        return criterion(model(noisy), task.train_y[chosen])  # type: ignore[no-any-return]

    def validation() -> dict[str, float]:
        outputs = model(task.val_x)
        return {"val/loss": criterion(outputs, task.val_y).item(), "val/accuracy": task.score(outputs, task.val_y)}

    descend(writer, optimizer, loss_of, 400, tag="train/loss", examine=validation, modes=model)


@ill("heavy-tailed-targets", "gradient-spike", "loss-spike", "loss-oscillating",
     source="Forum: prices without a logarithm, squared error; 37 Reasons, 12")  # fmt: skip
def prices_without_a_logarithm(writer: SummaryWriter, fault: bool = True) -> None:
    task = surface()

    def price(y: Tensor) -> Tensor:
        return (2.5 * y).exp() / 8 if fault else y

    data = Problem(task.train_x, price(task.train_y), task.val_x, price(task.val_y), nn.MSELoss())
    model, criterion, batches = mlp(8, 48, 48, 1), nn.MSELoss(), data.shuffled(16)
    optimizer = Adam(model.parameters(), lr=3e-3)
    writer.watch(model, optimizer, criterion=criterion)

    def loss_of(step: int) -> Tensor:
        x, y = next(batches)
        return criterion(model(x), y)  # type: ignore[no-any-return]

    def validation() -> dict[str, float]:
        logs = [y.clamp_min(1e-3).log() for y in (model(data.val_x), data.val_y)] if fault else None
        told, true = logs or (2.5 * model(data.val_x), 2.5 * data.val_y)
        return {"val_log_error": (told - true).abs().mean().item()}

    descend(writer, optimizer, loss_of, 400, tag="train_loss", examine=validation)
