"""Healthy: autoencoders, games of two networks, rewards, contrasts, noise removed; each with a loop of its own."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam, AdamW, RMSprop

from tb_nnhealth import SummaryWriter
from tests.zoo.held_out.bodies import VAE, AutoEncoder, ConvNet, dense
from tests.zoo.held_out.habits import CAMEL, STEPS, TRAINER
from tests.zoo.held_out.household import Family, alone, expect
from tests.zoo.held_out.shelf import Batch, Data, digit_images, digits, r_squared, signals


def themselves() -> Data:
    """Digits to be told again."""
    data = digits()
    return data.change(y=data.x, vy=data.vx, criterion=nn.MSELoss, score=r_squared)


def spoiled(x: Tensor, y: Tensor) -> Batch:
    return x + 0.4 * torch.randn_like(x), y


again = Family("digits-told-again", AutoEncoder, themselves, good=0.55, lr=4e-3, epochs=10)
again.run("adam")
again.run("noise-removed", prepare=spoiled, lr=3e-3, tags=STEPS)
again.run("tanh-momentum", lambda: AutoEncoder(act=nn.Tanh), optimizer="momentum", lr=0.5, good=0.45, tags=TRAINER)
again.run("wide-code", lambda: AutoEncoder(code=24), schedule="cosine", optimizer="adamw", tags=CAMEL)


def vae(writer: SummaryWriter, *, beta: float, anneal: int, lr: float) -> None:
    """Sums over pixels beside sums over the code, as in the paper; ``beta`` may be raised over ``anneal`` steps."""
    data, model, step = digits(), VAE(), 0
    optimizer = Adam(model.parameters(), lr)
    writer.watch(model, optimizer)
    for epoch in range(12):
        for x, _ in data.epoch(32):
            told, mu, logvar = model(x)
            recon = 4 * F.mse_loss(told, x, reduction="sum") / len(x)
            kl = -0.5 * (1 + logvar - mu.square() - logvar.exp()).sum() / len(x)
            loss = recon + beta * min(1.0, (step + 1) / max(1, anneal)) * kl
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            writer.add_scalar("train/recon_loss", recon.item(), step)
            writer.add_scalar("train/kl_loss", kl.item(), step)
            writer.add_scalar("train/loss", loss.item(), step)
            step += 1
        with torch.no_grad():
            writer.add_scalar("val/mse", F.mse_loss(model(data.vx)[0], data.vx).item(), epoch)
    with torch.no_grad():
        expect(r_squared(model(data.vx)[0], data.vx), 0.4)


alone("codes-with-a-prior", "paper", partial(vae, beta=1.0, anneal=0, lr=2e-3))
alone("codes-with-a-prior", "annealed", partial(vae, beta=1.0, anneal=200, lr=2e-3))
alone("codes-with-a-prior", "half-weight", partial(vae, beta=0.5, anneal=0, lr=4e-3))


def ring(rows: int) -> Tensor:
    """Eight spots on a circle."""
    angle = torch.randint(8, (rows,)) * (3.14159 / 4)
    return 2 * torch.stack([angle.cos(), angle.sin()], 1) + 0.05 * torch.randn(rows, 2)


def game(writer: SummaryWriter, *, kind: str, steps: int) -> None:
    """Generator and discriminator on a ring; samples end near it and on all its sides."""
    g, d = dense(8, 64, 64, 2), dense(2, 96, 96, 1, act=partial(nn.LeakyReLU, 0.2))
    opt_g, opt_d = Adam(g.parameters(), 1e-3, betas=(0.5, 0.999)), Adam(d.parameters(), 1e-3, betas=(0.5, 0.999))
    writer.watch(g, opt_g, name="generator")
    writer.watch(d, opt_d, name="discriminator")
    for step in range(steps):
        real, made = ring(64), g(torch.randn(64, 8))
        true, false = d(real), d(made.detach())
        if kind == "hinge":
            loss_d = F.relu(1 - true).mean() + F.relu(1 + false).mean()
        else:
            loss_d = F.softplus(-true).mean() + F.softplus(false).mean()
        opt_d.zero_grad()
        loss_d.backward()
        opt_d.step()
        answers = d(made)
        loss_g = F.softplus(-answers).mean() if kind == "classic" else -answers.mean()
        opt_g.zero_grad()
        loss_g.backward()
        opt_g.step()
        writer.add_scalar("loss_d", loss_d.item(), step)
        writer.add_scalar("loss_g", loss_g.item(), step)
    with torch.no_grad():
        made = g(torch.randn(512, 8))
    off = (made.norm(dim=1) - 2).abs().mean() + made.mean(0).norm()
    expect(-off.item(), -1.0)


alone("two-networks-against-each-other", "classic", partial(game, kind="classic", steps=700))
alone("two-networks-against-each-other", "hinge", partial(game, kind="hinge", steps=700))


def bandit(writer: SummaryWriter, *, lr: float, entropy: float, steps: int) -> None:
    """REINFORCE with a running baseline: what to do in each of six states, for noisy rewards."""
    g = torch.Generator().manual_seed(41)
    worth = torch.randn(6, 4, generator=g)
    policy, baseline = dense(6, 32, 4, act=nn.Tanh), 0.0
    optimizer = Adam(policy.parameters(), lr)
    writer.watch(policy, optimizer)
    for step in range(steps):
        states = torch.randint(6, (64,))
        chances = torch.distributions.Categorical(logits=policy(F.one_hot(states, 6).float()))
        actions = chances.sample()
        rewards = worth[states, actions] + 0.5 * torch.randn(64)
        loss = -(chances.log_prob(actions) * (rewards - baseline)).mean() - entropy * chances.entropy().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        baseline = 0.95 * baseline + 0.05 * rewards.mean().item()
        writer.add_scalar("policy/loss", loss.item(), step)
        writer.add_scalar("reward/mean", rewards.mean().item(), step)
    with torch.no_grad():
        chosen = worth[torch.arange(6), policy(torch.eye(6)).argmax(1)].mean()
    expect((chosen / worth.max(1).values.mean()).item(), 0.9)


alone("rewards-for-a-policy", "entropy", partial(bandit, lr=5e-3, entropy=0.02, steps=500))
alone("rewards-for-a-policy", "without-entropy", partial(bandit, lr=3e-3, entropy=0.0, steps=600))


def values(writer: SummaryWriter, *, double: bool, steps: int) -> None:
    """Q-learning of a corridor of eight cells with a target network, from a memory of moves."""
    net, target = dense(8, 32, 2), dense(8, 32, 2)
    target.load_state_dict(net.state_dict())
    optimizer = RMSprop(net.parameters(), 2e-3)
    writer.watch(net, optimizer)
    cells, moves = torch.arange(8).repeat_interleave(2), torch.tensor([0, 1]).repeat(8)
    after = (cells + 2 * moves - 1).clamp(0, 7)
    ends = after == 7
    for step in range(steps):
        rows = torch.randint(16, (32,))
        with torch.no_grad():
            later = target(F.one_hot(after[rows], 8).float())
            best = net(F.one_hot(after[rows], 8).float()).argmax(1) if double else later.argmax(1)
            wanted = ends[rows].float() + 0.9 * (~ends[rows]) * later[torch.arange(32), best]
        told = net(F.one_hot(cells[rows], 8).float())[torch.arange(32), moves[rows]]
        loss = F.smooth_l1_loss(told, wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 25 == 24:
            target.load_state_dict(net.state_dict())
        writer.add_scalar("td_loss", loss.item(), step)
    expect((net(torch.eye(8))[:7].argmax(1) == 1).float().mean().item(), 1.0)


alone("values-of-moves", "target-network", partial(values, double=False, steps=600))
alone("values-of-moves", "double", partial(values, double=True, steps=600))


def contrast(writer: SummaryWriter, *, margin: float, heat: float, epochs: int) -> None:
    """Views of one image agree, and others do not: InfoNCE, or triplets where there is a margin. Judged by
    neighbours.
    """
    data, net, step = digit_images(), nn.Sequential(ConvNet(32, 12, 24)), 0
    optimizer = AdamW(net.parameters(), 3e-3)
    writer.watch(net, optimizer)
    for _ in range(epochs):
        for x, y in data.epoch(64):
            first, second = (F.normalize(net(x + 0.3 * torch.randn_like(x)), dim=1) for _ in range(2))
            if margin:
                same = second[[(y == c).nonzero()[-1, 0] for c in y]]
                other = second[[(y != c).nonzero()[torch.randint(32, ())][0] for c in y]]
                loss = F.triplet_margin_loss(first, same, other, margin)
            else:
                loss = F.cross_entropy(first @ second.T / heat, torch.arange(len(x)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            writer.add_scalar("loss", loss.item(), step)
            step += 1
    net.eval()
    with torch.no_grad():
        known, asked = F.normalize(net(data.x), dim=1), F.normalize(net(data.vx), dim=1)
    near = data.y[(asked @ known.T).argmax(1)]
    expect((near == data.vy).float().mean().item(), 0.8)


alone("what-belongs-together", "info-nce", partial(contrast, margin=0.0, heat=0.2, epochs=6))
alone("what-belongs-together", "triplets", partial(contrast, margin=0.5, heat=1.0, epochs=5))
alone("what-belongs-together", "info-nce-hot", partial(contrast, margin=0.0, heat=0.5, epochs=6))


def denoise(writer: SummaryWriter, *, lr: float, ema: bool, steps: int) -> None:
    """A diffusion model of the ring: tells the noise that was added; its loss ends far above zero, as it must."""
    net = dense(3, 96, 96, 2, act=nn.SiLU)
    optimizer = AdamW(net.parameters(), lr)
    writer.watch(net, optimizer)
    first = []
    for step in range(steps):
        x, t, noise = ring(128), torch.rand(128, 1), torch.randn(128, 2)
        kept = (t * 1.57).cos()
        loss = F.mse_loss(net(torch.cat([kept * x + (1 - kept**2).sqrt() * noise, t], 1)), noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        first.append(loss.item())
        writer.add_scalar("train_loss" if ema else "loss/train", loss.item(), step)
    expect(sum(first[:10]) / sum(first[-50:]) * 5, 1.4)


alone("noise-told-from-the-rest", "adamw", partial(denoise, lr=2e-3, ema=False, steps=500))
alone("noise-told-from-the-rest", "slower", partial(denoise, lr=7e-4, ema=True, steps=700))


def twofold(writer: SummaryWriter, *, weight: float) -> None:
    """What form, and how large: two terms of one size."""
    data, body, step = signals(), dense(48, 64, 48, out=nn.ReLU), 0
    net = nn.ModuleDict({"body": body, "kind": nn.Linear(48, 4), "size": nn.Linear(48, 1)})
    optimizer = Adam(net.parameters(), 2e-3)
    writer.watch(net, optimizer)
    size, aside = (x.abs().mean(2) for x in (data.x, data.vx))
    for _ in range(9):
        for rows in torch.randperm(len(data.x)).split(32):
            h = net["body"](data.x[rows, 0])
            kind = F.cross_entropy(net["kind"](h), data.y[rows])
            length = F.mse_loss(net["size"](h), size[rows])
            optimizer.zero_grad()
            (kind + weight * length).backward()
            optimizer.step()
            writer.add_scalar("loss/kind", kind.item(), step)
            writer.add_scalar("loss/size", weight * length.item(), step)
            writer.add_scalar("loss/sum", (kind + weight * length).item(), step)
            step += 1
    with torch.no_grad():
        h = net["body"](data.vx[:, 0])
        expect(data.score(net["kind"](h), data.vy), 0.6)
        expect(r_squared(net["size"](h), aside), 0.3)


alone("two-tasks-one-body", "alike", partial(twofold, weight=1.0))
alone("two-tasks-one-body", "weighted", partial(twofold, weight=4.0))
