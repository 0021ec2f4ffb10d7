"""``python -m tests.zoo.harm``: what each fault costs, beside the same training without it. Nothing is diagnosed."""

from __future__ import annotations

import argparse
import inspect
import math
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from statistics import fmean
from typing import Any

import torch

from tb_nnhealth import SummaryWriter
from tests.zoo.catalogue import SPECIMENS
from tests.zoo.registry import Specimen


class Remembering(SummaryWriter):
    """Keeps the scalars that a training logs."""

    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir)
        self.scalars: dict[str, list[float]] = defaultdict(list)

    def add_scalar(self, tag: str, scalar_value: Any, *args: Any, **kwargs: Any) -> None:
        self.scalars[tag].append(float(scalar_value))
        super().add_scalar(tag, scalar_value, *args, **kwargs)


def outcome(specimen: Specimen, *, fault: bool) -> tuple[dict[str, float], float]:
    """Mean of the last tenth of each scalar, and the seconds that the training took."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    begun = time.process_time()
    with tempfile.TemporaryDirectory() as directory, Remembering(directory) as writer:
        specimen.train(writer, **({} if fault else {"fault": False}))
    ends = {tag: fmean(values[-max(1, len(values) // 10) :]) for tag, values in writer.scalars.items()}
    return ends, time.process_time() - begun


def rows(patterns: Sequence[str], held_out: bool) -> Iterator[str]:
    for name, specimen in SPECIMENS.items():
        names = (name, specimen.kind, specimen.train.__module__.split(".")[-1])
        twin = "fault" in inspect.signature(specimen.train).parameters
        chosen = any(fnmatchcase(name, pattern) for name in names for pattern in patterns)
        if not twin or not chosen or specimen.held_out != held_out:
            continue
        try:
            ill, seconds = outcome(specimen, fault=True)
            well, _ = outcome(specimen, fault=False)
        except Exception as error:
            yield f"{specimen.kind:<28} {name:<44} {type(error).__name__}: {error}"
            continue
        told = ", ".join(f"{tag} {_short(ill[tag])} ({_short(well.get(tag, math.nan))})" for tag in sorted(ill))
        yield f"{specimen.kind:<28} {name:<44} {seconds:4.1f} s  {told}"


def _short(value: float) -> str:
    return f"{value:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pattern", nargs="*", default=["*"], help="globs of specimens, kinds or modules")
    parser.add_argument("--held-out", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    print("kind, specimen, processor time; means of the last tenth of each scalar, without the fault in parentheses")
    for row in rows(arguments.pattern, arguments.held_out):
        print(row, flush=True)


if __name__ == "__main__":
    main()
