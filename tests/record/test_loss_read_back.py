"""Kind, labels and value of a loss function come out of its gradient, and nothing is claimed of other losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from memory_recorder import MemoryRecorder, MemoryStream
from torch import nn
from torch.nn import functional

from tb_nnhealth import schema
from tb_nnhealth.record.loss_read_back import FEWEST, IGNORED, STEPS_TRIED, Given, ReadBack, read_back
from tb_nnhealth.record.watch import Watch

CLASSES = 5


def drawn(samples: int = 12, classes: int = CLASSES, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(samples + classes)
    z = torch.randn(samples, classes, generator=generator) * scale
    return z.requires_grad_(), torch.randint(0, max(classes, 2), (samples,), generator=generator)


def of(z: torch.Tensor, loss: torch.Tensor) -> Given | None:
    loss.backward()
    assert z.grad is not None
    return read_back(z.detach(), z.grad)


def focal(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    cost = functional.cross_entropy(z, y, reduction="none")
    return ((1 - (-cost).exp()) ** 2 * cost).mean()


@pytest.mark.parametrize("classes", [2, 3, 40])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 30.0])
@pytest.mark.parametrize("factor", [1.0, 1 / 8, 65536.0])
def test_cross_entropy(classes: int, scale: float, factor: float) -> None:
    z, y = drawn(64, classes, scale)
    loss = functional.cross_entropy(z, y)
    given = of(z, loss * factor)
    assert given is not None
    assert type(given.criterion) is nn.CrossEntropyLoss
    known = given.labels != IGNORED  # of a sample that costs nothing the gradient is 0
    assert torch.equal(given.labels[known], y[known])
    if known.all():
        assert given.loss.item() == pytest.approx(loss.item(), rel=1e-5)


def test_cross_entropy_with_weights_and_ignored_samples() -> None:
    z, y = drawn(60)
    y[::7] = IGNORED
    given = of(z, functional.cross_entropy(z, y, weight=torch.arange(1.0, CLASSES + 1)))
    assert given is not None
    assert torch.equal(given.labels, y)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_cross_entropy_in_other_formats(dtype: torch.dtype) -> None:
    z, y = drawn(32)
    outputs = z.detach().to(dtype).requires_grad_()
    given = of(outputs, functional.cross_entropy(outputs.float(), y))
    assert given is not None
    assert torch.equal(given.labels, y)


def test_softmax_applied_twice_is_a_cross_entropy_of_probabilities() -> None:
    z, y = drawn(32)
    outputs = z.detach().softmax(1).requires_grad_()
    given = of(outputs, functional.cross_entropy(outputs, y))
    assert given is not None
    assert torch.equal(given.labels, y)
    assert float(given.prediction.sum(1).max()) == pytest.approx(1)


@pytest.mark.parametrize("shape", [(48,), (48, 1)])
def test_binary_cross_entropy(shape: tuple[int, ...]) -> None:
    z, y = drawn(48, 1)
    outputs, wanted = z.detach().reshape(shape).requires_grad_(), y.float()
    loss = functional.binary_cross_entropy_with_logits(outputs, wanted.reshape(shape))
    given = of(outputs, loss)
    assert given is not None
    assert type(given.criterion) is nn.BCEWithLogitsLoss
    assert torch.equal(given.labels, wanted)
    assert given.loss.item() == pytest.approx(loss.item(), rel=1e-5)


@pytest.mark.parametrize("logarithms", [True, False])
def test_likelihood(logarithms: bool) -> None:
    z, y = drawn(20)
    outputs = z.detach().log_softmax(1) if logarithms else z.detach()
    outputs.requires_grad_()
    loss = functional.nll_loss(outputs, y)
    given = of(outputs, loss)
    assert given is not None
    assert type(given.criterion) is nn.NLLLoss
    assert torch.equal(given.labels, y)
    assert given.loss.item() == pytest.approx(loss.item())


@pytest.mark.parametrize(
    "loss",
    [
        lambda z, y: functional.cross_entropy(z, y, label_smoothing=0.1),
        lambda z, y: 0.3 * functional.cross_entropy(z, y) + 0.7 * functional.cross_entropy(z, y.flip(0)),
        lambda z, y: functional.cross_entropy(z, torch.rand(len(z), CLASSES).softmax(1)),
        lambda z, y: functional.mse_loss(z, functional.one_hot(y, CLASSES).float()),
        lambda z, y: functional.mse_loss(z.softmax(1), functional.one_hot(y, CLASSES).float()),
        lambda z, y: functional.multi_margin_loss(z, y),
        lambda z, y: (z.gather(1, y[:, None])[:, 0] - torch.randn(len(z))).square().mean(),
        lambda z, y: -(z.log_softmax(1).gather(1, y[:, None])[:, 0] * torch.rand(len(z))).mean(),
        lambda z, y: z.square().mean(),
        lambda z, y: z.sum() * 0,
        lambda z, y: z.sum() * float("nan"),
        focal,
    ],
)
@pytest.mark.parametrize("samples", [FEWEST, 64])
def test_nothing_is_claimed_of_other_losses(
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], samples: int
) -> None:
    torch.manual_seed(3)
    z, y = drawn(samples)
    assert of(z, loss(z, y)) is None


@pytest.mark.parametrize(
    "loss",
    [
        lambda z, t: functional.mse_loss(z, t),
        lambda z, t: functional.l1_loss(z, t),
        lambda z, t: functional.smooth_l1_loss(z, t),
        lambda z, t: functional.binary_cross_entropy(z.sigmoid(), t.sigmoid()),
        lambda z, t: functional.binary_cross_entropy_with_logits(z, t.sigmoid()),
        lambda z, t: (z.sigmoid() - (t > 0).float()).square().mean(),
        lambda z, t: torch.relu(1 - z).mean(),
        lambda z, t: -z.mean(),
    ],
)
def test_nothing_is_claimed_of_other_losses_of_one_output(
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> None:
    torch.manual_seed(4)
    z = torch.randn(64, 1, requires_grad=True)
    assert of(z, loss(z, torch.randn(64, 1))) is None


def test_answers_too_sure_for_a_gradient_are_right_ones() -> None:
    """Probabilities that are rounded to 1 have a gradient of 0: no label 0, and no sample that was left out."""
    for loss, outputs, labels in (
        (nn.functional.binary_cross_entropy_with_logits, torch.linspace(-30, 30, 60), (torch.arange(60) > 29).float()),
        (nn.functional.cross_entropy, 40 * torch.rand(12, 3).cumsum(1), torch.arange(12) % 3),
    ):
        z = outputs.requires_grad_()
        value = loss(z, labels)
        value.backward()
        told = read_back(z.detach(), z.grad)
        assert told is not None
        assert (told.labels == labels).all()
        assert told.loss.item() == pytest.approx(value.item(), rel=1e-5)


def test_outputs_that_are_all_alike_tell_nothing() -> None:
    z = torch.zeros(32, 1, requires_grad=True)
    assert of(z, torch.where(torch.arange(32)[:, None] % 2 == 0, -z, z).mean()) is None


@pytest.mark.parametrize("shape", [(12, 6), (4, 1, 5, 5)])
def test_yes_and_no_of_many(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(2)
    outputs = torch.randn(shape, generator=generator).requires_grad_()
    wanted = (torch.rand(shape, generator=generator) < 0.3).float()
    loss = functional.binary_cross_entropy_with_logits(outputs, wanted)
    given = of(outputs, loss)
    assert given is not None
    assert type(given.criterion) is nn.BCEWithLogitsLoss
    assert torch.equal(given.labels, wanted)
    assert given.loss.item() == pytest.approx(loss.item(), rel=1e-5)


@pytest.mark.parametrize("shape", [(48,), (48, 1), (8, 6)])
def test_binary_cross_entropy_of_probabilities(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(5)
    outputs = torch.randn(shape, generator=generator).sigmoid().requires_grad_()
    wanted = (torch.rand(shape, generator=generator) < 0.4).float()
    loss = functional.binary_cross_entropy(outputs, wanted)
    given = of(outputs, loss)
    assert given is not None
    assert type(given.criterion) is nn.BCELoss
    assert torch.equal(given.labels.reshape(shape), wanted)
    assert given.loss.item() == pytest.approx(loss.item(), rel=1e-5)


@pytest.mark.parametrize("last", [True, False])
def test_classes_of_the_tokens_of_a_sequence(last: bool) -> None:
    generator = torch.Generator().manual_seed(6)
    outputs = torch.randn((4, 7, 9) if last else (4, 9, 7), generator=generator).requires_grad_()
    y = torch.randint(0, 9, (4, 7), generator=generator)
    y[:, 5:] = IGNORED
    loss = functional.cross_entropy(outputs.transpose(1, 2) if last else outputs, y)
    given = of(outputs, loss)
    assert given is not None
    assert given.prediction.shape == (4, 9, 7)
    assert torch.equal(given.labels, y)
    assert given.loss.item() == pytest.approx(loss.item(), rel=1e-5)


# --- in a training --------------------------------------------------------------------------------------------------


def trained(loss: Callable[[torch.Tensor, torch.Tensor], Any], steps: int = 6, **options: Any) -> MemoryStream:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    recorder = MemoryRecorder()
    Watch(recorder, model, optimizer, every=1, **options)
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        x, y = torch.randn(16, 4, generator=generator), torch.randint(0, 3, (16,), generator=generator)
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()
    return recorder.stream


def test_function_is_recorded_like_its_module() -> None:
    criterion = nn.CrossEntropyLoss()
    function, module = trained(functional.cross_entropy), trained(criterion, criterion=criterion)
    assert function.layouts[-1].criterion == module.layouts[-1].criterion
    for kind, subject, statistic in (
        (schema.LOSS, "", schema.MEAN),
        (schema.PREDICTION, "", schema.STD),
        (schema.TARGET, "", schema.MEAN),
        (schema.LABELS, "majority", schema.MEAN),
        (schema.CLASS, "1", schema.MEAN),
    ):
        told = [stream.value(kind, subject, statistic) for stream in (function, module)]
        assert told[0] == pytest.approx(told[1], rel=1e-5), kind
    assert not function.errors


class LossOfItsOwn(nn.Module):
    """Returns what transformers' encoder and decoder do: a loss, what it is taken of, and something on the side."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.head = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        encoded = self.encoder(x).relu()
        logits = self.head(encoded)
        return {"loss": functional.cross_entropy(logits, labels), "logits": logits, "encoded": encoded}


def test_logits_are_read_beside_a_loss_of_the_models_own() -> None:
    torch.manual_seed(0)
    model, recorder = LossOfItsOwn(), MemoryRecorder()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    Watch(recorder, model, optimizer, every=1)
    for _ in range(3):
        x, y = torch.randn(16, 4), torch.randint(0, 3, (16,))
        optimizer.zero_grad()
        told = model(x, y)
        told["loss"].backward()
        optimizer.step()
    stream = recorder.stream
    assert (stream.layouts[-1].criterion.type, stream.layouts[-1].criterion.classes) == ("CrossEntropyLoss", 3)
    assert stream.value(schema.TARGET, "", schema.MEAN) == pytest.approx(float(y.float().mean()))
    assert stream.value(schema.LOSS, "", schema.MEAN) == pytest.approx(float(told["loss"]), rel=1e-5)
    assert not stream.errors


@pytest.mark.parametrize("evaluates", [True, False])
def test_function_is_recorded_where_the_criterion_named_serves_the_evaluation_alone(evaluates: bool) -> None:
    criterion = nn.CrossEntropyLoss()

    def loss(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if evaluates:
            with torch.no_grad():
                criterion(z, y)
        return functional.cross_entropy(z, y)

    function, module = trained(loss, criterion=criterion), trained(criterion, criterion=criterion)
    assert function.layouts[-1].criterion == module.layouts[-1].criterion
    for kind, statistic in ((schema.LOSS, schema.MEAN), (schema.TARGET, schema.MEAN)):
        told = [stream.value(kind, "", statistic) for stream in (function, module)]
        assert told[0] == pytest.approx(told[1], rel=1e-5), kind


def test_another_loss_is_not_told_as_the_criterion_named() -> None:
    stream = trained(functional.cross_entropy, criterion=nn.MSELoss())
    assert stream.layouts[-1].criterion.type == "MSELoss"
    assert not stream.has(schema.LOSS, "")


def test_output_bears_no_hook_once_the_criterion_named_was_called() -> None:
    criterion, seen = nn.CrossEntropyLoss(), []

    def loss(z: torch.Tensor, y: torch.Tensor) -> Any:
        seen.append(len(z._backward_hooks or ()))
        return criterion(z, y)

    trained(loss, criterion=criterion)
    assert seen[0] == seen[-1] + 1
    assert len(set(seen[1:])) == 1


def test_gives_up_on_another_loss() -> None:
    seen: list[int] = []
    stream = trained(lambda z, y: seen.append(len(z._backward_hooks or ())) or z.square().mean(), steps=8)
    assert not stream.layouts[-1].HasField("criterion")
    assert seen[0] > seen[-1]
    assert sum(count == seen[0] for count in seen) == STEPS_TRIED


def test_outputs_that_are_observed_are_not_taken_for_what_the_loss_was_given() -> None:
    recorder = MemoryRecorder()
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watch = Watch(recorder, model, optimizer, every=1)
    for _ in range(3):
        x, y = torch.randn(16, 4), torch.randint(0, 3, (16,))
        outputs = model(x)
        functional.cross_entropy(outputs, y).backward()
        watch.observe(targets=y, outputs=outputs.softmax(1))
        optimizer.step()
    assert recorder.stream.layouts[-1].criterion.type == ""
    assert recorder.stream.value(schema.PREDICTION, "", schema.PROBABILITY_SHARE) == 1
    assert not recorder.stream.has(schema.LOSS, "")


def test_what_the_user_observes_stands() -> None:
    recorder = MemoryRecorder()
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watch = Watch(recorder, model, optimizer, every=1)
    x, y = torch.randn(16, 4), torch.randint(0, 3, (16,))
    outputs = model(x)
    loss = functional.cross_entropy(outputs, y)
    loss.backward()
    watch.observe(x, y, outputs, loss + 7)
    optimizer.step()
    assert recorder.stream.value(schema.LOSS, "", schema.MEAN) == pytest.approx(loss.item() + 7)


# --- a loss that is given probabilities where it expects logits -----------------------------------------------------


def squashed(loss: Callable[[torch.Tensor], torch.Tensor], width: int = CLASSES) -> MemoryStream:
    """Of two steps of a linear model whose answers ``loss`` takes."""
    torch.manual_seed(0)
    model, recorder = nn.Linear(8, width), MemoryRecorder()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    Watch(recorder, model, optimizer, every=1)
    for _ in range(2):
        optimizer.zero_grad()
        loss(model(torch.randn(24, 8))).backward()
        optimizer.step()
    return recorder.stream


LABELS = torch.arange(24) % CLASSES


@pytest.mark.parametrize("dimension", [1, -1])
def test_softmax_before_a_cross_entropy_that_is_a_function(dimension: int) -> None:
    stream = squashed(lambda z: functional.cross_entropy(z.softmax(dimension), LABELS))
    assert stream.value(schema.PREDICTION, "", schema.PROBABILITY_SHARE) == 1
    assert 1.3 < stream.value(schema.LOSS, "", schema.MEAN) < 1.9
    assert [stream.value(schema.CLASS, str(i), schema.MEAN) for i in range(CLASSES)] == pytest.approx(
        (torch.bincount(LABELS) / 24).tolist(), rel=1e-6
    )
    assert stream.errors == []


def test_sigmoid_before_a_binary_cross_entropy_that_is_a_function() -> None:
    wanted = (LABELS[:, None] % 2).float()
    stream = squashed(lambda z: functional.binary_cross_entropy_with_logits(torch.sigmoid(z), wanted), 1)
    assert 0 < stream.value(schema.PREDICTION, "", schema.MIN) < stream.value(schema.PREDICTION, "", schema.MAX) < 1
    assert stream.value(schema.TARGET, "", schema.MEAN) == pytest.approx(wanted.mean().item())
    assert stream.errors == []


@pytest.mark.parametrize(
    "loss",
    [
        lambda z: functional.cross_entropy(z.softmax(0), LABELS),
        lambda z: functional.binary_cross_entropy_with_logits(torch.sigmoid(z[:, 0]), LABELS.float() % 2),
        lambda z: functional.cross_entropy(2 * z.softmax(1) - z, LABELS),
    ],
    ids=["over the samples", "of a part", "beside the logits"],
)
def test_what_is_not_squashed_twice(loss: Callable[[torch.Tensor], torch.Tensor]) -> None:
    assert not squashed(loss).has(schema.PREDICTION, "")


@pytest.mark.parametrize("above", [0, 1])
def test_absolute_errors_of_softplus_are_no_binary_cross_entropy(above: int) -> None:
    """All answers below their targets, or all but one: the gradient is that of softplus, with one label."""
    outputs = torch.randn(40, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    targets = functional.softplus(outputs.detach()) + 1
    targets[:1, :above] -= 2
    found: list[Any] = []
    outputs.register_hook(lambda gradient: found.append(ReadBack().read(outputs.detach(), gradient, -1)))
    functional.l1_loss(functional.softplus(outputs), targets).backward()
    assert found == [None]


def each_task_by_itself(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Meta-learning: the model is called within ``vmap(grad)``, and the loss of its adapted parameters is trained."""
    own = dict(model.named_parameters())

    def loss_of(parameters: dict[str, torch.Tensor], sample: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(model, parameters, (sample,)).square().mean()

    def adapted(sample: torch.Tensor) -> torch.Tensor:
        slopes = torch.func.grad(loss_of)(own, sample)
        return loss_of({name: value - 0.1 * slopes[name] for name, value in own.items()}, sample)

    return torch.func.vmap(adapted)(x).mean()


def every_row_of_the_jacobian(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """A penalty on the Jacobian: the gradients that come back through the output are a batch of gradients."""
    x = x.flatten(0, 1).requires_grad_()
    y = model(x)
    rows = torch.eye(y.numel()).reshape(-1, *y.shape)
    slopes, *_ = torch.autograd.grad(y, x, rows, create_graph=True, is_grads_batched=True)
    return y.square().mean() + slopes.square().mean()


@pytest.mark.parametrize("loss_of", [each_task_by_itself, every_row_of_the_jacobian])
def test_a_batch_of_gradients_is_that_of_no_single_loss(
    loss_of: Callable[[nn.Module, torch.Tensor], torch.Tensor],
) -> None:
    torch.manual_seed(0)
    model, recorder = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), MemoryRecorder()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    Watch(recorder, model, optimizer, every=1)
    for _ in range(3):
        optimizer.zero_grad()
        loss_of(model, torch.randn(5, 6, 3)).backward()
        optimizer.step()
    assert not recorder.stream.errors
