"""Ill for how their networks are put together: what is lost, mixed up, never registered, or read at the wrong place."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.optim import SGD, Adam, AdamW, RMSprop

from tb_nnhealth import SummaryWriter
from tests.zoo.builders.branching import Graph, Reader, convolutional, mlp
from tests.zoo.builders.material import citations, figures, order_of_words, prices, rings, roll, steps_of_a_walk, wine
from tests.zoo.builders.practice import CAPITAL, JOINED, LONG, SLASHED, TRAINER, learn
from tests.zoo.faulty.problems import Problem
from tests.zoo.registry import ill


@ill("biases-removed", "loss-not-decreasing", "underfitting",
     source="DeepCrime (ISSTA 2021), WRB: remove bias; without biases a tanh network is odd")  # fmt: skip
def odd_network_for_rings(writer: SummaryWriter, fault: bool = True) -> None:
    """training_loss 0.693 (0.00816), validation_loss 0.693 (0.00701), validation_score 0.493 (1)."""
    model = mlp(2, 32, 32, 2, activation=nn.Tanh)
    for layer in model:
        if isinstance(layer, nn.Linear) and fault:
            layer.register_parameter("bias", None)
    learn(writer, model, Adam(model.parameters(), lr=3e-3), rings(), steps=300, names=LONG)


class Discarding(nn.Module):
    """Calls its activation; ``lost`` says that what it returns is not taken."""

    def __init__(self, *, lost: bool) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(3, 64), nn.Linear(64, 64), nn.Linear(64, 1)
        self.activation = nn.ReLU()
        self.lost = lost

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.first, self.second):
            x = layer(x)
            active = self.activation(x)
            x = x if self.lost else active
        return self.last(x)


@ill("activation-result-discarded", "underfitting", "loss-not-decreasing", "no-gradient",
     source="DeepCrime (ISSTA 2021), ARM: remove activation function; forum: F.relu(x) whose result is "
     "not assigned")  # fmt: skip
def relu_called_for_nothing(writer: SummaryWriter, fault: bool = True) -> None:
    """Loss/test 0.364 (0.0324), Loss/train 0.358 (0.0263), Score/test 0.821 (0.99)."""
    model = Discarding(lost=fault)
    learn(writer, model, Adam(model.parameters(), lr=4e-3), roll(), steps=500, batch=64, names=CAPITAL)


class Listed(nn.Module):
    """A stem, hidden layers, and a head; ``plain`` hides the hidden layers in a Python list."""

    def __init__(self, widths: int, depth: int, stem: nn.Module, head: nn.Module, *, plain: bool) -> None:
        super().__init__()
        layers = [nn.Sequential(nn.Linear(widths, widths), nn.Tanh()) for _ in range(depth)]
        self.stem, self.head = stem, head
        self.hidden = layers if plain else nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        for layer in self.hidden:
            h = layer(h)
        return self.head(h)


LIST = "Forum: layers in a Python list in place of a ModuleList are no parameters; Humbatova et al. (ICSE 2020)"


@ill("layers-in-a-plain-list", "optimizer-misses-parameters", "underfitting", "frozen-parameters", source=LIST)
def hidden_layers_of_a_list(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 0.644 (0.00604), valid_loss 0.641 (0.00457), valid_score 0.773 (1)."""
    model = Listed(4, 5, nn.Linear(2, 4), nn.Linear(4, 2), plain=fault)
    learn(writer, model, Adam(model.parameters(), lr=5e-3), rings(), steps=300, names=JOINED)


@ill("normalized-over-one-element", "constant-output", "no-gradient", "vanishing-gradients", "vanishing-activations",
     "loss-not-decreasing",
     source="Forum: InstanceNorm and GroupNorm over a single element return their bias")  # fmt: skip
def a_group_for_every_feature(writer: SummaryWriter, fault: bool = True) -> None:
    """train/loss 1.1 (0.000523), val/loss 1.08 (0.0943), val/score 0.46 (0.96)."""
    model = nn.Sequential(
        nn.Linear(13, 32), nn.GroupNorm(32 if fault else 4, 32), nn.ReLU(), nn.Linear(32, 3)
    )  # fmt: skip
    learn(writer, model, SGD(model.parameters(), lr=0.05, momentum=0.9), wine(), steps=250, batch=16, names=SLASHED)


class Columns(nn.Module):
    """Time first for a GRU: by ``transpose``, or by ``view``, which mixes samples and moments."""

    def __init__(self, *, view: bool) -> None:
        super().__init__()
        self.cell, self.head = nn.GRU(2, 32), nn.Linear(32, 1)
        self.view = view

    def forward(self, x: Tensor) -> Tensor:
        n, time, features = x.shape
        x = x.reshape(time, n, features) if self.view else x.transpose(0, 1)
        return self.head(self.cell(x)[0][-1])


VIEW = "Forum: view or reshape in place of transpose; the samples of a batch are mixed"


@ill("view-in-place-of-transpose", "loss-not-decreasing", "underfitting", source=VIEW)
def samples_and_moments_mixed(writer: SummaryWriter, fault: bool = True) -> None:
    """training_loss 0.958 (0.00354), validation_loss 0.95 (0.00251), validation_score -0.0135 (0.997)."""
    model = Columns(view=fault)
    learn(writer, model, Adam(model.parameters(), lr=1e-2), steps_of_a_walk(12), steps=350, names=LONG)


class Padded(nn.Module):
    """The state after a text of eight words and forty of padding, or after the eight."""

    def __init__(self, *, after: bool) -> None:
        super().__init__()
        self.words = nn.Embedding(21, 16, padding_idx=20)
        self.cell, self.head = nn.LSTM(16, 32, batch_first=True), nn.Linear(32, 2)
        self.after = after

    def forward(self, tokens: Tensor) -> Tensor:
        states, _ = self.cell(self.words(tokens))
        return self.head(states[:, -1 if self.after else 11])


@ill("state-read-after-the-padding", "constant-output", "vanishing-gradients", "loss-not-decreasing", "slow-start",
     source="Forum: the last state of an LSTM without pack_padded_sequence is that of the padding")  # fmt: skip
def state_after_sixty_words_of_padding(writer: SummaryWriter, fault: bool = True) -> None:
    """eval/loss 0.697 (0.000141), eval/score 0.463 (1), train/loss 0.693 (0.000146)."""
    data = order_of_words()

    def padded(x: Tensor) -> Tensor:
        return F.pad(x, (0, 60), value=20)

    longer = Problem(padded(data.train_x), data.train_y, padded(data.val_x), data.val_y)
    model = Padded(after=fault)
    learn(writer, model, Adam(model.parameters(), lr=1e-2), longer, steps=250, batch=64, names=TRAINER)


@ill("positions-forgotten", "loss-not-decreasing", "underfitting",
     source="Vaswani et al. (2017), 3.5: attention without positions knows no order; DeepCrime: missing "
     "layer")  # fmt: skip
def encoder_that_knows_no_order(writer: SummaryWriter, fault: bool = True) -> None:
    """Loss/test 0.737 (0.000168), Loss/train 0.677 (0.000131), Score/test 0.463 (1)."""
    model = Reader(placed=not fault)
    learn(writer, model, AdamW(model.parameters(), lr=2e-3), order_of_words(), steps=300, batch=64, names=CAPITAL)


class Restarted(nn.Module):
    """A GRU whose first state is drawn anew in every forward."""

    def __init__(self, spread: float) -> None:
        super().__init__()
        self.cell, self.head = nn.GRU(2, 32, batch_first=True), nn.Linear(32, 1)
        self.spread = spread

    def forward(self, x: Tensor) -> Tensor:
        first = self.spread * torch.randn(1, len(x), 32)
        return self.head(self.cell(x, first)[0][:, -1])


@ill("random-initial-state", "prediction-jitter", "underfitting", "loss-not-decreasing",
     source="Forum: init_hidden draws torch.randn in each forward, in evaluation too")  # fmt: skip
def hidden_state_drawn_anew(writer: SummaryWriter, fault: bool = True) -> None:
    """train_loss 0.309 (0.0039), valid_loss 0.224 (0.00984), valid_score 0.769 (0.99)."""
    model = Restarted(5.0 if fault else 0.0)
    learn(writer, model, Adam(model.parameters(), lr=1e-2), steps_of_a_walk(8), steps=350, names=JOINED)


@ill("layer-removed-by-pruning", "dead-units", "constant-output", "no-gradient", "vanishing-activations", onset=150,
     source="Tanaka et al., SynFlow (NeurIPS 2020): layer collapse of global pruning")  # fmt: skip
def global_pruning_takes_a_whole_layer(writer: SummaryWriter, fault: bool = True) -> None:
    """eval/loss 0.971 (0.11), eval/score 0.00152 (0.887), train/loss 0.981 (0.111)."""
    model = mlp(7, 256, 256, 8, 1)
    wide = model[2]
    with torch.no_grad():
        wide.weight.mul_(0.25)
    layers = [m for m in model if isinstance(m, nn.Linear)]

    def pruned(step: int) -> None:
        if step == 150:
            if fault:
                chosen = [(layer, "weight") for layer in layers]
                prune.global_unstructured(chosen, prune.L1Unstructured, amount=0.97)
            else:
                for layer in layers:
                    prune.l1_unstructured(layer, "weight", amount=0.8)

    learn(writer, model, Adam(model.parameters(), lr=1e-3), prices(), steps=350, before=pruned, names=TRAINER)


class Unrolled(nn.Module):
    """Steps of x' = f(x) by Euler's rule, on the points of a table."""

    def __init__(self, step: float, times: int) -> None:
        super().__init__()
        self.into, self.slope, self.out = nn.Linear(3, 24), mlp(24, 48, 24), nn.Linear(24, 1)
        self.step, self.times = step, times

    def forward(self, x: Tensor) -> Tensor:
        h = self.into(x)
        for _ in range(self.times):
            h = h + self.step * self.slope(h)
        return self.out(h)


@ill("euler-step-too-long", "exploding-gradients", "exploding-activations", "gradient-spike", "non-finite",
     "loss-spike", "poor-init-scale",
     source="Forum: a neural ODE by Euler's rule with a step of 1 overflows")  # fmt: skip
def forty_steps_of_one(writer: SummaryWriter, fault: bool = True) -> None:
    """training_loss 0.195 (0.169), validation_loss 0.306 (0.13), validation_score 0.89 (0.942)."""
    model = Unrolled(1.0 if fault else 1 / 40, 40)
    learn(writer, model, Adam(model.parameters(), lr=2e-3), roll(), steps=250, names=LONG)


@ill("adjacency-not-normalized", "exploding-activations", "poor-init-scale", "initial-loss-off",
     "exploding-gradients",
     source="Kipf and Welling, GCN (ICLR 2017): the adjacency must be divided by the degrees")  # fmt: skip
def sums_over_all_neighbours_five_times(writer: SummaryWriter, fault: bool = True) -> None:
    """accuracy/val 0.232 (0.922), loss/train nan (0.16), loss/val nan (0.22)."""
    adjacency, words, field = citations()
    known = torch.rand(len(field), generator=torch.Generator().manual_seed(6)) < 0.4
    root = adjacency.sum(1).rsqrt()
    model = Graph(adjacency if fault else root[:, None] * adjacency * root[None, :], 24, 32, 32, 32, 32, 4)
    optimizer, criterion = SGD(model.parameters(), lr=0.1, momentum=0.9), nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    for step in range(200):
        optimizer.zero_grad()
        answers = model(words)
        loss = criterion(answers[known], field[known])
        loss.backward()
        optimizer.step()
        writer.add_scalar("loss/train", loss.item(), step)
        writer.add_scalar("loss/val", criterion(answers[~known], field[~known]).item(), step)
        writer.add_scalar("accuracy/val", (answers[~known].argmax(1) == field[~known]).float().mean().item(), step)


@ill("running-statistics-lag", "wrong-mode", "overfitting", "input-range-mismatch",
     source="Forum: momentum of 0.99 in Keras is 0.01 in PyTorch, and 0.001 is slower than the training")  # fmt: skip
def statistics_a_thousandth_at_a_time(writer: SummaryWriter, fault: bool = True) -> None:
    """train/loss 0.146 (0.146), val/loss 1.07 (0.286), val/score 0.693 (0.887)."""
    norm = partial(nn.BatchNorm2d, momentum=5e-4 if fault else 0.1)
    model = convolutional(12, 24, 24, norm=norm)
    learn(writer, model, RMSprop(model.parameters(), lr=1e-3), figures(), steps=250, names=SLASHED)
