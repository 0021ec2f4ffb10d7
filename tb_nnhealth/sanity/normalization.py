"""The scale of what the model's first layer is given."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tb_nnhealth.rules.data.input_scale import MASK, SMALL_BESIDE, SPARSE
from tb_nnhealth.rules.data.unnormalized_input import ADVICE, RULE
from tb_nnhealth.sanity import nested
from tb_nnhealth.sanity.base import Check, Verdict, failed, number, passed, skipped, warned
from tb_nnhealth.sanity.bench import Bench

LIMITS = {option.name: option.default for option in RULE.options}
RMS, OFFSET, LEAST = LIMITS["rms"], LIMITS["offset"], LIMITS["least"]
FAR = 5.0
"""Times the limit of the RMS from which on the check fails."""
WEIGHTED = (nn.Linear, nn.modules.conv._ConvNd, nn.RNNBase, nn.Bilinear)


def run(bench: Bench) -> Verdict:
    features = [(name or "input", x) for name, x in bench.batch.features() if _dense(x, bench)]
    leaves, given = _first_layers(bench)
    if not leaves or "Embedding" in type(leaves[0]).__name__ or "Norm" in type(leaves[0]).__name__:
        first = f"of type {type(leaves[0]).__name__}" if leaves else "no module"
        return skipped(f"the first layer is {first}")
    if not features and given is not None and not _sparse(given):
        features = [("the first layer's input", given)]  # integers, such as pixels, that the model converts
    if not features:
        return skipped("no input holds dense numbers")
    normalized_after = len(leaves) > 1 and "Norm" in type(leaves[1]).__name__
    numbers = {name: _numbers(x) for name, x in features}
    worst = max(numbers, key=lambda name: numbers[name]["rms"])
    seen = numbers[worst]
    if given is not None and not _sparse(given) and any(_judged(n) for n in numbers.values()):
        inside = _numbers(given)
        if _judged(inside) is None:
            return passed(
                f"The model normalizes its inputs itself: its first layer is given mean {number(inside['mean'])} and "
                f"standard deviation {number(inside['std'])}.",
                **inside,
            )
    ill = {name: kind for name, n in numbers.items() if (kind := _judged(n)) is not None}
    if not ill:
        return passed(
            f"The inputs have mean {number(seen['mean'])} and standard deviation {number(seen['std'])}.", **seen
        )
    name, kind = next(iter(ill.items()))
    n = numbers[name]
    told = f"{name[0].upper()}{name[1:]} has mean {number(n['mean'])} and standard deviation {number(n['std'])}"
    told += {
        "rms": f", {number(n['rms'])} times the scale that layers are initialized for.",
        "offset": ": the offset dwarfs the spread.",
        "least": ": so small that the network hardly sees it.",
    }[kind]
    if kind == "rms" and n["rms"] > FAR * RMS and not normalized_after:
        return failed(told, *ADVICE, **n, limit=RMS)
    return warned(told, *ADVICE, **n, limit=LIMITS[kind])


def _judged(n: dict[str, float]) -> str | None:
    """The limit crossed, if any."""
    if n["rms"] > RMS:
        return "rms"
    if n["std"] > 0 and abs(n["mean"]) > 1 and abs(n["mean"]) > OFFSET * n["std"]:
        return "offset"
    return "least" if 0 < n["rms"] < LEAST else None


def _numbers(x: Tensor) -> dict[str, float]:
    values = x.detach().double()
    values = values[torch.isfinite(values)]
    if not values.numel():
        return {"mean": 0.0, "std": 0.0, "rms": 0.0}
    mean, std = float(values.mean()), float(values.std(correction=0))
    return {"mean": mean, "std": std, "rms": float(values.square().mean().sqrt())}


def _dense(x: Tensor, bench: Bench) -> bool:
    if not x.is_floating_point() or not x.numel() or _sparse(x):
        return False
    most = max(tensor.numel() for _, tensor in nested.named_tensors(bench.batch.inputs))
    beside = x[0].numel() <= 1 and x.numel() < SMALL_BESIDE * most if x.ndim else True
    mask = bool((x <= 0).all()) and bool((x < MASK).any())
    return not beside and not mask


def _sparse(x: Tensor) -> bool:
    return float((x == 0).double().mean()) > SPARSE


def _first_layers(bench: Bench) -> tuple[list[nn.Module], Tensor | None]:
    """The leaf modules in the order of their calls, and what the first one with a weight was given."""
    called: list[nn.Module] = []
    given: list[Tensor] = []

    def note(module: nn.Module, args: Any) -> None:
        called.append(module)
        if isinstance(module, WEIGHTED) and not given and nested.floats(args):
            given.append(nested.floats(args)[0].detach().clone())

    model = bench.fresh(0)
    leaves = [m for m in model.modules() if next(m.children(), None) is None]
    hooks = [m.register_forward_pre_hook(note) for m in leaves]
    try:
        with torch.no_grad():
            bench.forward(model, bench.batch)
    finally:
        for hook in hooks:
            hook.remove()
    telling = [m for m in called if next(m.parameters(recurse=False), None) is not None or "Norm" in type(m).__name__]
    return telling, given[0] if given else None


PAGE = f"""
Do the inputs have a mean near 0 and a standard deviation near 1?

**How.** Judged is what the first linear, convolutional or recurrent layer is given, so that a model which divides
by 255 itself is fine. The limits are those of the rule [unnormalized-input](rules/unnormalized-input.md). Token
numbers, masks, one number a sample beside a larger input, and inputs that are mostly zero are left out, and so is a
model that begins with a normalization or an embedding.

**Warns** where the RMS exceeds {RMS:g} or lies below {LEAST:g}, or where the mean is above 1 and more than
{OFFSET:g} standard deviations. **Fails** where the RMS exceeds {FAR:g} times {RMS:g} (pixels from 0 to 255 give
about 80), unless the first layer is followed by a normalization.

**Try.** `x.float() / 255`, then the data set's mean and standard deviation; the logarithm of skewed features.

**Sources.** CS231n, "data preprocessing"; LeCun et al., "Efficient BackProp"; 37 reasons, 12 and 14.
"""
CHECK = Check("input-normalization", PAGE, run)
