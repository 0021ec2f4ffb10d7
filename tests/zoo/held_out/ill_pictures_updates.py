"""Set aside: ill for what becomes of the gradients, and for which weights are trained."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW

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


@ill(
    "gradients-piling-up",
    "stale-gradients",
    held_out=True,
    source="PyTorch forum: forgot optimizer.zero_grad(); TrainCheck; DeepLocalize",
)
def gradients_of_all_batches_so_far(writer: SummaryWriter, fault: bool = True) -> None:
    data = scaled(shapes())
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1),
        nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, 5),
    )  # fmt: skip
    optimizer, criterion = SGD(model.parameters(), lr=0.02), nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    for epoch in range(8):
        model.train()
        for x, y in data.loader(32):
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            if not fault:
                optimizer.zero_grad()
        writer.add_scalar("Loss/train", loss.item(), epoch)
        writer.add_scalar("Accuracy/val", accuracy(model, data.val_x, data.val_y), epoch)


@ill(
    "second-optimizer-never-cleared",
    "stale-gradients",
    subject="decoder*",
    held_out=True,
    source="Forum: two optimizers, and zero_grad() is called on one of them",
)
def decoder_whose_gradients_stay(writer: SummaryWriter, fault: bool = True) -> None:
    data = scaled(digits(), 76, 96)
    model = nn.ModuleDict(
        {
            "encoder": nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 12)),
            "decoder": nn.Sequential(nn.Linear(12, 48), nn.ReLU(), nn.Linear(48, 64)),
        }
    )
    encoding, decoding = (Adam(model[name].parameters(), lr=2e-3) for name in ("encoder", "decoder"))
    writer.watch(model, [encoding, decoding])
    step = 0
    for _ in range(7):
        for x, _y in data.loader(32):
            x = x.flatten(1)
            encoding.zero_grad()
            if not fault:
                decoding.zero_grad()
            loss = F.mse_loss(model["decoder"](model["encoder"](x)), x)
            loss.backward()
            encoding.step()
            decoding.step()
            writer.add_scalar("reconstruction", loss.item(), step)
            step += 1


@ill(
    "step-left-out",
    "frozen-parameters",
    held_out=True,
    source="StackOverflow: loss does not change; optimizer.step() is missing",
)
def optimizer_that_is_never_asked(writer: SummaryWriter, fault: bool = True) -> None:
    data = standardized(table("breast_cancer"))
    model = nn.Sequential(nn.Linear(30, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 2))
    optimizer, criterion = Adam(model.parameters(), lr=3e-3), nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    step = 0
    for _ in range(18):
        for x, y in data.loader(32):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            if not fault:
                optimizer.step()
            writer.add_scalar("train loss", loss.item(), step)
            step += 1
        writer.add_scalar("val acc", accuracy(model, data.val_x, data.val_y), step)


@ill(
    "cleared-just-ahead-of-the-step",
    "frozen-parameters",
    "no-gradient",
    "update-ratio-too-low",
    held_out=True,
    source="Forum: zero_grad() between backward() and step()",
)
def gradients_set_to_zero_too_late(writer: SummaryWriter, fault: bool = True) -> None:
    data = waves()
    model = nn.Sequential(
        nn.Conv1d(1, 12, 9, padding=4), nn.ReLU(), nn.MaxPool1d(4), nn.Conv1d(12, 24, 5), nn.ReLU(), nn.Flatten(),
        nn.Linear(288, 5),
    )  # fmt: skip
    optimizer = SGD(model.parameters(), lr=0.05, momentum=0.9)
    writer.watch(model, optimizer)
    for epoch in range(7):
        total = 0.0
        for x, y in data.loader(32):
            loss = F.cross_entropy(model(x), y)
            if not fault:
                optimizer.zero_grad(set_to_none=False)
            loss.backward()
            if fault:
                optimizer.zero_grad(set_to_none=False)
            optimizer.step()
            total += loss.item()
        writer.add_scalar("Loss", total / 37, epoch)
        writer.add_scalar("Accuracy", accuracy(model, data.val_x, data.val_y), epoch)


@ill(
    "sum-at-the-rate-of-a-mean",
    "learning-rate-too-high",
    "update-ratio-too-high",
    "exploding-gradients",
    "loss-diverging",
    held_out=True,
    source="Forum: reduction='sum' with the learning rate of 'mean'",
)
def errors_summed_over_the_batch_and_pixels(writer: SummaryWriter, fault: bool = True) -> None:
    data = scaled(digits(), 76, 96)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU(),
        nn.ConvTranspose2d(16, 8, 2, stride=2), nn.ReLU(), nn.ConvTranspose2d(8, 1, 2, stride=2),
    )  # fmt: skip
    criterion = nn.MSELoss(reduction="sum" if fault else "mean")
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    writer.watch(model, optimizer, criterion=criterion)
    step = 0
    for _ in range(9):
        for x, _y in data.loader(32):
            optimizer.zero_grad()
            loss = criterion(model(x), x)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 100.0)
            optimizer.step()
            writer.add_scalar("train/loss", loss.item() / (x.numel() if fault else 1), step)
            step += 1
        with torch.no_grad():
            writer.add_scalar("val/mse", F.mse_loss(model(data.val_x), data.val_x).item(), step)


@ill(
    "loss-made-a-leaf",
    "no-gradient",
    "frozen-parameters",
    held_out=True,
    source="StackOverflow: element 0 of tensors does not require grad, 'mended' by requires_grad=True",
)
def loss_copied_into_a_new_tensor(writer: SummaryWriter, fault: bool = True) -> None:
    data = standardized(table("wine"))
    model = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 3))
    optimizer = SGD(model.parameters(), lr=0.05, momentum=0.9)
    writer.watch(model, optimizer)
    step = 0
    for _ in range(25):
        for x, y in data.loader(16):
            loss = F.cross_entropy(model(x), y)
            if fault:
                loss = torch.tensor(loss.item(), requires_grad=True)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            writer.add_scalar("loss", loss.item(), step)
            step += 1
        writer.add_scalar("accuracy", accuracy(model, data.val_x, data.val_y), step)


class Trunk(nn.Module):
    """A body and a head, as models of the zoos for pictures have them."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(12, 24, 3, padding=1),
            nn.ReLU(), nn.AdaptiveMaxPool2d(4), nn.Flatten(),
        )  # fmt: skip
        self.fc = nn.Linear(384, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x))


@ill(
    "head-swapped-once-adam-was-built",
    "optimizer-misses-parameters",
    "frozen-parameters",
    subject="fc*",
    held_out=True,
    source="PyTorch forum: model.fc replaced after the optimizer was made",
)
def new_head_that_adam_never_sees(writer: SummaryWriter, fault: bool = True) -> None:
    data = scaled(shapes())
    model = Trunk(3, 1000)
    optimizer = AdamW(model.parameters(), lr=2e-3)
    model.fc = nn.Linear(384, 5)
    if not fault:
        optimizer = AdamW(model.parameters(), lr=2e-3)
    writer.watch(model, optimizer)
    step = 0
    for epoch in range(12):
        for x, y in data.loader(32):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            writer.add_scalar("training_loss", loss.item(), step)
            step += 1
        writer.add_scalar("validation_accuracy", accuracy(model, data.val_x, data.val_y), epoch)


class Branches(nn.Module):
    def __init__(self, registered: bool) -> None:
        super().__init__()
        made = {name: nn.Linear(20, 32) for name in ("left", "right")}
        self.branches = nn.ModuleDict(made) if registered else made
        self.out = nn.Linear(64, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.cat([branch(x).relu() for branch in self.branches.values()], 1))


@ill(
    "branches-in-a-plain-dict",
    "optimizer-misses-parameters",
    "no-gradient",
    "frozen-parameters",
    held_out=True,
    source="PyTorch forum: layers in a dict do not appear in parameters(); NeuraLint",
)
def branches_that_no_optimizer_holds(writer: SummaryWriter, fault: bool = True) -> None:
    data = standardized(customers())
    model = Branches(registered=not fault)
    optimizer, criterion = Adam(model.parameters(), lr=3e-3), nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    step = 0
    for _ in range(9):
        for x, y in data.loader(40):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            if step % 5 == 0:
                writer.add_scalar("loss", loss.item(), step)
            step += 1
        writer.add_scalar("val_acc", accuracy(model, data.val_x, data.val_y), step)


class Lazy(nn.Module):
    def __init__(self, anew: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 12, 3)
        self.anew = anew
        self.fc = nn.Linear(12 * 36, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).relu().flatten(1)
        if self.anew:
            self.fc = nn.Linear(x.shape[1], 10)
        return self.fc(x)


@ill(
    "layer-made-anew-in-each-forward",
    "optimizer-misses-parameters",
    "frozen-parameters",
    "loss-not-decreasing",
    held_out=True,
    source="StackOverflow: nn.Linear created inside forward()",
)
def head_made_within_forward(writer: SummaryWriter, fault: bool = True) -> None:
    data = scaled(digits(), 76, 96)
    model = Lazy(anew=fault)
    optimizer = Adam(model.parameters(), lr=2e-3)
    writer.watch(model, optimizer)
    step = 0
    for epoch in range(8):
        for x, y in data.loader(32):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            writer.add_scalar("Loss/train", loss.item(), step)
            step += 1
        writer.add_scalar("Acc/val", accuracy(model, data.val_x, data.val_y), epoch)


def pretrained(data: Split, classes: int, epochs: int = 6) -> Trunk:
    """Trained on the very pictures upside down and with their classes renamed."""
    model = Trunk(data.train_x.shape[1], classes)
    optimizer = Adam(model.parameters(), lr=2e-3)
    for _ in range(epochs):
        for x, y in data.loader(32):
            optimizer.zero_grad()
            F.cross_entropy(model(x.flip(2)), classes - 1 - y).backward()
            optimizer.step()
    return model


@ill(
    "pretrained-features-washed-out",
    "learning-rate-too-high",
    "update-ratio-too-high",
    "loss-spike",
    "dead-units",
    held_out=True,
    source="Forum: fine-tuning a pretrained network with lr=0.3 forgets all of it",
)
def fine_tuned_with_three_tenths(writer: SummaryWriter, fault: bool = True) -> None:
    data = scaled(shapes())
    model = pretrained(data, 5)
    model.fc = nn.Linear(384, 5)
    optimizer, criterion = SGD(model.parameters(), lr=0.3 if fault else 0.01, momentum=0.9), nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    for epoch in range(6):
        losses = []
        for x, y in data.loader(32):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        writer.add_scalar("Loss/train", sum(losses) / len(losses), epoch)
        writer.add_scalar("Accuracy/val", accuracy(model, data.val_x, data.val_y), epoch)


@ill(
    "thawed-outside-the-optimizer",
    "optimizer-misses-parameters",
    "frozen-parameters",
    subject="features*",
    onset=74,
    held_out=True,
    source="PyTorch forum: unfreezing layers has no effect, the optimizer was filtered",
)
def body_thawed_after_two_epochs(writer: SummaryWriter, fault: bool = True) -> None:
    data = scaled(shapes())
    model = Trunk(3, 5)
    model.features.requires_grad_(False)
    optimizer = Adam([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    writer.watch(model, optimizer)
    step = 0
    for epoch in range(9):
        if epoch == 2:
            model.features.requires_grad_(True)
            if not fault:
                optimizer.add_param_group({"params": list(model.features.parameters())})
        for x, y in data.loader(32):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            writer.add_scalar("loss", loss.item(), step)
            step += 1
        writer.add_scalar("val_acc", accuracy(model, data.val_x, data.val_y), step)


class FeatureReader(Trunk):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.features(x)
        return self.fc(x)


@ill(
    "features-under-no-grad",
    "no-gradient",
    "frozen-parameters",
    subject="features*",
    held_out=True,
    source="Forum: torch.no_grad() left around the backbone when it should be trained",
)
def body_within_no_grad(writer: SummaryWriter, fault: bool = True) -> None:
    data = scaled(shapes())
    model = FeatureReader(3, 5) if fault else Trunk(3, 5)
    optimizer, criterion = Adam(model.parameters(), lr=2e-3), nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    step = 0
    for _ in range(8):
        for x, y in data.loader(32):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            writer.add_scalar("train/loss", loss.item(), step)
            step += 1
        writer.add_scalar("val/accuracy", accuracy(model, data.val_x, data.val_y), step)


@ill(
    "restored-to-the-start-each-epoch",
    "loss-oscillating",
    "loss-spike",
    "loss-not-decreasing",
    onset=37,
    held_out=True,
    source="Forum: the best state is loaded each epoch, and best_loss is never updated",
)
def best_state_that_is_always_the_first(writer: SummaryWriter, fault: bool = True) -> None:
    data = waves()
    model = nn.Sequential(
        nn.Conv1d(1, 16, 9, padding=4), nn.ReLU(), nn.MaxPool1d(4), nn.Conv1d(16, 24, 5), nn.ReLU(), nn.Flatten(),
        nn.Linear(288, 5),
    )  # fmt: skip
    optimizer = SGD(model.parameters(), lr=0.02, momentum=0.9)
    best, least = copy.deepcopy(model.state_dict()), 0.0 if fault else float("inf")
    writer.watch(model, optimizer)
    step = 0
    for _ in range(8):
        for x, y in data.loader(32):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            writer.add_scalar("loss/train", loss.item(), step)
            step += 1
        with torch.no_grad():
            val = F.cross_entropy(model(data.val_x), data.val_y).item()
        if val < least:
            best, least = copy.deepcopy(model.state_dict()), val
        model.load_state_dict(best)
        with torch.no_grad():
            writer.add_scalar("loss/val", F.cross_entropy(model(data.val_x), data.val_y).item(), step)


@ill(
    "three-zeros-too-many",
    "loss-spike",
    "gradient-spike",
    "exploding-gradients",
    "update-ratio-too-high",
    onset=150,
    held_out=True,
    source="37 Reasons, 8 and 37: noise in the targets; a typing error in one row",
)
def one_target_a_thousandfold(writer: SummaryWriter, fault: bool = True) -> None:
    data = standardized(friedman())
    mean, std = data.train_y.mean(), data.train_y.std()
    model = nn.Sequential(nn.Linear(10, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 1))
    optimizer, criterion = SGD(model.parameters(), lr=0.02, momentum=0.9), nn.MSELoss()
    writer.watch(model, optimizer, criterion=criterion)
    step = 0
    for _ in range(9):
        for x, y in data.loader(32):
            y = (y - mean) / std
            if fault and step == 150:
                y[3] = 300.0
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            writer.add_scalar("mse", loss.item(), step)
            step += 1
        with torch.no_grad():
            writer.add_scalar("val_mse", criterion(model(data.val_x), (data.val_y - mean) / std).item(), step)
