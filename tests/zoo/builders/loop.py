"""The loop of the healthy trainings, and the examination at its end: a training that did not learn is not healthy."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from tb_nnhealth import SummaryWriter
from tests.zoo.builders.recipe import Recipe, batches, make_optimizers, make_schedules
from tests.zoo.builders.tasks import Task, accuracy, binary_accuracy, letters_right

OVERFITTED = 1.25
"""Last validation loss over the least one, beyond which a training is called overfitted."""


class NotHealthyError(AssertionError):
    """A specimen that was meant to be healthy and did not train well."""


def examine(what: str, score: float, good: float) -> None:
    """Raises NotHealthyError where ``score`` is below ``good``."""
    if not score >= good:
        raise NotHealthyError(f"{what}: expected {good:g} or more, found {score:.3f}")


def fit(
    writer: SummaryWriter,
    model: nn.Module,
    task: Task,
    recipe: Recipe,
    *,
    good: float | None = None,
    watched: str | None = None,
    penalty: Callable[[nn.Module], Tensor] | None = None,
) -> None:
    """Trains and logs as the recipe says. Raises NotHealthyError where the task was not learned."""
    training = _Training(writer, model, task, recipe, watched, penalty)
    for step in range(recipe.steps):
        training.step(step)
    training.end(task.good if good is None else good)


class _Training:
    def __init__(
        self,
        writer: SummaryWriter,
        model: nn.Module,
        task: Task,
        recipe: Recipe,
        watched: str | None,
        penalty: Callable[[nn.Module], Tensor] | None,
    ) -> None:
        self.dtype = torch.float64 if recipe.precision == "float64" else torch.float32
        self.writer, self.model, self.task, self.recipe = writer, model.to(self.dtype), task, recipe
        self.penalty = penalty
        self.criterion = task.criterion()
        if recipe.label_smoothing:
            self.criterion.label_smoothing = recipe.label_smoothing
        self.optimizers = make_optimizers(recipe, model)
        self.schedules = make_schedules(recipe, self.optimizers)
        self.scaler = torch.amp.GradScaler("cpu", enabled=recipe.precision == "float16", init_scale=2.0**10)
        self.average = copy.deepcopy(model) if recipe.ema else None
        self.source: Iterator[tuple[Any, Tensor]] = batches(
            recipe, task, torch.Generator().manual_seed(torch.initial_seed() % 2**31)
        )
        self.counted = task.score in (accuracy, binary_accuracy, letters_right)
        self.losses: list[float] = []
        self.val_losses: list[float] = []
        self.epoch = max(1, len(task) // (recipe.accumulate * (recipe.batch or len(task))))
        criterion = self.criterion if recipe.told == "criterion" else None
        writer.watch(model, self.optimizers, criterion=criterion, name=watched, every=recipe.every)

    def step(self, step: int) -> None:
        if self.recipe.optimizer == "lbfgs":
            x, y = self.next_batch()
            loss = self.optimizers[0].step(lambda: self.backward(x, y))  # type: ignore[arg-type]
        else:
            for optimizer in self.optimizers:
                optimizer.zero_grad()
            parts = [self.backward(*self.next_batch()) for _ in range(self.recipe.accumulate)]
            loss = torch.stack(parts).mean()
            self.update()
        for schedule in self.schedules:
            schedule.step()
        self.losses.append(float(loss))
        self.log(step)

    def next_batch(self) -> tuple[Any, Tensor]:
        x, y = next(self.source)
        if self.recipe.jitter:
            x = x + self.recipe.jitter * torch.randn_like(x)
        return self.cast(x), self.cast(y)

    def cast(self, x: Any) -> Any:
        if isinstance(x, tuple):
            return tuple(map(self.cast, x))
        return x.to(self.dtype) if x.is_floating_point() else x

    def autocast(self) -> AbstractContextManager[Any]:
        if self.recipe.precision in ("bfloat16", "float16"):
            return torch.autocast("cpu", dtype=getattr(torch, self.recipe.precision))
        return nullcontext()

    def backward(self, x: Any, y: Tensor) -> Tensor:
        if self.recipe.optimizer == "lbfgs":
            self.optimizers[0].zero_grad()
        with self.autocast():
            outputs = self.model(x)
            loss = self.criterion(outputs, y)
        if self.penalty is not None:
            loss = loss + self.penalty(self.model)
        self.outputs, self.targets = _detached(outputs), y
        if self.recipe.told == "observed":
            self.writer.observe(inputs=x, targets=y, outputs=outputs, loss=loss)
        self.scaler.scale(loss / self.recipe.accumulate).backward()
        return loss.detach()

    def update(self) -> None:
        if self.recipe.clip:
            for optimizer in self.optimizers:
                self.scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        for optimizer in self.optimizers:
            self.scaler.step(optimizer)
        self.scaler.update()
        if self.average is not None:
            with torch.no_grad():
                for kept, new in zip(self.average.parameters(), self.model.parameters(), strict=True):
                    kept.lerp_(new, 1 - self.recipe.ema)
                for kept, new in zip(self.average.buffers(), self.model.buffers(), strict=True):
                    kept.copy_(new)

    def log(self, step: int) -> None:
        add, habit, loss = self.writer.add_scalar, self.recipe.logs, self.losses[-1]
        if habit in ("steps", "validated"):
            add("loss/train", loss, step)
            if self.counted:
                add("accuracy/train", self.task.score(_float(self.outputs), self.targets), step)
        if habit == "validated" and step % 20 == 19:
            val_loss, score = self.validate()
            add("loss/val", val_loss, step)
            add("accuracy/val" if self.counted else "score/val", score, step)
        if habit == "tens" and step % 10 == 9:
            add("train_loss", sum(self.losses[-10:]) / 10, step)
        if habit == "epochs" and step % self.epoch == self.epoch - 1:
            number = step // self.epoch
            add("Loss/train", sum(self.losses[-self.epoch :]) / self.epoch, number)
            if self.recipe.steps // self.epoch <= 60 or number % 10 == 9:
                add("Loss/test", self.validate()[0], number)
        if habit == "trainer" and step % 10 == 9:
            add("train/loss", sum(self.losses[-10:]) / 10, step + 1)
            add("train/learning_rate", self.optimizers[0].param_groups[0]["lr"], step + 1)
            add("train/epoch", step / self.epoch, step + 1)
            if step % 50 == 49:
                val_loss, score = self.validate()
                add("eval/loss", val_loss, step + 1)
                add("eval/score", score, step + 1)

    def validate(self) -> tuple[float, float]:
        model = self.model if self.average is None else self.average
        training = model.training
        model.eval()
        with torch.no_grad(), self.autocast():
            outputs = model(self.cast(self.task.val_x))
            loss = float(type(self.criterion)()(outputs, self.cast(self.task.val_y)))
        model.train(training)
        self.val_losses.append(loss)
        return loss, self.task.score(_float(outputs), self.cast(self.task.val_y))

    def end(self, good: float) -> None:
        with torch.random.fork_rng():
            score = self.validate()[1]
        examine("score on the validation set", score, good)
        if len(self.val_losses) > 2:
            least = min(self.val_losses)
            room = 0.02 * abs(self.val_losses[0])
            worst = least + (OVERFITTED - 1) * abs(least) + room
            examine("minus the last validation loss", -self.val_losses[-1], -worst)


def _detached(outputs: Any) -> Any:
    return tuple(map(_detached, outputs)) if isinstance(outputs, tuple) else outputs.detach()


def _float(outputs: Any) -> Any:
    if isinstance(outputs, tuple):
        return tuple(map(_float, outputs))
    return outputs.float() if outputs.dtype in (torch.bfloat16, torch.float16) else outputs
