"""``python -m tests.ways.sweep``: every model, eager and compiled, in every precision, with and without accumulation
and checkpointing, trained with a watch and without; prints how many are the same bit for bit.

``--compiled all`` compiles each combination with ``--backend``; ``some``, the default, one combination in six.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from dataclasses import dataclass

import torch

from tests.ways.models import IN_FLOAT32_ALONE, MODELS, Chain
from tests.ways.trial import Trial, train

PRECISIONS = ("float32", "bfloat16 autocast", "float16 autocast and scaler")
STEPS = 3
_ONE_IN = 6


@dataclass(frozen=True)
class Combination:
    model: str
    precision: str = "float32"
    accumulation: int = 1
    checkpointed: bool = False
    backend: str = ""

    def __str__(self) -> str:
        parts = [self.model, self.backend or "eager", self.precision]
        parts += [f"accumulation {self.accumulation}"] if self.accumulation > 1 else []
        return ", ".join([*parts, *(["checkpointed"] if self.checkpointed else [])])

    def train(self, trial: Trial) -> None:
        parts, batch = MODELS[self.model]()
        model = Chain(parts, checkpointed=self.checkpointed)
        optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
        scaler = torch.amp.GradScaler("cpu", init_scale=128.0, enabled="scaler" in self.precision)
        trial.watch(model, optimizer, compiled=bool(self.backend))
        call = torch.compile(model, backend=self.backend) if self.backend else model
        dtype = torch.float16 if self.precision.startswith("float16") else torch.bfloat16
        for _ in range(STEPS):
            optimizer.zero_grad()
            for _ in range(self.accumulation):
                with torch.autocast("cpu", dtype=dtype, enabled=self.precision != "float32"):
                    output = call(batch())
                loss = (output.float() - 0.5).square().mean() / self.accumulation
                trial.same(loss, output)
                scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()

    def differs(self) -> list[str]:
        """The parts that are not the same with a watch; the watch's complaints."""
        outcomes = []
        for watching in (False, True):
            if self.backend:
                torch._dynamo.reset()
            trial = Trial(watching=watching)
            outcomes.append(train(self.train, trial))
            for trained in trial.trained:
                if trained.watch is not None:
                    trained.watch.remove()
        plain, watched = (outcome.state for outcome in outcomes)
        stream = trial.recorder.stream
        problems = [part for part in plain if plain[part] != watched[part]] + stream.errors
        return problems if len(stream.records) == STEPS else [*problems, f"{len(stream.records)} records"]


def combinations(backend: str = "") -> list[Combination]:
    return [
        Combination(name, precision, accumulation, checkpointed, backend)
        for name, precision, accumulation, checkpointed in itertools.product(MODELS, PRECISIONS, (1, 3), (False, True))
        if not (name in IN_FLOAT32_ALONE and precision != "float32")
    ]


def sample(backend: str = "") -> list[Combination]:
    """One combination of each model, which change from one model to the next."""
    found = []
    for i, name in enumerate(MODELS):
        every = [c for c in combinations(backend) if c.model == name]
        found.append(every[i * 5 % len(every)])
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="aot_eager")
    parser.add_argument("--compiled", choices=("none", "some", "all"), default="some")
    options = parser.parse_args()
    compiled = [] if options.compiled == "none" else combinations(options.backend)
    if options.compiled == "some":
        compiled = [c for i, c in enumerate(compiled) if (i + i // 12) % _ONE_IN == 0]
    differing = 0
    for title, tried in (("eager", combinations()), (options.backend, compiled)):
        for precision in PRECISIONS:
            found = {c: c.differs() for c in tried if c.precision == precision}
            wrong = {c: problems for c, problems in found.items() if problems}
            differing += len(wrong)
            models, same = len({c.model for c in found}), len(found) - len(wrong)
            print(f"| {title} | {precision} | {models} | {len(found)} | {same} |", flush=True)
            for c, problems in wrong.items():
                print(f"  {c}: {', '.join(problems)}", file=sys.stderr, flush=True)
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
