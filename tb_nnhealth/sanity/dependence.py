"""What an output depends on: on its own sample, and in a causal model on nothing that comes later."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from tb_nnhealth.sanity import isolation, nested
from tb_nnhealth.sanity.base import Check, Verdict, failed, number, passed, skipped
from tb_nnhealth.sanity.batch import Batch
from tb_nnhealth.sanity.bench import Bench

TOLERANCE = 1e-4
"""Change of an output relative to what its own input changes; rounding stays far below."""
CUTS = 16
STIR = 0.05


def run_leak(bench: Bench) -> Verdict:
    batch = bench.batch
    if batch.axis is None or batch.samples < 2:
        return skipped("no axis of the inputs is as long as the targets, so that samples cannot be told apart")
    found = _leak(bench, batch, batch.axis)
    if isinstance(found, str):
        return skipped(found)
    ratio, sample = found
    evidence = {"relative_change": ratio, "limit": TOLERANCE, "sample": sample, "samples": batch.samples}
    if ratio <= TOLERANCE:
        return passed(f"Each of the {batch.samples} samples' outputs depends on its own inputs alone.", **evidence)
    own = f"({number(ratio)} of what its own do)" if math.isfinite(ratio) else "and not with its own"
    told = f"The output of sample {sample} changes with the inputs of the others {own}"
    advice = (
        "Look for view() or reshape() where transpose() or permute() is meant.",
        "Give attention, transformer and recurrent layers batch_first=True where the batch comes first.",
        "Look for a mean, softmax or normalization over axis 0.",
    )
    if not batch.sure:
        other = _leak(bench, replace(batch, axis=1 - batch.axis, samples=_size(batch, 1 - batch.axis)), 1 - batch.axis)
        if not isinstance(other, str) and other[0] <= TOLERANCE:
            return skipped(
                f"inputs and targets do not tell which axis is the batch: along axis {batch.axis} outputs depend on "
                f"each other, along axis {1 - batch.axis} they do not. Give batch_dim={1 - batch.axis} if time comes "
                f"first; if the batch does, samples are mixed, and batch_dim={batch.axis} says so",
                **evidence,
            )
    return failed(f"{told}: samples are mixed.", *advice, **evidence)


def _size(batch: Batch, axis: int) -> int:
    return next(int(x.shape[axis]) for _, x in batch.features() if x.ndim > axis)


def _leak(bench: Bench, batch: Batch, axis: int) -> tuple[float, int] | str:
    """The greatest relative change and its sample, or why none could be measured."""
    model = stirred(bench)
    reference = _outputs(bench, model, batch)
    worst, at, depends = 0.0, 0, False
    for sample in sorted({0, batch.samples // 2, batch.samples - 1}):
        bench.clock.check()
        others = torch.ones(batch.samples, dtype=torch.bool)
        others[sample] = False
        changed = [_outputs(bench, model, changed_where(batch, axis, where)) for where in (others, ~others)]
        from_others, own = (_distance(reference, other, axis, sample, batch.samples) for other in changed)
        if own == 0 and from_others == 0:
            continue
        ratio = from_others / own if own else float("inf")
        worst, at = max((worst, at), (ratio, sample))
        depends = True
    if not depends:
        return "the output does not depend on the inputs at all (see input-independent-baseline)"
    return worst, at


def run_causality(bench: Bench) -> Verdict:
    if not bench.causal:
        return skipped("causal=True asks for it, where the output at a position may depend on the past alone")
    batch = bench.batch
    model = stirred(bench)
    reference = _outputs(bench, model, batch)
    axis = 1 - (batch.axis or 0)
    lengths = {x.shape[axis] for _, x in batch.features() if x.ndim > axis}
    if len(lengths) != 1 or not (length := lengths.pop()) > 1:
        return skipped("the inputs have no axis of positions beside the samples' one")
    over = [_time_axis(x, length, batch) for x in reference]
    if not any(where is not None for where in over):
        return skipped(f"no output has an axis of the inputs' {length} positions")
    first: int | None = None
    depends = False
    for cut in _cuts(length):
        bench.clock.check()
        later = torch.arange(length) > cut
        changed = _outputs(bench, model, changed_where(batch, axis, later))
        for before, after, along in zip(reference, changed, over, strict=True):
            if along is None or before.shape != after.shape:
                continue
            moved = (before - after).abs().movedim(along, 0).flatten(1).amax(1)
            depends = depends or bool(moved[cut + 1 :].any())
            leaking = torch.nonzero(moved[: cut + 1] > TOLERANCE * moved.amax())
            if len(leaking):
                position = int(leaking[0])
                first = position if first is None else min(first, position)
    if not depends:
        return skipped("the output does not depend on the inputs at all (see input-independent-baseline)")
    if first is None:
        return passed(f"No output of the {length} positions depends on later inputs.", positions=length)
    return failed(
        f"The output at position {first} depends on inputs after it: the model sees the future.",
        "Mask the attention: is_causal=True, or -inf above the diagonal; check the mask's orientation.",
        "Pad convolutions on the left alone; use recurrent layers that are not bidirectional.",
        "Look for a normalization or a mean over the positions.",
        first_position=first,
        positions=length,
    )


def stirred(bench: Bench, seed: int = 0) -> nn.Module:
    """A fresh model in eval mode, its weights that are all zero given small values."""
    model = bench.fresh(seed)
    isolation.seed(seed)
    stir(model)
    return model.eval()


def stir(model: nn.Module) -> None:
    """Gives the weights that are all zero small values, drawn at random."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.is_floating_point() and parameter.numel() and not parameter.any():
                parameter.normal_(0, STIR)


def changed_where(batch: Batch, axis: int, where: Tensor) -> Batch:
    """The batch with other values for the features at the indices ``where``, bool of the length of ``axis``."""
    isolation.seed(1)

    def change(_: str, x: Tensor) -> Tensor:
        if x.ndim <= axis or x.shape[axis] != len(where):
            return x
        at = where.to(x.device).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
        return torch.where(at, _other_values(x), x)

    return batch.with_inputs(change)


def _other_values(x: Tensor) -> Tensor:
    if x.is_floating_point():
        if bool((x == x.flatten()[0]).all()):
            return x + torch.randn_like(x)
        return x.flatten()[torch.randperm(x.numel(), device=x.device)].reshape(x.shape)
    values = torch.unique(x)
    if len(values) < 2:
        return x
    place = torch.searchsorted(values, x)
    step = torch.randint(1, len(values), x.shape, device=x.device)
    return values[(place + step) % len(values)]  # always another value


def _outputs(bench: Bench, model: nn.Module, batch: Batch) -> list[Tensor]:
    """Floating point outputs; what the model draws in eval mode is drawn alike each time."""
    isolation.seed(2)
    with torch.no_grad():
        return [x.double() for x in nested.floats(bench.predicted(bench.forward(model, batch)))]


def _distance(one: list[Tensor], other: list[Tensor], axis: int, sample: int, samples: int) -> float:
    """The greatest change of the outputs of a sample."""
    greatest = 0.0
    for a, b in zip(one, other, strict=True):
        along = axis if a.ndim > axis and a.shape[axis] == samples else 0
        if a.shape == b.shape and a.ndim > along and a.shape[along] == samples:
            change = (a.select(along, sample) - b.select(along, sample)).abs()
            greatest = max(greatest, float(torch.nan_to_num(change, nan=0.0, posinf=0.0).max()))
    return greatest


def _time_axis(output: Tensor, length: int, batch: Batch) -> int | None:
    """The output's axis of positions: 1 where the batch comes first, else 0; the last where channels come before."""
    preferred = 1 - (batch.axis or 0)
    for axis in (preferred, output.ndim - 1):
        if 0 <= axis < output.ndim and axis != (batch.axis or 0) and output.shape[axis] == length:
            return axis
    return None


def _cuts(length: int) -> list[int]:
    if length - 1 <= CUTS:
        return list(range(length - 1))
    return sorted({round(i * (length - 2) / (CUTS - 1)) for i in range(CUTS)})


def _how(compared: str) -> str:
    return f"""
**How.** In eval mode, {compared}. Values are replaced by others of the batch, so that this works for token numbers as
well as for features. Weights that are all zero are given small values first (standard deviation {STIR}), or they would
hide the path. A change below {TOLERANCE:g} of what an output's own inputs change is rounding.
"""


LEAK_PAGE = f"""
Does the output for a sample depend on that sample alone?
{_how("the inputs of all other samples are changed, and the output of one sample is compared")}
**Fails** where it changes. Batch normalization mixes samples while it trains; in eval mode it does not. Where the
samples' axis cannot be told (inputs and targets of shape (batch, time) or (time, batch)) and the model is independent
along the other one, it is skipped; `batch_dim=0` (or 1) decides.

**Try.** `view` or `reshape` in place of `transpose` or `permute`; attention and recurrent layers without
`batch_first=True`; a mean, softmax or normalization over axis 0.

**Sources.** Karpathy, "use backprop to chart dependencies"; 37 reasons, 27.
"""
CAUSAL_PAGE = f"""
Does the output at a position depend on nothing after it? Only with `causal=True`.
{_how(f"all inputs after a position are changed, at up to {CUTS} positions, and the outputs up to it are compared")}
**Fails** where one changes, and names the first position that does.

**Try.** The attention mask: `is_causal=True`, an upper triangle of -inf above the diagonal; a convolution padded on the
left alone; a recurrent layer that is not bidirectional; no normalization over time.

**Sources.** Karpathy, "use backprop to chart dependencies".
"""
LEAK = Check("batch-leak", LEAK_PAGE, run_leak)
CAUSALITY = Check("causality", CAUSAL_PAGE, run_causality)
