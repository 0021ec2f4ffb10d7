"""Set aside: ill for how pictures, tables and signals are scaled, cut and loaded."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW
from torch.utils.data import DataLoader, Dataset

from tb_nnhealth import SummaryWriter
from tests.zoo.held_out.pictures_data import (
    Split,
    accuracy,
    customers,
    digits,
    friedman,
    scaled,
    shapes,
    standardized,
    table,
    waves,
)
from tests.zoo.registry import ill


def small_cnn(channels: int, classes: int, width: int = 8) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool2d(4), nn.Flatten(),
        nn.Linear(32 * width, classes),
    )  # fmt: skip


@ill(
    "wine-in-its-own-units",
    "unnormalized-input",
    held_out=True,
    source="37 Reasons, 12; forum: accuracy on wine stays at 0.4",
)
def wine_with_proline_in_milligrams(writer: SummaryWriter, fault: bool = True) -> None:
    data = table("wine") if fault else standardized(table("wine"))
    model = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 3))
    criterion, optimizer = nn.CrossEntropyLoss(), SGD(model.parameters(), lr=0.01, momentum=0.9)
    writer.watch(model, optimizer, criterion=criterion)
    for epoch in range(40):
        for x, y in data.loader(16):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
        writer.add_scalar("Loss/train", loss.item(), epoch)
        writer.add_scalar("Accuracy/val", accuracy(model, data.val_x, data.val_y), epoch)


@ill("income-among-standardized-columns", "unnormalized-input",
     held_out=True, source="TheDeepChecker: unscaled features; forum: one column in dollars")  # fmt: skip
def one_column_left_in_dollars(writer: SummaryWriter, fault: bool = True) -> None:
    data = standardized(friedman())
    unit = torch.ones(10)
    if fault:
        unit[7] = 20_000.0
    data = data.with_inputs(data.train_x * unit, data.val_x * unit)
    mean, std = data.train_y.mean(), data.train_y.std()
    model = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    optimizer = Adam(model.parameters(), lr=2e-3)
    writer.watch(model, optimizer)
    step = 0
    for _ in range(14):
        for x, y in data.loader(48):
            loss = F.mse_loss(model(x), (y - mean) / std)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            writer.add_scalar("train/mse", loss, step)
            step += 1
        with torch.no_grad():
            writer.add_scalar("val/mse", F.mse_loss(model(data.val_x), (data.val_y - mean) / std), step)


@ill(
    "bytes-straight-from-the-decoder",
    "unnormalized-input",
    held_out=True,
    source="UMLAUT: input data exceeds typical limits",
)
def coloured_bytes_without_a_transform(writer: SummaryWriter, fault: bool = True) -> None:
    data = shapes() if fault else scaled(shapes())
    model = small_cnn(3, 5)
    optimizer, criterion = SGD(model.parameters(), lr=0.03, momentum=0.9), nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    step = 0
    for epoch in range(12):
        for x, y in data.loader(32):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            if step % 10 == 0:
                writer.add_scalar("loss", loss.item(), step)
            step += 1
        writer.add_scalar("val_acc", accuracy(model, data.val_x, data.val_y), epoch)


@ill("normalized-with-the-constants-of-bytes", "unnormalized-input", "constant-input",
     held_out=True, source="Forum: ToTensor() and then Normalize(127.5, 127.5)")  # fmt: skip
def zero_to_one_minus_127(writer: SummaryWriter, fault: bool = True) -> None:
    data = shapes()
    middle = 127.5 if fault else 0.5
    data = data.with_inputs((data.train_x / 255 - middle) / middle, (data.val_x / 255 - middle) / middle)
    model = small_cnn(3, 5)
    optimizer = SGD(model.parameters(), lr=0.03, momentum=0.9)
    writer.watch(model, optimizer)
    loader, step = data.loader(32), 0
    for _ in range(12):
        for x, y in loader:
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            writer.add_scalar("Train/loss", loss.item(), step)
            step += 1
        writer.add_scalar("Val/accuracy", accuracy(model, data.val_x, data.val_y), step)


@ill(
    "signal-in-volts",
    "unnormalized-input",
    held_out=True,
    source="Forum: recordings of microvolts, given in volts, teach nothing",
)
def waves_of_ten_microvolts(writer: SummaryWriter, fault: bool = True) -> None:
    data = waves()
    volts = 1e-5 if fault else 1.0
    model = nn.Sequential(
        nn.Conv1d(1, 16, 7, padding=3), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(16, 24, 5, padding=2), nn.ReLU(),
        nn.MaxPool1d(4), nn.Flatten(), nn.Linear(192, 5),
    )  # fmt: skip
    optimizer = AdamW(model.parameters(), lr=2e-3)
    writer.watch(model, optimizer)
    step = 0
    for _ in range(10):
        for x, y in data.loader(40):
            loss = F.cross_entropy(model(x * volts), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            writer.add_scalar("loss/train", loss, step)
            step += 1
        writer.add_scalar("acc/val", accuracy(model, data.val_x * volts, data.val_y), step)


@ill("offset-never-removed", "unnormalized-input", "activation-mean-shift",
     held_out=True, source="Forum: a sensor's offset of hundreds drowns the signal")  # fmt: skip
def sensor_with_a_large_offset(writer: SummaryWriter, fault: bool = True) -> None:
    data, offset = waves(), 400.0 if fault else 0.0
    model = nn.Sequential(
        nn.Conv1d(1, 16, 9), nn.Tanh(), nn.AvgPool1d(2), nn.Conv1d(16, 16, 5), nn.Tanh(), nn.AdaptiveMaxPool1d(4),
        nn.Flatten(), nn.Linear(64, 5),
    )  # fmt: skip
    optimizer = Adam(model.parameters(), lr=1e-3)
    criterion = nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    for epoch in range(14):
        total = 0.0
        for x, y in data.loader(32):
            optimizer.zero_grad()
            loss = criterion(model(x + offset), y)
            loss.backward()
            optimizer.step()
            total += loss.item()
        writer.add_scalar("epoch/loss", total / 37, epoch)
        writer.add_scalar("epoch/val_accuracy", accuracy(model, data.val_x + offset, data.val_y), epoch)


@ill(
    "crop-misses-the-object",
    "constant-input",
    held_out=True,
    source="37 Reasons, 1; CS231n: look at what the network is fed",
)
def corner_cut_from_a_wide_canvas(writer: SummaryWriter, fault: bool = True) -> None:
    data = digits()
    canvas = [F.pad(x / 128 - 0.6, (10, 10, 10, 10), value=-0.6) for x in (data.train_x, data.val_x)]
    top = 0 if fault else 10
    data = data.with_inputs(*(x[:, :, top : top + 8, top : top + 8] for x in canvas))
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 10))
    optimizer = Adam(model.parameters(), lr=2e-3)
    writer.watch(model, optimizer)
    step = 0
    for _ in range(8):
        for x, y in data.loader(32):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            writer.add_scalar("train_loss", loss.item(), step)
            step += 1
        writer.add_scalar("val_acc", accuracy(model, data.val_x, data.val_y), step)


class Photographs(Dataset[tuple[Tensor, Tensor]]):
    def __init__(self, x: Tensor, y: Tensor, broken: bool) -> None:
        self.x, self.y, self.broken = x, y, broken

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.x[0 if self.broken else index], self.y[index]


@ill("index-ignored-by-the-dataset", "constant-input", "repeated-batch", "constant-output",
     held_out=True, source="Forum: __getitem__ reads the first file for each index")  # fmt: skip
def the_first_picture_for_each_index(writer: SummaryWriter, fault: bool = True) -> None:
    data = scaled(shapes())
    model = small_cnn(3, 5)
    optimizer = Adam(model.parameters(), lr=2e-3)
    loader = DataLoader(Photographs(data.train_x, data.train_y, fault), batch_size=32, shuffle=True)
    criterion = nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    for epoch in range(12):
        losses = []
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        writer.add_scalar("Loss/train", sum(losses) / len(losses), epoch)
        writer.add_scalar("Accuracy/test", accuracy(model, data.val_x, data.val_y), epoch)


@ill("folder-order-kept", "unshuffled-data", "single-class-batches",
     held_out=True, source="37 Reasons, 7; forum: ImageFolder with shuffle=False")  # fmt: skip
def image_folder_without_shuffle(writer: SummaryWriter, fault: bool = True) -> None:
    data = scaled(shapes())
    order = data.train_y.argsort(stable=True)
    data = data._replace(train_x=data.train_x[order], train_y=data.train_y[order])
    model = small_cnn(3, 5)
    optimizer, criterion = SGD(model.parameters(), lr=0.03, momentum=0.9), nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    step = 0
    for _ in range(10):
        for x, y in data.loader(32, shuffle=not fault):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            writer.add_scalar("train/loss", loss.item(), step)
            step += 1
        writer.add_scalar("valid/accuracy", accuracy(model, data.val_x, data.val_y), step)


@ill("transform-missing-in-evaluation", "input-range-mismatch",
     held_out=True, source="37 Reasons, 14: preprocessing of train and validation differs; forum")  # fmt: skip
def validation_loader_without_the_normalization(writer: SummaryWriter, fault: bool = True) -> None:
    raw = shapes()
    data = scaled(raw)
    val_x = raw.val_x / 255 if fault else data.val_x
    model = nn.Sequential(
        nn.Conv2d(3, 12, 3, stride=2, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 24, 3, padding=1),
        nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(384, 5),
    )  # fmt: skip
    optimizer, criterion = AdamW(model.parameters(), lr=3e-3), nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    for epoch in range(14):
        model.train()
        for x, y in data.loader(32):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            answers = model(val_x)
            writer.add_scalar("Loss/train", loss, epoch)
            writer.add_scalar("Loss/val", criterion(answers, data.val_y), epoch)
            writer.add_scalar("Acc/val", (answers.argmax(1) == data.val_y).float().mean(), epoch)


@ill("debugging-subset-left-in", "too-few-samples", "overfitting", "repeated-batch",
     held_out=True, source="Humbatova et al. (ICSE 2020): too little training data; DeepCrime TRD")  # fmt: skip
def first_forty_rows_for_a_quick_test(writer: SummaryWriter, fault: bool = True) -> None:
    data = standardized(customers())
    if fault:
        data = data._replace(train_x=data.train_x[:40], train_y=data.train_y[:40])
    model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    optimizer = Adam(model.parameters(), lr=1e-3)
    writer.watch(model, optimizer)
    step = 0
    while step < 400:
        for x, y in data.loader(40):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % 10 == 0:
                with torch.no_grad():
                    writer.add_scalar("loss/train", loss.item(), step)
                    writer.add_scalar("loss/val", F.cross_entropy(model(data.val_x), data.val_y), step)
                writer.add_scalar("accuracy/val", accuracy(model, data.val_x, data.val_y), step)
            step += 1


@ill("category-encoded-by-its-own-target", "overfitting", "input-range-mismatch",
     held_out=True, source="Leakage: target encoding fitted on the rows that it encodes")  # fmt: skip
def shops_encoded_by_their_mean_sales(writer: SummaryWriter, fault: bool = True) -> None:
    data = standardized(friedman(noise=3.0))
    mean, std = data.train_y.mean(), data.train_y.std()
    train_y, val_y = (data.train_y - mean) / std, (data.val_y - mean) / std
    shop = torch.randint(1400, (len(train_y) + len(val_y),))
    sums, counts = torch.zeros(1400), torch.zeros(1400)
    seen = shop[: len(train_y)]
    sums.index_add_(0, seen, train_y[:, 0])
    counts.index_add_(0, seen, torch.ones(len(seen)))
    left = counts[seen] - 1
    encoded = sums[seen] / counts[seen] if fault else (sums[seen] - train_y[:, 0]) / left.clamp(min=1)
    looked_up = (sums / counts.clamp(min=1))[shop[len(train_y) :]]
    train_x = torch.cat([data.train_x, encoded[:, None]], 1)
    data = Split(train_x, train_y, torch.cat([data.val_x, looked_up[:, None]], 1), val_y)
    model = nn.Sequential(nn.Linear(11, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))
    optimizer = Adam(model.parameters(), lr=2e-3)
    writer.watch(model, optimizer)
    for epoch in range(16):
        for x, y in data.loader(48):
            loss = F.mse_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            writer.add_scalar("loss/train", loss.item(), epoch)
            writer.add_scalar("loss/validation", F.mse_loss(model(data.val_x), data.val_y), epoch)
