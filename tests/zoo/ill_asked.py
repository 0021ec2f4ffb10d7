"""Ill as people's own programs were that asked what is wrong: losses and layouts of theirs, on small data."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Adam

from tb_nnhealth import SummaryWriter
from tests.zoo.faulty.networks import cnn, mlp
from tests.zoo.faulty.problems import images
from tests.zoo.registry import ill

FORUM = "GitHub, questions on {}"


def points(count: int, width: int = 12) -> tuple[Tensor, torch.Generator]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(count, width, generator=generator), generator


@ill("relu-on-the-output", "no-gradient", "dead-units", subject="4", source=FORUM.format("ttfnet: w is always 0"))
def one_of_four_sizes_cut_off(writer: SummaryWriter, fault: bool = True) -> None:
    """Widths and heights behind a rectifier, of which one begins below 0 for every sample."""
    x, generator = points(1200)
    y = (x @ torch.randn(12, 4, generator=generator)).abs() * 2 + 1
    model = mlp(12, 64, 64, 4)
    with torch.no_grad():
        model[-1].bias[0] = -3.0
    optimizer, step = Adam(model.parameters(), 2e-3), 0
    writer.watch(model, optimizer, every=5)
    for _ in range(15):
        for batch in torch.randperm(1200).split(40):
            sizes = F.relu(model(x[batch])) if fault else F.softplus(model(x[batch]))
            loss = F.l1_loss(sizes, y[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            step += 1
        writer.add_scalar("wh_loss", loss.item(), step)


@ill(
    "target-broadcast", "target-broadcast", source=FORUM.format("an xLSTM: a target size that differs from the input's")
)
def every_step_against_one_number(writer: SummaryWriter, fault: bool = True) -> None:
    """One sequence at a time; of its targets, looked at one by one, each is compared with all answers."""
    x, _ = points(400, 32)
    x = x.view(400, 8, 4)
    y = 2 * x.mean(2, keepdim=True)
    recurrent, head = nn.GRU(4, 24, batch_first=True), nn.Linear(24, 1)
    model, criterion = nn.ModuleDict({"recurrent": recurrent, "head": head}), nn.MSELoss()
    optimizer = Adam(model.parameters(), 5e-3)
    writer.watch(model, optimizer, criterion=criterion, every=4)
    for step, sample in enumerate(torch.randperm(400).tolist()):
        answers = head(recurrent(x[sample : sample + 1])[0])[0]
        asked = [
            (answers if fault else answers[at], y[sample][at : at + 1] if fault else y[sample][at]) for at in range(8)
        ]
        loss = sum((criterion(*pair) for pair in asked), start=torch.zeros(())) / 8
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        writer.add_scalar("Loss/train", loss.item(), step)


@ill("cut-from-the-graph", "no-gradient", subject="", source=FORUM.format("deepspeech.pytorch: loss 0.0 all along"))
def transcripts_longer_than_their_sounds(writer: SummaryWriter, fault: bool = True) -> None:
    """A CTC loss that makes 0 of targets that do not fit: seven equal labels need thirteen steps, and have twelve."""
    generator, count, steps, classes = torch.Generator().manual_seed(0), 300, 12, 6
    length = 7 if fault else 4
    spoken = torch.randint(1, classes, (count, 1), generator=generator).expand(count, length).contiguous()
    if not fault:
        spoken = torch.randint(1, classes, (count, length), generator=generator)
    at = torch.arange(steps) * length // steps
    sounds = F.one_hot(spoken[:, at], classes).float() + 0.3 * torch.randn(count, steps, classes, generator=generator)
    recurrent, head = nn.GRU(classes, 32, batch_first=True, bidirectional=True), nn.Linear(64, classes)
    model, criterion, step = nn.ModuleList([recurrent, head]), nn.CTCLoss(zero_infinity=True), 0
    optimizer = Adam(model.parameters(), 3e-3)
    writer.watch(model, optimizer, criterion=criterion, every=3)
    for _ in range(8):
        for batch in torch.randperm(count).split(20):
            told = head(recurrent(sounds[batch])[0]).log_softmax(-1).transpose(0, 1)
            sizes = torch.full((2, len(batch)), steps)
            sizes[1] = length
            loss = criterion(told, spoken[batch], *sizes)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            writer.add_scalar("Loss", loss.item(), step)
            step += 1


@ill(
    "validation-indexed-anew",
    "overfitting",
    subject="accuracy_val",
    source="Forum: the loss falls, accuracy stays at 50 %",
)
def classes_of_a_single_output(writer: SummaryWriter, fault: bool = True) -> None:
    """One logit for two classes, whose predictions are the index of the largest of one."""
    digits = images()
    kept, held = digits.train_y < 2, digits.val_y < 2
    x, y, val_x, val_y = digits.train_x[kept], digits.train_y[kept].float(), digits.val_x[held], digits.val_y[held]
    model, criterion = cnn((8, 16), outputs=1, norm=False), nn.BCEWithLogitsLoss()
    optimizer = Adam(model.parameters(), 2e-3)
    writer.watch(model, optimizer, criterion=criterion, every=2)
    for epoch in range(12):
        total = 0.0
        for batch in torch.randperm(len(x)).split(20):
            loss = criterion(model(x[batch]), y[batch].unsqueeze(1))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        with torch.no_grad():
            told = model(val_x)
        classes = torch.max(told, 1)[1] if fault else (told[:, 0] > 0).long()
        writer.add_scalar("loss", total, epoch)
        writer.add_scalar("accuracy_val", (classes == val_y).float().mean().item(), epoch)


@ill("layers-that-are-one-linear-map", "underfitting", source="Forum: an exclusive or is not learned by two layers")
def exclusive_or_of_two_linear_layers(writer: SummaryWriter, fault: bool = True) -> None:
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = torch.tensor([[0.0], [1.0], [1.0], [0.0]])
    layers = [nn.Linear(2, 8), nn.Linear(8, 1)]
    model = nn.Sequential(*layers) if fault else nn.Sequential(layers[0], nn.Tanh(), layers[1])
    optimizer, criterion = SGD(model.parameters(), 0.2), nn.MSELoss()
    writer.watch(model, optimizer, criterion=criterion, every=10)
    for epoch in range(1200):
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        writer.add_scalar("loss", loss.item(), epoch)
