"""Whether inputs and targets belong together: real ones are learned better than noise and than shuffled labels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import mean, stdev

import torch
from torch import Tensor

from tb_nnhealth.sanity import isolation, nested
from tb_nnhealth.sanity.base import Check, OutOfTimeError, Verdict, number, passed, skipped, warned
from tb_nnhealth.sanity.batch import Batch
from tb_nnhealth.sanity.bench import Bench
from tb_nnhealth.sanity.learning import evaluated, fit
from tb_nnhealth.sanity.modes import quiet
from tb_nnhealth.sanity.overfit import Fitted

LEAST, TELLING = 64, 256
MOST = 512
"""Samples used, half of them for training."""
SPLITS = 3
STEPS = 60
LOOK_EVERY = 5
FASTER = 0.05
BETTER = 0.02
Altered = Callable[[Batch, int], Batch]


@dataclass(frozen=True)
class Trained:
    """One training on one half: the lowest loss on the other, and the mean loss on the way."""

    held_out: float
    on_the_way: float


def run_random(bench: Bench) -> Verdict:
    return _run(bench, _with_noise, "noise", "The inputs are learned no better than noise")


def run_shuffled(bench: Bench) -> Verdict:
    if bench.batch.flat_targets() is None:
        return skipped("the targets are not one tensor of samples, so that they cannot be shuffled")
    return _run(bench, _shuffled, "shuffled targets", "The targets are learned no better than shuffled ones")


def _run(bench: Bench, alter: Altered, what: str, ill: str) -> Verdict:
    batch = bench.batch
    if batch.axis is None or batch.samples < LEAST:
        return skipped(
            f"a batch of at least {LEAST} samples is needed, this one has {batch.samples or 'no samples axis'}"
        )
    targets = batch.flat_targets()
    if targets is not None and len(torch.unique(targets, dim=0)) < 2:
        return skipped("all targets of the batch are alike")
    try:
        real = _real(bench)
        other = [_trained(bench, alter(_sample(batch), split), split) for split in range(SPLITS)]
    except OutOfTimeError:
        return skipped("undecided when the time was spent; give more seconds=")
    if not all(math.isfinite(x) for run in [*real, *other] for x in (run.held_out, run.on_the_way)):
        return skipped("a training gave no finite loss")
    ours, theirs = mean(r.held_out for r in real), mean(o.held_out for o in other)
    evidence = {
        "held_out_loss": ours,
        f"held_out_loss_of_{what.replace(' ', '_')}": theirs,
        "training_loss": mean(r.on_the_way for r in real),
        f"training_loss_of_{what.replace(' ', '_')}": mean(o.on_the_way for o in other),
        "samples": batch.samples,
    }
    told = f"on samples not trained on the loss is {number(ours)}, with {what} {number(theirs)}"
    gains = [o.held_out - r.held_out for r, o in zip(real, other, strict=True)]
    clear = mean(gains) > 2 * stdev(gains) / math.sqrt(len(gains)) and mean(gains) > BETTER * abs(theirs)
    if clear and min(gains) > 0:
        return passed(f"{told[0].upper()}{told[1:]}.", **evidence)
    if all(r.on_the_way < o.on_the_way - FASTER * abs(o.on_the_way) for r, o in zip(real, other, strict=True)):
        return passed("The loss falls faster than with " + what + f"; {told}.", **evidence)
    if batch.samples < TELLING:
        return skipped(f"{batch.samples} samples are too few to tell: {told}", **evidence)
    return warned(
        f"{ill}: {told}.",
        "Look at some samples of the batch with their targets, just before they enter the model.",
        "Check that inputs and targets are shuffled together, and that no preprocessing destroys the inputs.",
        "A task may be too hard to show on so few samples; random data have nothing to be found.",
        **evidence,
    )


def _real(bench: Bench) -> list[Trained]:
    if "real" not in bench.kept:
        bench.kept["real"] = [_trained(bench, _sample(bench.batch), split) for split in range(SPLITS)]
    found: list[Trained] = bench.kept["real"]
    return found


def _sample(batch: Batch) -> Batch:
    return batch.take(torch.arange(MOST)) if batch.samples > MOST else batch


def _trained(bench: Bench, batch: Batch, split: int) -> Trained:
    order = torch.randperm(batch.samples, generator=torch.Generator().manual_seed(split))
    half = batch.samples // 2
    seen, unseen = batch.take(order[:half]), batch.take(order[half:])
    model = bench.fresh(split)
    quiet(model, bench.device)
    fitted: Fitted | None = bench.kept.get("fitted")
    optimizer = fitted.recipe.optimizer(bench, model) if fitted is not None else bench.optimizer(model)
    held_out = [evaluated(bench, model, unseen)]

    def look(step: int) -> None:
        if step % LOOK_EVERY == LOOK_EVERY - 1:
            held_out.append(evaluated(bench, model, unseen))

    curve = fit(bench, model, optimizer, seen, steps=STEPS, patience=STEPS, after=look)
    if curve.out_of_time:
        raise OutOfTimeError
    return Trained(min(held_out), mean(curve.losses))


def _with_noise(batch: Batch, split: int) -> Batch:
    isolation.seed(split)

    def noise(_: str, x: Tensor) -> Tensor:
        if x.is_floating_point():
            finite = x.detach().double()
            axes = (0, *range(2, x.ndim))
            centre, spread = finite.mean(axes, keepdim=True), finite.std(axes, correction=0, keepdim=True)
            return (centre + spread * torch.randn_like(finite)).to(x.dtype)
        values = x.flatten()
        return values[torch.randint(len(values), x.shape, device=x.device)]

    return batch.with_inputs(noise)


def _shuffled(batch: Batch, split: int) -> Batch:
    order = torch.randperm(batch.samples, generator=torch.Generator().manual_seed(1000 + split))
    return replace(batch, targets=nested.taken(batch.targets, order, batch.target_axis, batch.samples))


def _how(altered: str) -> str:
    return f"""
**How.** The batch (at most {MOST} samples) is split in two halves, {SPLITS} times over. On the one half a fresh
model is trained for {STEPS} steps, on the other its lowest loss counts. The same is done with {altered}. Small
networks learn noise by heart too, so what counts is the half not trained on, and how fast the loss falls.

**Passes** where the real ones come out better in every split, on either count. **Warns**, never more, where they do
not although the batch has {TELLING} samples; with fewer it is skipped. A batch of less than {LEAST} samples says
nothing.
"""


RANDOM_PAGE = f"""
Are the real inputs learned better than noise?
{_how("noise in place of the inputs, of the same mean and spread (tokens drawn from the batch)")}
**Try.** Look at the batch just before it enters the model: a preprocessing that destroys what tells samples apart,
inputs of one sample with targets of another.

**Sources.** 37 reasons, 2 and 4; Zhang et al., "Understanding deep learning requires rethinking generalization", 2017.
"""
SHUFFLED_PAGE = f"""
Are the real targets learned better than shuffled ones?
{_how("the targets dealt to other samples")}
**Try.** Look at some samples with their targets: files and labels in different orders, a shuffle of the one alone,
an index off by one. A batch of random data has no relation to be found, and this check says so.

**Sources.** 37 reasons, 3 and 4; Zhang et al., "Understanding deep learning requires rethinking generalization", 2017.
"""
RANDOM = Check("random-input", RANDOM_PAGE, run_random)
SHUFFLED = Check("shuffled-labels", SHUFFLED_PAGE, run_shuffled)
