"""The optimizer does not hold the parameters that are to be trained.

## What it detects
Parameters that require a gradient and receive one, but are held by no watched optimizer and never change; and
optimizers that hold parameters which the model does not have (any more), because a layer was replaced or the model
rebuilt after the optimizer was made. And tensors that the forward pass learns with and that are not even parameters
of the model: layers in a plain list or dict, layers made anew in each forward pass. Also the opposite: parameters that
two watched optimizers hold, and both step on one and the same gradient.

## Why it matters
Their gradients are computed and thrown away. A replaced head stays at its random values while the optimizer updates
the old one, which nobody uses; the loss may still fall a little, as the other layers adapt to a random head, and
nothing else tells.

## How it is computed
By identity of the tensors, in the watched layout: parameters with `requires_grad` and no optimizer, of which a
gradient arrived and the weights were the same in all of at least `records` records; and the number of parameters that
the optimizers hold and the model lacks. Parameters that change belong to another optimizer, and those without
gradient rest on purpose. A parameter that was replaced by a new one as the model trained, so that an optimizer
stepped one of its name before, is judged from then on, and by half as many records. Parameters of an optimizer that
has never stepped in 20 records, while another has, count as held by none where gradients reach their modules' outputs.

What is no parameter at all is found in the autograd graphs of two early steps, from what the model returned back to
what it was given: the graph ends in tensors that require a gradient. Those that the model does not list, that lie at
one of its modules or are an `nn.Parameter`, and that never changed in `records` records, are reported; so are
parameters that each of the two graphs had another of, of the same shape. On the CPU only: elsewhere such a layer stops
the first forward pass, since `model.to(device)` does not move it.

Held twice counts what five records tell, on the CPU: the gradients before both steps were equal, element by element.

Critical where the optimizer holds as many foreign parameters as the model misses (it is stale), or none of the
model's weights at all, or where layers behind those it trains are missing, and the loss has not been learned;
otherwise a warning; for information where only layers before the trained ones are missing and the loss falls: the
head alone is being trained. What is not registered is critical until the loss has been learned.

## What to try
1. Build the optimizer after the model is complete (layers replaced, moved, wrapped): `optimizer =
   torch.optim.AdamW(model.parameters(), lr)`.
2. Add what was added later: `optimizer.add_param_group({"params": model.new_layer.parameters()})`.
3. Check that submodules are registered: layers in a plain list or dict are not; use `nn.ModuleList` or
   `nn.ModuleDict`.
4. If they are meant to rest, freeze them, which also saves their gradients: `parameter.requires_grad_(False)`.

## When it is harmless
When a pretrained network is used as it is and only its head is trained. Freezing the rest saves memory and time all
the same.

## References
- [PyTorch, torch.optim: constructing an optimizer](https://pytorch.org/docs/stable/optim.html)
- [37 Reasons why your Neural Network is not working, number
  23](https://blog.slavv.com/37-reasons-why-your-neural-network-is-not-working-4020854bd607)
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.findings import Severity
from tb_nnhealth.history import History, Run
from tb_nnhealth.rules.base import (
    GIVEN,
    Case,
    CouldNotCheck,
    Example,
    Hit,
    Ill,
    NotApplicable,
    Option,
    Outcome,
    Passed,
    Rule,
    TooLittleData,
)
from tb_nnhealth.rules.evidence.progress import Progress, progress
from tb_nnhealth.rules.evidence.weights import Mask, Weights, aligned, awake, weights_of
from tb_nnhealth.rules.hits import hit
from tb_nnhealth.rules.persistence import Episode
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.rules.updates.held_twice import held_twice
from tb_nnhealth.rules.updates.stray_parameters import stray_parameters
from tb_nnhealth.rules.wording import percent

IDLE_RECORDS = 20
"""Records in which an optimizer that is watched has never stepped, though another has."""


@np.errstate(all="ignore")
def check(case: Case) -> Outcome:
    assert case.history is not None
    history = case.history
    if not history.layout.optimizers:
        return CouldNotCheck("pass the optimizer: writer.watch(model, optimizer)")
    weights = weights_of(history)
    trainable = np.array([p.trainable for p in weights.parameters], bool) | awake(weights)
    if not trainable.any():
        return NotApplicable("the model has no trainable parameters")
    records = int(case.options["records"])
    if len(history) < records:
        return TooLittleData(f"{len(history)} records so far, {records} needed")

    idle = held_in_vain(weights)
    missing = trainable & (np.array([p.optimizer < 0 for p in weights.parameters], bool) | idle)
    since = released(weights)
    needed = np.where(since > 0, -(-records // 2), np.where(idle, IDLE_RECORDS, records))
    missing &= receives_gradients(weights, since) | (idle & reached(history, weights))
    missing &= unchanged(history, weights, since, needed)
    stray = stray_parameters(case.run, history, records) + held_twice(history)
    if not missing.any():
        return Ill(stray) if stray else Passed()
    foreign = sum(optimizer.foreign_parameters for optimizer in history.layout.optimizers)
    seen = progress(case.run, history)
    severity, why = _severity(weights, missing, int(foreign), seen)
    share = float(weights.numel[missing].sum() / weights.numel[trainable].sum())
    return Ill(
        [
            _hit(weights, int(i), int(since[i]), int(needed[i]), severity, why, share, int(foreign), bool(idle[i]))
            for i in np.flatnonzero(missing)
        ]
        + stray
    )


def held_in_vain(weights: Weights) -> Mask:
    """Parameters of an optimizer that never steps, while another one does; shape (n,)."""
    of = np.array([p.optimizer for p in weights.parameters], np.int64)
    stepping = np.unique(of[np.isfinite(weights.update).any(axis=0)])
    return np.asarray((of >= 0) & ~np.isin(of, stepping) & bool(len(stepping)))


def released(weights: Weights) -> NDArray[np.int64]:
    """The first record after the last in which a watched optimizer stepped each parameter; 0 where none ever did.

    A parameter that is replaced by a new one of its name has been held before.
    """
    held = np.isfinite(weights.update)
    return np.where(held.any(axis=0), len(held) - np.argmax(held[::-1], axis=0), 0)


def receives_gradients(weights: Weights, since: NDArray[np.int64]) -> Mask:
    """Parameters with a gradient that is not zero in any record from ``since`` on; both of shape (n,)."""
    recent = np.arange(len(weights.steps))[:, None] >= since
    return np.asarray((recent & (np.nan_to_num(weights.gradient) > 0)).any(axis=0))


def reached(history: History, weights: Weights) -> Mask:
    """Parameters of modules whose outputs a gradient came back to, shape (n,): their own is read at the step."""
    outputs = aligned(history.table(schema.ACTIVATION_GRADIENT, schema.RMS), [p.module for p in weights.parameters])
    return np.asarray((np.nan_to_num(outputs) > 0).any(axis=0))


def unchanged(history: History, weights: Weights, since: NDArray[np.int64], needed: NDArray[np.int64]) -> Mask:
    """Parameters whose statistics are the same in every record from ``since`` on, at least two and ``needed``.

    All have the shape (n,).
    """
    recent = np.arange(len(weights.steps))[:, None] >= since
    same = ((recent & np.isfinite(weights.weight)).sum(axis=0) >= 2) & (len(weights.steps) - since >= needed)
    for statistic in (schema.RMS, schema.MEAN, schema.MIN, schema.MAX):
        values = np.where(recent, aligned(history.table(schema.WEIGHT, statistic), weights.names), np.nan)
        low, high = np.fmin.reduce(values, axis=0), np.fmax.reduce(values, axis=0)
        same &= ~(low != high) | np.isnan(low)
    return np.asarray(same)


def _severity(weights: Weights, missing: Mask, foreign: int, seen: Progress | None) -> tuple[Severity, str]:
    held = weights.trained
    if not held.any():
        return "critical", "The optimizer holds none of the model's parameters"
    if foreign and foreign == int(missing.sum()):
        return "critical", f"The optimizer holds {foreign} parameters that the model no longer has, in their place"
    behind = bool((weights.position[missing] > weights.position[held].max()).any())
    before = bool((weights.position[missing] < weights.position[held].min()).all())
    if behind and not (seen is not None and seen.learned):
        return "critical", "The layers that it does hold come before"
    if before and seen is not None and seen.learned:
        return "info", "Only the layers behind are trained, which may be meant"
    return "warning", "The optimizer was built without them"


def _hit(
    weights: Weights,
    i: int,
    since: int,
    needed: int,
    severity: Severity,
    why: str,
    share: float,
    foreign: int,
    idle: bool,
) -> Hit:
    name = weights.names[i]
    steps = weights.steps
    fired, last = since + needed - 1, len(steps) - 1
    whole = Episode(
        i, int(steps[since]), int(steps[fired]), int(steps[last]), last + 1 - since, True, since, fired, last
    )
    top = name.rsplit(".", 1)[0] or name
    return hit(
        whole,
        name,
        severity=severity,
        statistic="share_of_trainable_weights_in_no_optimizer",
        unit="1",
        value=share,
        limit=0.0,
        direction="above",
        healthy=(0.0, 0.0),
        message=f"`{name}` receives gradients, is held by {'an optimizer that never steps' if idle else 'no optimizer'}"
        f" and never changes; {percent(share)} of the trainable weights are like that.{'' if idle else f' {why}.'}",
        advice=(
            *(("Call step() on every optimizer.",) if idle else ()),
            "Build the optimizer when the model is complete: torch.optim.AdamW(model.parameters(), lr=...).",
            f'Or add them: optimizer.add_param_group({{"params": model.{top}.parameters()}}).',
            f"If they are meant to rest, freeze them: model.{top}.requires_grad_(False).",
        ),
        more={"foreign_parameters": foreign, GIVEN: True},
        rank=(1e9 if weights.matrix[i] else 0.0) + float(weights.position[i]),
    )


def _without(
    *layers: int, gradients: bool = True, changing: bool = False, foreign: int = 0, loss: float | None = 2.0
) -> Run:
    network = Network()
    for parameter in network.layout.parameters:
        if int(parameter.name.split(".")[1]) not in layers:
            continue
        parameter.optimizer = parameter.group = -1
        network.absent(schema.UPDATE, parameter.name)
        if not gradients:
            network.absent(schema.GRADIENT, parameter.name)
        if not changing:
            network.set(schema.WEIGHT, parameter.name, rms=0.18, mean=0.0, std=0.18, min=-0.5, max=0.5)
    network.layout.optimizers[0].foreign_parameters = foreign
    if loss is not None:
        network.set(schema.LOSS, "", mean=loss)
    return network.run()


def _twice(same: float) -> Run:
    """Two optimizers hold a layer; ``same``: 1 where they step it on one gradient."""
    return Network().add_row(schema.STEPPED_TWICE, "layers.1.weight", mean=same).run()


def _replaced(since: int, *, changing: bool = False) -> Run:
    """The last layer's parameters are new ones from the record ``since`` on."""
    network = Network()
    for parameter in network.layout.parameters:
        name = parameter.name
        if name.split(".")[1] != "5":
            continue
        parameter.optimizer = parameter.group = -1
        network.absent(schema.UPDATE, name, since)
        for statistic in () if changing else (schema.RMS, schema.MEAN, schema.MIN, schema.MAX):
            before = network.get(schema.WEIGHT, name, statistic)
            after = np.where(np.arange(len(before)) < since, before, 1.1 * before[since])
            network.set(schema.WEIGHT, name, **{statistic: after})
    network.layout.optimizers[0].foreign_parameters = 2
    return network.set(schema.LOSS, "", mean=2.0).run()


def _idle() -> Run:
    """The first two layers have an optimizer of their own, whose step() nobody calls."""
    network = Network()
    for parameter in network.layout.parameters:
        if int(parameter.name.split(".")[1]) < 2:
            parameter.optimizer, parameter.group = 1, 0
            network.absent(schema.UPDATE, parameter.name).absent(schema.GRADIENT, parameter.name)
            network.set(schema.WEIGHT, parameter.name, rms=0.18, mean=0.0, std=0.18, min=-0.5, max=0.5)
    network.layout.optimizers.add(type="Adam")
    return network.set(schema.LOSS, "", mean=2.0).run()


def _other_owners() -> Run:
    network = Network()
    network.layout.optimizers[0].foreign_parameters = 40
    return network.run()


def _unregistered(unchanged: float = math.nan, *, anew: bool = False) -> Run:
    """A weight of no module: kept somewhere, or another in each forward pass."""
    network = Network().set(schema.LOSS, "", mean=2.0)
    if anew:
        return network.add_row(schema.STRAY, "", (32, 32), max=1.0).run()
    return network.add_row(schema.STRAY, "hidden.0.weight", (32, 32), mean=unchanged).run()


EXAMPLES = (
    Example("Head replaced after the optimizer was built", lambda: _without(5, foreign=2), True, "layers.5.weight", 0),
    Example("A layer in the middle left out", lambda: _without(2), True, "layers.2.weight", 0),
    Example("Parameters replaced as it trains", lambda: _replaced(60), True, "layers.5.weight", 60),
    Example("Replaced, and held by another optimizer", lambda: _replaced(60, changing=True), False, outcome="Passed"),
    Example("Replaced a moment ago", lambda: _replaced(198), False, outcome="Passed"),
    Example("Every parameter is another model's", lambda: _without(*range(6), foreign=12), True, first_step=0),
    Example(
        "Only the head is trained, and the loss falls: information only",
        lambda: _without(0, 1, 2, 3, 4, loss=None),
        True,
        first_step=0,
    ),
    Example("One of two optimizers never steps", _idle, True, "layers.1.weight", 0),
    Example("Hidden layers in a plain list", lambda: _unregistered(1.0), True, "hidden.0.weight", 0),
    Example("A layer made anew in each forward pass", lambda: _unregistered(anew=True), True, "", 0),
    Example("Two optimizers step a layer on one gradient", lambda: _twice(1.0), True, "layers.1.weight", 0),
    Example("Two optimizers in turn, each on a gradient of its own", lambda: _twice(0.0), False, outcome="Passed"),
    Example("In a list, but another optimizer trains it", lambda: _unregistered(0.0), False, outcome="Passed"),
    Example("Every parameter is held", lambda: Network().run(), False, outcome="Passed"),
    Example("The optimizer trains another model too", _other_owners, False, outcome="Passed"),
    Example(
        "Trained by an optimizer that is not watched", lambda: _without(0, 1, changing=True), False, outcome="Passed"
    ),
    Example("Resting without gradients", lambda: _without(0, 1, 2, gradients=False), False, outcome="Passed"),
)

RULE = Rule(
    id="optimizer-misses-parameters",
    healthy="The optimizer holds every trainable parameter",
    ill="Parameters in no optimizer",
    group="updates",
    severity="critical",
    scope="watch",
    check=check,
    options=(
        Option(
            "records",
            5,
            "records",
            "records over which the weights must have stayed the same",
            "enough to tell a resting weight from a slow one",
        ),
    ),
    examples=EXAMPLES,
    page=__doc__ or "",
    causes=(
        "loss-not-decreasing",
        "underfitting",
        "slow-start",
        "update-ratio-too-low",
        "frozen-parameters",
        "learning-rate-too-low",
        "still-improving",
        "learning-rate-too-high",
        "update-ratio-too-high",
        "loss-oscillating",
        "dead-units",
    ),
)
