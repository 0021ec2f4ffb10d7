"""The gradients of backward against differences of the loss."""

from __future__ import annotations

import copy
import itertools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tb_nnhealth.sanity import isolation
from tb_nnhealth.sanity.base import Check, Verdict, described, failed, number, passed, skipped, warned
from tb_nnhealth.sanity.bench import Bench
from tb_nnhealth.sanity.dependence import stirred

STEP_SIZES = (1e-3, 1e-4, 1e-5, 1e-6)
WRONG = 1e-2
AGREE = 1e-3
"""Within this two neighbouring step sizes must agree before their slope counts: no kink lies between them."""
DIRECTIONS = 2
TENSORS = 64


@dataclass(frozen=True)
class Compared:
    """One parameter's slope along one direction."""

    name: str
    analytic: float
    numeric: float

    @property
    def error(self) -> float:
        return abs(self.analytic - self.numeric) / max(abs(self.analytic), abs(self.numeric), 1e-300)


def run(bench: Bench) -> Verdict:
    try:
        model = copy.deepcopy(stirred(bench)).double()
        twin = bench.in_double()
        loss = _loss(twin, model)
    except Exception as error:
        return skipped(f"the model cannot run in float64: {described(error)}")
    if loss.dtype != torch.float64:
        return skipped(f"the loss is computed in {str(loss.dtype).removeprefix('torch.')} within the model")
    if not bool(torch.isfinite(loss)) or not loss.requires_grad:
        return skipped("the loss is not finite, or depends on no parameter (see finite-outputs, parameters-reached)")
    functions = own_functions(loss)
    parameters = [(name, p) for name, p in model.named_parameters() if p.requires_grad and p.is_floating_point()]
    chosen = parameters[:: -(-len(parameters) // TENSORS)]
    kept = _rows_without_gradient(model)
    gradients = torch.autograd.grad(loss, [p for _, p in chosen], allow_unused=True)
    noise = 1e-9 * max(1.0, abs(float(loss)))
    compared: list[Compared] = []
    unclear = 0
    for (name, parameter), gradient in zip(chosen, gradients, strict=True):
        if bench.clock.spent:
            break
        found = _compare(twin, model, name, parameter, gradient, noise, kept.get(name))
        unclear += found is None
        compared += [found] if found is not None else []
    if not compared:
        return skipped(
            "no parameter's slope could be measured clearly: the loss is not smooth enough, or time was short"
        )
    return _verdict(compared, unclear, functions)


def _verdict(compared: list[Compared], unclear: int, functions: list[str]) -> Verdict:
    wrong = sorted((c for c in compared if c.error > WRONG), key=lambda c: -c.error)
    worst = max(compared, key=lambda c: c.error)
    evidence: dict[str, Any] = {
        "worst_relative_error": worst.error,
        "limit": WRONG,
        "parameter": worst.name,
        "gradient": worst.analytic,
        "slope": worst.numeric,
        "compared": len(compared),
        "unclear": unclear,
        "functions": functions,
    }
    if not wrong:
        return passed(
            f"The gradients of {len(compared)} parameters agree with the slope of the loss (worst relative error "
            f"{number(worst.error)}).",
            **evidence,
        )
    first = wrong[0]
    told = (
        f"The gradient of {first.name} is {number(first.analytic)} along a direction in which the loss has the slope "
        f"{number(first.numeric)}" + (f", and {len(wrong) - 1} more disagree" if len(wrong) > 1 else "")
    )
    if all(c.numeric == 0 for c in wrong):
        return passed(f"{told}: a straight-through estimator, whose gradient is meant to differ.", **evidence)
    if functions and all(c.analytic * c.numeric < 0 for c in wrong):
        return warned(
            f"{told}: the sign is turned around.",
            f"This is right for a gradient reversal; else look at the backward of {', '.join(functions)}.",
            **evidence,
        )
    if functions:
        return failed(
            f"{told}.",
            f"Look at the backward of {', '.join(functions)}: torch.autograd.gradcheck tests it alone.",
            **evidence,
        )
    return skipped(
        f"{told}: a detach(), .data or no_grad() cuts part of the loss off from it; where that is meant, all is well",
        **evidence,
    )


def _compare(
    bench: Bench,
    model: nn.Module,
    name: str,
    parameter: Tensor,
    gradient: Tensor | None,
    noise: float,
    fixed_row: int | None,
) -> Compared | None:
    """The direction that disagrees most; None where no slope is clear."""
    found: list[Compared] = []
    for direction in range(DIRECTIONS):
        generator = torch.Generator().manual_seed(direction)
        towards = torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(parameter.device)
        if fixed_row is not None:
            towards[fixed_row] = 0
        towards /= towards.norm()
        analytic = 0.0 if gradient is None else float((gradient * towards).sum())
        scale = max(1.0, float(parameter.detach().norm()))
        slopes = [_slope(bench, model, parameter, towards, size * scale) for size in STEP_SIZES]
        tolerances = [noise * 1e-4 / (size * scale) for size in STEP_SIZES]
        close = [s for s, t in zip(slopes, tolerances, strict=True) if abs(s - analytic) <= WRONG * abs(analytic) + t]
        if close:
            found.append(Compared(name, analytic, min(close, key=lambda s: abs(s - analytic))))
            continue
        clear = [
            b
            for a, b in itertools.pairwise(slopes)
            if math.isfinite(a) and math.isfinite(b) and abs(a - b) <= AGREE * max(abs(a), abs(b))
        ]
        if clear:
            found.append(Compared(name, analytic, min(clear, key=lambda s: abs(s - analytic))))
    return max(found, key=_clear_error) if found else None


def _rows_without_gradient(model: nn.Module) -> dict[str, int]:
    """The padding row of each embedding, by the name of its weight: it is read, and kept from learning."""
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, (nn.Embedding, nn.EmbeddingBag)) and module.padding_idx is not None:
            found[f"{name}.weight".removeprefix(".")] = module.padding_idx
    return found


def _clear_error(compared: Compared) -> float:
    return compared.error


def _slope(bench: Bench, model: nn.Module, parameter: Tensor, towards: Tensor, size: float) -> float:
    at = parameter.detach().clone()
    losses = []
    with torch.no_grad():
        for sign in (1, -1):
            parameter.copy_(at + sign * size * towards)
            losses.append(float(_loss(bench, model)))
        parameter.copy_(at)
    return (losses[0] - losses[1]) / (2 * size)


def _loss(bench: Bench, model: nn.Module) -> Tensor:
    isolation.seed(3)
    with torch.autocast(bench.device.type, enabled=False):
        return bench.run(model, bench.batch)[1]


def own_functions(loss: Tensor) -> list[str]:
    """Names of the ``autograd.Function`` classes of the user's in the graph of ``loss``."""
    names: dict[str, None] = {}
    seen: set[Any] = set()
    waiting = [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(node, torch.autograd.function.BackwardCFunction):
            names[type(node).__name__.removesuffix("Backward")] = None
        waiting += [parent for parent, _ in node.next_functions]
    return list(names)


PAGE = f"""
Does backward compute the slope of the loss?

**How.** On a copy in float64 and eval mode, the loss is moved along {DIRECTIONS} random directions of each
parameter tensor (of {TENSORS} of them, spread over the model) by central differences at four step sizes from 1e-3
to 1e-6. The best agreement with the gradient counts, so that the kink of a ReLU within a step does no harm; a slope
counts only where two neighbouring step sizes agree on it to {AGREE:g}.

**Fails** where a slope differs from the gradient by more than {WRONG:g} of the greater of both, in a model with an
`autograd.Function` of its own; **warns** where the sign alone is turned around (a gradient reversal). A loss that is
flat where the gradient is not passes as a straight-through estimator. Without a function of its own it is skipped and
the parameter named: a `detach`, `.data` or `no_grad` is in the way, which may be meant (a target network, a
stop-gradient). Skipped too where the model cannot run in float64.

**Try.** Look at the `backward` of the function named; take one sample and one layer; `torch.autograd.gradcheck`.

**Sources.** CS231n, "gradient checks"; Coursera, gradient checking; 37 reasons, 26.
"""
CHECK = Check("gradient-check", PAGE, run)
