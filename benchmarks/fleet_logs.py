"""A fleet of runs to be inspected: five kinds of writers, some runs ill, of a size that is asked for.

Each kind's logs are written by the real writer, a few healthy and a few ill ones with data of their own; the runs of
the fleet are copies of them in files of their own. So every byte is read from the disk and judged, and nothing is known
of a run beforehand; but the fleet has only some dozen different trainings.
"""

from __future__ import annotations

import math
import random
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from tensorboard.summary import Writer as TensorWriter
from torch import nn
from torch.utils.tensorboard import SummaryWriter as PlainWriter

from tb_nnhealth import SummaryWriter

VARIANTS = 4
"""Different trainings of a kind, healthy and ill each."""
SCALAR_STEPS = 2000
IMAGE_BYTES = 3 * 128 * 128
ONE_ILL_IN = 33


@dataclass(frozen=True)
class Fleet:
    directory: Path
    kinds: dict[str, str]
    """Of each run: the kind of its writer."""
    ill: frozenset[str]
    bytes: int


def watched(directory: Path, seed: int, ill: bool, megabytes: float) -> None:
    """A training with this package's writer: packed records of every step. The ill one has far too high a rate."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    x = torch.tensor(rng.standard_normal((2048, 32)), dtype=torch.float32)
    y = (x[:, :16].square().sum(1) > 16).long() + 2 * (x[:, 16] > 0).long()
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
    optimizer = torch.optim.SGD(model.parameters(), 0.05 if not ill else 1e5, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    with SummaryWriter(str(directory)) as writer:
        writer.watch(model, optimizer, criterion=criterion, every=1)
        for step in range(300):
            batch = torch.randint(0, len(x), (64,))
            optimizer.zero_grad()
            loss = criterion(model(x[batch]), y[batch])
            loss.backward()
            optimizer.step()
            writer.add_scalar("loss/train", loss, step)


def scalars(directory: Path, seed: int, ill: bool, megabytes: float) -> None:
    """Curves by PyTorch's writer. The ill ones diverge, or are not a number from some step on."""
    with PlainWriter(str(directory)) as writer:
        _curves(writer, seed, ill)


def tensors(directory: Path, seed: int, ill: bool, megabytes: float) -> None:
    """The same as TensorFlow 2 writes scalars, each a tensor, by TensorBoard's own writer."""
    writer = TensorWriter(str(directory))
    _curves(writer, seed, ill)
    writer.close()


def lightning(directory: Path, seed: int, ill: bool, megabytes: float) -> None:
    """As Lightning lays a run out: its tags, a point in 50 steps, ``hparams.yaml`` and checkpoints beside the log."""
    with PlainWriter(str(directory)) as writer:
        for step, loss in _losses(seed, ill):
            if step % 50 == 49:
                writer.add_scalar("train_loss_step", loss, step)
                writer.add_scalar("epoch", step // 200, step)
            if step % 200 == 199:
                writer.add_scalar("train_loss_epoch", loss, step)
                writer.add_scalar("val_loss", loss + 0.03, step)
    (directory / "hparams.yaml").write_text("lr: 0.001\n", "utf-8")
    (directory / "checkpoints").mkdir()
    (directory / "checkpoints" / "last.ckpt").write_bytes(bytes(1000))


def ballast(directory: Path, seed: int, ill: bool, megabytes: float) -> None:
    """The same among histograms and images, which make up nearly all of the file."""
    rng = np.random.default_rng(seed)
    with PlainWriter(str(directory)) as writer:
        _curves(writer, seed, ill)
        for step in range(max(1, math.ceil(megabytes * 1e6 / IMAGE_BYTES))):
            writer.add_image("samples", rng.integers(0, 256, (3, 128, 128), dtype=np.uint8), step)
            writer.add_histogram("weights", rng.standard_normal(1000), step)


def _losses(seed: int, ill: bool) -> Iterator[tuple[int, float]]:
    rng = np.random.default_rng(seed)
    for step in range(SCALAR_STEPS):
        loss = 0.25 + 2.0 * math.exp(-step / 300) + 0.02 * rng.standard_normal()
        if ill and step > 800:
            loss = math.nan if seed % 2 else loss * math.exp((step - 800) / 100)
        yield step, loss


def _curves(writer: PlainWriter | TensorWriter, seed: int, ill: bool) -> None:
    for step, loss in _losses(seed, ill):
        writer.add_scalar("loss/train", loss, step)
        writer.add_scalar("lr", 1e-3 * min(1.0, (step + 1) / 100), step)
        if step % 100 == 0:
            writer.add_scalar("loss/val", loss + 0.03, step)
            writer.add_scalar("acc/val", 0.95 - 0.8 * math.exp(-step / 300), step)


KINDS: dict[str, tuple[Callable[[Path, int, bool, float], None], int]] = {
    "packed records, this package": (watched, 3),
    "scalars, PyTorch": (scalars, 2),
    "scalars as TensorFlow 2 has them": (tensors, 1),
    "Lightning's layout": (lightning, 1),
    "scalars among images, PyTorch": (ballast, 3),
}
"""Each with its share of the fleet, of ten."""


def write_fleet(directory: Path, runs: int, gigabytes: float, seed: int = 0) -> Fleet:
    """Writes the fleet below ``directory``, which is empty. Images fill what the other kinds leave of the size."""
    templates, fleet = directory / "templates", directory / "fleet"
    shares = [kind for kind, (_, share) in KINDS.items() for _ in range(share)]
    kinds = {f"team{i % 7}/exp{i:04}{_below(kind)}": kind for i, kind in zip(range(runs), cycle(shares), strict=False)}
    ill = frozenset(random.Random(seed).sample(sorted(kinds), max(1, runs // ONE_ILL_IN)))
    for kind, (write, _) in KINDS.items():
        left = gigabytes * 1e3 - _megabytes(templates, kinds)
        size = left / max(1, sum(k == kind for k in kinds.values())) if write is ballast else 0.0
        for name in (f"{'ill' if is_ill else 'well'}{v}" for is_ill in (False, True) for v in range(VARIANTS)):
            place = templates / kind / name
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                write(place, 100 * seed + int(name[-1]), name.startswith("ill"), size)
    draw = random.Random(seed)
    for run, kind in kinds.items():
        source = templates / kind / f"{'ill' if run in ill else 'well'}{draw.randrange(VARIANTS)}"
        shutil.copytree(source, fleet / run)
    size = sum(path.stat().st_size for path in fleet.rglob("*tfevents*"))
    shutil.rmtree(templates)
    return Fleet(fleet, kinds, ill, size)


def _below(kind: str) -> str:
    return "/lightning_logs/version_0" if "Lightning" in kind else ""


def _megabytes(templates: Path, kinds: dict[str, str]) -> float:
    """What the kinds that are written will take, all their runs together."""
    total = 0.0
    for place in templates.iterdir() if templates.exists() else ():
        files = [path.stat().st_size for path in place.rglob("*tfevents*")]
        total += sum(files) / (2 * VARIANTS) * sum(kind == place.name for kind in kinds.values()) / 1e6
    return total
