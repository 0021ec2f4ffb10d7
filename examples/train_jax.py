"""Trains a small network on digits with JAX and records its health: ``python examples/train_jax.py LOGDIR``."""

from __future__ import annotations

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits

from tb_nnhealth import Recorder

Parameters = dict[str, dict[str, Any]]


def initial(key: Any) -> Parameters:
    """He's initialization of 64 inputs, 64 hidden units, 10 classes."""
    first, second = jax.random.split(key)
    return {
        "hidden": {"weight": jax.random.normal(first, (64, 64)) * (2 / 64) ** 0.5, "bias": jnp.zeros(64)},
        "output": {"weight": jax.random.normal(second, (64, 10)) * (1 / 64) ** 0.5, "bias": jnp.zeros(10)},
    }


def loss_of(parameters: Parameters, pixels: Any, labels: Any) -> tuple[Any, tuple[Any, Any]]:
    """Cross-entropy, and beside it the hidden activations and the logits."""
    hidden = jax.nn.relu(pixels @ parameters["hidden"]["weight"] + parameters["hidden"]["bias"])
    logits = hidden @ parameters["output"]["weight"] + parameters["output"]["bias"]
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1).mean(), (hidden, logits)


def train(log_dir: str, rate: float = 0.2, steps: int = 300, every: int = 10) -> Recorder:
    """Trains by plain gradient descent on batches of 64; measures every ``every``-th step."""
    x, y = load_digits(return_X_y=True)
    x = ((x - x.mean(0)) / (x.std(0) + 1e-6)).astype(np.float32)
    random, parameters = np.random.default_rng(0), initial(jax.random.PRNGKey(0))
    gradient_of = jax.jit(jax.value_and_grad(loss_of, has_aux=True))
    with Recorder(log_dir, framework="jax") as recorder:
        for step in range(steps):
            rows = random.integers(0, len(x), 64)
            (loss, (hidden, logits)), gradients = gradient_of(parameters, x[rows], y[rows])
            updates = jax.tree_util.tree_map(lambda gradient: -rate * gradient, gradients)
            if step % every == 0:
                recorder.measure(
                    step, weights=parameters, gradients=gradients, updates=updates, activations={"hidden": hidden},
                    inputs=x[rows], predictions=logits, loss=loss, learning_rate=rate,
                )  # fmt: skip
            parameters = jax.tree_util.tree_map(jnp.add, parameters, updates)
    return recorder


if __name__ == "__main__":
    for finding in train(*sys.argv[1:2] or ["runs/jax"]).findings():
        print(f"{finding.severity}  {finding.rule}  {finding.subject}: {finding.message}")
