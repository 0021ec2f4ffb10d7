"""Logs of plain scalars, written by PyTorch's own writer, diagnosed by the loss rules as far as scalars can tell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch.utils.tensorboard import SummaryWriter

from tb_nnhealth.findings import Finding
from tb_nnhealth.rules.engine import judge
from tb_nnhealth.source.files import FileSource

Curve = np.ndarray
STEPS = np.arange(600.0)
EPOCHS = np.arange(40.0)


def noisy(values: Curve, noise: float = 0.03, seed: int = 0) -> Curve:
    return values * (1 + noise * np.random.default_rng(seed).standard_normal(len(values)))


def diagnose(log_dir: Path, **scalars: Curve) -> tuple[Finding, ...]:
    """What the rules say of a log of these scalars; shorter ones are logged at as many steps, evenly apart."""
    longest = max(map(len, scalars.values()))
    with SummaryWriter(str(log_dir)) as writer:
        for step in range(longest):
            for name, values in scalars.items():
                index, rest = divmod(step, longest // len(values))
                if rest == 0 and index < len(values):
                    writer.add_scalar(name.replace("_", "/"), float(values[index]), step)
    source = FileSource([log_dir])
    source.refresh()
    return judge(source.run(source.runs()[0])).findings


def fall(at: Curve, time: float, to: float = 0.1) -> Curve:
    return to + (2.3 - to) * np.exp(-at / time)


def spikes(at: Curve, where: tuple[int, ...], decay: float) -> Curve:
    leaps = [np.where(at >= step, 2.0 * np.exp(-np.maximum(at - step, 0) / decay), 0.0) for step in where]
    return fall(at, 60) + np.sum(leaps, axis=0)


def averaged(values: Curve, decay: float = 0.95) -> Curve:
    """The exponential moving average that many loops log, from the first value on."""
    smooth = values.copy()
    for i in range(1, len(values)):
        smooth[i] = decay * smooth[i - 1] + (1 - decay) * values[i]
    return smooth


def rings(at: Curve, period: float) -> Curve:
    return fall(at, 20, 0.8) + 0.6 * np.sin(at / period + np.sin(at / (5.3 * period)) * 3) * np.clip(at / 40, 0, 1)


def late(at: Curve, start: float, time: float) -> Curve:
    return 0.2 + 2.1 / (1 + np.exp((at - start - 3 * time) / time))


def decayed(at: Curve, when: float, time: float) -> tuple[Curve, Curve]:
    rates = np.where(at < when, 1e-2, 1e-3)
    return 0.3 + 2.0 * np.exp(-np.cumsum(rates) / 1e-2 / time), rates


def leap_at_first(at: Curve) -> Curve:
    return 2.25 + 9 * at / 6 * np.exp(1 - at / 6)


PER_STEP: dict[str, Callable[[], dict[str, Curve]]] = {
    "loss-spike": lambda: {"train_loss": noisy(spikes(STEPS, (200, 330, 480), 20))},
    "loss-oscillating": lambda: {"train_loss": noisy(rings(STEPS, 17))},
    "slow-start": lambda: {"train_loss": noisy(late(STEPS, 300, 15))},
    "early-lr-decay": lambda: dict(zip(("train_loss", "lr"), decayed(STEPS, 150, 200), strict=True)),
    "learning-rate-too-high": lambda: {"train_loss": noisy(leap_at_first(STEPS))},
    "learning-rate-too-low": lambda: {"train_loss": noisy(2.3 - 0.2 * STEPS / 600, 0.01)},
    "underfitting": lambda: {"train_loss": noisy(fall(STEPS, 30, 1.7)), "val_loss": noisy(fall(STEPS[::10], 30, 1.7))},
    "over-regularized": lambda: {
        "train_loss": noisy(fall(STEPS, 30, 2.0)),
        "val_loss": noisy(0.6 * fall(STEPS[::10], 30, 2.0)),
    },
    "loss-term-imbalance": lambda: {
        "loss_box": noisy(900 * fall(STEPS, 100)),
        "loss_class": noisy(np.full(600, 0.69)),
    },
    "still-improving": lambda: {"train_loss": noisy(2.3 - STEPS / 400)},
}
PER_EPOCH: dict[str, Callable[[], dict[str, Curve]]] = {
    "loss-spike": lambda: {"train_loss": noisy(fall(EPOCHS, 5) + 5.0 * (EPOCHS == 25), 0.02)},
    "slow-start": lambda: {"train_loss": noisy(late(EPOCHS, 18, 0.7), 0.01)},
    "early-lr-decay": lambda: dict(zip(("train_loss", "lr"), decayed(EPOCHS, 16, 20), strict=True)),
    "still-improving": lambda: {"train_loss": noisy(2.3 - EPOCHS / 25, 0.01)},
}


@pytest.mark.parametrize("rule", PER_STEP)
def test_diagnosed_from_a_point_per_step(rule: str, tmp_path: Path):
    findings = diagnose(tmp_path, **PER_STEP[rule]())
    assert rule in [finding.rule for finding in findings[:3]], [finding.message for finding in findings]


@pytest.mark.parametrize("rule", PER_EPOCH)
def test_diagnosed_from_a_point_per_epoch(rule: str, tmp_path: Path):
    findings = diagnose(tmp_path, **PER_EPOCH[rule]())
    assert rule in [finding.rule for finding in findings[:3]], [finding.message for finding in findings]


def cosine_restarts(at: Curve) -> tuple[Curve, Curve]:
    """Loss and rate of three cycles, each of which begins with the loss up again."""
    within = at % 200
    rates = 5e-3 * (1 + np.cos(np.pi * within / 200)) + 1e-5
    return fall(at, 80) + 0.9 * np.exp(-within / 25) * (at >= 200), rates


def steps_down(at: Curve) -> tuple[Curve, Curve]:
    """A rate that falls when the loss has settled, and a loss that falls at once with it."""
    rates = np.where(at < 300, 0.1, np.where(at < 450, 0.01, 0.001))
    return np.where(at < 300, fall(at, 40, 0.5), np.where(at < 450, 0.4, 0.38)), rates


def one_cycle(at: Curve) -> tuple[Curve, Curve]:
    rates = np.interp(at, (0, 180, 540, 600), (0.01, 0.5, 0.01, 1e-5))
    return 0.05 + 2.25 * np.exp(-np.cumsum(rates) / 25), rates


HEALTHY: dict[str, Callable[[], dict[str, Curve]]] = {
    "a usual curve": lambda: {"train_loss": noisy(fall(STEPS, 60)), "val_loss": noisy(fall(STEPS[::20], 60, 0.2))},
    "small batches": lambda: {"train_loss": noisy(fall(STEPS, 60), 0.7)},
    "batches of one": lambda: {
        "train_loss": 0.1 * fall(STEPS, 60) + np.random.default_rng(2).exponential(0.3, 600) ** 2
    },
    "smoothed by a moving average": lambda: {"train_loss": averaged(noisy(fall(STEPS, 60), 0.4))},
    "to nothing": lambda: {"train_loss": noisy(2.3 * np.exp(-STEPS / 25), 0.3)},
    "twenty epochs": lambda: {"train_loss": noisy(fall(EPOCHS[:20], 4), 0.02)},
    "a plateau at the optimum": lambda: {"train_loss": noisy(fall(STEPS, 20, 0.9))},
    "fine-tuning": lambda: {"train_loss": noisy(0.35 + 0.05 * np.exp(-STEPS / 50), 0.2)},
    "below zero": lambda: {"train_loss": 80 * fall(STEPS, 60) - 200 + np.random.default_rng(0).standard_normal(600)},
    "cosine restarts": lambda: dict(zip(("train_loss", "lr"), cosine_restarts(STEPS), strict=True)),
    "a schedule in steps": lambda: dict(zip(("train_loss", "lr"), steps_down(STEPS), strict=True)),
    "one cycle": lambda: dict(zip(("train_loss", "lr"), one_cycle(STEPS), strict=True)),
    "a new task": lambda: {"train_loss": noisy(np.where(STEPS < 350, fall(STEPS, 50), fall(STEPS - 350, 50)))},
    "an opponent": lambda: {"loss_generator": noisy(rings(STEPS, 17)), "loss_discriminator": noisy(rings(STEPS, 11))},
    "reconstruction and divergence": lambda: {
        "loss_reconstruction": noisy(500 * fall(STEPS, 80, 0.6)),
        "loss_kl": noisy(6 * (1 - np.exp(-STEPS / 100)) + 0.01),
    },
}


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_curves_stay_silent(name: str, tmp_path: Path):
    scalars = HEALTHY[name]()
    if "lr" in scalars:
        scalars["train_loss"] = noisy(scalars["train_loss"])
    findings = diagnose(tmp_path, **scalars)
    assert [(finding.rule, finding.message) for finding in findings if finding.severity != "info"] == []
