"""Set aside: ill for modes, for what validation would have told, for labels, for classes that are rare."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import SGD, Adam, AdamW
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

from tb_nnhealth import SummaryWriter
from tests.zoo.held_out.pictures_data import (
    Split,
    accuracy,
    customers,
    digits,
    scaled,
    shapes,
    split,
    standardized,
    table,
    waves,
)
from tests.zoo.registry import ill


def normed_cnn(channels: int, classes: int, drop: float = 0.0) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.AdaptiveMaxPool2d(4),
        nn.Flatten(), nn.Dropout(drop), nn.Linear(384, classes),
    )  # fmt: skip


@ill(
    "train-called-once-ahead-of-the-epochs",
    "wrong-mode",
    onset=25,
    held_out=True,
    source="Forum: model.eval() in validation, and model.train() never again; TrainCheck",
)
def evaluation_mode_from_the_second_epoch(writer: SummaryWriter, fault: bool = True) -> None:
    data = mislabelled_customers()
    model = nn.Sequential(
        nn.Linear(20, 256), nn.ReLU(), nn.Dropout(0.5), nn.Linear(256, 256), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(256, 2),
    )  # fmt: skip
    optimizer, criterion = Adam(model.parameters(), lr=2e-3), nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    model.train()
    for epoch in range(22):
        if not fault:
            model.train()
        for x, y in data.loader(25):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            answers = model(data.val_x)
            writer.add_scalar("Loss/train", loss.item(), epoch)
            writer.add_scalar("Loss/val", criterion(answers, data.val_y).item(), epoch)
            writer.add_scalar("Accuracy/val", (answers.argmax(1) == data.val_y).float().mean().item(), epoch)


def mislabelled_customers() -> Split:
    data = standardized(customers())
    labels, wrong = data.train_y[:640].clone(), torch.rand(640) < 0.15
    labels[wrong] = 1 - labels[wrong]
    return data._replace(train_x=data.train_x[:640], train_y=labels)


@ill(
    "validated-in-training-mode",
    "wrong-mode",
    held_out=True,
    source="PyTorch forum: model.eval() forgotten, validation depends on its batch; 37 Reasons, 32",
)
def validation_by_threes_without_eval(writer: SummaryWriter, fault: bool = True) -> None:
    data = scaled(shapes())
    model = normed_cnn(3, 5, drop=0.4)
    optimizer, criterion = AdamW(model.parameters(), lr=2e-3), nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    for epoch in range(8):
        model.train()
        for x, y in data.loader(32):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
        if not fault:
            model.eval()
        right = 0.0
        with torch.no_grad():
            for x, y in zip(data.val_x[:240].split(3), data.val_y[:240].split(3), strict=True):
                right += (model(x).argmax(1) == y).float().sum().item()
        writer.add_scalar("train/loss", loss.item(), epoch)
        writer.add_scalar("val/acc", right / 240, epoch)


@ill(
    "running-average-read-as-keras-has-it",
    "prediction-jitter",
    "loss-oscillating",
    "wrong-mode",
    held_out=True,
    source="Forum: momentum=0.99 copied from Keras into nn.BatchNorm2d",
)
def batch_norm_that_forgets_at_once(writer: SummaryWriter, fault: bool = True) -> None:
    data, momentum = standardized(customers()), 0.99 if fault else 0.01
    model = nn.Sequential(
        nn.Linear(20, 48), nn.BatchNorm1d(48, momentum=momentum), nn.ReLU(), nn.Linear(48, 48),
        nn.BatchNorm1d(48, momentum=momentum), nn.ReLU(), nn.Linear(48, 2),
    )  # fmt: skip
    optimizer = Adam(model.parameters(), lr=3e-3)
    writer.watch(model, optimizer)
    step = 0
    for _ in range(3):
        model.train()
        for x, y in data.loader(10):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            writer.add_scalar("loss/train", loss.item(), step)
            if step % 15 == 0:
                model.eval()
                with torch.no_grad():
                    answers = model(data.val_x)
                writer.add_scalar("loss/val", F.cross_entropy(answers, data.val_y).item(), step)
                writer.add_scalar("acc/val", (answers.argmax(1) == data.val_y).float().mean().item(), step)
                model.train()


@ill(
    "annotators-guess",
    "overfitting",
    held_out=True,
    source="37 Reasons, 8; DeepCrime TCL: change labels of training data",
)
def two_fifths_of_the_labels_guessed(writer: SummaryWriter, fault: bool = True) -> None:
    data = scaled(digits(), 76, 96)
    labels = data.train_y.clone()
    if fault:
        guessed = torch.rand(len(labels)) < 0.4
        labels[guessed] = torch.randint(10, (int(guessed.sum()),))
    data = data._replace(train_y=labels)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)
    )
    optimizer, criterion = Adam(model.parameters(), lr=2e-3), nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    for epoch in range(14):
        total = 0.0
        for x, y in data.loader(32):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() / 42
        with torch.no_grad():
            writer.add_scalar("Loss/train", total, epoch)
            writer.add_scalar("Loss/val", criterion(model(data.val_x), data.val_y).item(), epoch)
        writer.add_scalar("Accuracy/val", accuracy(model, data.val_x, data.val_y), epoch)


@ill(
    "stopping-watches-the-training-loss",
    "overfitting",
    held_out=True,
    source="Humbatova et al.: early stopping on the wrong quantity; DeepCrime RES",
)
def stops_when_training_no_longer_improves(writer: SummaryWriter, fault: bool = True) -> None:
    raw = table("diabetes")
    mean, std = raw.train_y.mean(), raw.train_y.std()
    data = standardized(raw)._replace(train_y=(raw.train_y - mean) / std, val_y=(raw.val_y - mean) / std)
    model = nn.Sequential(nn.Linear(10, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 1))
    optimizer, criterion = Adam(model.parameters(), lr=1e-3), nn.MSELoss()
    writer.watch(model, optimizer, criterion=criterion)
    least, waited = float("inf"), 0
    for epoch in range(50):
        total = 0.0
        for x, y in data.loader(30):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() / 11
        with torch.no_grad():
            val = criterion(model(data.val_x), data.val_y).item()
        writer.add_scalar("loss/train", total, epoch)
        writer.add_scalar("loss/val", val, epoch)
        watched = total if fault else val
        waited = 0 if watched < least else waited + 1
        least = min(least, watched)
        if waited == 4:
            break


@ill(
    "fraud-of-two-percent",
    "class-imbalance",
    "constant-output",
    "single-class-batches",
    held_out=True,
    source="37 Reasons, 9: class imbalance; forum: 98 % accuracy, and no fraud is found",
)
def frauds_that_are_never_found(writer: SummaryWriter, fault: bool = True) -> None:
    data = standardized(customers(3000, rare=0.03))
    model = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 2))
    optimizer, criterion = SGD(model.parameters(), lr=0.03), nn.CrossEntropyLoss()
    loader = data.loader(32)
    if not fault:
        weights = (1 / data.train_y.bincount())[data.train_y]
        sampler = WeightedRandomSampler(weights.tolist(), len(weights))
        loader = DataLoader(TensorDataset(data.train_x, data.train_y), batch_size=32, sampler=sampler)
    writer.watch(model, optimizer, criterion=criterion)
    step = 0
    for epoch in range(9):
        model.train()
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            writer.add_scalar("train/loss", loss.item(), step)
            step += 1
        model.eval()
        with torch.no_grad():
            found = model(data.val_x).argmax(1)
        recalls = [(found[data.val_y == k] == k).float().mean().item() for k in (0, 1)]
        writer.add_scalar("val/accuracy", (found == data.val_y).float().mean().item(), epoch)
        writer.add_scalar("val/balanced_accuracy", sum(recalls) / 2, epoch)


@ill(
    "one-shape-in-fifty",
    "class-imbalance",
    held_out=True,
    source="DeepCrime TUD: unbalance training data; Humbatova et al.",
)
def shapes_mostly_discs(writer: SummaryWriter, fault: bool = True) -> None:
    data = scaled(shapes(4000))
    keep = (
        (data.train_y == 0) | (torch.rand(len(data.train_y)) < 0.03) if fault else torch.rand(len(data.train_y)) < 0.3
    )
    data = data._replace(train_x=data.train_x[keep], train_y=data.train_y[keep])
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 24, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(384, 5),
    )  # fmt: skip
    optimizer, criterion = Adam(model.parameters(), lr=2e-3), nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    for epoch in range(16):
        for x, y in data.loader(32):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            writer.add_scalar("loss/train", loss.item(), epoch)
            writer.add_scalar("loss/val", criterion(model(data.val_x), data.val_y).item(), epoch)
        writer.add_scalar("acc/val", accuracy(model, data.val_x, data.val_y), epoch)


@ill(
    "rare-tags-drowned",
    "class-imbalance",
    "constant-output",
    held_out=True,
    source="Forum: multi-label, each tag on two pictures in a hundred, all answers are no",
)
def tags_too_rare_to_be_answered(writer: SummaryWriter, fault: bool = True) -> None:
    x = torch.randn(2000, 30)
    hidden = torch.tanh(x @ torch.randn(30, 20) / 4)
    scores = hidden @ torch.randn(20, 12)
    data = split(x, (scores > scores.quantile(0.97, dim=0)).float())
    model = nn.Sequential(nn.Linear(30, 48), nn.ReLU(), nn.Linear(48, 12))
    weight = None if fault else torch.full((12,), 25.0)
    optimizer, criterion = SGD(model.parameters(), lr=0.1), nn.BCEWithLogitsLoss(pos_weight=weight)
    writer.watch(model, optimizer, criterion=criterion)
    step = 0
    for _ in range(8):
        for features, tags in data.loader(40):
            optimizer.zero_grad()
            loss = criterion(model(features), tags)
            loss.backward()
            optimizer.step()
            writer.add_scalar("loss", loss.item(), step)
            step += 1
        with torch.no_grad():
            found = model(data.val_x) > 0
        writer.add_scalar("val_recall", found[data.val_y > 0].float().mean().item(), step)


@ill(
    "erased-almost-wholly",
    "over-regularized",
    "underfitting",
    "constant-input",
    held_out=True,
    source="Forum: RandomErasing with scale=(0.8, 0.95), training is worse than validation",
)
def pictures_almost_wholly_erased(writer: SummaryWriter, fault: bool = True) -> None:
    data = scaled(shapes())
    model = normed_cnn(3, 5)
    optimizer = AdamW(model.parameters(), lr=2e-3)
    writer.watch(model, optimizer)
    side = 14 if fault else 4
    for epoch in range(9):
        losses = []
        for x, y in data.loader(32):
            x = x.clone()
            for picture in x:
                top, left = torch.randint(17 - side, (2,)).tolist()
                picture[:, top : top + side, left : left + side] = 0
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        model.eval()
        with torch.no_grad():
            val = F.cross_entropy(model(data.val_x), data.val_y).item()
        model.train()
        writer.add_scalars("Loss", {"train": sum(losses) / len(losses), "val": val}, epoch)
        writer.add_scalar("train_loss", sum(losses) / len(losses), epoch)
        writer.add_scalar("val_loss", val, epoch)
        writer.add_scalar("val_acc", accuracy(model, data.val_x, data.val_y), epoch)


@ill(
    "files-of-one-class-each",
    "single-class-batches",
    "unshuffled-data",
    held_out=True,
    source="37 Reasons, 7 and 10; forum: an IterableDataset that reads file after file",
)
def recordings_read_file_by_file(writer: SummaryWriter, fault: bool = True) -> None:
    data = waves()
    files = [data.train_x[data.train_y == k][:200] for k in range(5)]
    model = nn.Sequential(
        nn.Conv1d(1, 16, 9, padding=4), nn.ReLU(), nn.MaxPool1d(4), nn.Conv1d(16, 24, 5), nn.ReLU(), nn.Flatten(),
        nn.Linear(288, 5),
    )  # fmt: skip
    optimizer, criterion = SGD(model.parameters(), lr=0.05, momentum=0.9), nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    step = 0
    for _ in range(8):
        x, y = torch.cat(files), torch.arange(5).repeat_interleave(200)
        if not fault:
            order = torch.randperm(1000)
            x, y = x[order], y[order]
        for signals, kinds in zip(x.split(25), y.split(25), strict=True):
            optimizer.zero_grad()
            loss = criterion(model(signals), kinds)
            loss.backward()
            optimizer.step()
            writer.add_scalar("loss", loss.item(), step)
            step += 1
        writer.add_scalar("accuracy/val", accuracy(model, data.val_x, data.val_y), step)


def shuffled_against(data: Split, dropped: int) -> Split:
    """The rows of the inputs moved up by ``dropped``, those of the targets left where they are."""
    return data._replace(train_x=data.train_x[dropped:], train_y=data.train_y[: len(data.train_y) - dropped])


@ill(
    "rows-dropped-from-the-inputs-alone",
    "loss-not-decreasing",
    "overfitting",
    "underfitting",
    held_out=True,
    source="37 Reasons, 4: inputs and labels connected; forum: dropna() on the inputs alone",
)
def header_row_dropped_from_the_inputs(writer: SummaryWriter, fault: bool = True) -> None:
    data = shuffled_against(standardized(customers()), 1 if fault else 0)
    model = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 2))
    optimizer, criterion = Adam(model.parameters(), lr=2e-3), nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    step = 0
    for _ in range(10):
        for x, y in data.loader(40):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            writer.add_scalar("loss/train", loss.item(), step)
            step += 1
        with torch.no_grad():
            writer.add_scalar("loss/val", criterion(model(data.val_x), data.val_y).item(), step)
        writer.add_scalar("acc/val", accuracy(model, data.val_x, data.val_y), step)
