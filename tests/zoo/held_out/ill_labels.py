"""Ill in what is to be learned: labels and rows that were spoiled, lost, doubled or mixed up."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW

from tb_nnhealth import SummaryWriter
from tests.zoo import registry
from tests.zoo.held_out.bodies import ConvNet, Signal, dense
from tests.zoo.held_out.habits import CAMEL, EPOCHS, KERAS, STEPS, TRAINER, fit
from tests.zoo.held_out.readers import Recurrent, Transformer
from tests.zoo.held_out.shelf import (
    VOCABULARY,
    Batch,
    Data,
    cancer,
    diabetes,
    digit_images,
    digits,
    gratings,
    order,
    signals,
    spirals,
    spots,
    text,
    waves,
)  # fmt: skip

ill = partial(registry.ill, held_out=True)


def relabelled(y: Tensor, share: float, classes: int) -> Tensor:
    """With a share of the labels drawn anew."""
    drawn = torch.rand(len(y)) < share
    return torch.where(drawn, torch.randint(classes, (len(y),)), y)


TCL = "DeepCrime (ISSTA 2021), TCL: change labels of training data; 37 reasons, 6: noise in the labels"


@ill("share-of-labels-wrong", "overfitting", source=TCL)
def four_labels_in_ten_drawn_anew(writer: SummaryWriter, fault: bool = True) -> None:
    """Accuracy/val 0.777 (0.97), Loss/train 0.629 (0.00272), Loss/val 0.759 (0.0717)."""
    data, model = digits().first(600), dense(64, 256, 256, 10)
    if fault:
        data = data.change(y=relabelled(data.y, 0.4, 10))
    fit(writer, model, data, Adam(model.parameters(), 1e-3), epochs=30, tags=EPOCHS)


@ill("share-of-labels-wrong", "overfitting", source=TCL)
def half_of_the_gratings_mislabelled(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 0.0177 (0.022), val_acc 0.658 (0.932), val_loss 0.986 (0.241)."""
    data, model = gratings(), ConvNet(6, 16, 32, 32)
    data = data.first(500)
    if fault:
        data = data.change(y=relabelled(data.y, 0.5, 6))
    fit(writer, model, data, AdamW(model.parameters(), 3e-3), epochs=25, tags=STEPS)


APART = "37 reasons, 4: is the input connected to the output? Forum: inputs and labels are shuffled separately"


@ill("labels-shuffled-apart", "loss-not-decreasing", "underfitting", source=APART)
def targets_of_other_rows(writer: SummaryWriter, fault: bool = True) -> None:
    """eval/accuracy -0.0301 (0.632), eval/loss 1.15 (0.412), train/loss 1.01 (0.309)."""
    data, model = waves(), dense(8, 32, 1, act=nn.Tanh)
    if fault:
        data = data.change(y=data.y[torch.randperm(len(data.y))])
    fit(writer, model, data, SGD(model.parameters(), 0.05), epochs=15, tags=TRAINER)


@ill("labels-shuffled-apart", "overfitting", source=APART)
def digits_beside_labels_of_others(writer: SummaryWriter, fault: bool = True) -> None:
    """epoch_loss 1.39 (0.00396), epoch_val_loss 3.03 (0.0702), epoch_val_score 0.0994 (0.977)."""
    data, model = digits(), dense(64, 256, 10)
    if fault:
        data = data.change(y=data.y[torch.randperm(len(data.y))])
    fit(writer, model, data, Adam(model.parameters(), 2e-3), epochs=30, tags=KERAS, told="unwatched")


TRD = "DeepCrime (ISSTA 2021), TRD: remove portion of training data; 37 reasons, 9: not enough training examples"


@ill("most-rows-removed", "overfitting", "too-few-samples", source=TRD)
def forty_digits_for_a_convolution(writer: SummaryWriter, fault: bool = True) -> None:
    """Accuracy/val 0.672 (0.956), Loss/train 0.00487 (0.209), Loss/val 1.25 (0.176)."""
    data, model = digit_images(), ConvNet(10, 16, 32, norm=None)
    data = data.first(40) if fault else data
    epochs = 80 if fault else 5
    fit(writer, model, data, Adam(model.parameters(), 3e-3), epochs=epochs, batch=20 if fault else 32, tags=EPOCHS)


@ill("most-rows-removed", "overfitting", "too-few-samples", source=TRD)
def sixty_windows_of_the_sensor(writer: SummaryWriter, fault: bool = True) -> None:
    """training.loss 0.000757 (0.0154), validation.loss 0.473 (0.089), validation.score 0.843 (0.97)."""
    data, model = signals(), Signal(4, 24)
    data = data.first(48) if fault else data
    fit(writer, model, data, AdamW(model.parameters(), 3e-3), epochs=60 if fault else 6, batch=16, tags=CAMEL)


TUD = "DeepCrime (ISSTA 2021), TUD: unbalance training data; 37 reasons, 8: class imbalance"


def recall_of_the_rare(outputs: Tensor, y: Tensor) -> float:
    return (outputs[y > 0.5] > 0).float().mean().item()


@ill("one-class-nearly-missing", "class-imbalance", source=TUD)
def two_in_a_hundred_are_sick(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 0.0347 (0.0542), val_acc 0.5 (0.924), val_loss 0.404 (0.0888)."""
    data, model = cancer(), dense(30, 16, 1)
    data = data.change(y=1 - data.y, vy=1 - data.vy, score=recall_of_the_rare)
    if fault:
        rare = torch.nonzero(data.y[:, 0] > 0.5)[:5, 0]
        rows = torch.cat([torch.nonzero(data.y[:, 0] < 0.5)[:, 0], rare])
        data = data.change(x=data.x[rows], y=data.y[rows])
    fit(writer, model, data, SGD(model.parameters(), 0.05), epochs=25, batch=16, tags=STEPS)


@ill("one-class-nearly-missing", "class-imbalance", source=TUD)
def nine_digits_nearly_missing(writer: SummaryWriter, fault: bool = True) -> None:
    """Accuracy/val 0.394 (0.99), Loss/train 0.0227 (0.064), Loss/val 2.17 (0.0628)."""
    data, model = digit_images(), ConvNet(10, 16, 32)
    if fault:
        rows = torch.nonzero((data.y == 3) | (torch.arange(len(data.y)) % 60 == 0))[:, 0]
        rows = rows.repeat(8)
        data = data.change(x=data.x[rows], y=data.y[rows])
    fit(writer, model, data, SGD(model.parameters(), 0.02, momentum=0.9), epochs=6, tags=EPOCHS)


@ill("weights-of-classes-upside-down", "class-imbalance",
     source="Forum: CrossEntropyLoss(weight=counts / counts.sum()), where the inverse was meant; 37 "
     "reasons, 8")  # fmt: skip
def frequent_class_weighted_up(writer: SummaryWriter, fault: bool = True) -> None:
    """eval/accuracy 0.883 (0.952), eval/loss 0.0415 (0.142), train/loss 0.0263 (0.116)."""
    data = cancer()
    rows = torch.cat([torch.nonzero(data.y[:, 0] > 0.5)[:, 0], torch.nonzero(data.y[:, 0] < 0.5)[:12, 0]])
    labels = data.y[:, 0].long()
    data = data.change(x=data.x[rows], y=labels[rows], vy=data.vy[:, 0].long(), score=balanced)
    shares = data.y.bincount() / len(data.y)
    weights = shares if fault else 1 / shares
    model, criterion = dense(30, 12, 2, act=nn.Tanh), nn.CrossEntropyLoss(weight=weights / weights.sum())
    fit(writer, model, data, SGD(model.parameters(), 0.02), epochs=25, batch=16, criterion=criterion, tags=TRAINER)


def balanced(outputs: Tensor, y: Tensor) -> float:
    told = outputs.argmax(1)
    return sum((told[y == c] == c).float().mean().item() for c in y.unique().tolist()) / len(y.unique())


@ill("rows-copied-under-another-label", "underfitting",
     source="DeepCrime (ISSTA 2021), TCO: make output classes overlap; 37 reasons, 5")  # fmt: skip
def gratings_of_two_names(writer: SummaryWriter, fault: bool = True) -> None:
    """Accuracy/val 0.6 (0.977), Loss/train 0.838 (0.0562), Loss/val 0.764 (0.0637)."""
    data, model = gratings(), ConvNet(6, 16, 24)
    if fault:
        data = data.change(x=data.x.repeat(2, 1, 1, 1), y=torch.cat([data.y, (data.y + 1) % 6]))
    epochs = 8 if fault else 16
    fit(writer, model, data, Adam(model.parameters(), 2e-3), epochs=epochs, batch=32, tags=EPOCHS)


@ill("noise-added-to-training-rows", "overfitting", "input-range-mismatch",
     source="DeepCrime (ISSTA 2021), TAN: add noise to training data")  # fmt: skip
def sensor_drowned_in_noise(writer: SummaryWriter, fault: bool = True) -> None:
    """Accuracy/val 0.447 (0.973), Loss/train 0.277 (0.00103), Loss/val 1.77 (0.072)."""
    data, model = signals().first(500), Signal(4, 24)
    if fault:
        data = data.change(x=data.x + 3.5 * torch.randn_like(data.x))
    fit(writer, model, data, Adam(model.parameters(), 3e-3), epochs=25, tags=EPOCHS)


def erased(x: Tensor, y: Tensor) -> Batch:
    """Two pixels in five blanked, and all shifted by up to two of eight."""
    x = torch.where(torch.rand_like(x) > 0.4, x, 0.0)
    across, down = torch.randint(-2, 3, (2,)).tolist()
    return x.roll((across, down), (2, 3)), y


@ill("augmented-beyond-recognition", "over-regularized", "underfitting",
     source="37 reasons, 13: too much data augmentation")  # fmt: skip
def erased_and_rolled_digits(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 1.73 (0.0401), val_acc 0.504 (0.99), val_loss 1.37 (0.0524)."""
    data, model = digit_images(), ConvNet(10, 16, 32, norm=nn.BatchNorm2d)
    prepare = erased if fault else (lambda x, y: (x, y))
    fit(writer, model, data, Adam(model.parameters(), 2e-3), epochs=12, prepare=prepare, tags=STEPS)


def mirrored(labels_too: bool, x: Tensor, y: Tensor) -> Batch:
    across = torch.rand(len(x)) < 0.5
    x = torch.where(across[:, None, None, None], x.flip(3), x)
    if labels_too:
        y = torch.where(across[:, None], y * torch.tensor([-1.0, 1.0]), y)
    return x, y


@ill("flipped-without-the-labels", "underfitting",
     source="Karpathy, Recipe: you forgot to flip your labels when you left-right flipped the image")  # fmt: skip
def spots_mirrored_and_their_places_not(writer: SummaryWriter, fault: bool = True) -> None:
    """eval/accuracy 0.467 (0.943), eval/loss 0.112 (0.012), train/loss 0.0925 (0.00948)."""
    data, model = spots(), ConvNet(2, 12, 24)
    prepare = partial(mirrored, not fault)
    fit(writer, model, data, Adam(model.parameters(), 3e-3), epochs=15, prepare=prepare, tags=TRAINER)


def sentences(fault: bool) -> Data:
    """Short sentences filled up with a padding symbol, which counts or not."""
    data = text()
    pad = VOCABULARY - 1

    def filled(x: Tensor, blank: int) -> Tensor:
        return nn.functional.pad(x[:, :5], (0, 20), value=blank)

    blank = pad if fault else -100
    y, vy = filled(data.y.clamp(max=pad - 1), blank), filled(data.vy.clamp(max=pad - 1), -100)
    return data.change(x=filled(data.x, pad)[:300], y=y[:300], vx=filled(data.vx, pad), vy=vy, score=next_word)


def next_word(outputs: Tensor, y: Tensor) -> float:
    told = y >= 0
    return (outputs.argmax(1)[told] == y[told]).float().mean().item()


@ill("padding-counts-in-the-loss", "class-imbalance",
     source="Forum: CrossEntropyLoss without ignore_index on padded sequences")  # fmt: skip
def mostly_blanks_to_be_told(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 0.536 (2.12), val_acc 0.229 (0.277), val_loss 2.81 (2.48)."""
    data, model = sentences(fault), Transformer(causal=True, depth=1)
    fit(writer, model, data, SGD(model.parameters(), 0.2), epochs=12, batch=16, tags=STEPS)


def by_class(data: Data, batch: int) -> list[Batch]:
    return list(data.epoch(batch, data.y.argsort()))


IN_ORDER = "37 reasons, 7: shuffle the dataset; forum: DataLoader(shuffle=False) on files sorted by folder"


@ill("files-in-order-of-folders", "unshuffled-data", "single-class-batches", source=IN_ORDER)
def digits_folder_by_folder(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 2.9 (0.0638), val_acc 0.0787 (0.97), val_loss 2.46 (0.088)."""
    data, model = digit_images(), ConvNet(10, 12, 24, norm=None)
    feed = (lambda _: by_class(data, 24)) if fault else (lambda _: data.epoch(24))
    fit(writer, model, data, SGD(model.parameters(), 0.05, momentum=0.9), epochs=8, feed=feed, tags=STEPS)


@ill("files-in-order-of-folders", "unshuffled-data", "single-class-batches", source=IN_ORDER)
def spirals_arm_by_arm(writer: SummaryWriter, fault: bool = True) -> None:
    """Accuracy/val 0.607 (0.993), Loss/train 0.767 (0.0157), Loss/val 0.751 (0.0175)."""
    data, model = spirals(), dense(2, 48, 48, 3)
    feed = (lambda _: by_class(data, 30)) if fault else (lambda _: data.epoch(30))
    fit(writer, model, data, Adam(model.parameters(), 5e-3), epochs=15, feed=feed, tags=EPOCHS)


@ill("one-batch-for-ever", "repeated-batch",
     source="37 reasons, 3: check the data loader; forum: next(iter(loader)) inside of the loop")  # fmt: skip
def first_batch_of_a_new_iterator(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 5.47e-05 (0.000252), val_acc 0.813 (1), val_loss 1.01 (0.000266)."""
    data, model = order(), Recurrent(2, 32, tokens=10)
    only = list(data.epoch(32, torch.arange(len(data.x))))[:1]
    feed = (lambda _: only * 37) if fault else (lambda _: data.epoch(32))
    fit(writer, model, data, Adam(model.parameters(), 5e-3), epochs=9, feed=feed, tags=STEPS)


@ill("workers-of-one-seed", "repeated-batch",
     source="pytorch/pytorch issue 5059: NumPy's generator is the same in every worker; TrainCheck (OSDI "
     "2025)")  # fmt: skip
def eight_workers_cut_alike(writer: SummaryWriter, fault: bool = True) -> None:
    """eval/loss 0.919 (0.49), eval/r2 0.0676 (0.503), train/loss 5.45e-06 (0.405)."""
    data, model = diabetes(), dense(10, 128, 128, 1)

    def drawn(epoch: int) -> list[Batch]:
        workers = []
        for worker in range(8):
            g = torch.Generator().manual_seed(5 if fault else 100 * epoch + worker)
            workers.append(torch.randint(len(data.x), (1, 24), generator=g))
        return [(data.x[rows], data.y[rows]) for of_each in zip(*workers, strict=True) for rows in of_each]

    fit(writer, model, data, Adam(model.parameters(), 5e-4), epochs=30, feed=drawn, tags=TRAINER)
