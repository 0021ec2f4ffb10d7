"""What the first forward and backward pass give: finite numbers, and a gradient for each parameter."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tb_nnhealth.sanity import isolation, nested
from tb_nnhealth.sanity.base import Check, Verdict, described, failed, passed, warned
from tb_nnhealth.sanity.bench import Bench
from tb_nnhealth.sanity.dependence import stir
from tb_nnhealth.sanity.modes import quiet

NAMES_TOLD = 8
INITS = 2


def run_finite(bench: Bench) -> Verdict:
    model = bench.fresh(0)
    for name, tensor in [*_named(bench.batch.inputs, "inputs"), *_named(bench.batch.targets, "targets")]:
        if tensor.is_floating_point() and bool(torch.isnan(tensor).any()):
            count = int(torch.isnan(tensor).sum())
            return failed(
                f"The {name} of the batch hold {count} NaN.",
                "Remove or fill what is missing in the data.",
                count=count,
                tensor=name,
            )
    first: list[str] = []
    hooks = [m.register_forward_hook(_noting(name, first)) for name, m in model.named_modules()]
    try:
        outputs, loss = bench.run(model, bench.batch)
        if loss.requires_grad:
            loss.backward()
    except Exception as error:
        where = f" (non-finite from `{first[0]}` on)" if first else ""
        return failed(
            f"The model or the criterion fails on this batch{where}: {described(error)}",
            "Run loss = criterion(model(x), y); loss.backward() on this batch alone.",
            error=described(error),
        )
    finally:
        for hook in hooks:
            hook.remove()
    bad = [name for name, p in model.named_parameters() if p.grad is not None and not _finite(p.grad)]
    evidence: dict[str, Any] = {"loss": float(loss.detach()), "first_module": first[0] if first else ""}
    where = f" The first module with a non-finite output is `{first[0]}`." if first else ""
    advice = (
        "Look there for a logarithm or root of 0, a division by 0 (add an epsilon) or a row that is masked whole.",
        "Normalize the inputs; in half precision keep the loss in float32.",
        "torch.autograd.set_detect_anomaly(True) names the operation.",
    )
    if any(bool(torch.isnan(x).any()) for x in nested.floats(outputs)):
        return failed(f"The untrained model's output holds NaN.{where}", *advice, **evidence)
    if not _finite(loss):
        return failed(f"The first loss is {float(loss.detach())}.{where}", *advice, **evidence)
    if bad:
        told = f"{_list(bad)} {'has' if len(bad) == 1 else 'have'} a gradient that is not finite, at a finite loss."
        return failed(f"{told}{where}", *advice, **evidence, parameters=bad[:NAMES_TOLD])
    return passed("Outputs, loss and gradients are finite.", **evidence)


def run_reached(bench: Bench) -> Verdict:
    model = bench.fresh(0)
    wanted = [name for name, p in model.named_parameters() if p.requires_grad]
    if not wanted:
        return failed(
            "No parameter requires a gradient: there is nothing to train.",
            "Look for requires_grad_(False), and for make_model returning a model under torch.no_grad().",
        )
    connected: set[str] = set()
    moved: set[str] = set()
    for init in range(INITS + 1):
        model = bench.fresh(init)
        quiet(model, bench.device)
        if init == INITS:
            isolation.seed(init)
            stir(model)
        loss = bench.run(model, bench.batch)[1]
        if not loss.requires_grad:
            break
        loss.backward()
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        connected |= gradients.keys()
        moved |= {name for name, g in gradients.items() if bool((g.coalesce().values() if g.is_sparse else g).any())}
    missing = [name for name in wanted if name not in connected]
    zero = [name for name in wanted if name in connected and name not in moved]
    evidence = {"parameters": len(wanted), "without_gradient": missing[:NAMES_TOLD], "zero_gradient": zero[:NAMES_TOLD]}
    if missing and len(missing) == len(wanted):
        return failed(
            "The loss has no gradient on any parameter: the graph is cut.",
            "Look for detach(), .data, .item(), argmax or numpy between the model and the loss.",
            **evidence,
        )
    siblings = [name for name in missing if _has_sibling(name, connected)]
    unreached = [name for name in missing if name not in siblings]
    if unreached:
        return failed(
            f"{_list(unreached)} {'gets' if len(unreached) == 1 else 'get'} no gradient: the loss does not depend on "
            f"{'it' if len(unreached) == 1 else 'them'}.",
            "Call the module in forward and let its output enter the loss; or remove it.",
            "Freeze it by requires_grad_(False) where it is not to be trained.",
            **evidence,
        )
    if siblings or zero:
        return warned(
            f"{_list([*siblings, *zero])} {'gets' if len([*siblings, *zero]) == 1 else 'get'} no gradient from this "
            "batch.",
            "An expert or branch that no sample was sent to is fine; try a larger batch.",
            "Look for units that are dead or saturated on every sample.",
            **evidence,
        )
    return passed(f"Each of the {len(wanted)} parameters gets a gradient.", **evidence)


def _noting(name: str, first: list[str]) -> Any:
    def note(module: nn.Module, args: Any, output: Any) -> None:
        if not first and name and any(bool((torch.isnan(x) | (x == torch.inf)).any()) for x in nested.floats(output)):
            first.append(name)

    return note


def _has_sibling(name: str, connected: set[str]) -> bool:
    """Whether the parameter has a gradient in another member of a list: ``experts.0.w`` beside ``experts.1.w``."""
    parts = name.split(".")
    for place, part in enumerate(parts):
        if part.isdigit():
            for other in connected:
                others = other.split(".")
                alike = len(others) == len(parts) and others[place].isdigit()
                if alike and all(a == b for i, (a, b) in enumerate(zip(parts, others, strict=True)) if i != place):
                    return True
    return False


def _named(value: Any, what: str) -> list[tuple[str, Tensor]]:
    return [(f"{what} {name}".strip(), tensor) for name, tensor in nested.named_tensors(value)]


def _finite(tensor: Tensor) -> bool:
    values = tensor.coalesce().values() if tensor.is_sparse else tensor
    return bool(torch.isfinite(values.detach()).all())


def _list(names: list[str]) -> str:
    told = ", ".join(f"`{name}`" for name in names[:NAMES_TOLD])
    return told + (f" and {len(names) - NAMES_TOLD} more" if len(names) > NAMES_TOLD else "")


FINITE_PAGE = """
Are outputs, loss and gradients of the untrained model finite?

**How.** A forward and backward pass on the batch, in the mode in which the factory gives the model.

**Fails** where the pass raises, where inputs, outputs, loss or gradients hold NaN, or loss or gradients infinity,
and names the first module whose output is not finite. The other checks are skipped then.

**Try.** Logarithms of 0, divisions by 0, square roots at 0 (add an epsilon); attention rows that are masked whole;
inputs that are not normalized, in half precision.

**Sources.** 37 reasons, 37.
"""
REACHED_PAGE = f"""
Does every parameter get a gradient?

**How.** A backward pass without dropout on {INITS} fresh models, and on one whose all-zero weights were given small
values (a branch that starts at zero hides what lies behind it). Rows of an embedding that the batch does not use
are fine.

**Fails** where a parameter that requires a gradient gets none, and **warns** where it gets one of zeros, or where
others of its list do get one (an expert that no sample was sent to).

**Try.** Call the module in `forward`; add its output to the loss; hold modules in `ModuleList`; take a stray
`detach` or `.data` away; freeze on purpose by `requires_grad_(False)`.

**Sources.** Karpathy, "use backprop to chart dependencies"; 37 reasons, 23.
"""
FINITE = Check("finite-outputs", FINITE_PAGE, run_finite)
REACHED = Check("parameters-reached", REACHED_PAGE, run_reached)
