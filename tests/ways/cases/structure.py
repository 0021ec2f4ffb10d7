"""Models of every build: tied and shared, recurrent, attention, lazy, parametrized, with nested outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tb_nnhealth import schema
from tests.ways.cases.small import STEPS, batch, loss_of, mlp
from tests.ways.registry import way
from tests.ways.trial import Trial


def _train(trial: Trial, model: nn.Module, *inputs: Any, layer: str = "", rate: float = 0.1) -> None:
    """Trains a model that returns its output and what ``layer`` gave."""
    optimizer = torch.optim.SGD(model.parameters(), rate)
    trial.watch(model, optimizer)
    for _ in range(STEPS):
        optimizer.zero_grad()
        output, *given = model(*(make() for make in inputs))
        for tensor in given:
            trial.saw(layer, tensor)
        loss_of(output).backward()
        trial.step(optimizer)
        trial.same(output)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(7, 4), nn.Linear(4, 7, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self.embedding(tokens)
        return self.head(hidden), hidden


@way("structure")
def tied_weights(trial: Trial) -> None:
    _train(trial, Tied(), lambda: torch.randint(0, 7, (3, 5)), layer="embedding")
    stream = trial.trained[0].stream
    if stream is not None:
        assert list(stream.parameter("embedding.weight").aliases) == ["head.weight"]


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 6)
        self.again = self.inner

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        first = self.inner(x)
        second = self.again(torch.tanh(first[:2]))
        return second, first, second


@way("structure")
def module_called_twice_under_two_names(trial: Trial) -> None:
    _train(trial, Shared(), batch, layer="inner")


class Recurrent(nn.Module):
    def __init__(self, kind: str, packed: bool) -> None:
        super().__init__()
        self.rnn = getattr(nn, kind)(6, 5, num_layers=2, batch_first=True, bidirectional=True, dropout=0.1)
        self.packed = packed

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if not self.packed:
            output, state = self.rnn(x)
            return output, output, *(state if isinstance(state, tuple) else (state,))
        output, state = self.rnn(pack_padded_sequence(x, [4, 2, 1], batch_first=True))
        padded = pad_packed_sequence(output, batch_first=True)[0]
        return padded, output.data, *(state if isinstance(state, tuple) else (state,))


@way(
    "structure",
    LSTM={"kind": "LSTM", "packed": False},
    GRU={"kind": "GRU", "packed": False},
    LSTM_packed={"kind": "LSTM", "packed": True},
    GRU_packed={"kind": "GRU", "packed": True},
)
def recurrent(trial: Trial, kind: str, packed: bool) -> None:
    _train(trial, Recurrent(kind, packed), lambda: torch.randn(3, 4, 6), layer="rnn")


@way("structure")
def recurrent_cell_in_a_loop(trial: Trial) -> None:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRUCell(6, 4)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            states = []
            state = torch.zeros(5, 4)
            for _ in range(6):
                state = self.cell(x, state)
                states.append(state)
            return state, *states

    _train(trial, Loop(), batch, layer="cell")


class Attention(nn.Module):
    def __init__(self, *, weights: bool) -> None:
        super().__init__()
        self.attention, self.weights = nn.MultiheadAttention(8, 2, batch_first=True), weights

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        output, weights = self.attention(x, x, x, need_weights=self.weights)
        return output, output, *([weights] if self.weights else [])


@way("structure", with_weights={"weights": True}, without={"weights": False})
def multihead_attention(trial: Trial, weights: bool) -> None:
    _train(trial, Attention(weights=weights), lambda: torch.randn(3, 4, 8), layer="attention")


@way("structure", encoder={"whole": True}, layer_alone={"whole": False})
def fast_path_in_evaluation(trial: Trial, whole: bool) -> None:
    """No hook of ours is in place while evaluation goes the fused way, whose last digits a hook would change."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    model: nn.Module = nn.TransformerEncoder(layer, 2) if whole else layer
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trial.watch(model, optimizer)
    padding = torch.tensor([[False] * 4, [False, False, True, True]])
    for _ in range(STEPS):
        optimizer.zero_grad()
        output = model(torch.randn(2, 4, 8))
        loss_of(output - 1).backward()
        model.eval()
        with torch.no_grad():
            trial.same(model(torch.randn(2, 4, 8), src_key_padding_mask=padding))
            if model is layer:
                trial.same(_names(model))
        model.train()
        trial.step(optimizer)


def _names(model: nn.Module) -> bool:
    with torch.profiler.profile() as profile:
        model(torch.ones(2, 4, 8))
    return any("transformer_encoder_layer_fwd" in event.name for event in profile.events())


@way("structure")
def lazy_modules(trial: Trial) -> None:
    model = nn.Sequential(nn.LazyConv1d(4, 2), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trial.watch(model, optimizer)
    for _ in range(STEPS):
        optimizer.zero_grad()
        output = model(torch.randn(3, 2, 5))
        trial.saw("3", output, gradient=True)
        loss_of(output).backward()
        trial.step(optimizer)


class Orthonormal(nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return torch.linalg.qr(weight)[0]


@way(
    "structure",
    weight_norm={"wrap": parametrizations.weight_norm},
    weight_norm_of_old={"wrap": nn.utils.weight_norm},
    spectral_norm={"wrap": parametrizations.spectral_norm},
    spectral_norm_of_old={"wrap": nn.utils.spectral_norm},
    orthogonal={"wrap": parametrizations.orthogonal},
    of_the_users_own={"wrap": lambda m: nn.utils.parametrize.register_parametrization(m, "weight", Orthonormal())},
)
def parametrized(trial: Trial, wrap: Any) -> None:
    model = nn.Sequential(wrap(nn.Linear(6, 6)), nn.Tanh(), nn.Linear(6, 2))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trial.watch(model, optimizer)
    for _ in range(STEPS):
        optimizer.zero_grad()
        hidden = model[0](batch())
        trial.saw("0", hidden)
        output = model[2](model[1](hidden))
        trial.saw("2", output, gradient=True)
        loss_of(output).backward()
        trial.step(optimizer)


@dataclass
class Answer:
    logits: torch.Tensor
    rest: dict[str, Any]


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> Answer:
        return Answer(self.layer(x), {"none": None, "tokens": torch.arange(3), "list": [x, (x, "text")]})


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Nested()

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = self.inner(x).logits
        return logits, logits


@way("structure")
def outputs_in_dataclasses_and_dictionaries(trial: Trial) -> None:
    _train(trial, Outer(), batch, layer="inner.layer")


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.act, self.last = nn.Linear(6, 6), nn.ReLU(inplace=True), nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self.first(x)
        kept = hidden.detach().clone()
        hidden = self.act(hidden)
        hidden = hidden + x
        hidden += x
        return self.last(F.relu_(hidden)), kept


@way("structure")
def in_place_operations_after_a_layer(trial: Trial) -> None:
    _train(trial, InPlace(), batch, layer="first")


@way("structure")
def module_whose_forward_is_called_directly(trial: Trial) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trial.watch(model, optimizer)
    for _ in range(STEPS):
        optimizer.zero_grad()
        output = model[2](model[1](model[0].forward(batch())))
        trial.saw("2", output)
        loss_of(output).backward()
        trial.step(optimizer)
        trial.absent(schema.ACTIVATION, "0")


@way("structure", of_the_whole={"part": False}, of_a_part={"part": True})
def scripted_module(trial: Trial, part: bool) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted = torch.jit.script(mlp())
    model = nn.Sequential(scripted, nn.Linear(3, 2)) if part else scripted
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trial.watch(model, optimizer)
    for _ in range(STEPS):
        optimizer.zero_grad()
        output = model(batch())
        if part:
            trial.saw("1", output)
        loss_of(output).backward()
        trial.step(optimizer)
