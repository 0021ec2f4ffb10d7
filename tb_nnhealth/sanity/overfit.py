"""Whether the model can learn one small batch by heart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tb_nnhealth.sanity import nested
from tb_nnhealth.sanity.base import Check, Verdict, failed, number, passed, skipped, warned
from tb_nnhealth.sanity.batch import Batch
from tb_nnhealth.sanity.bench import Bench
from tb_nnhealth.sanity.learning import STEPS, Curve, fit
from tb_nnhealth.sanity.levels import Levels, levels
from tb_nnhealth.sanity.modes import quiet

SAMPLES = 16
FEWEST = 2
NUMBERS = 1024
"""Targets to be learned by heart at most, so that sequences and images take fewer samples."""
ENOUGH = 0.05
FAIL = 0.5
LEARNS = 0.9
"""Where the goal may be out of reach, less than this has to be left for the model to have learned anything."""
SLOW = 0.7
"""More than this left after a third of the steps: the next learning rate is tried."""


@dataclass(frozen=True)
class Recipe:
    """An optimizer: the user's with its learning rate times ``factor``, or Adam at ``rate``."""

    factor: float | None = 1.0
    rate: float = 1e-3

    def optimizer(self, bench: Bench, model: nn.Module) -> Any:
        return bench.optimizer(model, self.factor, self.rate)

    def told(self, bench: Bench) -> str:
        if self.factor is None or bench.make_optimizer is None:
            return f"Adam at {self.rate:g}"
        return "the optimizer as given" if self.factor == 1 else f"the optimizer at {self.factor:g} times its rate"


@dataclass
class Fitted:
    """What the best attempt reached; other checks build on it."""

    batch: Batch
    levels: Levels
    recipe: Recipe
    curve: Curve
    decided: bool
    """The time did not end it."""

    @property
    def learned(self) -> bool:
        return self.curve.best <= self.levels.at(ENOUGH) if self.levels.best > -math.inf else self._fell

    @property
    def _fell(self) -> bool:
        """Well below any constant output, for a loss that has no floor."""
        return self.curve.best < self.levels.constant - 0.1 * max(1.0, abs(self.levels.constant))


def recipes(bench: Bench) -> list[Recipe]:
    """In the order in which they are tried."""
    given = [Recipe(1.0), Recipe(10.0), Recipe(0.1)] if bench.make_optimizer is not None else []
    return [*given, Recipe(None, 1e-3), Recipe(None, 1e-2)]


def run(bench: Bench) -> Verdict:
    whole = bench.batch
    targets = whole.flat_targets()
    if targets is not None and len(torch.unique(targets, dim=0)) < 2:
        return skipped("all targets of the batch are alike: a constant output would do; give a batch with several")
    small = _few(whole, SAMPLES)
    best, first = _attempts(bench, small, recipes(bench))
    if best is None:
        return skipped("the best constant output already costs no more than any other: there is nothing to learn")
    bench.kept["fitted"] = best
    if not best.learned and best.decided and whole.axis is not None and small.samples > FEWEST:
        fewest, _ = _attempts(bench, _few(whole, FEWEST), recipes(bench)[-2:])
        if fewest is not None and fewest.learned:
            bench.kept["fitted"] = fewest
            return passed(
                f"{FEWEST} samples are learned by heart (loss {number(fewest.curve.best)}); {small.samples} are more "
                "than this model can tell apart.",
                **_evidence(fewest),
            )
    return _verdict(bench, best, first)


def _attempts(bench: Bench, batch: Batch, tries: list[Recipe]) -> tuple[Fitted | None, Curve | None]:
    """The best of the attempts, and the curve of the first."""
    best: Fitted | None = None
    first: Curve | None = None
    for init, recipe in enumerate(tries):
        model = bench.fresh(init)
        quiet(model, bench.device)
        if best is None:
            found = levels(bench, model, batch)
            if found.constant - found.best <= 1e-6 * max(1.0, abs(found.constant)):
                return None, None
        else:
            found = best.levels
        hopeless = found.at(SLOW) if found.known and init < len(tries) - 2 else math.inf
        curve = fit(bench, model, recipe.optimizer(bench, model), batch, enough=found.at(ENOUGH), hopeless=hopeless)
        first = first or curve
        attempt = Fitted(batch, found, recipe, curve, decided=not curve.out_of_time)
        if best is None or curve.best < best.curve.best:
            best = attempt
        if best.learned or curve.out_of_time:
            best.decided = best.learned or not curve.out_of_time
            break
    return best, first


def _verdict(bench: Bench, best: Fitted, first: Curve | None) -> Verdict:
    evidence = _evidence(best)
    samples = f"{best.batch.samples} samples" if best.batch.samples else "the batch"
    reached = (
        f"the loss on {samples} falls from {number(best.curve.losses[0])} to {number(best.curve.best)} in "
        f"{len(best.curve.losses)} steps with {best.recipe.told(bench)}"
    )
    if best.learned:
        if first is not None and first.diverged and best.recipe != recipes(bench)[0]:
            return warned(
                f"With {recipes(bench)[0].told(bench)} the loss diverges on one batch; {reached}.",
                "Lower the learning rate; a tenth of it is a good next try.",
                **evidence,
            )
        return passed(f"{reached[0].upper()}{reached[1:]}.", **evidence)
    if not best.decided:
        return skipped(f"undecided when the time was spent: {reached}; give more seconds=", **evidence)
    if not best.levels.known:
        if best.curve.best < 0.9 * best.curve.losses[0]:
            return passed(f"{reached[0].upper()}{reached[1:]}; how low it can go is not known.", **evidence)
        return warned(f"The model hardly learns {samples}: {reached}.", *_advice(bench, best), **evidence)
    left = best.levels.left(best.curve.best)
    if not best.levels.reachable and left < LEARNS:
        told = (
            f"{reached[0].upper()}{reached[1:]}; outputs that hang together or are drawn can go no lower than they do."
        )
        return passed(told, **evidence) if left < FAIL else skipped(told, **evidence)
    constant = f"an output that ignores its input reaches {number(best.levels.constant)}"
    if left > FAIL or not math.isfinite(left):
        return failed(
            f"The model does not learn {samples} by heart: {reached}; {constant}.", *_advice(bench, best), **evidence
        )
    return warned(f"The model learns {samples} in part: {reached}; {constant}.", *_advice(bench, best), **evidence)


def _evidence(fitted: Fitted) -> dict[str, Any]:
    return {
        "loss": fitted.curve.best,
        "first_loss": fitted.curve.losses[0],
        "steps": len(fitted.curve.losses),
        "samples": fitted.batch.samples,
        "least_possible": fitted.levels.best,
        "constant_output": fitted.levels.constant,
    }


def _advice(bench: Bench, best: Fitted) -> list[str]:
    advice = []
    with torch.no_grad():
        model = bench.fresh()
        quiet(model, bench.device)
        predicted = bench.predicted(bench.forward(model, best.batch))
    if isinstance(predicted, Tensor) and predicted.ndim > 1 and _are_probabilities(predicted):
        advice.append("The outputs are probabilities already; CrossEntropyLoss takes logits: take the softmax away.")
    return [
        *advice,
        "Follow the loss back to the parameters: look for detach(), .data, no_grad or numpy between them.",
        "Look for activations that are dead or saturated on this batch, and for inputs that are not normalized.",
        "Check that the optimizer holds all parameters, and that the targets belong to the inputs.",
    ]


def _are_probabilities(predicted: Tensor) -> bool:
    sums = predicted.sum(1)
    return bool((predicted >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-3)


def _few(batch: Batch, most: int) -> Batch:
    """At most ``most`` samples, those first whose targets differ from all before them."""
    targets = batch.flat_targets()
    if batch.axis is None or batch.samples <= FEWEST:
        return batch
    numbers = sum(x.numel() for _, x in nested.named_tensors(batch.targets)) // batch.samples
    count = min(batch.samples, max(FEWEST, min(most, NUMBERS // max(1, numbers))))
    if targets is None:
        order = list(range(batch.samples))
    else:
        classes = torch.unique(targets, dim=0, return_inverse=True)[1].tolist()
        seen: dict[int, int] = {}
        rank = []
        for group in classes:
            rank.append(seen.get(group, 0))
            seen[group] = rank[-1] + 1
        order = sorted(range(batch.samples), key=lambda i: (rank[i], i))
    return batch.take(torch.tensor(sorted(order[:count])))


PAGE = f"""
Can the model learn a few samples by heart?

**How.** Up to {SAMPLES} samples of the batch, of as many different targets as there are, are trained on for up to
{STEPS} steps: with the optimizer from `make_optimizer`, with its learning rate times 10 and a tenth of it, then
with Adam at 1e-3 and 1e-2, each from a fresh model, until one gets there; and then once more with {FEWEST} samples,
which every model can tell apart. Dropout is off. The goal allows for what no model can reach: label smoothing, soft
targets and samples that are alike but have different targets, all found by optimizing free outputs in place of the
model's.

**Fails** where at least {FAIL:.0%} of the way from the best constant answer to the goal is left, **warns** above
{ENOUGH:.0%}, and where the model learns, but the optimizer as given diverges. Undecided when the time is spent:
skipped. Where outputs hang together or are drawn (a variational autoencoder), or the loss has no known least, the
goal may be out of reach, and it passes on clear progress.

**Try.** Look for a detached graph, a loss of the wrong thing, a softmax before `CrossEntropyLoss`, parameters that
the optimizer lacks, dead units.

**Sources.** CS231n, "overfit a tiny subset of data"; Karpathy, "overfit one batch"; 37 reasons, 17.
"""
CHECK = Check("overfit-one-batch", PAGE, run, share=3.0)
