"""What recording costs a training: each way of recording beside the bare training, in one process.

    python benchmarks/overhead.py [--rounds 15] [--json FILE] [MODEL ...]

Every way trains its own copy of the same model. They take turns in short blocks of steps, in an order shuffled anew
each round, so that whatever else the machine does falls on all alike. A block ends when all it recorded is written.
Reported is its time for a step against that of the bare training in the same round: the median over the rounds, and
the middle half of them, on the wall clock and as processor time of all threads, which other programs on the machine
disturb less. A second bare training ("A/A") shows what the method itself cannot tell apart.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter as TorchWriter

from tb_nnhealth import SummaryWriter

Step = Callable[[], None]
Running = Iterator[tuple[Step, Callable[[], object]]]
"""Gives a step and what waits until all is written, once; ends the recording when it is asked again."""


# --- the trainings ----------------------------------------------------------------------------------------------------


class Transformer(nn.Module):
    """Four pre-norm blocks of width 128 over 64 tokens."""

    def __init__(self, vocabulary: int = 256, width: int = 128, blocks: int = 4) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(blocks)
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)).flatten(0, 1)  # type: ignore[no-any-return]


def mlp() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    model = nn.Sequential(
        nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)
    )  # fmt: skip
    return model, torch.randn(128, 784), torch.randint(10, (128,))


def cnn() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    model = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip
    return model, torch.randn(64, 3, 32, 32), torch.randint(10, (64,))


def transformer() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    tokens = torch.randint(256, (16, 65))
    return Transformer(), tokens[:, :-1], tokens[:, 1:].flatten()


def tiny() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    layers = [layer for _ in range(3) for layer in (nn.Linear(32, 32), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(32, 10)), torch.randn(256, 32), torch.randint(10, (256,))


MODELS = {
    "mlp": ("MLP 784-512-512-10, batch 128", mlp),
    "cnn": ("CNN of three convolutions, batch 64", cnn),
    "transformer": ("transformer, 4 blocks of width 128, 1024 tokens", transformer),
    "tiny": ("MLP 32-32-32-32-10, batch 256", tiny),
}


# --- the ways of recording --------------------------------------------------------------------------------------------


@dataclass
class Training:
    model: nn.Module
    optimizer: torch.optim.Optimizer
    criterion: nn.Module
    step: Step


def training(make: Callable[[], tuple[nn.Module, torch.Tensor, torch.Tensor]]) -> Training:
    torch.manual_seed(0)
    model, x, y = make()
    optimizer, criterion = torch.optim.Adam(model.parameters(), 1e-3), nn.CrossEntropyLoss()

    def step() -> None:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()

    return Training(model, optimizer, criterion, step)


def bare(training: Training, directory: str) -> Running:
    yield training.step, lambda: None


def watched(every: int | None) -> Callable[[Training, str], Running]:
    def way(training: Training, directory: str) -> Running:
        with closing(SummaryWriter(directory)) as writer:
            writer.watch(training.model, training.optimizer, criterion=training.criterion, every=every)
            yield training.step, writer.flush

    return way


def add_histogram(training: Training, directory: str) -> Running:
    """The usual recipe: every weight and every gradient to ``add_histogram``, at every step."""
    with closing(TorchWriter(directory)) as writer:
        number = 0

        def step() -> None:
            nonlocal number
            training.step()
            for name, parameter in training.model.named_parameters():
                writer.add_histogram(name, parameter, number)
                writer.add_histogram(f"{name}.grad", parameter.grad, number)
            number += 1

        yield step, writer.flush


WAYS: dict[str, Callable[[Training, str], Running]] = {
    "bare": bare,
    "A/A": bare,
    "watch, defaults": watched(None),
    "watch, every=1": watched(1),
    "add_histogram, every step": add_histogram,
}


# --- the measurement --------------------------------------------------------------------------------------------------


@dataclass
class Result:
    model: str
    way: str
    bare_ms: float
    wall: tuple[float, float, float]
    """What was added, as a share of the bare step: quartiles over the rounds."""
    processor: tuple[float, float, float]


def measure(name: str, *, rounds: int, seconds: float, warm_up: float) -> list[Result]:
    """The ways of recording ``name`` in blocks of about ``seconds`` of bare training, after ``warm_up`` seconds of it.

    The warm-up is each way's own, so that a cadence that is chosen while training has settled.
    """
    title, make = MODELS[name]
    with tempfile.TemporaryDirectory() as directory:
        ways = {way: begin(training(make), f"{directory}/{i}") for i, (way, begin) in enumerate(WAYS.items())}
        running = {way: next(iterator) for way, iterator in ways.items()}
        block(*running["bare"], 5)
        single, _ = block(*running["bare"], 10)
        counts = {}
        for way, (step, written) in running.items():
            slow = max(1.0, block(step, written, 3)[0] / single / 3)  # a slow way takes fewer steps, not longer
            counts[way] = max(3, round(seconds / single / slow))
            block(step, written, max(12, int(warm_up / single / slow**2)))
        times: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
        for _ in range(rounds):
            for way in random.sample(list(WAYS), len(WAYS)):
                times[way].append(block(*running[way], counts[way]))
        for iterator in ways.values():
            next(iterator, None)
    return [_result(title, way, times) for way in WAYS if way != "bare"]


def block(step: Step, written: Callable[[], object], count: int) -> tuple[float, float]:
    """Seconds per step, on the wall clock and of all threads' processor time."""
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(count):
        step()
    written()
    return (time.perf_counter() - wall) / count, (time.process_time() - processor) / count


def _result(title: str, way: str, times: dict[str, list[tuple[float, float]]]) -> Result:
    def added(clock: int) -> tuple[float, float, float]:
        shares = [own[clock] / bare[clock] - 1 for own, bare in zip(times[way], times["bare"], strict=True)]
        low, middle, high = statistics.quantiles(shares, n=4)
        return low, middle, high

    return Result(title, way, 1000 * statistics.median(wall for wall, _ in times["bare"]), added(0), added(1))


def table(results: list[Result]) -> str:
    def told(shares: tuple[float, float, float]) -> str:
        low, middle, high = shares
        return f"{middle:+.1%} ({low:+.1%} to {high:+.1%})"

    lines = ["| training | bare step | recording | added, wall clock | added, processor |"]
    lines += ["| --- | ---: | --- | ---: | ---: |"]
    lines += [f"| {r.model} | {r.bare_ms:.2f} ms | {r.way} | {told(r.wall)} | {told(r.processor)} |" for r in results]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"any of {', '.join(MODELS)}; else the first three")
    parser.add_argument("--rounds", type=int, default=15, help="blocks of each way (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.2, help="of bare training in a block (default: %(default)s)")
    parser.add_argument("--warm-up", type=float, default=5.0, help="seconds of training first (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there as well")
    options = parser.parse_args(arguments)
    unknown = set(options.models) - MODELS.keys()
    if unknown:
        parser.error(f"expected models of {', '.join(MODELS)}, found {', '.join(sorted(unknown))}")
    if options.rounds < 2:
        parser.error(f"--rounds: expected 2 or more, found {options.rounds}")
    torch.set_num_threads(options.threads)
    results = []
    for name in options.models or list(MODELS)[:3]:
        results += measure(name, rounds=options.rounds, seconds=options.seconds, warm_up=options.warm_up)
    print(table(results))
    if options.json:
        told = {"torch": torch.__version__, "threads": options.threads, "rounds": options.rounds}
        options.json.write_text(
            json.dumps({**told, "results": [asdict(result) for result in results]}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
