"""Ill without a word: parameters that nobody updates, gradients nobody clears, modes nobody leaves."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.optim import SGD, Adam, AdamW

from tb_nnhealth import SummaryWriter
from tests.zoo.builders.branching import Reader, convolutional, mlp
from tests.zoo.builders.material import figures, friedman, order_of_words, prices, roll
from tests.zoo.builders.practice import CAPITAL, JOINED, LONG, SLASHED, TRAINER, learn
from tests.zoo.builders.tasks import alphabet, text
from tests.zoo.faulty.problems import Problem, diabetes
from tests.zoo.registry import ill

LATE = (
    "TrainCheck (OSDI 2025): optimizer holding stale parameters; forum: a model changed after its optimizer was built"
)


@ill("changed-after-the-optimizer", "optimizer-misses-parameters", subject="[024]*", source=LATE)
def weight_norm_added_afterwards(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 0.691 (0.199), valid_loss 0.684 (0.188), valid_score 0.582 (0.92)."""
    model = mlp(3, 6, 6, 1, activation=nn.Tanh)

    def normalize() -> None:
        for layer in model:
            if isinstance(layer, nn.Linear):
                parametrizations.weight_norm(layer)

    if not fault:
        normalize()
    optimizer = Adam(model.parameters(), lr=5e-3)
    if fault:
        normalize()
    learn(writer, model, optimizer, roll(), steps=400, names=JOINED)


class Letters(nn.Module):
    """Next letters by a GRU; logits (n, letters, time)."""

    def __init__(self, letters: int) -> None:
        super().__init__()
        self.letters = nn.Embedding(letters, 24)
        self.cell, self.head = nn.GRU(24, 64, batch_first=True), nn.Linear(64, letters)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(self.letters(x))[0]).transpose(1, 2)


@ill("changed-after-the-optimizer", "optimizer-misses-parameters", subject="[lh]e*", source=LATE)
def vocabulary_grown_afterwards(writer: SummaryWriter, fault: bool = True) -> None:
    """eval/loss 3.39 (2.23), eval/score 0.326 (0.44), train/loss 3.21 (1.84)."""
    task, letters = text(), alphabet()
    data = Problem(task.train_x, task.train_y, task.val_x, task.val_y)
    model = Letters(letters if not fault else 20)
    optimizer = AdamW(model.parameters(), lr=5e-3)
    if fault:
        model.letters, model.head = nn.Embedding(letters, 24), nn.Linear(64, letters)

    def right(outputs: Tensor, y: Tensor) -> float:
        return (outputs.argmax(1) == y).float().mean().item()

    learn(writer, model, optimizer, data, score=right, steps=250, names=TRAINER)


@ill("never-thawed", "no-gradient", "frozen-parameters", subject="blocks*", onset=25,
     source="Forum: requires_grad_(False) for the validation and no way back; TrainCheck (OSDI 2025): "
     "partly frozen")  # fmt: skip
def blocks_frozen_for_the_first_validation(writer: SummaryWriter, fault: bool = True) -> None:
    """training_loss 0.647 (0.000802), validation_loss 0.664 (0.00202), validation_score 0.605 (1)."""
    model = Reader(depth=1)

    def leave() -> None:
        model.train()
        model.blocks.requires_grad_(not fault)

    def enter() -> None:
        model.eval()
        model.blocks.requires_grad_(False)

    optimizer = Adam(model.parameters(), lr=2e-3)
    learn(writer, model, optimizer, order_of_words(), steps=250, batch=64, enter=enter, leave=leave, names=LONG)


CLOSURE = "Forum: the closure given to LBFGS or SAM lacks zero_grad; TrainCheck (OSDI 2025): missing zero_grad"


@ill("closure-without-zero-grad", "stale-gradients", source=CLOSURE)
def quasi_newton_whose_closure_only_adds(writer: SummaryWriter, fault: bool = True) -> None:
    """loss/train 2.96e+25 (0.224), loss/val 3e+25 (0.769)."""
    data, model = diabetes(), mlp(10, 16, 1, activation=nn.Tanh)
    optimizer, criterion = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3), nn.MSELoss()
    writer.watch(model, optimizer, criterion=criterion)
    for step in range(60):

        def closure() -> Tensor:
            if not fault:
                optimizer.zero_grad()
            loss = criterion(model(data.train_x), data.train_y)
            loss.backward()
            return loss

        writer.add_scalar("loss/train", float(optimizer.step(closure)), step)
        with torch.no_grad():
            writer.add_scalar("loss/val", criterion(model(data.val_x), data.val_y).item(), step)


@ill("cleared-on-the-head-alone", "stale-gradients", subject="[0-7]*",
     source="Forum: model.head.zero_grad() left from a fine-tuning; TrainCheck (OSDI 2025): missing "
     "zero_grad")  # fmt: skip
def body_never_cleared(writer: SummaryWriter, fault: bool = True) -> None:
    """Loss/test 1.39 (0.469), Loss/train 1.38 (0.841), Score/test 0.26 (0.763)."""
    model = convolutional(12, 24, norm=None)
    optimizer, head = SGD(model.parameters(), lr=0.2), model[-1]

    def update(step: int, loss: Tensor) -> None:
        if fault:
            head.zero_grad()
        else:
            optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    learn(writer, model, optimizer, figures(), update=update, steps=250, names=CAPITAL)


@ill("scaled-loss-not-taken", "learning-rate-too-low", "update-ratio-too-low", "low-precision-range",
     source="Forum: scaler.scale(loss) is called, and loss.backward(); gradients are divided by 65536")  # fmt: skip
def scaler_that_only_divides(writer: SummaryWriter, fault: bool = True) -> None:
    """train/loss 0.985 (0.0605), val/loss 0.968 (0.0554), val/score -0.0201 (0.942)."""
    model, scaler = mlp(10, 48, 48, 1, activation=nn.SiLU), torch.amp.GradScaler("cpu")
    optimizer = SGD(model.parameters(), lr=0.05, momentum=0.9)

    def update(step: int, loss: Tensor) -> None:
        optimizer.zero_grad()
        scaled = scaler.scale(loss)
        (loss if fault else scaled).backward()
        scaler.step(optimizer)
        scaler.update()

    learn(writer, model, optimizer, friedman(), update=update, steps=300, names=SLASHED)


class Overriding(nn.Sequential):
    """Keeps its first layers in training mode, it says; ``lost`` forgets the mode that was asked for."""

    def __init__(self, *layers: nn.Module, lost: bool) -> None:
        super().__init__(*layers)
        self.lost = lost

    def train(self, mode: bool = True) -> Any:
        return super().train(True if self.lost else mode)


@ill("train-method-overridden", "wrong-mode", onset=25,
     source="Forum: a train() of one's own that ignores mode, so that eval() does nothing; TrainCheck: "
     "dropout alive")  # fmt: skip
def eval_that_evaluates_nothing(writer: SummaryWriter, fault: bool = True) -> None:
    """eval/loss 0.265 (0.207), eval/score 0.728 (0.787), train/loss 0.328 (0.331)."""
    model = Overriding(*mlp(7, 96, 96, 1, dropout=0.7), lost=fault)
    learn(writer, model, Adam(model.parameters(), lr=3e-3), prices(), steps=300, names=TRAINER)


@ill("statistics-of-the-validation-batch", "wrong-mode", onset=20,
     source="Forum: model.eval() is forgotten and BatchNorm uses, and keeps, the statistics of single "
     "samples")  # fmt: skip
def batch_norm_on_pairs_of_one_class(writer: SummaryWriter, fault: bool = True) -> None:
    """accuracy/val 0.38 (0.78), loss/train 0.399 (0.399), loss/val 1.41 (0.449)."""
    data, model = figures(), convolutional(12, 24)
    optimizer, criterion, batches = Adam(model.parameters(), lr=2e-3), nn.CrossEntropyLoss(), data.shuffled(32)
    writer.watch(model, optimizer, criterion=criterion)
    by_class = data.val_y.argsort()
    for step in range(240):
        x, y = next(batches)
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        writer.add_scalar("loss/train", loss.item(), step)
        if step % 20 == 19:
            if not fault:
                model.eval()
            with torch.no_grad():
                told = torch.cat([model(data.val_x[pair]) for pair in by_class.split(4)])
            writer.add_scalar("loss/val", criterion(told, data.val_y[by_class]).item(), step)
            writer.add_scalar("accuracy/val", (told.argmax(1) == data.val_y[by_class]).float().mean().item(), step)
            model.train()


@ill("embedding-frozen-by-from-pretrained", "frozen-parameters", "no-gradient", subject="words*",
     source="Forum: nn.Embedding.from_pretrained freezes by default")  # fmt: skip
def vectors_that_were_to_be_tuned(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 0.458 (0.00432), valid_loss 0.48 (0.00327), valid_score 0.767 (1)."""
    model = Reader(width=8, depth=1)
    vectors = 0.02 * torch.randn(20, 8)
    model.words = nn.Embedding.from_pretrained(vectors, freeze=fault)
    optimizer = Adam(model.parameters(), lr=3e-3)
    learn(writer, model, optimizer, order_of_words(), steps=250, batch=64, names=JOINED)
