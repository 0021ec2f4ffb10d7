"""Small trainings of every kind that a watch must not change. Each returns what must be the same bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

Watch = Callable[..., Any]
STEPS = 14


@dataclass
class Result:
    losses: list[float]
    modules: tuple[nn.Module, ...]


def loop(
    watch: Watch,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Callable[[], Any],
    loss_of: Callable[[Any], torch.Tensor],
    criterion: nn.Module | None = None,
    step: Callable[[torch.Tensor], None] | None = None,
) -> Result:
    watch(model, optimizer, criterion=criterion)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(batch())
        if step is None:
            loss.backward()
            optimizer.step()
        else:
            step(loss)
        losses.append(loss.item())
    return Result(losses, (model,))


def mlp(watch: Watch) -> Result:
    model, criterion = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4), nn.Softmax(1)), nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    return loop(
        watch, model, optimizer, lambda: torch.randn(6, 8), lambda x: criterion(model(x), torch.rand(6, 4)), criterion
    )


def convolution_and_batch_norm(watch: Watch) -> Result:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(4 * 16, 3)
    )
    criterion, optimizer = nn.CrossEntropyLoss(), torch.optim.AdamW(model.parameters(), 1e-2)
    return loop(
        watch, model, optimizer, lambda: torch.randn(5, 1, 6, 6),
        lambda x: criterion(model(x), torch.randint(0, 3, (5,))), criterion,
    )  # fmt: skip


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(3, 5, batch_first=True, num_layers=2, dropout=0.1), nn.Linear(5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(x, [4, 3], batch_first=True)
        output, _ = self.lstm(packed)
        return self.head(nn.utils.rnn.pad_packed_sequence(output, batch_first=True)[0])


def lstm(watch: Watch) -> Result:
    model = Recurrent()
    optimizer = torch.optim.RMSprop(model.parameters(), 1e-2)
    return loop(watch, model, optimizer, lambda: torch.randn(2, 4, 3), lambda x: model(x).square().mean())


class TiedLanguageModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: torch.Tensor, padding: torch.Tensor | None = None) -> torch.Tensor:
        return self.head(self.encoder(self.embedding(tokens), src_key_padding_mask=padding))


def transformer_with_tied_embeddings_and_validation(watch: Watch) -> Result:
    """Validated between the steps, by the fused path, whose result must be the same too."""
    model, criterion = TiedLanguageModel(), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    watch(model, optimizer, criterion=criterion)
    losses = []
    padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2, [False] * 5])
    for _ in range(STEPS):
        tokens = torch.randint(0, 11, (3, 5))
        optimizer.zero_grad()
        loss = criterion(model(tokens).transpose(1, 2), tokens)
        loss.backward()
        optimizer.step()
        model.eval()
        with torch.no_grad():
            losses += [loss.item(), *model(tokens, padding).flatten().tolist()]
        model.train()
    return Result(losses, (model,))


def generative_adversarial(watch: Watch) -> Result:
    generator = nn.Sequential(nn.Linear(2, 8), nn.ReLU(inplace=True), nn.Linear(8, 4))
    critic = nn.Sequential(nn.Linear(4, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1))
    first = torch.optim.Adam(generator.parameters(), 1e-3)
    second = torch.optim.Adam(critic.parameters(), 1e-3)
    criterion = nn.BCEWithLogitsLoss()
    watch(generator, first, criterion=criterion, name="generator")
    watch(critic, second, criterion=criterion, name="critic")
    losses = []
    for _ in range(STEPS):
        second.zero_grad()
        with torch.no_grad():
            fake = generator(torch.randn(6, 2))
        loss = criterion(critic(fake), torch.zeros(6, 1)) + criterion(critic(torch.randn(6, 4)), torch.ones(6, 1))
        point = torch.randn(6, 4, requires_grad=True)
        (slope,) = torch.autograd.grad(critic(point).sum(), point, create_graph=True)
        (loss + (slope.norm(dim=1) - 1).square().mean()).backward()
        second.step()
        first.zero_grad()
        other = criterion(critic(generator(torch.randn(6, 2))), torch.ones(6, 1))
        other.backward()
        first.step()
        losses += [loss.item(), other.item()]
    return Result(losses, (generator, critic))


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.relu = nn.Linear(6, 6), nn.Linear(6, 6), nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.a(x))
        y = y + self.b(y)
        y += x
        return F.relu_(y * 2)


def in_place(watch: Watch) -> Result:
    model = InPlace()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    return loop(watch, model, optimizer, lambda: torch.randn(4, 6), lambda x: model(x).square().mean())


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.reentrant = reentrant
        self.stem = nn.Linear(6, 6)
        self.block = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.2), nn.GELU(), nn.Linear(6, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return checkpoint(self.block, self.stem(x), use_reentrant=self.reentrant)


def checkpointed(watch: Watch, reentrant: bool = False) -> Result:
    model = Checkpointed(reentrant)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    return loop(watch, model, optimizer, lambda: torch.randn(4, 6), lambda x: model(x).square().mean())


def checkpointed_reentrant(watch: Watch) -> Result:
    return checkpointed(watch, reentrant=True)


def selectively_checkpointed(watch: Watch) -> Result:
    """A dispatch mode keeps some operations' results in order and hands them back: ours must not get among them."""
    from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts

    def policy(context: Any, operation: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
        return CheckpointPolicy.MUST_SAVE

    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def loss_of(x: torch.Tensor) -> torch.Tensor:
        output = checkpoint(
            lambda z: (lambda y: y * torch.tanh(y.sum() / y.numel()))(model(z)),
            x,
            use_reentrant=False,
            context_fn=lambda: create_selective_checkpoint_contexts(policy),
        )
        return output.square().mean()

    return loop(watch, model, optimizer, lambda: torch.randn(12_000, 6, requires_grad=True), loss_of)


def accumulation_and_clipping(watch: Watch) -> Result:
    model, criterion = nn.Sequential(nn.Linear(8, 8), nn.SiLU(), nn.Linear(8, 2)), nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=STEPS + 1)
    watch(model, optimizer, criterion=criterion)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        for _ in range(3):
            loss = criterion(model(torch.randn(4, 8)), torch.randint(0, 2, (4,))) / 3
            loss.backward()
            losses.append(loss.item())
        losses.append(nn.utils.clip_grad_norm_(model.parameters(), 0.1).item())
        optimizer.step()
        schedule.step()
    return Result(losses, (model,))


def lbfgs_with_closure(watch: Watch) -> Result:
    model, criterion = nn.Sequential(nn.Linear(3, 4), nn.Sigmoid(), nn.Linear(4, 1)), nn.MSELoss()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=4)
    x, y = torch.randn(10, 3), torch.randn(10, 1)
    watch(model, optimizer, criterion=criterion)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        return loss

    return Result([float(optimizer.step(closure)) for _ in range(STEPS)], (model,))


def mixed_precision(watch: Watch) -> Result:
    model, criterion = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    watch(model, optimizer, criterion=criterion, scaler=scaler)
    losses = []
    for step in range(STEPS):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = criterion(model(torch.randn(4, 8)), torch.randint(0, 3, (4,)))
        if step == 5:
            loss = loss * float("inf")
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
    return Result([*losses, scaler.get_scale()], (model,))


@dataclass
class Outputs:
    logits: torch.Tensor
    hidden: tuple[torch.Tensor, ...]


class Nested(nn.Module):
    """Nested outputs, a shared module, a module that is never called, a float64 one."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.unused = nn.Linear(5, 5), nn.Linear(2, 2)
        self.precise = nn.Linear(5, 2, dtype=torch.float64)

    def forward(self, batch: dict[str, torch.Tensor]) -> Outputs:
        x = batch["x"]
        hidden = tuple(torch.relu(self.shared(x)) for _ in range(3))
        x = self.shared(self.shared(x))
        return Outputs(self.precise(x.double()), hidden)


def nested_outputs_and_shared_modules(watch: Watch) -> Result:
    model = Nested()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    return loop(
        watch, model, optimizer, lambda: {"x": torch.randn(3, 5), "mask": torch.ones(3, dtype=torch.bool)},
        lambda b: (lambda o: o.logits.square().mean() + o.hidden[1].mean())(model(b)),
    )  # fmt: skip


def frozen_and_unfrozen(watch: Watch) -> Result:
    model, criterion = nn.Sequential(nn.Linear(4, 4), nn.PReLU(), nn.Linear(4, 2)), nn.MSELoss()
    model[0].requires_grad_(False)
    optimizer = torch.optim.Adam(model[2].parameters(), 1e-2)
    watch(model, optimizer, criterion=criterion)
    losses = []
    for step in range(STEPS):
        if step == 6:
            model[0].requires_grad_(True)
            optimizer.add_param_group({"params": list(model[0].parameters()), "lr": 1e-3})
        optimizer.zero_grad()
        loss = criterion(model(torch.randn(4, 4)), torch.randn(4, 2))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return Result(losses, (model,))


def lazy_modules(watch: Watch) -> Result:
    model = nn.Sequential(nn.LazyLinear(6), nn.ReLU(), nn.LazyLinear(2))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    return loop(watch, model, optimizer, lambda: torch.randn(3, 4), lambda x: model(x).square().mean())


def spectral_norm(watch: Watch) -> Result:
    """Reading the weight of either kind in train mode would move its power iteration."""
    old = nn.utils.spectral_norm(nn.Linear(4, 4))
    new = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4))
    model = nn.Sequential(old, nn.Hardswish(), new, nn.utils.parametrizations.weight_norm(nn.Linear(4, 2)))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    return loop(watch, model, optimizer, lambda: torch.randn(3, 4), lambda x: model(x).square().mean())


def sparse_embedding(watch: Watch) -> Result:
    model = nn.Sequential(nn.Embedding(20, 4, sparse=True), nn.Flatten(), nn.Linear(12, 1))
    sparse = torch.optim.SparseAdam(model[0].parameters(), 1e-2)
    dense = torch.optim.SGD(model[2].parameters(), 1e-2)
    watch(model, [sparse, dense])
    losses = []
    for _ in range(STEPS):
        loss = model(torch.randint(0, 20, (5, 3))).square().mean()
        model.zero_grad()
        loss.backward()
        sparse.step()
        dense.step()
        losses.append(loss.item())
    return Result(losses, (model,))


def compiled(watch: Watch) -> Result:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    fast = torch.compile(model, backend="aot_eager", fullgraph=True)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    return loop(watch, fast, optimizer, lambda: torch.randn(3, 4), lambda x: fast(x).square().mean())


def low_precision_weights(watch: Watch) -> Result:
    model = nn.Sequential(nn.Linear(4, 8), nn.Mish(), nn.Linear(8, 2)).to(torch.bfloat16)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    return loop(
        watch, model, optimizer, lambda: torch.randn(3, 4, dtype=torch.bfloat16), lambda x: model(x).square().mean()
    )


def functional_transforms(watch: Watch) -> Result:
    """Per-sample gradients by vmap(grad) beside the ordinary step."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def loss_of(x: torch.Tensor) -> torch.Tensor:
        parameters = dict(model.named_parameters())
        single = lambda p, sample: torch.func.functional_call(model, p, (sample,)).square().sum()
        each = torch.func.vmap(torch.func.grad(single), (None, 0))({k: v.detach() for k, v in parameters.items()}, x)
        return model(x).square().mean() + each["0.weight"].norm() * 0

    return loop(watch, model, optimizer, lambda: torch.randn(4, 3), loss_of)


CASES = (
    mlp, convolution_and_batch_norm, lstm, transformer_with_tied_embeddings_and_validation, generative_adversarial,
    in_place, checkpointed, checkpointed_reentrant, selectively_checkpointed, accumulation_and_clipping,
    lbfgs_with_closure, mixed_precision, nested_outputs_and_shared_modules, frozen_and_unfrozen, lazy_modules,
    spectral_norm, sparse_embedding, compiled, low_precision_weights, functional_transforms,
)  # fmt: skip
