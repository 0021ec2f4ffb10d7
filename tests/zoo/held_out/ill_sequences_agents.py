"""Ill agents: values, policies, replay and target networks in two small worlds."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Categorical
from torch.nn.utils import clip_grad_norm_
from torch.optim import Adam, RMSprop

from tb_nnhealth import SummaryWriter
from tests.zoo.registry import ill


class Corridor:
    """Many walkers at once on a line of eleven places: left or right, and a reward at the right end."""

    def __init__(self, walkers: int = 32) -> None:
        self.place, self.steps = torch.randint(2, 8, (walkers,)), torch.zeros(walkers, dtype=torch.long)

    def seen(self) -> Tensor:
        return F.one_hot(self.place, 11).float() * 2

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What is seen next, the reward, and whether the walk has ended."""
        self.place, self.steps = self.place + 2 * action - 1, self.steps + 1
        reward = (self.place == 10).float() - (self.place == 0).float() * 0.2 - 0.01
        after = F.one_hot(self.place.clamp(0, 10), 11).float() * 2
        done = (self.place == 10) | (self.place == 0) | (self.steps >= 40)
        self.place = torch.where(done, torch.randint(2, 8, self.place.shape), self.place)
        self.steps = torch.where(done, 0, self.steps)
        return after, reward, done.float()


class Cart:
    """Pushes carts towards the middle of a track: place and speed, three pushes, reward by nearness."""

    def __init__(self, carts: int = 32, ends: float = 0.05) -> None:
        self.state, self.ends = torch.randn(carts, 2), ends

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        speed = 0.9 * self.state[:, 1] + 0.3 * (action.float() - 1)
        self.state = torch.stack([self.state[:, 0] + 0.3 * speed, speed], 1)
        reward = torch.exp(-(self.state[:, 0] ** 2))
        fresh = torch.rand(len(self.state)) < self.ends
        after = self.state
        self.state = torch.where(fresh.unsqueeze(1), torch.randn_like(after), after)
        return after, reward, fresh.float()


def reached(policy: Callable[[Tensor], Tensor]) -> float:
    """Mean reward of each step in the corridor, without exploring."""
    world, total = Corridor(64), 0.0
    with torch.no_grad():
        for _ in range(40):
            total += world.step(policy(world.seen()))[1].mean().item()
    return total / 40


def balanced(policy: Callable[[Tensor], Tensor]) -> float:
    """Mean reward of each step with the carts."""
    world, total = Cart(64), 0.0
    with torch.no_grad():
        for _ in range(40):
            total += world.step(policy(world.state))[1].mean().item()
    return total / 40


def net(seen: int, actions: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(seen, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, actions))


def greedy(values: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda seen: values(seen).argmax(1)


@ill("bootstrapped-past-the-end", "loss-diverging", "diverging-bias", "exploding-activations", "diverging-weights",
     held_out=True, source="Forum: DQN's values grow without bound, (1 - done) left out of the target; Pardo et al. "
     "(2018)")  # fmt: skip
def values_that_see_past_the_last_step(writer: SummaryWriter, fault: bool = True) -> None:
    values, world = net(2, 3), Cart(64, ends=0.25)
    aim = copy.deepcopy(values)
    optimizer = Adam(values.parameters(), lr=3e-3)
    writer.watch(values, optimizer)
    for step in range(600):
        seen = world.state
        action = torch.where(torch.rand(64) < 0.3, torch.randint(3, (64,)), values(seen).argmax(1))
        after, reward, done = world.step(action)
        with torch.no_grad():
            going_on = 1.0 if fault else 1 - done
            target = reward + going_on * aim(after).amax(1)
        loss = F.mse_loss(values(seen).gather(1, action.unsqueeze(1)).squeeze(1), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 5 == 0:
            aim.load_state_dict(values.state_dict())
        writer.add_scalar("td_loss", loss.item(), step)
        if step % 60 == 59:
            writer.add_scalar("eval/reward", balanced(greedy(values)), step)
            writer.add_scalar("q/mean", target.mean().item(), step)


class Values(nn.Module):
    """One value of each push, behind a body that both share."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 48), nn.Tanh(), nn.Linear(48, 48), nn.Tanh())
        self.q = nn.Linear(48, 3)

    def forward(self, seen: Tensor) -> Tensor:
        return self.q(self.body(seen))


@ill("values-broadcast-over-the-batch", "target-broadcast", held_out=True,
     source="Forum: DQN does not learn, gather gives (N, 1) and the target is (N,); UserWarning of "
     "mse_loss")  # fmt: skip
def value_of_each_against_the_aims_of_all(writer: SummaryWriter, fault: bool = True) -> None:
    values, world = Values(), Cart()
    optimizer, criterion = Adam(values.parameters(), lr=2e-3), nn.SmoothL1Loss()
    writer.watch(values, optimizer, criterion=criterion)
    for step in range(500):
        seen = world.state
        action = torch.where(torch.rand(32) < 0.3, torch.randint(3, (32,)), values(seen).argmax(1))
        after, reward, done = world.step(action)
        with torch.no_grad():
            target = reward + 0.9 * (1 - done) * values(after).amax(1)
        chosen = values(seen).gather(1, action.unsqueeze(1))
        loss = criterion(chosen, target) if fault else criterion(chosen, target.unsqueeze(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        writer.add_scalar("loss", loss.item(), step)
        if step % 50 == 49:
            writer.add_scalar("test/reward", balanced(greedy(values)), step)


class Replay:
    """Keeps what was seen; ``copied=False`` keeps references to the one array of the world."""

    def __init__(self, copied: bool) -> None:
        self.kept: deque[tuple[Tensor, Tensor, Tensor, Tensor]] = deque(maxlen=400)
        self.copied = copied

    def add(self, seen: Tensor, action: Tensor, reward: Tensor, after: Tensor) -> None:
        if self.copied:
            seen, after = seen.clone(), after.clone()
        self.kept.append((seen, action, reward, after))

    def draw(self, size: int) -> tuple[Tensor, ...]:
        chosen = [self.kept[int(i)] for i in torch.randint(len(self.kept), (size,))]
        return tuple(torch.stack(parts) for parts in zip(*chosen, strict=True))


@ill("replay-of-one-array", "constant-input", "constant-output", held_out=True,
     source="Forum: replay buffer holds references to the state, which the world changes in place")  # fmt: skip
def memories_that_all_change_together(writer: SummaryWriter, fault: bool = True) -> None:
    values, world, memory = Values(), Cart(1), Replay(copied=not fault)
    aim, state = copy.deepcopy(values), torch.zeros(2)
    state.copy_(world.state[0])
    optimizer = RMSprop(values.parameters(), lr=1e-3)
    writer.watch(values, optimizer)
    for step in range(600):
        with torch.no_grad():
            explored = torch.rand(()) < max(0.1, 1 - step / 300)
            action = torch.randint(3, (1,)) if explored else values(state.unsqueeze(0)).argmax(1)
        before = state if fault else state.clone()
        after, reward, _ = world.step(action)
        state.copy_(after[0])
        memory.add(before, action[0], reward[0], state)
        state.copy_(world.state[0])
        if step < 40:
            continue
        seen, chosen, gained, later = memory.draw(32)
        with torch.no_grad():
            target = gained + 0.9 * aim(later).amax(1)
        loss = F.mse_loss(values(seen).gather(1, chosen.unsqueeze(1)).squeeze(1), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 0:
            aim.load_state_dict(values.state_dict())
        writer.add_scalar("dqn/loss", loss.item(), step)
        if step % 60 == 59:
            writer.add_scalar("dqn/eval_reward", balanced(greedy(values)), step)


@ill("observations-in-their-own-units", "unnormalized-input", "saturated-units", "exploding-activations", held_out=True,
     source="Forum: policy does not learn, VecNormalize left out; Henderson et al., Deep RL that matters "
     "(2018)")  # fmt: skip
def cart_measured_in_millimetres(writer: SummaryWriter, fault: bool = True) -> None:
    unit, world = torch.tensor([1000.0, 1000.0] if fault else [1.0, 1.0]), Cart()
    values = Values()
    aim = copy.deepcopy(values)
    optimizer = Adam(values.parameters(), lr=2e-3)
    writer.watch(values, optimizer)
    for step in range(500):
        seen = world.state * unit
        action = torch.where(torch.rand(32) < 0.3, torch.randint(3, (32,)), values(seen).argmax(1))
        after, reward, done = world.step(action)
        with torch.no_grad():
            target = reward + 0.9 * (1 - done) * aim(after * unit).amax(1)
        loss = F.mse_loss(values(seen).gather(1, action.unsqueeze(1)).squeeze(1), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 9:
            aim.load_state_dict(values.state_dict())
        writer.add_scalar("train/td_loss", loss.item(), step)
        if step % 50 == 49:
            writer.add_scalar("eval/reward", balanced(lambda state: values(state * unit).argmax(1)), step)


class Player(nn.Module):
    """An actor and a critic."""

    def __init__(self, seen: int = 2, actions: int = 3) -> None:
        super().__init__()
        self.actor = nn.Sequential(nn.Linear(seen, 32), nn.Tanh(), nn.Linear(32, actions))
        self.critic = nn.Sequential(nn.Linear(seen, 32), nn.Tanh(), nn.Linear(32, 1))

    def forward(self, seen: Tensor) -> tuple[Categorical, Tensor]:
        return Categorical(logits=self.actor(seen)), self.critic(seen).squeeze(-1)

    def likeliest(self, seen: Tensor) -> Tensor:
        return self.actor(seen).argmax(1)


def rollout(player: Player, world: Cart, steps: int = 10, discount: float = 0.9) -> tuple[Tensor, Tensor, Tensor]:
    """What was seen and done, and the discounted returns."""
    seen, done, rewards, ends = [], [], [], []
    with torch.no_grad():
        for _ in range(steps):
            seen.append(world.state)
            done.append(player(world.state)[0].sample())
            _, reward, end = world.step(done[-1])
            rewards.append(reward)
            ends.append(end)
        returns, ahead = [], player(world.state)[1]
        for reward, end in zip(rewards[::-1], ends[::-1], strict=True):
            ahead = reward + discount * (1 - end) * ahead
            returns.append(ahead)
    return torch.cat(seen), torch.cat(done), torch.cat(returns[::-1])


@ill("entropy-bonus-outweighs", "loss-term-imbalance", "over-regularized", "loss-not-decreasing", held_out=True,
     source="Forum: entropy coefficient too large, the policy stays random; Mnih et al. (2016)")  # fmt: skip
def policy_paid_for_being_undecided(writer: SummaryWriter, fault: bool = True) -> None:
    player, world = Player(), Cart()
    optimizer = Adam(player.parameters(), lr=5e-3)
    writer.watch(player, optimizer)
    price = 10.0 if fault else 0.01
    for step in range(250):
        seen, action, returns = rollout(player, world)
        policy, value = player(seen)
        gain = (returns - value).detach()
        terms = {
            "policy": -(policy.log_prob(action) * (gain - gain.mean()) / (gain.std() + 1e-6)).mean(),
            "value": F.mse_loss(value, returns),
            "entropy": -price * policy.entropy().mean(),
        }
        loss = sum(terms.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        writer.add_scalar("loss/total", float(loss), step)
        for name, term in terms.items():
            writer.add_scalar(f"loss/{name}", term.item(), step)
        if step % 25 == 24:
            writer.add_scalar("eval/reward", balanced(lambda state: player(state)[0].sample()), step)


@ill("ratio-of-a-policy-to-itself", "vanishing-gradients", "no-gradient", "frozen-parameters", subject="actor*",
     held_out=True, source="Forum: PPO, old log-probabilities are those of the new policy and not detached; 37 "
     "details of PPO")  # fmt: skip
def clipped_ratio_that_is_always_one(writer: SummaryWriter, fault: bool = True) -> None:
    player, world = Player(), Cart()
    optimizer = Adam(player.parameters(), lr=5e-3)
    writer.watch(player, optimizer)
    step = 0
    for _ in range(60):
        seen, action, returns = rollout(player, world)
        before = player(seen)[0].log_prob(action).detach()
        for _ in range(4):
            policy, value = player(seen)
            gain = (returns - value).detach()
            gain = (gain - gain.mean()) / (gain.std() + 1e-6)
            now = policy.log_prob(action)
            ratio = (now - (now if fault else before)).exp()
            chosen = -torch.min(ratio * gain, ratio.clamp(0.8, 1.2) * gain).mean()
            valued = F.mse_loss(value, returns)
            optimizer.zero_grad()
            (chosen + 0.5 * valued).backward()
            clip_grad_norm_(player.parameters(), 0.5)
            optimizer.step()
            writer.add_scalar("losses/policy_loss", chosen.item(), step)
            writer.add_scalar("losses/value_loss", valued.item(), step)
            step += 1
        writer.add_scalar("charts/eval_return", balanced(player.likeliest), step)


@ill("actor-paid-by-its-own-critic", "no-gradient", "optimizer-misses-parameters", subject="*critic*", held_out=True,
     source="Forum: actor-critic, the critic's loss is computed from detached values; TrainCheck (OSDI "
     "2025)")  # fmt: skip
def critic_that_is_only_asked(writer: SummaryWriter, fault: bool = True) -> None:
    player, world = Player(), Cart()
    for layer in (player.critic[0], player.critic[2]):
        nn.init.normal_(layer.weight, std=1.5)
    optimizer = RMSprop(player.parameters(), lr=3e-3)
    writer.watch(player, optimizer)
    for step in range(400):
        seen, action, returns = rollout(player, world, steps=2)
        policy, value = player(seen)
        value = value.detach() if fault else value
        gain = (returns - value).detach()
        loss = -(policy.log_prob(action) * gain).mean() + 0.5 * F.mse_loss(value, returns)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        writer.add_scalar("a2c/loss", loss.item(), step)
        if step % 25 == 24:
            writer.add_scalar("a2c/reward", balanced(player.likeliest), step)
            writer.add_scalar("a2c/value_error", F.mse_loss(value, returns).item(), step)


@ill("target-network-never-updated", "frozen-parameters", "optimizer-misses-parameters", subject="target*",
     held_out=True, source="Forum: DQN, load_state_dict of the target network never called; Mnih et al. "
     "(2015)")  # fmt: skip
def aims_of_the_first_day(writer: SummaryWriter, fault: bool = True) -> None:
    both = nn.ModuleDict({"online": net(11, 2), "target": net(11, 2)})
    both["target"].load_state_dict(both["online"].state_dict())
    optimizer, world = Adam(both["online"].parameters(), lr=3e-3), Corridor()
    writer.watch(both, optimizer)
    for step in range(500):
        seen = world.seen()
        with torch.no_grad():
            action = torch.where(torch.rand(32) < 0.4, torch.randint(2, (32,)), both["online"](seen).argmax(1))
            after, reward, done = world.step(action)
            target = reward + 0.95 * (1 - done) * both["target"](after).amax(1)
        loss = F.mse_loss(both["online"](seen).gather(1, action.unsqueeze(1)).squeeze(1), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 9 and not fault:
            both["target"].load_state_dict(both["online"].state_dict())
        writer.add_scalar("loss/td", loss.item(), step)
        if step % 50 == 49:
            writer.add_scalar("eval/reward", reached(greedy(both["online"])), step)
