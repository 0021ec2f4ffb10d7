"""Ill embeddings of metric and contrastive learning: pairs, negatives, temperatures, and teachers that give way."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW

from tb_nnhealth import SummaryWriter
from tests.zoo.held_out.sequences_material import batches, digits, hits
from tests.zoo.registry import ill


def embedder(width: int = 16, out: int = 12) -> nn.Sequential:
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, width, 3), nn.ReLU(), nn.Conv2d(width, 2 * width, 3, stride=2),
        nn.ReLU(), nn.Flatten(), nn.Linear(8 * width, out),
    )  # fmt: skip


def by_centres(model: nn.Module) -> float:
    """Share of validation digits that lie nearest to the centre of their own class."""
    x, y, val_x, val_y = digits()
    with torch.no_grad():
        found, places = model(x), model(val_x)
    centres = torch.stack([found[y == kind].mean(0) for kind in range(10)])
    return hits(-torch.cdist(places, centres), val_y)


def blurred(x: Tensor) -> Tensor:
    """Another view of the same pictures."""
    return x * (0.8 + 0.4 * torch.rand(len(x), 1)) + 0.4 * torch.randn_like(x)


class Pairs(nn.Module):
    """An encoder of pictures and one of labels, compared as in CLIP; ``times`` multiplies by the temperature."""

    def __init__(self, times: bool = False) -> None:
        super().__init__()
        self.picture, self.caption, self.times = embedder(), nn.Embedding(10, 12), times

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        seen, read = F.normalize(self.picture(x), dim=1), F.normalize(self.caption(y), dim=1)
        return seen @ read.T * 0.07 if self.times else seen @ read.T / 0.07

    def right(self) -> float:
        _, _, x, y = digits()
        with torch.no_grad():
            return hits(self(x, torch.arange(10)), y)


def one_of_each() -> tuple[Tensor, Tensor]:
    """A batch of ten pictures of ten different digits."""
    x, y, _, _ = digits()
    chosen = torch.stack([(y == kind).nonzero()[torch.randint(100, ())] for kind in torch.randperm(10)]).squeeze(1)
    return x[chosen], y[chosen]


@ill("labels-of-zero-for-the-pairs", "single-class-batches", "constant-output", "loss-not-decreasing", held_out=True,
     source="Forum: InfoNCE with labels = zeros, where the positive is not the first; SimCLR "
     "re-implementations")  # fmt: skip
def captions_that_all_belong_to_the_first(writer: SummaryWriter, fault: bool = True) -> None:
    model = Pairs()
    optimizer, criterion = Adam(model.parameters(), lr=3e-3), nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    for step in range(300):
        x, y = one_of_each()
        optimizer.zero_grad()
        loss = criterion(model(x, y), torch.zeros(10, dtype=torch.long) if fault else torch.arange(10))
        loss.backward()
        optimizer.step()
        writer.add_scalar("contrastive_loss/train", loss.item(), step)
        if step % 30 == 29:
            writer.add_scalar("zero_shot_accuracy/val", model.right(), step)


@ill("similarities-times-the-temperature", "loss-not-decreasing", "underfitting", "slow-start", held_out=True,
     source="Forum: InfoNCE stays near log(batch), logits * temperature; SimCLR (2020): temperature "
     "matters")  # fmt: skip
def two_views_compared_too_softly(writer: SummaryWriter, fault: bool = True) -> None:
    model = Pairs(times=fault)
    optimizer = SGD(model.parameters(), lr=0.008, momentum=0.9)
    writer.watch(model, optimizer)
    for step in range(250):
        x, y = one_of_each()
        scores, matching = model(x, y), torch.arange(10)
        loss = (F.cross_entropy(scores, matching) + F.cross_entropy(scores.T, matching)) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        writer.add_scalar("train/loss", loss.item(), step)
        if step % 50 == 49:
            writer.add_scalar("val/acc", model.right(), step)


def triplets(x: Tensor, y: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Anchors, others of their class, and some of other classes."""
    anchor = torch.randint(len(x), (size,))
    same = y.unsqueeze(0) == y[anchor].unsqueeze(1)
    positive = same.float().multinomial(1).squeeze(1)
    return x[anchor], x[positive], x[(~same).float().multinomial(1).squeeze(1)]


@ill("positive-and-negative-swapped", "loss-not-decreasing", "constant-output", held_out=True,
     source="Forum: TripletMarginLoss(anchor, negative, positive); Humbatova et al. (ICSE 2020): wrong "
     "loss")  # fmt: skip
def triplets_handed_over_in_another_order(writer: SummaryWriter, fault: bool = True) -> None:
    x, y, _, _ = digits()
    model = embedder(8, 4)
    optimizer, criterion = Adam(model.parameters(), lr=2e-3), nn.TripletMarginLoss(margin=1.0)
    writer.watch(model, optimizer, criterion=criterion)
    for step in range(300):
        anchor, positive, negative = (model(part) for part in triplets(x, y, 48))
        loss = criterion(anchor, negative, positive) if fault else criterion(anchor, positive, negative)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        writer.add_scalar("triplet_loss", loss.item(), step)
        if step % 50 == 49:
            writer.add_scalar("val_acc", by_centres(model), step)


@ill("hardest-negatives-from-the-start", "constant-output", "loss-not-decreasing", held_out=True,
     source="FaceNet (2015), 3.2: the hardest negatives lead to a collapse; forum: triplet loss stays at the "
     "margin")  # fmt: skip
def triplets_that_fall_into_one_point(writer: SummaryWriter, fault: bool = True) -> None:
    x, y, _, _ = digits()
    model = nn.Sequential(embedder(8, 4), nn.Tanh())
    optimizer = SGD(model.parameters(), lr=0.05, momentum=0.9)
    writer.watch(model, optimizer)
    for step, (now, kind) in zip(range(350), batches(x, y, 96), strict=False):
        places = model(now)
        apart = ((places.unsqueeze(1) - places.unsqueeze(0)) ** 2).sum(2)
        same = kind.unsqueeze(1) == kind.unsqueeze(0)
        if fault:
            far = apart.masked_fill(~same, 0.0).amax(1)
            near = apart.masked_fill(same, 99.0).amin(1)
        else:
            far = apart.masked_fill(~same, 0.0).sum(1) / same.sum(1)
            near = (1.0 - apart).clamp(min=0).masked_fill(same, 0.0).sum(1).div((~same).sum(1)).neg() * 3 + 1
        loss = F.relu(far - near + 1.0).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        writer.add_scalar("Loss/train", loss.item(), step)
        if step % 50 == 49:
            writer.add_scalar("Accuracy/val", by_centres(model), step)


@ill("distance-of-a-point-to-itself", "non-finite", held_out=True,
     source="Forum: gradient of the square root at zero is infinite; pairwise distances with their "
     "diagonal")  # fmt: skip
def distances_with_their_diagonal(writer: SummaryWriter, fault: bool = True) -> None:
    x, y, _, _ = digits()
    model = embedder()
    optimizer = AdamW(model.parameters(), lr=2e-3)
    writer.watch(model, optimizer)
    for step, (now, kind) in zip(range(200), batches(x, y, 64), strict=False):
        places = model(now)
        squares = (places**2).sum(1)
        apart = (squares.unsqueeze(1) + squares - 2 * places @ places.T).clamp(min=0 if fault else 1e-6).sqrt()
        same = (kind.unsqueeze(1) == kind).float()
        loss = (same * apart**2 + (1 - same) * F.relu(3 - apart) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        writer.add_scalar("train/loss", loss.item(), step)
        if step % 25 == 24:
            writer.add_scalar("val/accuracy", by_centres(model), step)


class Siamese(nn.Module):
    """Predicts one view from the other; ``held`` stops the gradient of the view that is predicted."""

    def __init__(self, held: bool) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 96), nn.BatchNorm1d(96), nn.ReLU(), nn.Linear(96, 24))
        self.predictor = nn.Sequential(nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 24))
        self.held = held

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        a, b = self.encoder(one), self.encoder(other)
        aims = (b.detach(), a.detach()) if self.held else (b, a)
        spread = sum((1 - part.std(0)).clamp(min=0).mean() for part in (a, b)) if self.held else 0.0
        return sum(F.mse_loss(self.predictor(p), aim) for p, aim in zip((a, b), aims, strict=True)) + spread


@ill("both-views-move", "constant-output", "vanishing-activations", held_out=True,
     source="SimSiam (2021), 4.1: without stop-gradient the outputs collapse; VICReg (2022)")  # fmt: skip
def views_that_meet_in_one_point(writer: SummaryWriter, fault: bool = True) -> None:
    x, y, val_x, val_y = digits()
    model = Siamese(held=not fault)
    optimizer = Adam(model.parameters(), lr=2e-3)
    writer.watch(model, optimizer)
    for step, (now, _) in zip(range(400), batches(x, y, 64), strict=False):
        loss = model(blurred(now), blurred(now))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        writer.add_scalar("ssl/loss", float(loss), step)
        if step % 80 == 79:
            model.eval()
            with torch.no_grad():
                apart = torch.cdist(model.encoder(val_x), model.encoder(x).round(decimals=3))
            writer.add_scalar("ssl/knn", (y[apart.argmin(1)] == val_y).float().mean().item(), step)
            model.train()


@ill("centre-loss-outweighs", "constant-output", "loss-term-imbalance", "vanishing-activations", "over-regularized",
     held_out=True, source="Wen et al. (2016), 3.2: the weight of the centre loss; forum: one term outweighs the "
     "other")  # fmt: skip
def classes_drawn_together_too_strongly(writer: SummaryWriter, fault: bool = True) -> None:
    x, y, val_x, val_y = digits()
    body, head = embedder(8, 8), nn.Linear(8, 10)
    centres = nn.Parameter(torch.zeros(10, 8))
    optimizer = SGD([*body.parameters(), *head.parameters(), centres], lr=0.02, momentum=0.9)
    writer.watch(nn.Sequential(body, head), optimizer)
    for step, (now, kind) in zip(range(300), batches(x, y, 48), strict=False):
        places = body(now)
        told, drawn = F.cross_entropy(head(places), kind), ((places - centres[kind]) ** 2).sum(1).mean()
        optimizer.zero_grad()
        (told + (10.0 if fault else 0.01) * drawn).backward()
        optimizer.step()
        writer.add_scalar("loss/cls", told.item(), step)
        writer.add_scalar("loss/center", (10.0 if fault else 0.01) * drawn.item(), step)
        if step % 30 == 29:
            with torch.no_grad():
                writer.add_scalar("acc/val", hits(head(body(val_x)), val_y), step)


@ill("teacher-trained-with-its-student", "constant-output", "vanishing-activations", "loss-term-imbalance",
     held_out=True, source="Forum: distillation without torch.no_grad for the teacher; Humbatova et al. (ICSE "
     "2020)")  # fmt: skip
def teacher_that_gives_way(writer: SummaryWriter, fault: bool = True) -> None:
    x, y, val_x, val_y = digits()
    teacher = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    first = Adam(teacher.parameters(), lr=2e-3)
    for _, (now, kind) in zip(range(200), batches(x, y, 64), strict=False):
        first.zero_grad()
        F.cross_entropy(teacher(now), kind).backward()
        first.step()

    both = nn.ModuleDict({"teacher": copy.deepcopy(teacher), "student": embedder(4, 10)})
    optimizer = Adam(both.parameters() if fault else both["student"].parameters(), lr=5e-3)
    writer.watch(both if fault else both["student"], optimizer)
    for step, (now, _) in zip(range(400), batches(x, y, 64, seed=2), strict=False):
        aim = both["teacher"](now) if fault else both["teacher"](now).detach()
        loss = F.mse_loss(both["student"](now), aim)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        writer.add_scalar("distill/train_loss", loss.item(), step)
        if step % 40 == 39:
            with torch.no_grad():
                writer.add_scalar("distill/val_acc", hits(both["student"](val_x), val_y), step)
