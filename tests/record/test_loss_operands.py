"""The graph of a loss shows what its functions are given, and whether it is cross-entropies and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from memory_recorder import MemoryRecorder
from torch import nn

from tb_nnhealth import schema
from tb_nnhealth.record.cadence import CLOSE_RECORDS, CLOSE_STEPS
from tb_nnhealth.record.loss_operands import STEPS_TRIED, operands_of
from tb_nnhealth.record.watch import Watch
from tb_nnhealth.schema import MEAN

Y = torch.tensor([0, 2, 1, 2, 0, 1])
YES = torch.ones(6, 3)
SHARES = YES / 3


def scores() -> torch.Tensor:
    torch.manual_seed(0)
    result: torch.Tensor = nn.Linear(4, 3)(torch.randn(6, 4))
    return result


@pytest.mark.parametrize(
    ("loss", "faults"),
    [
        (lambda z: F.binary_cross_entropy_with_logits(z.sigmoid(), YES), ["binary_cross_entropy_with_logits<sigmoid"]),
        (lambda z: F.cross_entropy(z.softmax(1), Y) + z.square().mean(), ["cross_entropy<softmax"]),
        (lambda z: F.cross_entropy(z.softmax(1).view(6, 3), Y) / 2, ["cross_entropy<softmax"]),
        (lambda z: F.nll_loss(z.softmax(1), Y), ["nll_loss<softmax"]),
        (lambda z: F.nll_loss(z, Y), ["nll_loss<linear"]),
        (lambda z: F.nll_loss(z.log_softmax(0), Y), ["nll_loss<log_softmax over dimension 0"]),
        (lambda z: F.nll_loss(z.log_softmax(-2), Y), ["nll_loss<log_softmax over dimension 0"]),
        (lambda z: F.cross_entropy(z.log_softmax(0), Y), ["cross_entropy<log_softmax over dimension 0"]),
        (lambda z: F.cross_entropy(z.log_softmax(1), Y), []),
        (
            lambda z: F.nll_loss(z.view(2, 3, 3, 1).log_softmax(-2), Y[:6].view(2, 3, 1)),
            [],
        ),
        (
            lambda z: F.nll_loss(z.view(1, 3, 6, 1).log_softmax(2), Y.view(1, 6, 1)),
            ["nll_loss<log_softmax over dimension 2"],
        ),
        (lambda z: -z.log_softmax(0).gather(1, Y[:, None]).mean(), ["likelihood<log_softmax over dimension 0"]),
        (lambda z: -z.log_softmax(0)[torch.arange(6), Y].mean(), ["likelihood<log_softmax over dimension 0"]),
        (lambda z: F.binary_cross_entropy(z.clamp(0.01, 0.99), YES), ["binary_cross_entropy<linear"]),
        (lambda z: F.cross_entropy(F.normalize(z, dim=1) @ F.normalize(z, dim=1).T, Y), ["cross_entropy<cosine"]),
        (lambda z: 9 * F.kl_div(z.softmax(1), SHARES, reduction="batchmean"), ["kl_div<softmax"]),
        (lambda z: F.ctc_loss(z[:, None].expand(6, 2, 3), Y[:2, None] + 1, (6, 6), (1, 1)), ["ctc_loss<linear"]),
    ],
)
def test_wrong_operands(loss: Callable[[torch.Tensor], torch.Tensor], faults: list[str]) -> None:
    told = operands_of(loss(scores()))
    assert told is not None
    assert list(told.faults) == faults


@pytest.mark.parametrize("function", [F.mse_loss, F.smooth_l1_loss, F.huber_loss, F.l1_loss])
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_each_answer_compared_with_all_targets(function: Callable[..., torch.Tensor]) -> None:
    values, policy = scores()[:, :1], scores()
    told = operands_of(policy.log_softmax(1).mean() + 0.5 * function(values, torch.zeros(6)))
    assert told is not None
    assert told.compared == ((6, 1), (6, 6))
    assert operands_of(policy.log_softmax(1).mean() + 0.5 * function(values, torch.zeros(6, 1))) is None


def test_each_answer_subtracted_from_all_targets() -> None:
    """A likelihood written by hand takes means and logarithms of widths, (n,), and targets of shape (n, 1)."""
    output = scores()
    number, mean, width = output.grad_fn._sequence_nr(), output[:, 0], output[:, 1]

    def likelihood(target: torch.Tensor, about: torch.Tensor) -> torch.Tensor:
        return (width + 0.5 * ((target - about) * (-width).exp()) ** 2).mean()

    told = operands_of(likelihood(torch.zeros(6, 1), mean), number)
    assert told is not None
    assert told.compared == ((6,), (6, 6))
    assert operands_of(likelihood(torch.zeros(6), mean), number) is None
    assert operands_of((mean[:, None] - torch.zeros(1, 6)).abs().mean(), number) is None  # every pair is meant
    assert operands_of((torch.zeros(6, 1) - mean).abs().mean(1).min(), number) is None
    inside = (torch.zeros(6, 1) - mean).exp()
    assert operands_of(inside.mean(), inside.grad_fn._sequence_nr()) is None


@pytest.mark.parametrize(
    "loss",
    [
        lambda z: F.binary_cross_entropy_with_logits(z, YES) + z.sigmoid().mean(),
        lambda z: F.nll_loss(z.softmax(1).log(), Y),
        lambda z: F.mse_loss(z.softmax(1), YES),
        lambda z: F.kl_div(z.log_softmax(1), SHARES, reduction="batchmean"),
        lambda z: F.ctc_loss(z.log_softmax(1)[:, None], Y[:1, None] + 1, (6,), (1,)),
        lambda z: 1 - (YES * z.softmax(1)).mean(),
        lambda z: (1 - YES[0] * z.softmax(1).mean(0)).mean(),
        lambda z: -z.log_softmax(1).gather(1, Y[:, None]).mean(),
        lambda z: -z.log_softmax(1)[torch.arange(6), Y].mean(),
        lambda z: -(z @ z.T).log_softmax(0).gather(1, Y[:, None]).mean(),  # of all pairs either dimension will do
        lambda z: -z.log_softmax(0)[Y[:3]].mean(),
        lambda z: F.binary_cross_entropy(z.sigmoid().clamp(0.01, 0.99), YES),
        lambda z: F.cross_entropy(z, Y) * z.sigmoid().mean(),
        lambda z: F.cross_entropy(z, Y) + 0.1 * z.square().mean(),
    ],
)
def test_nothing_is_claimed_of_others(loss: Callable[[torch.Tensor], torch.Tensor]) -> None:
    assert operands_of(loss(scores())) is None


@pytest.mark.parametrize(
    ("loss", "classes", "reduction"),
    [
        (lambda z: F.cross_entropy(z @ z.T / 0.1, torch.arange(6)), 6, "mean"),
        (lambda z: (F.cross_entropy(z @ z.T, torch.arange(6)) + F.cross_entropy(z.T @ z, Y[:3])) / 2, 0, ""),
        (lambda z: (F.cross_entropy(z @ z.T, torch.arange(6)) + F.cross_entropy((z @ z.T).T, Y)) / 2, 6, "mean"),
        (lambda z: F.cross_entropy(z, Y, reduction="sum"), 3, "sum"),
        (lambda z: F.cross_entropy(z.view(2, 3, 3), Y.view(2, 3)), 3, "mean"),
    ],
)
def test_cross_entropies_alone(loss: Callable[[torch.Tensor], torch.Tensor], classes: int, reduction: str) -> None:
    value = loss(scores())
    told = operands_of(value)
    assert (told.classes, told.reduction) == (classes, reduction) if told is not None else not classes
    if told is not None:
        assert told.value == value


@pytest.mark.parametrize("scaled", [lambda a: a / 0.1, lambda a: 14 * a])
def test_cosines_with_a_temperature(scaled: Callable[[torch.Tensor], torch.Tensor]) -> None:
    a = F.normalize(scores(), dim=1)
    for products in (scaled(a @ a.T), scaled(a) @ a.T):
        told = operands_of(F.cross_entropy(products, Y))
        assert told is not None
        assert not told.faults


class Focal(nn.Module):
    """A criterion of one's own, whose type says nothing."""

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        cost = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        return ((1 - (-cost).exp()) ** 2 * cost).mean()


class Cosines(nn.Linear):
    """A layer of prototypes, whose answers nothing scales."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.normalize(x, dim=1) @ F.normalize(self.weight, dim=1).T


@dataclass
class Answer:
    loss: torch.Tensor
    logits: torch.Tensor


class WithLoss(nn.Module):
    """Makes its own loss, and returns both in an object."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> Answer:
        logits = self.layer(x)
        return Answer(F.nll_loss(logits.log_softmax(0), Y), logits)


@pytest.mark.parametrize(
    ("model", "criterion", "loss_of", "fault"),
    [
        (
            nn.Sequential(nn.Linear(4, 3), nn.Sigmoid()), Focal(), lambda z, criterion: criterion(z, YES),
            "binary_cross_entropy_with_logits<sigmoid",
        ),
        (
            nn.Linear(4, 3), nn.CrossEntropyLoss(), lambda z, criterion: criterion(z.log_softmax(0), Y),
            "cross_entropy<log_softmax over dimension 0",
        ),
        (
            nn.Sequential(nn.Linear(4, 4), Cosines(4, 3)), None, lambda z, _: F.cross_entropy(z, Y),
            "cross_entropy<cosine",
        ),
        (WithLoss(), None, lambda answer, _: answer.loss, "nll_loss<log_softmax over dimension 0"),
    ],
)  # fmt: skip
def test_in_a_training(model: nn.Module, criterion: Any, loss_of: Callable[..., torch.Tensor], fault: str) -> None:
    """A criterion that is named, one that is read back from its gradient, and a model that returns an object."""
    optimizer, recorder = torch.optim.SGD(model.parameters(), 0.1), MemoryRecorder()
    watch = Watch(recorder, model, optimizer, criterion=criterion, every=1)
    for _ in range(4):
        optimizer.zero_grad()
        loss_of(model(torch.randn(6, 4)), criterion).backward()
        optimizer.step()
    watch.remove()
    assert [recorder.stream.value(schema.OPERAND, fault, MEAN, i) for i in range(4)] == [1, 1, 1, 1]


class Towers(nn.Module):
    """One for each side of a pair, the second called when the first has answered."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = (nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)) for _ in range(2))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.left(x), self.right(y)


def test_pairs_within_a_batch_are_classes() -> None:
    model, recorder = Towers(), MemoryRecorder()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watch = Watch(recorder, model, optimizer, every=1)
    for _ in range(3):
        optimizer.zero_grad()
        a, b = model(torch.randn(6, 4), torch.randn(6, 4))
        loss = F.cross_entropy(a @ b.T / 0.1, torch.arange(6))
        loss.backward()
        optimizer.step()
    watch.remove()
    criterion = recorder.stream.layouts[-1].criterion
    assert (criterion.type, criterion.classes, criterion.reduction) == ("CrossEntropyLoss", 6, "mean")
    assert recorder.stream.value(schema.LOSS, "", MEAN) == pytest.approx(loss.item())
    assert recorder.stream.errors == []


def test_critic_behind_the_model_is_no_classifier_of_its_answers() -> None:
    model, critic, recorder = Towers(), nn.Linear(3, 5), MemoryRecorder()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watch = Watch(recorder, model, optimizer, every=1)
    for _ in range(3):
        optimizer.zero_grad()
        a, b = model(torch.randn(6, 4), torch.randn(6, 4))
        F.cross_entropy(critic(a + b), torch.arange(6) % 5).backward()
        optimizer.step()
    watch.remove()
    assert recorder.stream.layouts[-1].criterion.classes == 0


class OfTwo(nn.Module):
    """Takes all that a variational model returns."""

    def forward(self, answer: tuple[torch.Tensor, torch.Tensor], target: torch.Tensor) -> torch.Tensor:
        return F.binary_cross_entropy_with_logits(answer[0].sigmoid(), target) + answer[1].square().mean()


class Told(nn.Module):
    """Returns more than a loss."""

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, float]:
        return F.cross_entropy(logits, target), 0.5


class Taken(nn.Module):
    """Is given everything by name."""

    def forward(self, *, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(logits, target)


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(
    ("criterion", "loss_of"),
    [
        (OfTwo(), lambda z, criterion: criterion((z, 2 * z), YES)),
        (Told(), lambda z, criterion: criterion(z, Y)[0]),
        (Taken(), lambda z, criterion: criterion(logits=z, target=Y)),
    ],
)
def test_criterion_of_any_arguments(criterion: nn.Module, loss_of: Callable[..., torch.Tensor], named: bool) -> None:
    model = nn.Linear(4, 3)
    optimizer, recorder = torch.optim.SGD(model.parameters(), 0.1), MemoryRecorder()
    watch = Watch(recorder, model, optimizer, criterion=criterion if named else None, every=1)
    for _ in range(4):
        optimizer.zero_grad()
        loss_of(model(torch.randn(6, 4)), criterion).backward()
        optimizer.step()
    watch.remove()
    assert recorder.stream.errors == []
    assert len(recorder.stream.records) == 4
    if isinstance(criterion, OfTwo):
        assert recorder.stream.value(schema.OPERAND, "binary_cross_entropy_with_logits<sigmoid", MEAN, 3) == 1


def test_fault_that_comes_late() -> None:
    """What was as it should be is read again where a step is looked at closely, and at every step once it is not."""
    model, criterion = nn.Linear(4, 3), nn.CrossEntropyLoss()
    optimizer, recorder = torch.optim.SGD(model.parameters(), 0.1), MemoryRecorder()
    watch = Watch(recorder, model, optimizer, criterion=criterion, every=1)
    steps, begin = CLOSE_RECORDS + 3 * CLOSE_STEPS, CLOSE_RECORDS + CLOSE_STEPS // 2
    for i in range(steps):
        optimizer.zero_grad()
        z = model(torch.randn(6, 4))
        criterion(z if i < begin else z.softmax(1), Y).backward()
        optimizer.step()
    watch.remove()
    told = [recorder.stream.value(schema.OPERAND, "cross_entropy<softmax", MEAN, i) for i in range(steps)]
    assert not any(value == 1 for value in told[:begin])
    assert told[begin + CLOSE_STEPS :] == [1] * (steps - begin - CLOSE_STEPS)


def test_in_a_training_of_two_views() -> None:
    """A contrastive loss, whose gradient by the model's output has no form that is known."""
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    optimizer, recorder = torch.optim.SGD(model.parameters(), 0.1), MemoryRecorder()
    watch = Watch(recorder, model, optimizer, every=1)
    losses = []
    for _ in range(2 * STEPS_TRIED):
        x = torch.randn(6, 4)
        a, b = (F.normalize(model(x + 0.1 * torch.randn_like(x)), dim=1) for _ in range(2))
        loss = F.cross_entropy(a @ b.T / 0.01, torch.arange(6))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    watch.remove()
    criterion = recorder.stream.layouts[-1].criterion
    assert (criterion.type, criterion.classes, criterion.reduction) == ("CrossEntropyLoss", 6, "mean")
    read = [recorder.stream.value(schema.LOSS, "", MEAN, i) for i in range(len(losses))]
    assert read == pytest.approx(losses)
