"""Six small trainings on real data, two healthy and four ill, to see what the tool makes of them."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TextIO

TRAININGS = (
    "healthy_cnn",
    "healthy_transformer",
    "learning_rate_too_high",
    "vanishing_gradients",
    "dead_units",
    "softmax_before_cross_entropy",
)


def main(log_dir: str | Path, *, seed: int = 0, out: TextIO = sys.stderr) -> None:
    """Trains each of ``TRAININGS`` into a run of its own below ``log_dir``, telling its progress on ``out``."""
    import torch

    from tb_nnhealth import SummaryWriter

    torch.set_num_threads(1)  # networks so small are slower when threads share them
    for name in TRAININGS:
        training = import_module(f"{__name__}.{name}")
        torch.manual_seed(seed)
        with SummaryWriter(str(Path(log_dir) / name)) as writer:
            training.train(writer, _bar(name, training.STEPS, out))
            worst = next((f for f in writer.findings() if f.severity != "info"), None)
        verdict = "healthy" if worst is None else f"{worst.severity}: {worst.rule} in {worst.subject or 'the run'}"
        print(f"\r{name:<30} {verdict:<60}", file=out)


def _bar(name: str, steps: int, out: TextIO):  # type: ignore[no-untyped-def]
    if not out.isatty():
        return lambda step: None

    def show(step: int) -> None:
        if step % 10 == 0 or step == steps:
            filled = 30 * step // steps
            print(f"\r{name:<30} [{'#' * filled}{'.' * (30 - filled)}] {step}/{steps}", end="", file=out, flush=True)

    return show
