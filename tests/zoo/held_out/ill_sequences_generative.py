"""Ill generators: diffusion, variational and quantized autoencoders, adversaries, flows and mixtures."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.optim import Adam, AdamW, RMSprop

from tb_nnhealth import SummaryWriter
from tests.zoo.held_out.sequences_material import batches, digits
from tests.zoo.registry import ill


def ring(size: int) -> Tensor:
    """Points of six clouds on a circle."""
    angle = torch.randint(6, (size,)) * (math.pi / 3)
    return torch.stack([angle.cos(), angle.sin()], 1) + 0.1 * torch.randn(size, 2)


def apart(one: Tensor, other: Tensor) -> float:
    """Energy distance of two samples."""
    between = 2 * torch.cdist(one, other).mean()
    return float(between - torch.cdist(one, one).mean() - torch.cdist(other, other).mean())


class Denoiser(nn.Module):
    """Tells the noise in points; ``longest`` divides the time."""

    def __init__(self, longest: float) -> None:
        super().__init__()
        self.time, self.point = nn.Linear(1, 48), nn.Linear(2, 48)
        self.rest = nn.Sequential(nn.SiLU(), nn.Linear(48, 48), nn.SiLU(), nn.Linear(48, 2))
        self.longest = longest

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.rest(self.point(x) + self.time(t.float().unsqueeze(1) / self.longest))


KEPT = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)


@ill("noise-drawn-twice", "loss-not-decreasing", "constant-output", held_out=True,
     source="Forum: diffusion loss stays at 1.0, randn_like is called for the picture and again for the "
     "loss")  # fmt: skip
def denoiser_asked_for_another_noise(writer: SummaryWriter, fault: bool = True) -> None:
    model = Denoiser(1000)
    optimizer, criterion = Adam(model.parameters(), lr=2e-3), nn.MSELoss()
    writer.watch(model, optimizer, criterion=criterion)
    for step in range(500):
        x, t = ring(128), torch.randint(1000, (128,))
        kept, noise = KEPT[t].unsqueeze(1), torch.randn(128, 2)
        noisy = kept.sqrt() * x + (1 - kept).sqrt() * noise
        loss = criterion(model(noisy, t), torch.randn_like(x) if fault else noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        writer.add_scalar("train/loss", loss.item(), step)
        if step % 50 == 49:
            with torch.no_grad():
                told = model(noisy, t)
            writer.add_scalar("val/noise_error", F.mse_loss(told, noise).item(), step)


@ill("time-in-whole-steps", "unnormalized-input", "exploding-activations", "activation-mean-shift", held_out=True,
     source="Forum: t of 0 to 999 given to the network as a float; Ho et al. (2020) embed it")  # fmt: skip
def denoiser_told_the_number_of_the_step(writer: SummaryWriter, fault: bool = True) -> None:
    model = Denoiser(1.0 if fault else 1000.0)
    optimizer = Adam(model.parameters(), lr=2e-3)
    writer.watch(model, optimizer)

    def loss_of(size: int) -> Tensor:
        x, t, noise = ring(size), torch.randint(1000, (size,)), torch.randn(size, 2)
        kept = KEPT[t].unsqueeze(1)
        return F.mse_loss(model(kept.sqrt() * x + (1 - kept).sqrt() * noise, t), noise)

    for step in range(500):
        loss = loss_of(96)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        writer.add_scalar("loss", loss.item(), step)
        if step % 100 == 99:
            with torch.no_grad():
                writer.add_scalar("val_loss", loss_of(1000).item(), step)


@ill("score-weighted-by-the-smallest-noise", "exploding-gradients", "gradient-spike", "loss-spike", "initial-loss-off",
     held_out=True, source="Song and Ermon (2019), 4.2: the weight of each noise level; forum: loss of score "
     "matching jumps")  # fmt: skip
def scores_without_the_weight_of_their_noise(writer: SummaryWriter, fault: bool = True) -> None:
    model = nn.Sequential(nn.Linear(3, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2))
    optimizer = Adam(model.parameters(), lr=5e-3)
    writer.watch(model, optimizer)
    for step in range(500):
        x, noise = ring(96), torch.randn(96, 2)
        level = torch.exp(torch.empty(96, 1).uniform_(math.log(3e-3), 0.7))
        score = model(torch.cat([x + level * noise, level.log() / 3], 1)) / level
        loss = (((score + noise / level) * (1.0 if fault else level)) ** 2).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        writer.add_scalar("dsm/train_loss", loss.item(), step)
        if step % 50 == 49:
            with torch.no_grad():
                told = model(torch.cat([x + 0.6 * noise, torch.full((96, 1), math.log(0.6) / 3)], 1))
            writer.add_scalar("dsm/error_at_0.6", F.mse_loss(told, -noise).item(), step)


class Variational(nn.Module):
    """An autoencoder of digits with a normal code; ``pathwise`` draws it so that gradients pass."""

    def __init__(self, pathwise: bool = True) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 96), nn.ReLU())
        self.mean, self.spread = nn.Linear(96, 8), nn.Linear(96, 8)
        self.decoder = nn.Sequential(nn.Linear(8, 96), nn.ReLU(), nn.Linear(96, 64))
        self.pathwise = pathwise

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        states = self.encoder(x)
        code = Normal(self.mean(states), F.softplus(self.spread(states)) + 1e-3)
        drawn = code.rsample() if self.pathwise else code.sample()
        return self.decoder(drawn), kl_divergence(code, Normal(0.0, 1.0)).sum(1).mean()


@ill("sampled-without-a-path", "constant-output", "no-gradient", "vanishing-gradients", "vanishing-activations",
     subject="[ems]*", held_out=True,
     source="Forum: Normal.sample() in place of rsample(), the encoder does not learn")  # fmt: skip
def code_drawn_by_sample(writer: SummaryWriter, fault: bool = True) -> None:
    x, _, val_x, _ = digits()
    model = Variational(pathwise=not fault)
    optimizer = Adam(model.parameters(), lr=2e-3)
    writer.watch(model, optimizer)
    for step, (now, _) in zip(range(400), batches(x, x, 64), strict=False):
        drawn, divergence = model(now)
        rebuilt = ((drawn - now) ** 2).sum(1).mean()
        optimizer.zero_grad()
        (rebuilt + divergence).backward()
        optimizer.step()
        writer.add_scalar("loss/reconstruction", rebuilt.item(), step)
        writer.add_scalar("loss/kl", divergence.item(), step)
        if step % 40 == 39:
            with torch.no_grad():
                writer.add_scalar("val/mse", F.mse_loss(model(val_x)[0], val_x).item(), step)


@ill("targets-beyond-0-and-1", "loss-diverging", "diverging-weights", "diverging-bias", "exploding-activations",
     held_out=True, source="StackOverflow: autoencoder with binary cross-entropy has a negative loss, pictures are "
     "standardized")  # fmt: skip
def standardized_pictures_as_probabilities(writer: SummaryWriter, fault: bool = True) -> None:
    x, _, val_x, _ = digits()
    low, high = x.min(), x.max()
    model = nn.Sequential(
        nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 12), nn.Linear(12, 48), nn.ReLU(), nn.Linear(48, 64)
    )
    optimizer, criterion = Adam(model.parameters(), lr=3e-3), nn.BCEWithLogitsLoss()
    writer.watch(model, optimizer, criterion=criterion)
    for step, (now, _) in zip(range(400), batches(x, x, 64), strict=False):
        optimizer.zero_grad()
        loss = criterion(model(now), now if fault else (now - low) / (high - low))
        loss.backward()
        optimizer.step()
        writer.add_scalar("train_loss", loss.item(), step)
        if step % 40 == 39:
            with torch.no_grad():
                seen = low + (high - low) * model(val_x).sigmoid()
            writer.add_scalar("val_mse", F.mse_loss(seen, val_x).item(), step)


class Quantized(nn.Module):
    """An autoencoder whose code is the nearest of 32 vectors."""

    def __init__(self, reach: float) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 6))
        self.codes = nn.Embedding(32, 6)
        self.decoder = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 64))
        nn.init.normal_(self.codes.weight, reach, 0.5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        state = self.encoder(x)
        code = self.codes(torch.cdist(state, self.codes.weight).argmin(1))
        commitment = F.mse_loss(code, state.detach()) + 0.25 * F.mse_loss(state, code.detach())
        return self.decoder(state + (code - state).detach()), commitment


def quantize(writer: SummaryWriter, model: Quantized) -> None:
    x, _, val_x, _ = digits()
    optimizer = AdamW(model.parameters(), lr=3e-3)
    writer.watch(model, optimizer)
    for step, (now, _) in zip(range(450), batches(x, x, 64), strict=False):
        drawn, commitment = model(now)
        loss = F.mse_loss(drawn, now)
        optimizer.zero_grad()
        (loss + commitment).backward()
        optimizer.step()
        writer.add_scalar("recon/train_loss", loss.item(), step)
        if step % 50 == 49:
            with torch.no_grad():
                writer.add_scalar("recon/val_loss", F.mse_loss(model(val_x)[0], val_x).item(), step)


@ill("codebook-out-of-reach", "constant-output", "no-gradient", "poor-init-scale", "activation-mean-shift",
     held_out=True, source="van den Oord et al., VQ-VAE (2017); forum: codebook collapse, perplexity stays at "
     "1")  # fmt: skip
def codes_that_begin_far_away(writer: SummaryWriter, fault: bool = True) -> None:
    quantize(writer, Quantized(12.0 if fault else 0.0))


class Maker(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(4, 48), nn.LeakyReLU(0.2), nn.Linear(48, 48), nn.LeakyReLU(0.2), nn.Linear(48, 2)
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.net(z)


def judge() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 48), nn.LeakyReLU(0.2), nn.Linear(48, 48), nn.LeakyReLU(0.2), nn.Linear(48, 1))


def players(rate: float = 2e-3) -> tuple[Maker, nn.Sequential, Adam, Adam]:
    maker, critic = Maker(), judge()
    betas = (0.5, 0.9)
    return maker, critic, Adam(maker.parameters(), rate, betas), Adam(critic.parameters(), rate, betas)


def called(critic: nn.Module, points: Tensor, truth: float) -> Tensor:
    scores = critic(points)
    return F.binary_cross_entropy_with_logits(scores, torch.full_like(scores, truth))


@ill("cleared-by-the-other-optimizer", "stale-gradients", held_out=True,
     source="Forum: GAN, optimizer_G.zero_grad() in both of its steps; TrainCheck (OSDI 2025): missing "
     "zero_grad")  # fmt: skip
def critic_whose_gradients_pile_up(writer: SummaryWriter, fault: bool = True) -> None:
    maker, critic, of_maker, of_critic = players()
    writer.watch(maker, of_maker, name="generator")
    writer.watch(critic, of_critic, name="discriminator")
    for step in range(500):
        (of_maker if fault else of_critic).zero_grad()
        fake = maker(torch.randn(96, 4))
        caught = called(critic, ring(96), 0.9) + called(critic, fake.detach(), 0.0)
        caught.backward()
        of_critic.step()
        of_maker.zero_grad()
        loss = called(critic, fake, 1.0)
        loss.backward()
        of_maker.step()
        writer.add_scalar("loss/D", caught.item(), step)
        writer.add_scalar("loss/G", loss.item(), step)
        if step % 50 == 49:
            with torch.no_grad():
                writer.add_scalar("eval/distance", apart(maker(torch.randn(500, 4)), ring(500)), step)


@ill("noise-of-one-draw", "constant-input", "constant-output", held_out=True,
     source="Forum: generator always gives the same picture, z is made before the loop and expanded; mode "
     "collapse")  # fmt: skip
def maker_fed_with_the_same_noise(writer: SummaryWriter, fault: bool = True) -> None:
    maker, critic, of_maker, of_critic = players()
    writer.watch(maker, of_maker, name="G")
    writer.watch(critic, of_critic, name="D")
    fixed = torch.randn(1, 4)

    def noise(size: int) -> Tensor:
        return fixed.expand(size, 4) if fault else torch.randn(size, 4)

    for step in range(450):
        of_critic.zero_grad()
        caught = called(critic, ring(64), 1.0) + called(critic, maker(noise(64)).detach(), 0.0)
        caught.backward()
        of_critic.step()
        of_maker.zero_grad()
        fooled = called(critic, maker(noise(64)), 1.0)
        fooled.backward()
        of_maker.step()
        if step % 3 == 0:
            writer.add_scalars("losses", {"d": caught.item(), "g": fooled.item()}, step)
        if step % 50 == 49:
            with torch.no_grad():
                writer.add_scalar("distance", apart(maker(noise(500)), ring(500)), step)


@ill("critic-at-fifty-times-the-rate", "learning-rate-too-high", "update-ratio-too-high", "exploding-activations",
     "diverging-weights", held_out=True,
     source="Forum: discriminator loss is zero, generator loss climbs; DCGAN (2016): rates of both "
     "players")  # fmt: skip
def critic_that_runs_away(writer: SummaryWriter, fault: bool = True) -> None:
    maker, critic = Maker(), judge()
    of_maker = RMSprop(maker.parameters(), lr=1e-3)
    of_critic = RMSprop(critic.parameters(), lr=0.1 if fault else 2e-3)
    writer.watch(nn.ModuleDict({"maker": maker, "critic": critic}), [of_maker, of_critic])
    for step in range(500):
        caught = called(critic, ring(64), 1.0) + called(critic, maker(torch.randn(64, 4)).detach(), 0.0)
        of_critic.zero_grad()
        caught.backward()
        of_critic.step()
        fooled = called(critic, maker(torch.randn(64, 4)), 1.0)
        of_maker.zero_grad()
        fooled.backward()
        of_maker.step()
        writer.add_scalar("d_loss", caught.item(), step)
        writer.add_scalar("g_loss", fooled.item(), step)
        if step % 50 == 49:
            with torch.no_grad():
                writer.add_scalar("sample_distance", apart(maker(torch.randn(500, 4)), ring(500)), step)


class Coupling(nn.Module):
    """Scales and shifts one half by what the other half says."""

    def __init__(self, flipped: bool) -> None:
        super().__init__()
        self.net, self.flipped = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 2)), flipped

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        stay, move = x.flip(1).split(1, 1) if self.flipped else x.split(1, 1)
        grow, shift = self.net(stay).split(1, 1)
        parts = [stay, move * grow.exp() + shift]
        return torch.cat(parts[::-1] if self.flipped else parts, 1), grow.squeeze(1)


@ill("log-determinant-left-out", "constant-output", "vanishing-activations", "diverging-bias", "diverging-weights",
     held_out=True, source="Dinh et al., RealNVP (2017), 3.2; forum: flow maps everything to zero, loss is half of "
     "what it should be")  # fmt: skip
def flow_that_shrinks_all_points(writer: SummaryWriter, fault: bool = True) -> None:
    flow = nn.ModuleList(Coupling(i % 2 == 1) for i in range(6))
    optimizer = Adam(flow.parameters(), lr=3e-3)
    writer.watch(flow, optimizer)

    def likelihood(x: Tensor, whole: bool) -> Tensor:
        grown = torch.zeros(len(x))
        for layer in flow:
            x, more = layer(x)
            grown = grown + more
        return 0.5 * (x**2).sum(1).mean() + math.log(2 * math.pi) - (grown.mean() if whole else 0.0)

    for step in range(400):
        loss = likelihood(ring(128), whole=not fault)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        writer.add_scalar("nll/train_loss", loss.item(), step)
        if step % 40 == 39:
            with torch.no_grad():
                writer.add_scalar("nll/true", likelihood(ring(500), whole=True).item(), step)


@ill("log-of-a-summed-exponential", "non-finite", held_out=True,
     source="Bishop (1994): mixture densities; forum: log(sum(exp)) underflows to log(0), use logsumexp")  # fmt: skip
def mixture_density_by_hand(writer: SummaryWriter, fault: bool = True) -> None:
    net = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 15))
    optimizer = Adam(net.parameters(), lr=1e-2)
    writer.watch(net, optimizer)

    def sample(size: int) -> tuple[Tensor, Tensor]:
        y = torch.rand(size, 1) * 2 - 1
        return (y + 0.3 * torch.sin(6.28 * y)) + 0.02 * torch.randn(size, 1), 60 * y

    def loss_of(x: Tensor, y: Tensor, by_hand: bool) -> Tensor:
        share, mean, spread = net(x).split(5, 1)
        densities = share.log_softmax(1) + Normal(mean, spread.clamp(-4.0, 4.0).exp(), validate_args=False).log_prob(y)
        return -(densities.exp().sum(1).log() if by_hand else densities.logsumexp(1)).mean()

    for step in range(450):
        loss = loss_of(*sample(128), by_hand=fault)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        writer.add_scalar("Loss/train", loss.item(), step)
        if step % 50 == 49:
            with torch.no_grad():
                writer.add_scalar("Loss/val", loss_of(*sample(500), by_hand=False).item(), step)
