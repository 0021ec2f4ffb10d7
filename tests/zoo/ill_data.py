"""Ill for what they are fed: units, labels, order, and data that is hardly there."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, repeat

import torch
from tb_nnhealth.demo.data import characters
from tb_nnhealth.demo.models import CharacterTransformer
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW

from tb_nnhealth import SummaryWriter
from tests.zoo.faulty.loop import Prepare, train
from tests.zoo.faulty.networks import Recurrent, Transformer, cnn, mlp
from tests.zoo.faulty.problems import Batches, Problem, diabetes, images, pixels, rows
from tests.zoo.registry import ill

BYTES = "37 Reasons, 12 and 15: features not standardized; forum: images of 0 to 255"
TCL = "DeepCrime (ISSTA 2021), TCL: change labels of training data"
TRD = "DeepCrime (ISSTA 2021), TRD: remove portion of training data"
TUD = "DeepCrime (ISSTA 2021), TUD: unbalance training data"


def as_bytes(x: Tensor) -> Tensor:
    """Standardized digits back to grey values of 0 to 255."""
    low, high = images().train_x.min(), images().train_x.max()
    return (x - low) / (high - low) * 255


def since(step: int, spoil: Prepare) -> Prepare:
    """Spoils the batches from ``step`` on."""
    return lambda now, x, y: spoil(now, x, y) if now >= step else (x, y)


def sound(step: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    return x, y


@ill("pixels-of-0-to-255", "unnormalized-input", source=BYTES)
def grey_values_into_a_tanh_network(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 64, 64, 10, activation=nn.Tanh)
    scale = as_bytes if fault else Tensor.clone
    train(
        writer, model, SGD(model.parameters(), lr=0.05), pixels(),
        prepare=lambda step, x, y: (scale(x), y), validation=scale,
    )  # fmt: skip


@ill("pixels-of-0-to-255", "unnormalized-input", source=BYTES)
def grey_values_into_convolutions(writer: SummaryWriter, fault: bool = True) -> None:
    model = cnn((8, 16), norm=False)
    scale = as_bytes if fault else Tensor.clone
    train(
        writer, model, SGD(model.parameters(), lr=0.02, momentum=0.9), images(),
        prepare=lambda step, x, y: (scale(x), y), validation=scale,
    )  # fmt: skip


@ill("constant-input", "constant-input", source="37 Reasons, 1; forum: bytes divided by 255 as integers")
def bytes_divided_as_integers(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 64, 10)
    scale = (lambda x: (as_bytes(x).to(torch.uint8) // 255 // 2).float()) if fault else Tensor.clone
    train(
        writer, model, Adam(model.parameters(), lr=1e-3), pixels(),
        prepare=lambda step, x, y: (scale(x), y), validation=scale,
    )  # fmt: skip


@ill(
    "constant-input",
    "constant-input",
    onset=100,
    source="37 Reasons, 1; forum: the decoder returns grey frames when files fail",
)
def grey_images_once_the_files_are_gone(writer: SummaryWriter, fault: bool = True) -> None:
    model = cnn((8, 16))
    spoil = since(100, lambda step, x, y: (torch.full_like(x, 0.5), y)) if fault else sound
    train(writer, model, AdamW(model.parameters(), lr=1e-3), images(), prepare=spoil)


@ill("constant-input", "constant-input", source="TheDeepChecker (TOSEM 2023): constant features")
def one_image_broadcast_over_the_batch(writer: SummaryWriter, fault: bool = True) -> None:
    model = Recurrent(nn.GRU, 32)
    spoil = since(0, lambda step, x, y: (x.mean((0, 1, 2), keepdim=True).expand_as(x), y)) if fault else sound
    train(writer, model, Adam(model.parameters(), lr=3e-3), rows(), prepare=spoil)


@ill("repeated-batch", "repeated-batch", source="37 Reasons, 3; forum: next(iter(loader)) in each step")
def first_batch_in_each_step(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 64, 10)
    data = pixels()
    batches = repeat(next(data.shuffled(64))) if fault else data.shuffled(64)
    train(writer, model, Adam(model.parameters(), lr=1e-3), data, batches=batches)


@ill("repeated-batch", "repeated-batch", onset=80, source="Forum: a prefetch buffer that is read and never refilled")
def buffer_that_is_not_refilled(writer: SummaryWriter, fault: bool = True) -> None:
    model = cnn((8, 16))
    data, last = images(), list[tuple[Tensor, Tensor]]()

    def stuck(step: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        last[:] = last or [(x, y)]
        return last[0]

    train(
        writer, model, SGD(model.parameters(), lr=0.02, momentum=0.9), data,
        batch_size=24, prepare=since(80, stuck) if fault else sound, steps=250,
    )  # fmt: skip


@ill("repeated-batch", "repeated-batch", source="37 Reasons, 3; forum: the generator is seeded within the loop")
def windows_drawn_with_the_same_seed(writer: SummaryWriter, fault: bool = True) -> None:
    text = characters()
    model = CharacterTransformer(len(text.alphabet), length=24, width=32, depth=2)
    val_x, val_y = text.batch(64, 24, torch.Generator().manual_seed(9), val=True)

    def batches() -> Batches:
        generator = torch.Generator().manual_seed(0)
        while True:
            yield text.batch(16, 24, generator.manual_seed(0) if fault else generator)

    data = Problem(val_x[:0], val_y[:0], val_x, val_y)
    train(writer, model, AdamW(model.parameters(), lr=3e-3), data, batches=batches(), steps=150)


@ill("labels-apart-from-inputs", "loss-not-decreasing", source="37 Reasons, 4; forum: inputs shuffled, labels not")
def inputs_shuffled_without_their_labels(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 48, 10)

    def shuffle(step: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return (x[torch.randperm(len(x))] if fault else x), y

    train(writer, model, Adam(model.parameters(), lr=1e-3), pixels(), prepare=shuffle, steps=400)


@ill("labels-apart-from-inputs", "loss-not-decreasing", source=TCL)
def labels_of_the_next_batch(writer: SummaryWriter, fault: bool = True) -> None:
    model, data = Transformer(), rows()
    labels = data.shuffled(64, seed=2)
    train(
        writer, model, AdamW(model.parameters(), lr=1e-3), data, steps=300,
        prepare=lambda step, x, y: (x, next(labels)[1] if fault else y),
    )  # fmt: skip


@ill("labels-apart-from-inputs", "loss-not-decreasing", source=TCL)
def targets_joined_on_the_wrong_key(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(10, 32, 1)

    def join(step: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return x, (y[torch.randperm(len(y))] if fault else y)

    train(writer, model, SGD(model.parameters(), lr=0.02), diabetes(), prepare=join, batch_size=32, steps=400)


@ill("labels-apart-from-inputs", "loss-not-decreasing", source="Forum: noisy and clean pictures shuffled apart")
def clean_pictures_of_other_samples(writer: SummaryWriter, fault: bool = True) -> None:
    """The mean picture is learned, better than one number for all places. loss/train 0.523 (0.0445)."""
    model, data = mlp(64, 48, 64), pixels()
    pictures = replace(data, train_y=data.train_x, val_y=data.val_x, criterion=nn.MSELoss())

    def shuffle(step: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return (x[torch.randperm(len(x))] if fault else x), y

    train(writer, model, Adam(model.parameters(), lr=1e-3), pictures, prepare=shuffle, steps=400)


def by_class(data: Problem) -> Tensor:
    return data.train_y.argsort(stable=True)


def epochs(data: Problem, order: Tensor, size: int) -> Batches:
    return chain.from_iterable(data.ordered(order, size) for _ in repeat(None))


@ill("sorted-data", "unshuffled-data", "single-class-batches", source="37 Reasons, 8: dataset not shuffled")
def files_read_folder_by_folder(writer: SummaryWriter, fault: bool = True) -> None:
    model, data = mlp(64, 64, 10), pixels()
    batches = epochs(data, by_class(data), 32) if fault else data.shuffled(32)
    train(writer, model, SGD(model.parameters(), lr=0.05, momentum=0.9), data, batches=batches, steps=300)


@ill("sorted-data", "unshuffled-data", "single-class-batches", source="37 Reasons, 8: dataset not shuffled")
def images_in_the_order_of_the_archive(writer: SummaryWriter, fault: bool = True) -> None:
    model, data = cnn((8, 16)), images()
    batches = epochs(data, by_class(data), 64) if fault else data.shuffled(64)
    train(writer, model, Adam(model.parameters(), lr=1e-3), data, batches=batches, steps=220)


def skewed(data: Problem, rare: int) -> Problem:
    """Only ``rare`` samples of each class but the first two."""
    kept = [(data.train_y == c).nonzero().squeeze(1)[: None if c == 0 else rare] for c in range(10)]
    chosen = torch.cat(kept)
    return replace(data, train_x=data.train_x[chosen], train_y=data.train_y[chosen])


@ill("unbalanced-classes", "class-imbalance", source=TUD)
def one_class_in_place_of_ten(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 48, 10)
    data = skewed(pixels(), 1) if fault else pixels()
    train(writer, model, SGD(model.parameters(), lr=0.05), data, batch_size=32, steps=250)


@ill("unbalanced-classes", "class-imbalance", source="37 Reasons, 9: reduce class imbalance")
def rare_digits_in_a_stream_of_zeros(writer: SummaryWriter, fault: bool = True) -> None:
    model = cnn((8, 16), norm=False)
    data = images()
    zeros, others = data.train_x[data.train_y == 0], data.train_y != 0

    def mostly_zeros(step: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if not fault:
            return x, y
        x, y = x.clone(), y.clone()
        x[2:], y[2:] = zeros[torch.randint(len(zeros), (len(x) - 2,))], 0
        return x, y

    assert others.any()
    train(writer, model, Adam(model.parameters(), lr=5e-4), data, prepare=mostly_zeros, steps=250)


@ill("tiny-training-set", "too-few-samples", "overfitting", source=TRD)
def forty_samples_and_a_wide_network(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 128, 128, 10)
    data = pixels().first(40) if fault else pixels()
    train(
        writer, model, Adam(model.parameters(), lr=1e-3), data,
        batch_size=20, steps=800, validate_every=10,
    )  # fmt: skip


@ill("tiny-training-set", "too-few-samples", "overfitting", source=TRD)
def sixty_images_for_convolutions(writer: SummaryWriter, fault: bool = True) -> None:
    model = cnn((8, 16), norm=False)
    data = images().first(60) if fault else images()
    train(
        writer, model, Adam(model.parameters(), lr=2e-3), data,
        batch_size=20, steps=600, validate_every=10,
    )  # fmt: skip


MISMATCH = "37 Reasons, 14 and 15: preprocessing of training and validation differs"


@ill("validation-preprocessed-otherwise", "input-range-mismatch", source=MISMATCH)
def validation_in_grey_values(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 64, 64, 10)
    scale = as_bytes if fault else Tensor.clone
    train(writer, model, Adam(model.parameters(), lr=1e-3), pixels(), validation=scale)


@ill("validation-preprocessed-otherwise", "input-range-mismatch", source=MISMATCH)
def validation_without_standardization(writer: SummaryWriter, fault: bool = True) -> None:
    model = cnn((8, 16))
    scale = (lambda x: x * 6.0 + 4.9) if fault else Tensor.clone
    train(writer, model, SGD(model.parameters(), lr=0.02, momentum=0.9), images(), validation=scale)


@ill(
    "outlier-batches",
    "gradient-spike",
    "loss-spike",
    onset=90,
    source="ZClip (2025); Takase et al., Spike No More (2023)",
)
def a_batch_in_the_wrong_unit_now_and_then(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(10, 32, 32, 1)

    def spoiled(step: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return x, (y * 60 if fault and step in (90, 170, 250) else y)

    optimizer = SGD(model.parameters(), lr=0.02)
    train(writer, model, optimizer, diabetes(), batch_size=32, prepare=spoiled, steps=300)


@ill(
    "outlier-batches",
    "gradient-spike",
    "loss-spike",
    onset=100,
    source="ZClip (2025); Takase et al., Spike No More (2023)",
)
def a_batch_of_corrupt_images_now_and_then(writer: SummaryWriter, fault: bool = True) -> None:
    model = cnn((8, 16), norm=False)

    def corrupt(step: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return (x * 40 if fault and step in (100, 160, 220) else x), y

    optimizer = SGD(model.parameters(), lr=0.02, momentum=0.9)
    train(writer, model, optimizer, images(), prepare=corrupt, steps=260)
