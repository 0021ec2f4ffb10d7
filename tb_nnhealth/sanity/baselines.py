"""What the inputs are worth: the same training with zeros in their place."""

from __future__ import annotations

import math

import torch

from tb_nnhealth.sanity.base import Check, Verdict, failed, number, passed, skipped
from tb_nnhealth.sanity.bench import Bench
from tb_nnhealth.sanity.learning import fit
from tb_nnhealth.sanity.modes import quiet
from tb_nnhealth.sanity.overfit import Fitted

BETTER = 0.1


def run(bench: Bench) -> Verdict:
    fitted: Fitted | None = bench.kept.get("fitted")
    if fitted is None or not fitted.curve.losses:
        return skipped("overfit-one-batch could not be done, and this check repeats its training")
    zeros = fitted.batch.with_inputs(lambda _, x: torch.zeros_like(x))
    model = bench.fresh(0)
    quiet(model, bench.device)
    steps = len(fitted.curve.losses)
    curve = fit(bench, model, fitted.recipe.optimizer(bench, model), zeros, steps=steps, patience=steps)
    real, blind = fitted.curve.best, curve.best
    evidence = {"loss": real, "loss_of_zeros": blind, "steps": steps, "constant_output": fitted.levels.constant}
    told = f"after {steps} steps the loss is {number(real)} with the inputs and {number(blind)} with zeros"
    if not math.isfinite(blind):
        return skipped("the model gives no finite loss for zeros", **evidence)
    best = fitted.levels.best if math.isfinite(fitted.levels.best) else fitted.levels.constant - 1
    if blind - real > BETTER * max(fitted.levels.constant - best, 1e-12):
        return passed(f"{told[0].upper()}{told[1:]}.", **evidence)
    if not fitted.decided or curve.out_of_time:
        return skipped(f"undecided when the time was spent: {told}; give more seconds=", **evidence)
    if fitted.learned and steps < 3:
        return skipped(f"the model knows the answers from the start: {told}", **evidence)
    return failed(
        f"The model does no better with its inputs than without: {told}.",
        "Look for what cuts the inputs off: a wrong index, a mask that covers everything, inputs times zero.",
        "Look for a first layer whose units are dead or saturated, and for inputs that are constant.",
        **evidence,
    )


PAGE = f"""
Does the model learn better from its inputs than from zeros?

**How.** The training that got farthest in `overfit-one-batch` is repeated with zeros (token 0) in place of the
inputs; masks, lengths and positions stay. Without its inputs a model can learn the targets' frequencies alone.

**Fails** where the real inputs do not reach a loss lower by {BETTER:.0%} of the way from the best constant output
to the least loss possible: the model does not use its inputs.

**Try.** Look for what cuts the inputs off: a wrong index, inputs overwritten or multiplied by zero, dead units in
the first layer, a mask that covers everything.

**Sources.** Karpathy, "input-independent baseline"; 37 reasons, 2.
"""
CHECK = Check("input-independent-baseline", PAGE, run)
