"""Set aside: ill for the terms of a loss, for its arithmetic, for targets that cannot be had."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW

from tb_nnhealth import SummaryWriter
from tests.zoo.held_out.pictures_data import (
    accuracy,
    customers,
    digits,
    friedman,
    scaled,
    shapes,
    split,
    standardized,
    table,
    waves,
)
from tests.zoo.registry import ill


class Detector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 24, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(),
        )  # fmt: skip
        self.kind = nn.Linear(384, 10)
        self.place = nn.Linear(384, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.body(x)
        return self.kind(x), self.place(x)


def placed(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Digits pasted at random onto wider pictures, with the corners' places in pixels."""
    places = torch.randint(0, 9, (len(pictures), 2))
    wide = torch.zeros(len(pictures), 1, 16, 16)
    for canvas, picture, (top, left) in zip(wide, pictures, places.tolist(), strict=True):
        canvas[:, top : top + 8, left : left + 8] = picture / 128
    return wide, places.float()


@ill(
    "box-error-in-pixels-drowns-the-class",
    "loss-term-imbalance",
    held_out=True,
    source="37 Reasons, 20; forum: boxes in pixels, classes are not learnt",
)
def digits_found_and_hardly_named(writer: SummaryWriter, fault: bool = True) -> None:
    data = digits()
    (train_x, train_place), (val_x, val_place) = placed(data.train_x), placed(data.val_x)
    # the camera's pictures are 32 times as wide
    unit = 32.0 if fault else 1 / 8
    model = Detector()
    optimizer = Adam(model.parameters(), lr=2e-3)
    writer.watch(model, optimizer)
    step = 0
    for _ in range(13):
        for chosen in torch.randperm(len(train_x)).split(32):
            kind, place = model(train_x[chosen])
            class_loss = F.cross_entropy(kind, data.train_y[chosen])
            box_loss = F.mse_loss(place, train_place[chosen] * unit)
            loss = class_loss + box_loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            writer.add_scalar("loss/class", class_loss.item(), step)
            writer.add_scalar("loss/box", box_loss.item(), step)
            writer.add_scalar("loss/total", loss.item(), step)
            step += 1
        with torch.no_grad():
            kind, place = model(val_x)
        writer.add_scalar("val/accuracy", (kind.argmax(1) == data.val_y).float().mean().item(), step)
        writer.add_scalar("val/pixels", (place / unit - val_place).abs().mean().item(), step)


class Variational(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU())
        self.mean, self.logvar = nn.Linear(64, 6), nn.Linear(64, 6)
        self.decoder = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 64))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.encoder(x)
        mean, logvar = self.mean(x), self.logvar(x)
        return self.decoder(mean + torch.randn_like(mean) * (0.5 * logvar).exp()), mean, logvar


@ill(
    "divergence-summed-and-pixels-averaged",
    "loss-term-imbalance",
    "constant-output",
    "over-regularized",
    held_out=True,
    source="Forum: the VAE answers the mean picture; KL summed, reconstruction averaged",
)
def every_digit_the_mean_digit(writer: SummaryWriter, fault: bool = True) -> None:
    data = digits()
    model = Variational()
    optimizer = Adam(model.parameters(), lr=2e-3)
    writer.watch(model, optimizer)
    step = 0
    for _ in range(12):
        for x, _y in data.loader(32):
            x = x.flatten(1) / 255
            answer, mean, logvar = model(x)
            pixels = F.mse_loss(answer, x)
            divergence = -0.5 * (1 + logvar - mean**2 - logvar.exp()).sum()
            if not fault:
                divergence = divergence / x.numel() / 10
            loss = pixels + divergence
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            writer.add_scalar("loss", loss.item(), step)
            writer.add_scalar("recon", pixels.item(), step)
            writer.add_scalar("kl", divergence.item(), step)
            step += 1
        with torch.no_grad():
            x = data.val_x.flatten(1) / 255
            writer.add_scalar("val_recon", F.mse_loss(model(x)[0], x).item(), step)


@ill(
    "penalty-outweighs-the-error",
    "loss-term-imbalance",
    "over-regularized",
    "vanishing-activations",
    held_out=True,
    source="37 Reasons, 20 and 30; a hand-made L2 penalty of weight one, summed",
)
def squares_of_weights_outweigh_the_error(writer: SummaryWriter, fault: bool = True) -> None:
    data = standardized(friedman())
    mean, std = data.train_y.mean(), data.train_y.std()
    model = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    optimizer = Adam(model.parameters(), lr=1e-3)
    writer.watch(model, optimizer)
    weight = 1.0 if fault else 1e-5
    step = 0
    for _ in range(12):
        for x, y in data.loader(40):
            error = F.mse_loss(model(x), (y - mean) / std)
            penalty = weight * sum((p**2).sum() for p in model.parameters())
            loss = error + penalty
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            writer.add_scalar("loss/mse", error.item(), step)
            writer.add_scalar("loss/l2", penalty.item(), step)
            step += 1
        with torch.no_grad():
            writer.add_scalar("val/mse", F.mse_loss(model(data.val_x), (data.val_y - mean) / std).item(), step)


@ill(
    "heatmap-answers-nothing",
    "constant-output",
    "class-imbalance",
    "underfitting",
    held_out=True,
    source="Forum: keypoint heatmaps with a squared error, the network answers zero everywhere",
)
def keypoints_as_faint_heatmaps(writer: SummaryWriter, fault: bool = True) -> None:
    axis = torch.arange(24.0)
    corner = torch.rand(900, 2) * 18 + 3
    away = (axis[:, None] - corner[:, :1, None]) ** 2 + (axis[None, :] - corner[:, 1:, None]) ** 2
    maps = (-away / 2).exp().unsqueeze(1)
    pictures = 0.8 * (-away / 8).exp().unsqueeze(1) + 0.4 * torch.randn(900, 1, 24, 24)
    data = split(pictures, maps)
    gain = 1.0 if fault else 100.0
    model = nn.Sequential(
        nn.Conv2d(1, 12, 5, padding=2), nn.ReLU(), nn.Conv2d(12, 12, 5, padding=2), nn.ReLU(),
        nn.Conv2d(12, 1, 5, padding=2),
    )  # fmt: skip
    optimizer, criterion = SGD(model.parameters(), lr=0.005, momentum=0.9), nn.MSELoss()
    writer.watch(model, optimizer, criterion=criterion)
    step = 0
    for _ in range(8):
        for x, y in data.loader(32):
            optimizer.zero_grad()
            loss = criterion(model(x), y) * gain
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            writer.add_scalar("loss", loss.item(), step)
            step += 1
        with torch.no_grad():
            height, best = model(data.val_x).flatten(1).max(1)
            true = data.val_y.flatten(1).argmax(1)
        away = torch.hypot((best // 24 - true // 24).float(), (best % 24 - true % 24).float())
        found = (height > 0.3) & (away < 3)
        writer.add_scalar("val/found", found.float().mean().item(), step)


@ill(
    "absolute-error-on-one-hot-labels",
    "constant-output",
    "underfitting",
    "loss-not-decreasing",
    held_out=True,
    source="DeepCrime LCH: change loss function; DeepLocalize: wrong loss",
)
def one_hot_labels_by_their_median(writer: SummaryWriter, fault: bool = True) -> None:
    data = scaled(digits(), 76, 96)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10))
    criterion: nn.Module = nn.L1Loss() if fault else nn.MSELoss()
    optimizer = SGD(model.parameters(), lr=0.5)
    writer.watch(model, optimizer, criterion=criterion)
    for epoch in range(12):
        total = 0.0
        for x, y in data.loader(32):
            optimizer.zero_grad()
            loss = criterion(model(x), F.one_hot(y, 10).float())
            loss.backward()
            optimizer.step()
            total += loss.item()
        writer.add_scalar("Loss/train", total / 42, epoch)
        writer.add_scalar("Accuracy/val", accuracy(model, data.val_x, data.val_y), epoch)


@ill(
    "twins-without-strangers",
    "constant-output",
    "vanishing-activations",
    held_out=True,
    source="Forum: a Siamese network trained on pairs that match alone",
)
def siamese_pairs_that_all_match(writer: SummaryWriter, fault: bool = True) -> None:
    data = scaled(digits(), 76, 96)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 16))
    optimizer = AdamW(model.parameters(), lr=2e-3)
    writer.watch(model, optimizer)
    by_class = [torch.nonzero(data.train_y == k).flatten() for k in range(10)]
    for step in range(300):
        kinds = torch.randint(10, (48,))
        others = kinds if fault else torch.where(torch.rand(48) < 0.5, kinds, torch.randint(10, (48,)))
        left, right = (
            data.train_x[[int(by_class[k][torch.randint(len(by_class[k]), ())]) for k in side.tolist()]]
            for side in (kinds, others)
        )
        apart = F.pairwise_distance(model(left), model(right))
        loss = torch.where(kinds == others, apart**2, F.relu(2 - apart) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        writer.add_scalar("contrastive", loss.item(), step)
        if step % 30 == 29:
            with torch.no_grad():
                known, asked = model(data.train_x), model(data.val_x)
            # rounded as they would be stored
            nearest = torch.cdist((asked * 100).round(), (known * 100).round()).argmin(1)
            found = data.train_y[nearest]
            writer.add_scalar("nearest_neighbour", (found == data.val_y).float().mean().item(), step)


@ill(
    "log-likelihood-by-hand",
    "non-finite",
    "saturated-units",
    held_out=True,
    source="37 Reasons, 37; StackOverflow: -(y log p + (1 - y) log(1 - p)) becomes nan",
)
def log_of_one_minus_a_sigmoid(writer: SummaryWriter, fault: bool = True) -> None:
    data = standardized(table("breast_cancer"))
    model = nn.Sequential(nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    optimizer = Adam(model.parameters(), lr=0.02)
    writer.watch(model, optimizer)
    step = 0
    for _ in range(15):
        for x, y in data.loader(32):
            y, logit = y.float().unsqueeze(1), model(x)
            p = logit.sigmoid()
            by_hand = -(y * p.log() + (1 - y) * (1 - p).log()).mean()
            loss = by_hand if fault else F.binary_cross_entropy_with_logits(logit, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            writer.add_scalar("loss", loss.item(), step)
            step += 1
        with torch.no_grad():
            right = (model(data.val_x)[:, 0] > 0) == data.val_y
        writer.add_scalar("accuracy", right.float().mean().item(), step)


@ill(
    "blank-picture-standardized",
    "non-finite",
    onset=120,
    held_out=True,
    source="37 Reasons, 37; forum: (x - x.mean()) / x.std() of a picture without anything on it",
)
def a_blank_picture_divided_by_its_spread(writer: SummaryWriter, fault: bool = True) -> None:
    data = shapes()
    model = nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(384, 5),
    )  # fmt: skip
    optimizer, criterion = Adam(model.parameters(), lr=2e-3), nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)

    def standardize(x: Tensor) -> Tensor:
        return (x - x.mean((1, 2, 3), keepdim=True)) / (x.std((1, 2, 3), keepdim=True) + (0.0 if fault else 1e-6))

    step = 0
    for _ in range(8):
        for x, y in data.loader(32):
            if step == 120:
                x[5] = 255.0
            optimizer.zero_grad()
            loss = criterion(model(standardize(x)), y)
            loss.backward()
            optimizer.step()
            writer.add_scalar("Loss/train", loss.item(), step)
            step += 1
        writer.add_scalar("Acc/val", accuracy(model, standardize(data.val_x), data.val_y), step)


@ill(
    "logarithm-of-no-purchases",
    "non-finite",
    held_out=True,
    source="Zhang et al. (ISSTA 2018): wrong preprocessing; forum: np.log of a column with zeros",
)
def logarithms_of_counts_with_zeros(writer: SummaryWriter, fault: bool = True) -> None:
    counts = torch.poisson(torch.rand(1600, 6) * 8 + 1)
    data = split(counts, (counts[:, 0] + counts[:, 2] > counts[:, 1] + counts[:, 4]).long())
    logs = [x.log() if fault else x.log1p() for x in (data.train_x, data.val_x)]
    data = data.with_inputs(*logs)
    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 2))
    optimizer = Adam(model.parameters(), lr=5e-3)
    writer.watch(model, optimizer)
    step = 0
    for _ in range(8):
        for x, y in data.loader(40):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            writer.add_scalar("train/loss", loss.item(), step)
            step += 1
        writer.add_scalar("val/acc", accuracy(model, data.val_x, data.val_y), step)


@ill(
    "whole-model-cast-to-bfloat16",
    "low-precision-range",
    "update-ratio-too-low",
    "frozen-parameters",
    held_out=True,
    source="Forum: model.bfloat16() with a small rate, the updates are rounded away",
)
def updates_below_half_a_bit(writer: SummaryWriter, fault: bool = True) -> None:
    data = standardized(friedman())
    mean, std = data.train_y.mean(), data.train_y.std()
    kind = torch.bfloat16 if fault else torch.float32
    model = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1)).to(kind)
    optimizer = Adam(model.parameters(), lr=3e-4)
    writer.watch(model, optimizer)
    step = 0
    for _ in range(16):
        for x, y in data.loader(32):
            loss = F.mse_loss(model(x.to(kind)).float(), (y - mean) / std)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            writer.add_scalar("train/mse", loss.item(), step)
            step += 1
        with torch.no_grad():
            error = F.mse_loss(model(data.val_x.to(kind)).float(), (data.val_y - mean) / std)
        writer.add_scalar("val/mse", error.item(), step)


@ill(
    "amplitude-normalized-away",
    "loss-not-decreasing",
    "underfitting",
    held_out=True,
    source="Humbatova et al.: wrong preprocessing takes away what the target depends on",
)
def loudness_of_signals_of_unit_power(writer: SummaryWriter, fault: bool = True) -> None:
    raw, loud = waves(), torch.rand(1600, 1)
    signals = torch.cat([raw.train_x, raw.val_x]) * (0.5 + loud.unsqueeze(2))
    data = split(signals, (loud - 0.5) * math.sqrt(12))
    if fault:
        data = data.with_inputs(*(x / x.square().mean(2, keepdim=True).sqrt() for x in (data.train_x, data.val_x)))
    model = nn.Sequential(
        nn.Conv1d(1, 12, 7, padding=3), nn.ReLU(), nn.Conv1d(12, 16, 5, stride=2), nn.ReLU(), nn.AdaptiveAvgPool1d(4),
        nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1),
    )  # fmt: skip
    optimizer, criterion = Adam(model.parameters(), lr=2e-3), nn.MSELoss()
    writer.watch(model, optimizer, criterion=criterion)
    for epoch in range(8):
        total = 0.0
        for x, y in data.loader(32):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() / 37
        with torch.no_grad():
            writer.add_scalar("loss/val", criterion(model(data.val_x), data.val_y).item(), epoch)
        writer.add_scalar("loss/train", total, epoch)


@ill(
    "threshold-leaves-one-class",
    "single-class-batches",
    "class-imbalance",
    held_out=True,
    source="Islam et al. (FSE 2019): data bug; labels compared with the threshold of another scale",
)
def scores_in_percent_compared_with_one_half(writer: SummaryWriter, fault: bool = True) -> None:
    data = standardized(customers())
    percent = [y * 60.0 + torch.rand(len(y)) * 35 + 1 for y in (data.train_y, data.val_y)]
    train_y, val_y = (percent[0] > (0.5 if fault else 50)).long(), (percent[1] > 50).long()
    data = data._replace(train_y=train_y, val_y=val_y)
    model = nn.Sequential(nn.Linear(20, 48), nn.ReLU(), nn.Linear(48, 2))
    optimizer, criterion = Adam(model.parameters(), lr=3e-3), nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    for epoch in range(9):
        for x, y in data.loader(40):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
        writer.add_scalar("loss", loss.item(), epoch)
        writer.add_scalar("val_accuracy", accuracy(model, data.val_x, data.val_y), epoch)


@ill(
    "tenths-of-a-degree-after-a-wide-scaler",
    "unnormalized-input",
    held_out=True,
    source="Forum: min-max scaling by the range of the sensor and not of the data",
)
def readings_scaled_by_the_range_of_the_sensor(writer: SummaryWriter, fault: bool = True) -> None:
    data = standardized(friedman())
    mean, std = data.train_y.mean(), data.train_y.std()
    if fault:
        data = data.with_inputs(*((300 + 0.5 * x) / 2000 for x in (data.train_x, data.val_x)))
    model = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    optimizer = AdamW(model.parameters(), lr=2e-3)
    writer.watch(model, optimizer)
    step = 0
    for _ in range(12):
        for x, y in data.loader(40):
            loss = F.mse_loss(model(x), (y - mean) / std)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            writer.add_scalar("mse", loss.item(), step)
            step += 1
        with torch.no_grad():
            writer.add_scalar("val_mse", F.mse_loss(model(data.val_x), (data.val_y - mean) / std).item(), step)
