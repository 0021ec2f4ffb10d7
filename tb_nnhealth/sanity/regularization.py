"""Whether regularization is at work: with more of it the training loss is higher."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import nn

from tb_nnhealth.sanity.base import Check, Verdict, failed, number, passed, skipped, warned
from tb_nnhealth.sanity.bench import Bench
from tb_nnhealth.sanity.learning import fit
from tb_nnhealth.sanity.modes import dropouts, set_dropout
from tb_nnhealth.sanity.overfit import Fitted

STEPS = 100
STRONG_DROPOUT = 0.9
DECAY_PER_STEP = 0.05
"""Share of a weight that strong decay takes away at each step."""
HIGHER = 0.02
LAST = 0.25


def run(bench: Bench) -> Verdict:
    fitted: Fitted | None = bench.kept.get("fitted")
    if fitted is None:
        return skipped("overfit-one-batch could not be done, and this check repeats its training")
    knobs: dict[str, Callable[[nn.Module, Any, bool], None]] = {}
    model = bench.fresh(0)
    if dropouts(model):
        knobs["dropout"] = _drop
    if any(group.get("weight_decay") for group in bench.optimizer(model).param_groups):
        knobs["weight decay"] = _decay
    if not knobs:
        return skipped("the model has no dropout modules, and the optimizer no weight decay")
    evidence: dict[str, float] = {}
    told, without_effect, lower, undecided = [], [], [], []
    for name, turn in knobs.items():
        plain, strong = (_loss(bench, fitted, turn, on) for on in (False, True))
        if plain is None or strong is None:
            return skipped("undecided when the time was spent; give more seconds=")
        key = name.replace(" ", "_")
        evidence[f"loss_without_{key}"], evidence[f"loss_with_{key}"] = plain, strong
        told.append(f"with {name} turned up the loss is {number(strong)}, without it {number(plain)}")
        scale = max(abs(plain), fitted.levels.constant - fitted.levels.best if fitted.levels.known else 0.0)
        if plain == strong:
            without_effect.append(name)
        elif math.isnan(strong) or strong > plain + HIGHER * scale:
            continue
        elif strong < plain - HIGHER * scale:
            lower.append(name)
        else:
            undecided.append(name)
    sentence = "; ".join(told)
    sentence = f"{sentence[0].upper()}{sentence[1:]}."
    if without_effect:
        return failed(
            f"{' and '.join(without_effect).capitalize()} has no effect. {sentence}",
            "See that the dropout modules are called in forward, and that the model trains in train mode.",
            "See that the optimizer's groups with weight decay hold the weights.",
            **evidence,
        )
    if lower:
        return warned(
            f"More {' and '.join(lower)} lowers the training loss. {sentence}",
            "See whether the training is stable: a learning rate that is too high looks like this.",
            **evidence,
        )
    if undecided:
        return skipped(f"Too small a difference to tell. {sentence}", **evidence)
    return passed(sentence, **evidence)


def _drop(model: nn.Module, optimizer: Any, on: bool) -> None:
    set_dropout(model, STRONG_DROPOUT if on else 0.0)


def _decay(model: nn.Module, optimizer: Any, on: bool) -> None:
    set_dropout(model, 0.0)
    for group in optimizer.param_groups:
        if group.get("weight_decay"):
            group["weight_decay"] = DECAY_PER_STEP / max(float(group["lr"]), 1e-12) if on else 0.0


def _loss(bench: Bench, fitted: Fitted, turn: Callable[[nn.Module, Any, bool], None], on: bool) -> float | None:
    """The mean loss over the last quarter of a training; None where the time did not do for it."""
    model = bench.fresh(0)
    model.train()
    factor = fitted.recipe.factor
    optimizer = bench.optimizer(model, 1.0 if factor is None else factor)
    turn(model, optimizer, on)
    curve = fit(bench, model, optimizer, fitted.batch, steps=STEPS, patience=STEPS)
    if curve.out_of_time:
        return None
    last = curve.losses[-max(1, round(LAST * len(curve.losses))) :]
    return sum(last) / len(last)


PAGE = f"""
Does the training loss rise when regularization is turned up?

**How.** {STEPS} steps on the samples of `overfit-one-batch` without and with strong regularization, from the same
weights and the same random numbers: dropout at {STRONG_DROPOUT:g} against 0 where the model has dropout, and weight
decay that takes {DECAY_PER_STEP:.0%} of a weight at each step against 0 where an optimizer group has any. The mean
loss over the last quarter counts.

**Passes** where it is higher for each. **Fails** where it is the same to the last digit: that regularization never
takes effect. **Warns** where it is lower. Skipped without dropout modules and weight decay.

**Try.** Dropout that is declared and not called, a model left in eval mode, weight decay in a group that holds no
weights.

**Sources.** CS231n, "increasing the regularization strength should increase the loss"; 37 reasons, 26.
"""
CHECK = Check("regularization-raises-loss", PAGE, run)
