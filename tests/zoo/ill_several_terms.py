"""Ill in losses that are no one function of one output: a GAN's, a contrastive one, sequences filled up."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits, make_moons
from torch import Tensor, nn
from torch.optim import Adam

from tb_nnhealth import SummaryWriter
from tests.zoo.registry import ill


def _player(width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2),
                         nn.Linear(64, outputs))  # fmt: skip


@ill("sigmoid-twice", "softmax-before-cross-entropy",
     source="Forum: GAN with torch.sigmoid in the loop and binary_cross_entropy_with_logits as its loss")  # fmt: skip
def opponents_squashed_in_the_loop(writer: SummaryWriter, fault: bool = True) -> None:
    """Both players' losses stay between 0.31 and 0.69 for each half, whatever they learn."""
    moons = torch.tensor(make_moons(4000, noise=0.07, random_state=0)[0], dtype=torch.float32)
    maker, judge = _player(8, 2), _player(2, 1)
    of_maker, of_judge = (Adam(player.parameters(), lr=1e-3, betas=(0.5, 0.999)) for player in (maker, judge))
    writer.watch(maker, of_maker, name="generator")
    writer.watch(judge, of_judge, name="discriminator")

    def cost(points: Tensor, answer: float) -> Tensor:
        told = judge(points)
        told = torch.sigmoid(told) if fault else told
        return F.binary_cross_entropy_with_logits(told, torch.full_like(told, answer))

    for step in range(300):
        real, made = moons[torch.randint(4000, (64,))], maker(torch.randn(64, 8))
        of_judge.zero_grad()
        judged = cost(real, 1.0) + cost(made.detach(), 0.0)
        judged.backward()
        of_judge.step()
        of_maker.zero_grad()
        fooled = cost(made, 1.0)
        fooled.backward()
        of_maker.step()
        writer.add_scalar("loss/discriminator", judged.item(), step)
        writer.add_scalar("loss/generator", fooled.item(), step)


@ill("temperature-too-small", "initial-loss-off", "exploding-gradients", "saturated-units", "update-ratio-too-high",
     "learning-rate-too-high",
     source="Chen et al., SimCLR (ICML 2020), table 5: temperatures; Wang and Liu, CVPR 2021")  # fmt: skip
def views_at_a_thousandth(writer: SummaryWriter, fault: bool = True) -> None:
    """Two noisy views of each digit, told apart from those of the others by their cosines over a temperature."""
    images = torch.tensor(load_digits().data / 16, dtype=torch.float32)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 32))
    optimizer, temperature = Adam(model.parameters(), lr=1e-3), 1e-3 if fault else 0.1
    writer.watch(model, optimizer)
    for step in range(300):
        x = images[torch.randint(len(images), (64,))]
        one, other = (F.normalize(model(x + 0.25 * torch.randn_like(x)), dim=1) for _ in range(2))
        loss = F.cross_entropy(one @ other.T / temperature, torch.arange(64))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        writer.add_scalar("train/loss", loss.item(), step)


@ill("padding-in-the-loss", "class-imbalance", "constant-output",
     source="Forum: ignore_index left at -100, where padding has the vocabulary's last number")  # fmt: skip
def sequences_filled_up_to_forty(writer: SummaryWriter, fault: bool = True) -> None:
    """Sequences of 4 to 9 tokens that count up by a step of their own, and padding behind them."""
    kinds, length, padding = 24, 40, 23
    first, by, many = (torch.randint(low, high, (1500, 1)) for low, high in ((0, kinds - 1), (1, 4), (4, 10)))
    place = torch.arange(length)
    tokens = torch.where(place < many, (first + by * place) % (kinds - 1), padding)
    model = nn.ModuleDict({"embed": nn.Embedding(kinds, 24), "read": nn.GRU(24, 48, batch_first=True),
                           "head": nn.Linear(48, kinds)})  # fmt: skip

    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = model

        def forward(self, x: Tensor) -> Tensor:
            scores: Tensor = self.parts["head"](self.parts["read"](self.parts["embed"](x))[0])
            return scores

    reader = Reader()
    optimizer, criterion = Adam(reader.parameters(), lr=3e-3), nn.CrossEntropyLoss(ignore_index=-100 if fault else 23)
    writer.watch(reader, optimizer, criterion=criterion)
    for epoch in range(5):
        for chosen in torch.randperm(1500).split(50):
            x = tokens[chosen]
            optimizer.zero_grad()
            loss = criterion(reader(x[:, :-1]).transpose(1, 2), x[:, 1:])
            loss.backward()
            optimizer.step()
        writer.add_scalar("loss/train", loss.item(), epoch)
