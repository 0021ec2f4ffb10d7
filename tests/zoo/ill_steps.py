"""Ill for the steps they take: optimizers' own numbers, schedules, groups, weights put back."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import LBFGS, SGD, Adam, AdamW, RMSprop
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from tb_nnhealth import SummaryWriter
from tests.zoo.builders.habits import Lion, descend
from tests.zoo.builders.sequences import Encoder
from tests.zoo.builders.tasks import surface
from tests.zoo.faulty.loop import train
from tests.zoo.faulty.networks import Encoded, cnn, mlp
from tests.zoo.faulty.problems import diabetes, images, pixels, rows
from tests.zoo.registry import ill

TOO_LOW = ("learning-rate-too-low", "update-ratio-too-low")
TOO_HIGH = ("learning-rate-too-high", "update-ratio-too-high")
EPSILON = "Forum: Adam's epsilon taken over from another model; PyTorch, Adam: eps"
GROUPS = "Forum: learning rates of parameter groups; Howard and Ruder, ULMFiT (2018): discriminative rates"


@ill("epsilon-too-large", *TOO_LOW, source=EPSILON)
def adam_with_epsilon_of_ten(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 64, 64, 10)
    train(writer, model, Adam(model.parameters(), lr=1e-3, eps=10.0 if fault else 1e-8), pixels(), steps=250)


@ill("epsilon-too-large", *TOO_LOW, source=EPSILON)
def rmsprop_with_epsilon_of_a_thousand(writer: SummaryWriter, fault: bool = True) -> None:
    task, model, criterion = surface(), mlp(8, 48, 48, 1, activation=nn.SiLU), nn.HuberLoss()
    optimizer = RMSprop(model.parameters(), lr=2e-3, eps=1e3 if fault else 1e-8)
    writer.watch(model, optimizer, criterion=criterion)

    def loss_of(step: int) -> Tensor:
        x, y = task.batch(torch.randint(len(task), (64,)))
        return criterion(model(x), y)  # type: ignore[no-any-return]

    def validation() -> dict[str, float]:
        return {"Val/loss": criterion(model(task.val_x), task.val_y).item()}

    descend(writer, optimizer, loss_of, 300, tag="Train/loss", examine=validation)


@ill("betas-swapped", *TOO_HIGH, "loss-oscillating", "loss-diverging",
     source="Forum: betas=(0.999, 0.9) in Adam")  # fmt: skip
def first_beta_for_the_second(writer: SummaryWriter, fault: bool = True) -> None:
    model = cnn((8, 16), norm=False)
    optimizer = Adam(model.parameters(), lr=5e-3, betas=(0.999, 0.9) if fault else (0.9, 0.999))
    train(writer, model, optimizer, images(), steps=300)


@ill("warm-up-missing", *TOO_HIGH, "loss-not-decreasing",
     source="Xiong et al., On Layer Normalization in the Transformer (ICML 2020); RAdam (2020)")  # fmt: skip
def norm_last_transformer_at_its_full_rate(writer: SummaryWriter, fault: bool = True) -> None:
    model = Encoder(depth=5, norm_first=False)
    optimizer = Adam(model.parameters(), lr=8e-3, betas=(0.9, 0.98))
    factor = (lambda step: 1.0) if fault else (lambda step: min(1.0, (step + 1) / 120, (121 / (step + 1)) ** 0.5) / 2)
    schedule = LambdaLR(optimizer, factor)
    train(writer, model, optimizer, rows(), batch_size=32, before_step=lambda step: schedule.step(), steps=220)


@ill("rate-of-zero", *TOO_LOW, "loss-not-decreasing",
     source="Forum: LambdaLR with step // warm_up, which is 0 until the end of the warm-up and beyond")  # fmt: skip
def warm_up_divided_as_integers(writer: SummaryWriter, fault: bool = True) -> None:
    model, data = mlp(64, 64, 64, 10), pixels()
    optimizer, batches = AdamW(model.parameters(), lr=2e-3), data.shuffled(64)
    schedule = LambdaLR(optimizer, lambda step: min(1.0, step // 1000 if fault else step / 30))
    writer.watch(model, optimizer)

    def loss_of(step: int) -> Tensor:
        x, y = next(batches)
        loss = F.cross_entropy(model(x), y)
        writer.add_scalar("lr", schedule.get_last_lr()[0], step)
        return loss

    def validation() -> dict[str, float]:
        return {"val_acc": (model(data.val_x).argmax(1) == data.val_y).float().mean().item()}

    descend(
        writer, optimizer, loss_of, 300, tag="train_loss", after_step=lambda step: schedule.step(), examine=validation
    )


@ill("plateau-of-the-wrong-sign", "early-lr-decay", "learning-rate-too-low",
     source="Forum: ReduceLROnPlateau in its mode 'min' is given the accuracy")  # fmt: skip
def rate_reduced_while_accuracy_rises(writer: SummaryWriter, fault: bool = True) -> None:
    model, data, criterion = mlp(64, 64, 64, 10), pixels(), nn.CrossEntropyLoss()
    optimizer, batches = SGD(model.parameters(), lr=0.1), data.shuffled(64)
    schedule = ReduceLROnPlateau(optimizer, "min" if fault else "max", patience=1)
    writer.watch(model, optimizer, criterion=criterion)

    def loss_of(step: int) -> Tensor:
        x, y = next(batches)
        writer.add_scalar("train/lr", optimizer.param_groups[0]["lr"], step)
        return criterion(model(x), y)  # type: ignore[no-any-return]

    def validation() -> dict[str, float]:
        right = (model(data.val_x).argmax(1) == data.val_y).float().mean().item()
        schedule.step(right)
        return {"val/accuracy": right, "val/loss": criterion(model(data.val_x), data.val_y).item()}

    descend(writer, optimizer, loss_of, 300, tag="train/loss", examine=validation, examine_every=15)


@ill("group-at-the-wrong-rate", *TOO_LOW, "frozen-parameters", subject="encoder*", source=GROUPS)
def encoder_at_the_rate_of_a_fine_tuning(writer: SummaryWriter, fault: bool = True) -> None:
    model = Encoded(mlp(64, 6, 6, activation=nn.Tanh), mlp(6, 32, 10))
    rate = 1e-8 if fault else 3e-3
    groups = [{"params": model.encoder.parameters(), "lr": rate}, {"params": model.head.parameters()}]
    train(writer, model, AdamW(groups, lr=3e-3), pixels(), steps=250)


@ill("group-at-the-wrong-rate", *TOO_LOW, "frozen-parameters", subject="[0-6]*", source=GROUPS)
def rates_that_fall_thirtyfold_from_layer_to_layer(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 12, 12, 12, 12, 10, activation=nn.Tanh)
    layers = [layer for layer in model if isinstance(layer, nn.Linear)]
    decay = 0.03 if fault else 0.8
    groups = [{"params": layer.parameters(), "lr": 3e-3 * decay**i} for i, layer in enumerate(reversed(layers))]
    train(writer, model, Adam(groups), pixels(), steps=250)


@ill("sign-descent-at-the-rate-of-sgd", *TOO_HIGH, "loss-oscillating",
     source="Chen et al., Lion (2023): a rate three to ten times below Adam's; DeepCrime, OCH")  # fmt: skip
def lion_at_0_1(writer: SummaryWriter, fault: bool = True) -> None:
    model = mlp(64, 64, 64, 10)
    train(writer, model, Lion(model.parameters(), 0.1 if fault else 3e-4), pixels(), steps=200)


@ill("lbfgs-on-mini-batches", *TOO_HIGH, "loss-oscillating", "loss-diverging", "loss-spike", "non-finite",
     source="Bollapragada et al. (ICML 2018): L-BFGS needs batches that overlap; forum: L-BFGS gives NaN")  # fmt: skip
def curvature_of_another_batch(writer: SummaryWriter, fault: bool = True) -> None:
    data, model, criterion = diabetes(), mlp(10, 32, 1, activation=nn.Tanh), nn.MSELoss()
    optimizer = LBFGS(model.parameters(), lr=1.0, max_iter=2, line_search_fn=None if fault else "strong_wolfe")
    batches = data.shuffled(12 if fault else len(data.train_x))
    writer.watch(model, optimizer, criterion=criterion)
    for step in range(120 if fault else 15):
        x, y = next(batches)

        def closure(x: Tensor = x, y: Tensor = y) -> Tensor:
            optimizer.zero_grad()
            loss: Tensor = criterion(model(x), y)
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        writer.add_scalar("loss/train", float(optimizer.step(closure)), step)
        if step % 5 == 4:
            with torch.no_grad():
                writer.add_scalar("loss/val", criterion(model(data.val_x), data.val_y).item(), step)
