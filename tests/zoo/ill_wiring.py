"""Ill for how their parts are joined, called, masked, and handed to the optimizer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from sklearn.datasets import make_circles
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, NAdam, RMSprop

from tb_nnhealth import SummaryWriter
from tests.zoo.builders.habits import descend
from tests.zoo.builders.tasks import reviews, waves
from tests.zoo.faulty.loop import at, train
from tests.zoo.faulty.networks import Encoded, mlp
from tests.zoo.faulty.problems import Problem, ink, pixels
from tests.zoo.registry import ill

LEFT_OUT = "Forum: the optimizer is given the parameters of one part; Humbatova et al. (ICSE 2020): training process"
THAWED = "Forum: requires_grad set after the optimizer was built from a filter"
UNUSED = "Humbatova et al. (ICSE 2020): missing layer; forum: a layer that forward never calls"
CLAMPED = "Forum: torch.clamp on the output has no gradient outside its bounds"


@ill("parameters-left-out", "optimizer-misses-parameters", subject="encoder*", source=LEFT_OUT)
def only_the_decoder_is_given(writer: SummaryWriter, fault: bool = True) -> None:
    model = Encoded(mlp(64, 6, 6, activation=nn.Tanh), mlp(6, 32, 10))
    trained = model.head.parameters() if fault else model.parameters()
    train(writer, model, NAdam(trained, lr=2e-3), pixels(), steps=250)


class Filters(nn.Module):
    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.filters = nn.Conv1d(1, channels, 9, stride=4)
        self.norm = nn.BatchNorm1d(channels)
        self.layers = nn.ModuleList([nn.Linear(10 * channels, 32), nn.Linear(32, 4)])

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm(self.filters(x))).flatten(1)
        return self.layers[1](F.gelu(self.layers[0](h)))  # type: ignore[no-any-return]


@ill("parameters-left-out", "optimizer-misses-parameters", subject="filters*", source=LEFT_OUT)
def groups_by_names_that_miss_the_filters(writer: SummaryWriter, fault: bool = True) -> None:
    task, model = waves(), Filters(1)
    named = list(model.named_parameters())
    groups = [
        {"params": [p for n, p in named if "layers" in n and "weight" in n], "weight_decay": 0.01},
        {"params": [p for n, p in named if "norm" in n or ("bias" in n and "filters" not in n)], "weight_decay": 0.0},
        *([] if fault else [{"params": list(model.filters.parameters())}]),
    ]
    optimizer, criterion = AdamW(groups, lr=5e-3), nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)

    def loss_of(step: int) -> Tensor:
        x, y = task.batch(torch.randint(len(task), (64,)))
        return criterion(model(x), y)  # type: ignore[no-any-return]

    def validation() -> dict[str, float]:
        return {"val/acc": task.score(model(task.val_x), task.val_y)}

    descend(writer, optimizer, loss_of, 300, tag="train/loss", examine=validation, modes=model)


@ill("unfrozen-but-not-added", "optimizer-misses-parameters", "frozen-parameters", subject="encoder*", onset=40,
     source=THAWED)  # fmt: skip
def body_thawed_after_forty_steps(writer: SummaryWriter, fault: bool = True) -> None:
    model = Encoded(mlp(64, 5, 5, activation=nn.Tanh), mlp(5, 24, 10))
    model.encoder.requires_grad_(False)
    optimizer = Adam([p for p in model.parameters() if p.requires_grad], lr=3e-3)

    def thaw() -> None:
        model.encoder.requires_grad_(True)
        if not fault:
            optimizer.add_param_group({"params": list(model.encoder.parameters())})

    train(writer, model, optimizer, pixels(), before_step=at(40, thaw), steps=240)


class Halves(nn.Module):
    """Two columns of an image and the other six through encoders of their own; ``joined`` says whether both count."""

    def __init__(self, *, joined: bool) -> None:
        super().__init__()
        self.left, self.right = mlp(16, 24, 24, activation=nn.SiLU), mlp(48, 24, 24, activation=nn.SiLU)
        self.head = nn.Linear(48, 10)
        self.joined = joined

    def forward(self, x: Tensor) -> Tensor:
        image = x.view(-1, 8, 8)
        left, right = self.left(image[..., :2].flatten(1)), self.right(image[..., 2:].flatten(1))
        return self.head(torch.cat([left, right if self.joined else left], 1))  # type: ignore[no-any-return]


@ill("layer-never-called", "no-gradient", subject="right*", source=UNUSED)
def one_branch_joined_twice(writer: SummaryWriter, fault: bool = True) -> None:
    model = Halves(joined=not fault)
    train(writer, model, RMSprop(model.parameters(), lr=1e-3), pixels(), steps=250)


class Skipping(nn.Module):
    def __init__(self, *, skip: bool) -> None:
        super().__init__()
        self.into, self.hidden, self.out = nn.Linear(2, 24), mlp(24, 24, 24), nn.Linear(24, 1)
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        h = self.into(x)
        return self.out(h if self.skip else self.hidden(h))  # type: ignore[no-any-return]


@ill("layer-never-called", "no-gradient", subject="hidden*", source=UNUSED)
def hidden_layers_that_forward_forgets(writer: SummaryWriter, fault: bool = True) -> None:
    points, labels = make_circles(1000, noise=0.08, factor=0.5, random_state=3)
    x, y = torch.tensor(points, dtype=torch.float32) / 0.6, torch.tensor(labels, dtype=torch.float32)[:, None]
    model = Skipping(skip=fault)
    data = Problem(x[:800], y[:800], x[800:], y[800:], nn.BCEWithLogitsLoss())
    train(writer, model, Adam(model.parameters(), lr=5e-3), data, steps=250)


@ill("clamped-predictions", "no-gradient", "constant-output", "dead-units", source=CLAMPED)
def shares_clamped_in_place_of_a_sigmoid(writer: SummaryWriter, fault: bool = True) -> None:
    data = ink()
    low, high = data.train_y.min(), data.train_y.max()
    train_y, val_y = (data.train_y - low) / (high - low), (data.val_y - low) / (high - low)
    network = nn.Sequential(nn.Flatten(), *mlp(64, 48, 1))
    nn.init.constant_(network[-1].bias, -2.0)  # type: ignore[arg-type]
    last: nn.Module = nn.Hardtanh(0.0, 1.0) if fault else nn.Sigmoid()
    model = nn.Sequential(network, last)
    shares = Problem(data.train_x, train_y, data.val_x, val_y, nn.MSELoss())
    train(writer, model, SGD(model.parameters(), lr=0.1, momentum=0.9), shares, steps=250)


class Pooled(nn.Module):
    """A learned query attends to the words of a text; padding, word 0, is to be left out."""

    def __init__(self, words: int, *, inverted: bool) -> None:
        super().__init__()
        self.words = nn.Embedding(words, 24)
        self.query = nn.Parameter(0.1 * torch.randn(1, 1, 24))
        self.attention = nn.MultiheadAttention(24, 2, batch_first=True)
        self.head = nn.Linear(24, 2)
        self.inverted = inverted

    def forward(self, tokens: Tensor) -> Tensor:
        padding = tokens == 0
        h = self.words(tokens)
        ignored = ~padding if self.inverted else padding
        pooled, _ = self.attention(self.query.expand(len(tokens), -1, -1), h, h, key_padding_mask=ignored)
        return self.head(pooled[:, 0])  # type: ignore[no-any-return]


@ill("mask-inverted", "constant-output", "loss-not-decreasing",
     source="Forum: key_padding_mask is True where a position is ignored")  # fmt: skip
def attention_to_the_padding_alone(writer: SummaryWriter, fault: bool = True) -> None:
    task = reviews()
    tokens = torch.cat([task.train_x + 1, torch.zeros(len(task), 4, dtype=torch.long)], 1)
    val_tokens = torch.cat([task.val_x + 1, torch.zeros(len(task.val_x), 4, dtype=torch.long)], 1)
    model = Pooled(1001, inverted=fault)
    data = Problem(tokens, task.train_y, val_tokens, task.val_y)
    train(writer, model, Adam(model.parameters(), lr=5e-3), data, steps=300, batch_size=128)


class LastState(nn.Module):
    def __init__(self, *, batch_first: bool) -> None:
        super().__init__()
        self.cells = nn.GRU(1, 32, batch_first=batch_first)
        self.head = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.cells(x.transpose(1, 2))
        return self.head(states[:, -1])  # type: ignore[no-any-return]


@ill("batch-first-forgotten", "loss-not-decreasing", "underfitting",
     source="Forum: nn.LSTM without batch_first runs over the samples in place of the time")  # fmt: skip
def recurrence_over_the_samples(writer: SummaryWriter, fault: bool = True) -> None:
    task = waves()
    model = LastState(batch_first=not fault)
    data = Problem(task.train_x, task.train_y, task.val_x, task.val_y)
    train(writer, model, Adam(model.parameters(), lr=1e-2), data, steps=250, batch_size=48)


class Experts(nn.Module):
    """The gate sends each sample to one small network; ``favour`` is the head start of the first."""

    def __init__(self, favour: float) -> None:
        super().__init__()
        self.gate = nn.Linear(64, 4)
        self.experts = nn.ModuleList(mlp(64, 3, 10, activation=nn.Tanh) for _ in range(4))
        with torch.no_grad():
            self.gate.bias[0] += favour

    def forward(self, x: Tensor) -> Tensor:
        shares = self.gate(x).softmax(1)
        best = shares.argmax(1)
        answers = x.new_zeros(len(x), 10)
        for i, expert in enumerate(self.experts):
            chosen = (best == i).nonzero()[:, 0]
            if len(chosen):
                answers = answers.index_add(0, chosen, expert(x[chosen]) * shares[chosen, i : i + 1])
        return answers


@ill("router-collapses", "no-gradient", "saturated-units",
     source="Shazeer et al., Mixture-of-Experts Layer (ICLR 2017): the gate favours a few")  # fmt: skip
def every_sample_to_the_first_expert(writer: SummaryWriter, fault: bool = True) -> None:
    model = Experts(12.0 if fault else 0.0)
    train(writer, model, Adam(model.parameters(), lr=4e-3), pixels(), steps=350)


class AlwaysDropping(nn.Module):
    def __init__(self, *, always: bool) -> None:
        super().__init__()
        self.into, self.between, self.out = nn.Linear(64, 96), nn.Linear(96, 96), nn.Linear(96, 10)
        self.always = always

    def forward(self, x: Tensor) -> Tensor:
        on = self.always or self.training
        h = F.dropout(F.relu(self.into(x)), 0.7, training=on)
        return self.out(F.dropout(F.relu(self.between(h)), 0.7, training=on))  # type: ignore[no-any-return]


@ill("functional-dropout-never-off", "wrong-mode", "prediction-jitter", onset=20,
     source="Forum: F.dropout drops in evaluation too unless training is passed")  # fmt: skip
def dropout_as_a_function(writer: SummaryWriter, fault: bool = True) -> None:
    model = AlwaysDropping(always=fault)
    train(writer, model, Adam(model.parameters(), lr=2e-3), pixels(), steps=300)
