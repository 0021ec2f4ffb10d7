"""Small models for the checks before training: healthy ones of many kinds, and ill ones with one fault each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 4
FEATURES = 12
VOCABULARY = 11
LENGTH = 8


class Case(NamedTuple):
    make_model: Callable[[], nn.Module]
    criterion: Any
    batch: Any
    options: dict[str, Any]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blobs(samples: int = 64) -> tuple[Tensor, Tensor]:
    """Features of unit scale around one centre per class."""
    g = generator()
    targets = torch.arange(samples) % CLASSES
    centres = torch.randn(CLASSES, FEATURES, generator=g)
    return (centres[targets] + 0.5 * torch.randn(samples, FEATURES, generator=g)) / 1.1, targets


def images(samples: int = 32) -> tuple[Tensor, Tensor]:
    """One bright row of four by class, under noise."""
    x = 0.3 * torch.randn(samples, 1, 8, 8, generator=generator())
    targets = torch.arange(samples) % CLASSES
    for i, target in enumerate(targets):
        x[i, 0, 2 * target] += 3
    return (x - x.mean()) / x.std(), targets


def sentences(samples: int = 16) -> tuple[Tensor, Tensor]:
    """Tokens that count upwards from a random one, and the next ones."""
    start = torch.randint(0, VOCABULARY, (samples, 1), generator=generator())
    tokens = (start + torch.arange(LENGTH + 1)) % VOCABULARY
    return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


def mlp(*, out: int = CLASSES) -> nn.Sequential:
    return nn.Sequential(nn.Linear(FEATURES, 32), nn.ReLU(), nn.Linear(32, out))


def adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, 3e-3)


def cnn() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(128, CLASSES),
    )


class Language(nn.Module):
    """A transformer of one block; without ``causal`` it sees the future."""

    def __init__(self, *, causal: bool = True, batch_first: bool = True) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, 16)
        self.positions = nn.Parameter(0.1 * torch.randn(LENGTH, 16))
        self.block = nn.TransformerEncoderLayer(16, 2, 32, 0.1, batch_first=batch_first, norm_first=True)
        self.head = nn.Linear(16, VOCABULARY)
        self.causal = causal

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.positions[: tokens.shape[1]]
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1]) if self.causal else None
        return self.head(self.block(x, src_mask=mask, is_causal=self.causal))


class Recurrent(nn.Module):
    """An LSTM that gives its state too: a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, 16)
        self.lstm = nn.LSTM(16, 32, batch_first=True)
        self.head = nn.Linear(32, VOCABULARY)

    def forward(self, tokens: Tensor) -> Any:
        x, state = self.lstm(self.tokens(tokens))
        return self.head(x), state


class Bag(nn.Module):
    """A classifier over embeddings, with padding."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, 16, padding_idx=0)
        self.head = nn.Linear(16, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.tokens(tokens).mean(1))


def sequence_loss(outputs: Any, targets: Tensor) -> Tensor:
    logits = outputs[0] if isinstance(outputs, tuple) else outputs
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def _regression() -> tuple[Tensor, Tensor]:
    x, _ = blobs()
    return x, torch.tanh(x[:, :1] + x[:, 1:2])


def _tokens_classified() -> tuple[Tensor, Tensor]:
    tokens, _ = sentences(24)
    return tokens, tokens[:, 0] % 3


def _healthy() -> dict[str, Case]:
    x, y = blobs()
    ce = nn.CrossEntropyLoss()
    adamw = {"make_optimizer": lambda p: torch.optim.AdamW(p, 3e-3, weight_decay=0.05)}
    return {
        "mlp": Case(mlp, ce, (x, y), {"make_optimizer": adam, "num_classes": CLASSES}),
        "cnn": Case(cnn, ce, images(), {"make_optimizer": adam}),
        "dropout": Case(
            lambda: nn.Sequential(nn.Linear(FEATURES, 32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, CLASSES)),
            nn.CrossEntropyLoss(label_smoothing=0.1),
            (x, y),
            adamw,
        ),
        "transformer": Case(Language, sequence_loss, sentences(), {"make_optimizer": adam, "causal": True}),
        "lstm": Case(Recurrent, sequence_loss, sentences(), {"make_optimizer": adam, "causal": True}),
        "embeddings": Case(Bag, ce, _tokens_classified(), {"make_optimizer": adam}),
        "autoencoder": Case(
            lambda: nn.Sequential(nn.Linear(FEATURES, 6), nn.Tanh(), nn.Linear(6, FEATURES)), nn.MSELoss(), (x, x), {}
        ),
        "regression": Case(lambda: mlp(out=1), nn.MSELoss(), _regression(), {}),
        "binary": Case(lambda: mlp(out=1), nn.BCEWithLogitsLoss(), (x, (y > 1).float()[:, None]), {}),
        "lazy": Case(lambda: nn.Sequential(nn.LazyLinear(32), nn.ReLU(), nn.LazyLinear(CLASSES)), ce, (x, y), {}),
        "zero head": Case(lambda: _with_zero_head(), ce, (x, y), {}),
    }


def _with_zero_head() -> nn.Module:
    model = mlp()
    nn.init.zeros_(model[2].weight)
    nn.init.zeros_(model[2].bias)
    return model


HEALTHY = _healthy()


class DoubledGradient(torch.autograd.Function):
    """A square whose backward is twice what it should be."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 4 * x * gradient


class Through(nn.Module):
    """A layer, what ``between`` makes of it, and another layer."""

    def __init__(
        self, between: Callable[[Tensor], Tensor], *, before: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(FEATURES, 32), nn.Linear(32, CLASSES)
        self.between, self.before = between, before

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.before is None else self.before(x)
        return self.last(torch.relu(self.between(self.first(x))))


class Unreached(nn.Module):
    """Holds a layer that it never calls."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.forgotten = mlp(), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x)


class Undropped(nn.Module):
    """Holds a dropout that it never calls."""

    def __init__(self) -> None:
        super().__init__()
        self.layers, self.dropout = mlp(), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def _mixing(x: Tensor) -> Tensor:
    """``reshape`` where a transpose was meant."""
    return x.reshape(x.shape[1], x.shape[0]).T


def _shout() -> nn.Module:
    model = mlp()
    with torch.no_grad():
        model[2].weight.mul_(300)
    return model


def ill(name: str) -> Case:
    """The case whose one fault is for the check ``name`` to fail (or to warn of, where it never fails)."""
    x, y = blobs()
    ce = nn.CrossEntropyLoss()
    one = {"make_optimizer": adam}
    cases: dict[str, Callable[[], Case]] = {
        "chance-loss": lambda: Case(_shout, ce, (x, y), one),
        "overfit-one-batch": lambda: Case(lambda: nn.Sequential(mlp(), nn.Softmax(1)), ce, (x, y), one),
        "input-independent-baseline": lambda: Case(lambda: Through(lambda h: h * 0), ce, (x, y), one),
        "random-input": lambda: Case(mlp, ce, (torch.randn(256, FEATURES, generator=generator(5)), blobs(256)[1]), one),
        "shuffled-labels": lambda: Case(
            mlp, ce, (blobs(256)[0], blobs(256)[1][torch.randperm(256, generator=generator(1))]), one
        ),
        "batch-leak": lambda: Case(lambda: Through(_mixing), ce, (x, y), one),
        "causality": lambda: Case(lambda: Language(causal=False), sequence_loss, sentences(), {**one, "causal": True}),
        "regularization-raises-loss": lambda: Case(Undropped, ce, (x, y), one),
        "gradient-check": lambda: Case(lambda: Through(DoubledGradient.apply), ce, (x, y), one),
        "finite-outputs": lambda: Case(lambda: Through(lambda h: torch.log(h - 100)), ce, (x, y), one),
        "input-normalization": lambda: Case(mlp, ce, (255 * torch.rand(64, FEATURES, generator=generator()), y), one),
        "parameters-reached": lambda: Case(Unreached, ce, (x, y), one),
    }
    return cases[name]()
