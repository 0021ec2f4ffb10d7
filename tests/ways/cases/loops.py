"""Trainings with more than one model, or with gradients of gradients."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from tests.ways.cases.small import STEPS, batch, loss_of, mlp
from tests.ways.registry import way
from tests.ways.trial import Trial


@way("loops", simple={"penalty": False}, with_gradient_penalty={"penalty": True})
def generative_adversarial(trial: Trial, penalty: bool) -> None:
    generator, critic = mlp(4, 6), mlp(6, 1)
    first = torch.optim.Adam(generator.parameters(), 1e-3)
    second = torch.optim.Adam(critic.parameters(), 1e-3)
    trial.watch(generator, first, name="generator")
    trial.watch(critic, second, name="critic")
    for _ in range(STEPS):
        second.zero_grad()
        real, fake = batch(), generator(torch.randn(5, 4))
        loss = F.softplus(critic(fake.detach())).mean() + F.softplus(-critic(real)).mean()
        if penalty:
            point = torch.lerp(real, fake.detach(), torch.rand(5, 1)).requires_grad_()
            (slope,) = torch.autograd.grad(critic(point).sum(), point, create_graph=True)
            loss = loss + 10 * (slope.norm(dim=1) - 1).square().mean()
        loss.backward()
        trial.step(second, of=1)
        first.zero_grad()
        other = F.softplus(-critic(fake)).mean()
        other.backward()  # reaches the critic's weights too
        trial.step(first, of=0)
        trial.same(loss, other)


@way("loops")
def policy_gradient_with_rollouts(trial: Trial) -> None:
    policy = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2))
    optimizer = torch.optim.Adam(policy.parameters(), 1e-2)
    trial.watch(policy, optimizer)
    for _ in range(STEPS):
        states, actions, rewards = [], [], []
        state = torch.randn(6)
        for _ in range(5):  # without gradients, one state at a time
            with torch.no_grad():
                action = torch.distributions.Categorical(logits=policy(state)).sample()
            states.append(state)
            actions.append(action)
            rewards.append(state.sum() * (action - 0.5))
            state = state + 0.1 * torch.randn(6)
        for _ in range(2):  # several epochs over one rollout
            optimizer.zero_grad()
            logits = policy(torch.stack(states))
            trial.saw("2", logits, gradient=True)
            chosen = torch.distributions.Categorical(logits=logits).log_prob(torch.stack(actions))
            (-(chosen * torch.stack(rewards)).mean()).backward()
            trial.step(optimizer)


@way("loops")
def temporal_difference_with_a_target_network(trial: Trial) -> None:
    network = mlp(6, 2)
    target = copy.deepcopy(network)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    trial.watch(network, optimizer)
    for step in range(STEPS):
        optimizer.zero_grad()
        with torch.no_grad():
            goal = 0.9 * target(100 * batch()).amax(1)
            network(100 * batch())
        output = network(batch())
        trial.saw("2", output)
        F.smooth_l1_loss(output[:, 0], goal).backward()
        trial.step(optimizer)
        if step % 2:
            target.load_state_dict(network.state_dict())


@way("loops")
def double_backward_through_the_model(trial: Trial) -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.Softplus(), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trial.watch(model, optimizer)
    for _ in range(STEPS):
        optimizer.zero_grad()
        x = batch().requires_grad_()
        output = model(x)
        trial.saw("2", output)
        (force,) = torch.autograd.grad(output.sum(), x, create_graph=True)
        (loss_of(output) + force.square().mean()).backward()
        trial.step(optimizer)


@way("loops")
def graph_kept_for_two_backward_passes(trial: Trial) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trial.watch(model, optimizer)
    for _ in range(STEPS):
        optimizer.zero_grad()
        output = model(batch())
        trial.saw("2", output)
        output.square().mean().backward(retain_graph=True)
        output.sum().mul(1e-2).backward()
        trial.step(optimizer)


@way("loops")
def two_models_in_one_optimizer(trial: Trial) -> None:
    models = [mlp(), mlp(3, 2)]
    optimizer = torch.optim.SGD([p for model in models for p in model.parameters()], 0.1)
    for i, model in enumerate(models):
        trial.watch(model, optimizer, name=f"part{i}")
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss_of(models[1](models[0](batch()))).backward()
        trial.note(0), trial.note(1)
        optimizer.step()
        for i, trained in enumerate(trial.trained):
            own = {id(p) for p in trained.model.parameters()}
            assert all(id(p) in own for p in trained.parameters().values())
            trial.check(i)


@way("loops")
def one_model_watched_twice(trial: Trial) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trial.watch(model, optimizer, name="whole")
    trial.watch(model, optimizer, name="head", include="2")
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss_of(model(batch())).backward()
        trial.note(0)
        optimizer.step()
        trial.check(0)


@way("loops", interrupted_forward={"where": "forward"}, interrupted_backward={"where": "backward"})
def batch_given_up(trial: Trial, where: str) -> None:
    """An error in the user's own code, which the user catches: the step after it is right again."""

    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("out of memory")

    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trial.watch(model, optimizer)
    for step in range(STEPS):
        optimizer.zero_grad()
        if step % 2:
            try:
                loss_of(model(Fails.apply(batch().requires_grad_()) if where == "backward" else batch(inputs=2)))
                Fails.apply(model(batch())).sum().backward()
            except RuntimeError:
                optimizer.zero_grad()
        loss_of(model(batch())).backward()
        trial.step(optimizer)
