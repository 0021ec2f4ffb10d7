"""Ill recurrent networks: states kept, cut, mixed and misread, lengths miscounted, gradients through time let loose."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.nn.utils.rnn import pack_padded_sequence
from torch.optim import SGD, Adam, RMSprop
from torch.utils.data import DataLoader, TensorDataset

from tb_nnhealth import SummaryWriter
from tests.zoo.held_out.sequences_material import (
    batches,
    hits,
    last_windows,
    letters,
    padded,
    recalled,
    walks,
    windows,
)
from tests.zoo.registry import ill


class Gauge(nn.Module):
    """Adds up what it reads; a handwritten cell."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.read, self.head = nn.Linear(1 + width, width), nn.Linear(width, 1)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        for now in x.unbind(1):
            state = state + torch.tanh(self.read(torch.cat([now, torch.tanh(state)], 1))) * 0.3
        return self.head(state), state


@ill("state-carried-over-to-other-sequences", "exploding-activations", "input-range-mismatch", held_out=True,
     source="Forum: hidden state of the last batch handed on although the batches are shuffled")  # fmt: skip
def gauge_that_is_never_emptied(writer: SummaryWriter, fault: bool = True) -> None:
    x, y, val_x, val_y = walks()
    model = Gauge(24)
    optimizer = Adam(model.parameters(), lr=3e-3)
    writer.watch(model, optimizer)
    state = torch.zeros(50, 24)
    for step, (now, then) in zip(range(350), batches(x, y, 50), strict=False):
        state = state.detach() if fault else torch.zeros(50, 24)
        guess, state = model(now, state)
        loss = F.mse_loss(guess, then)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        writer.add_scalar("train/loss", loss.item(), step)
        if step % 25 == 24:
            with torch.no_grad():
                writer.add_scalar("val/loss", F.mse_loss(model(val_x, torch.zeros(len(val_x), 24))[0], val_y), step)


class Listener(nn.Module):
    """Classifies a sequence of tokens by the last state of a recurrent network."""

    def __init__(self, cell: nn.Module, tokens: int, classes: int, width: int) -> None:
        super().__init__()
        self.embed, self.cell = nn.Embedding(tokens, width), cell
        self.head = nn.Linear(cell.hidden_size, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(self.embed(x))[0][:, -1])


@ill("memory-too-short-for-the-task", "vanishing-gradients", "loss-not-decreasing", "slow-start", held_out=True,
     source="Bengio et al., Learning long-term dependencies with gradient descent is difficult (1994); forum: stays "
     "at chance on long sequences")  # fmt: skip
def plain_recurrence_over_ninety_steps(writer: SummaryWriter, fault: bool = True) -> None:
    x, y, val_x, val_y = recalled(90)
    cell = nn.RNN(16, 32, batch_first=True) if fault else nn.GRU(16, 32, batch_first=True)
    model = Listener(cell, 12, 6, 16)
    if not fault:
        nn.init.constant_(cell.bias_hh_l0[32:64], 3.0)
    optimizer = Adam(model.parameters(), lr=4e-3)
    criterion = nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    for step, (tokens, kind) in zip(range(220), batches(x, y, 32), strict=False):
        optimizer.zero_grad()
        loss = criterion(model(tokens), kind)
        loss.backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        writer.add_scalar("Loss/train", loss.item(), step)
        if step % 20 == 19:
            model.eval()
            with torch.no_grad():
                scores = model(val_x)
            writer.add_scalar("Loss/val", criterion(scores, val_y).item(), step)
            writer.add_scalar("Accuracy/val", hits(scores, val_y), step)
            model.train()


class Speller(nn.Module):
    """Next letters by a recurrent network; scores (n, time, letters)."""

    def __init__(self, count: int, width: int, layers: int = 1) -> None:
        super().__init__()
        self.embed, self.lstm = nn.Embedding(count, 24), nn.LSTM(24, width, layers, batch_first=True)
        self.out = nn.Linear(width, count)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.lstm(self.embed(x))[0])


@ill("clipping-left-out", "exploding-gradients", "gradient-spike", "loss-spike", "learning-rate-too-high",
     held_out=True, source="Pascanu et al. (2013); forum: loss of the LSTM jumps, solved by "
     "clip_grad_norm_")  # fmt: skip
def lstm_at_a_rate_that_needs_clipping(writer: SummaryWriter, fault: bool = True) -> None:
    ids, count = letters()
    model = Speller(count, 48)
    optimizer = SGD(model.parameters(), lr=40.0)
    writer.watch(model, optimizer)
    val_x, val_y = last_windows(ids, 32)
    for step, (x, y) in zip(range(350), windows(ids, 32, 24), strict=False):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
        loss.backward()
        if not fault:
            clip_grad_norm_(model.parameters(), 0.25)
        optimizer.step()
        if step % 2 == 0:
            writer.add_scalar("loss", loss.item(), step)
        if step % 50 == 49:
            with torch.no_grad():
                writer.add_scalar("val_loss", F.cross_entropy(model(val_x).flatten(0, 1), val_y.flatten()), step)


@ill("relu-in-a-recurrence", "exploding-activations", "exploding-gradients", "poor-init-scale", "initial-loss-off",
     held_out=True, source="Le, Jaitly, Hinton (2015): ReLU recurrences need an identity; forum: relu gives "
     "NaN")  # fmt: skip
def rectified_recurrence_begun_at_random(writer: SummaryWriter, fault: bool = True) -> None:
    x, y, val_x, val_y = walks()
    cell, head = nn.RNN(1, 40, nonlinearity="relu", batch_first=True), nn.Linear(40, 1)
    model = nn.ModuleDict({"cell": cell, "head": head})
    nn.init.normal_(cell.weight_hh_l0, std=0.3) if fault else nn.init.eye_(cell.weight_hh_l0)
    nn.init.zeros_(cell.bias_hh_l0)

    optimizer = RMSprop(model.parameters(), lr=1e-3)
    writer.watch(model, optimizer)
    for step, (now, then) in zip(range(400), batches(x, y, 32), strict=False):
        optimizer.zero_grad()
        loss = F.mse_loss(head(cell(now)[0][:, -1]), then)
        loss.backward()
        optimizer.step()
        writer.add_scalar("loss/train", loss, step)
        if step % 20 == 0:
            with torch.no_grad():
                writer.add_scalar("loss/val", F.mse_loss(head(cell(val_x)[0][:, -1]), val_y), step)


class Packed(nn.Module):
    """A bidirectional reader of sentences of different lengths; ``pad`` tells which tokens count as sentence."""

    def __init__(self, tokens: int, miscounted: bool = False, mixed: bool = False) -> None:
        super().__init__()
        self.embed = nn.Embedding(tokens, 16, padding_idx=0)
        self.rnn = nn.GRU(16, 24, batch_first=True, bidirectional=mixed)
        self.classify = nn.Linear(48 if mixed else 24, 2)
        self.miscounted, self.mixed = miscounted, mixed

    def forward(self, x: Tensor) -> Tensor:
        lengths = ((x == 1) if self.miscounted else (x > 0)).sum(1)
        packed = pack_padded_sequence(self.embed(x), lengths, batch_first=True, enforce_sorted=False)
        return self.classify(self.rnn(packed)[1][-1])


@ill("lengths-miscounted", "constant-output", "loss-not-decreasing", held_out=True,
     source="Forum: pack_padded_sequence with the wrong lengths; Humbatova et al. (ICSE 2020): wrong tensor shape or "
     "content")  # fmt: skip
def packing_that_keeps_the_first_token_alone(writer: SummaryWriter, fault: bool = True) -> None:
    (x, y, val_x, val_y), tokens = padded()
    loader = DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True)
    model = Packed(tokens, miscounted=fault)
    optimizer = Adam(model.parameters(), lr=5e-3)
    criterion = nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion)
    step = 0
    for epoch in range(9):
        total = 0.0
        for sentence, label in loader:
            optimizer.zero_grad()
            loss = criterion(model(sentence), label)
            loss.backward()
            optimizer.step()
            total += loss.item()
            writer.add_scalar("train/step_loss", loss.item(), step)
            step += 1
        model.eval()
        with torch.no_grad():
            scores = model(val_x)
        writer.add_scalar("train/epoch_loss", total / len(loader), epoch)
        writer.add_scalar("valid/acc", hits(scores, val_y), epoch)
        model.train()


class Both(nn.Module):
    """Reads a sequence both ways and joins the two last states."""

    def __init__(self, tokens: int, mixed: bool) -> None:
        super().__init__()
        self.embedding, self.mixed = nn.Embedding(tokens, 16), mixed
        self.rnn = nn.LSTM(16, 24, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(48, 2)

    def forward(self, x: Tensor) -> Tensor:
        _, (h, _) = self.rnn(self.embedding(x))
        states = h.reshape(len(x), -1) if self.mixed else h.transpose(0, 1).reshape(len(x), -1)
        return self.fc(states)


@ill("final-states-mixed-over-the-batch", "loss-not-decreasing", "underfitting", held_out=True,
     source="StackOverflow: hidden.view(batch, -1) of a bidirectional LSTM")  # fmt: skip
def last_states_reshaped_to_the_wrong_rows(writer: SummaryWriter, fault: bool = True) -> None:
    (x, y, val_x, val_y), tokens = padded()
    model = Both(tokens, fault)
    optimizer = Adam(model.parameters(), lr=4e-3)
    writer.watch(model, optimizer)
    for step, (sentence, label) in zip(range(320), batches(x, y, 40), strict=False):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(sentence), label)
        loss.backward()
        optimizer.step()
        writer.add_scalar("train_loss", loss.item(), step)
        if step % 40 == 39:
            with torch.no_grad():
                scores = model(val_x)
            writer.add_scalar("val_loss", F.cross_entropy(scores, val_y).item(), step)
            writer.add_scalar("val_acc", hits(scores, val_y), step)


@ill("series-not-scaled", "unnormalized-input", "saturated-units", held_out=True,
     source="Forum: LSTM predicts the mean of the stock; 37 Reasons, 12: standardize the features")  # fmt: skip
def readings_of_a_barometer_in_pascal(writer: SummaryWriter, fault: bool = True) -> None:
    x, y, val_x, val_y = walks()

    def measured(series: Tensor) -> Tensor:
        return 101325 + 900 * series if fault else series

    lstm, out = nn.LSTM(1, 32, batch_first=True), nn.Linear(32, 1)
    model = nn.ModuleList([lstm, out])
    optimizer = Adam(model.parameters(), lr=5e-3)
    writer.watch(model, optimizer)
    for step, (now, then) in zip(range(300), batches(x, y, 32), strict=False):
        hidden, _ = lstm(measured(now))
        loss = F.mse_loss(out(hidden[:, -1]), then)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        writer.add_scalar("training_loss", loss.item(), step)
        if step % 30 == 0:
            with torch.no_grad():
                writer.add_scalar("validation_loss", F.mse_loss(out(lstm(measured(val_x))[0][:, -1]), val_y), step)


class Stepwise(nn.Module):
    """Goes through a sequence cell by cell; ``cut`` detaches the state at each."""

    def __init__(self, cut: bool) -> None:
        super().__init__()
        self.tokens, self.cell, self.answer = nn.Embedding(12, 16), nn.GRUCell(16, 32), nn.Linear(32, 6)
        self.cut = cut

    def forward(self, x: Tensor) -> Tensor:
        state = torch.zeros(len(x), 32)
        for token in self.tokens(x).unbind(1):
            state = self.cell(token, state.detach() if self.cut else state)
        return self.answer(state)


@ill("state-detached-at-each-step", "loss-not-decreasing", "vanishing-gradients", held_out=True,
     source="Forum: detach() within the loop over time, copied from truncated backpropagation")  # fmt: skip
def gradient_of_the_last_step_alone(writer: SummaryWriter, fault: bool = True) -> None:
    x, y, val_x, val_y = recalled(12)
    model = Stepwise(fault)
    optimizer = Adam(model.parameters(), lr=5e-3)
    writer.watch(model, optimizer, criterion=(criterion := nn.CrossEntropyLoss()))
    for step, (tokens, kind) in zip(range(260), batches(x, y, 32), strict=False):
        loss = criterion(model(tokens), kind)
        optimizer.zero_grad(set_to_none=False)
        loss.backward()
        optimizer.step()
        writer.add_scalar("loss/train", loss.item(), step)
    with torch.no_grad():
        writer.add_scalar("acc/test", hits(model(val_x), val_y), 260)


@ill("ids-read-as-numbers", "unnormalized-input", "saturated-units", held_out=True,
     source="StackOverflow: word indices given as floats; Islam et al. (FSE 2019): data preparation")  # fmt: skip
def bytes_of_the_text_as_floats(writer: SummaryWriter, fault: bool = True) -> None:
    ids, count = letters()
    reader = nn.GRU(1 if fault else count, 64, batch_first=True)
    out = nn.Linear(64, count)
    model = nn.ModuleDict({"reader": reader, "out": out})
    codes = torch.arange(count) * 4 + 32.0
    optimizer = Adam(model.parameters(), lr=5e-3)
    writer.watch(model, optimizer)
    val_x, val_y = last_windows(ids, 24)

    def scores(x: Tensor) -> Tensor:
        seen = codes[x].unsqueeze(2) if fault else F.one_hot(x, count).float()
        return out(reader(seen)[0]).transpose(1, 2)

    for step, (x, y) in zip(range(250), windows(ids, 24, 24), strict=False):
        optimizer.zero_grad()
        loss = F.cross_entropy(scores(x), y)
        loss.backward()
        optimizer.step()
        writer.add_scalar("Loss/train", loss.item(), step)
        if (step + 1) % 50 == 0:
            with torch.no_grad():
                writer.add_scalar("Loss/valid", F.cross_entropy(scores(val_x), val_y).item(), step)
