"""Where non-finite values came from: the first tensor in the order in which a step computes them, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.history import History

FLOAT16_MAX = 65504.0
NEAR_OVERFLOW = 1e30
"""A float32 beyond this overflows when it is squared, summed or exponentiated."""
GROWTH = 100.0
LOG_LOSSES = ("BCELoss", "NLLLoss", "KLDivLoss", "PoissonNLLLoss", "GaussianNLLLoss")
ARITHMETIC = ("Linear", "Conv1d", "Conv2d", "Conv3d", "Embedding", "ReLU", "Dropout", "MaxPool2d", "BatchNorm2d")
"""Layers that take no logarithm, root or quotient of what feeds them."""
NAMED = {
    schema.INPUT: "input", schema.PREDICTION: "prediction", schema.TARGET: "target", schema.LOSS: "loss",
}  # fmt: skip
"""Subjects of the rows that belong to no module."""
_BACKWARD = (schema.ACTIVATION_GRADIENT, schema.GRADIENT, schema.UPDATE)
_ORDER = (
    schema.INPUT, schema.WEIGHT, schema.ACTIVATION, schema.PREDICTION, schema.TARGET, schema.LOSS, *_BACKWARD,
)  # fmt: skip

LOWER_RATE = "Lower the learning rate, add warm-up, or clip gradients by norm (torch.nn.utils.clip_grad_norm_)."
ANOMALY = "Run once under torch.autograd.set_detect_anomaly(True) to see the line of code."
EPSILON = "Clamp or add an epsilon before every log, sqrt, division and norm that can meet 0."
HALF = "Compute this layer in float32 (torch.autocast(enabled=False)), or train in bfloat16."


@dataclass(frozen=True)
class Origin:
    """What the finding says of the first non-finite tensor."""

    subject: str
    message: str
    advice: tuple[str, ...]
    count: float
    """Non-finite elements of the tensor."""
    more: Mapping[str, Any]


def first_row(history: History, at: int, bad: NDArray[np.bool_]) -> int:
    """The row of ``bad`` that a step computes first: forward, then backward.

    A weight counts as before the forward pass only where a step before already made it so; NaN in
    it is then what its module computes with.
    """
    rows = history.layout.rows
    place = {module.name: i for i, module in enumerate(history.layout.modules)}
    owner = {parameter.name: parameter.module for parameter in history.layout.parameters}

    def order(row: int) -> tuple[int, int, int]:
        kind, subject = rows[row].kind, rows[row].subject
        stage = _ORDER.index(kind) if kind in _ORDER else len(_ORDER)
        module = place.get(owner.get(subject, subject), len(place))
        if kind == schema.ACTIVATION:  # a bad weight comes before its own module's output, not before others'
            return _ORDER.index(schema.WEIGHT), module, 1
        if kind == schema.WEIGHT:
            return stage, module, 0
        return stage, (-module if kind in _BACKWARD else row), row

    return min((int(row) for row in np.flatnonzero(bad)), key=order)


def describe(history: History, at: int, row: int, prefix: str = "") -> Origin:
    """The finding's text for ``row``, bad in record ``at``; ``prefix`` is that of the watch's subjects."""
    layout, record = history.layout, _Record(history, at)
    kind, name, dtype = layout.rows[row].kind, layout.rows[row].subject, layout.rows[row].dtype
    nan, inf = (float(np.nan_to_num(record.cell(row, count))) for count in (schema.NAN_COUNT, schema.INF_COUNT))
    subject = prefix + (NAMED[kind] + (f".{name}" if name else "") if kind in NAMED else name)
    fed = _fed_by(record, row)
    cause, advice = _cause(record, row, fed)
    where = _where(kind, subject, _type_of(layout, name))
    fed_by = f", fed by `{prefix}{fed.name}` ({fed.span})" if fed is not None else ""
    largest = record.largest(row)
    what = "NaN" if nan > 0 else "Infinity"
    return Origin(
        subject,
        f"{what} first appears in {where} at step {int(history.steps[at]):,}{fed_by}. {cause}",
        advice,
        nan + inf,
        {
            "tensor": kind,
            "dtype": dtype,
            "nan": nan,
            "inf": inf,
            "fed_by": None if fed is None else prefix + fed.name,
            "largest_finite": None if np.isnan(largest) else largest,
        },
    )


class _Record:
    """One record of a history; each statistic of a kind is read once, however many rows are asked for."""

    def __init__(self, history: History, at: int) -> None:
        self.history, self.at = history, at
        self.layout = history.layout
        self.place = {module.name: i for i, module in enumerate(history.layout.modules)}
        self._read: dict[tuple[str, str], dict[int, float]] = {}

    def cell(self, row: int, statistic: str) -> float:
        kind = self.layout.rows[row].kind
        if (kind, statistic) not in self._read:
            values = self.history.table(kind, statistic).values[self.at].tolist()
            self._read[kind, statistic] = dict(zip(self.history.rows(kind), values, strict=True))
        return self._read[kind, statistic][row]

    def bad(self, row: int) -> bool:
        return bool(np.nansum([self.cell(row, name) for name in (schema.NAN_COUNT, schema.INF_COUNT)]) > 0)

    def largest(self, row: int) -> float:
        """Greatest magnitude of the finite elements."""
        low, high = (self.cell(row, name) for name in (schema.MIN, schema.MAX))
        return float(np.fmax(abs(low), abs(high)))

    def module_place(self, row: int) -> int:
        return self.place.get(self.layout.rows[row].subject, len(self.place))


@dataclass(frozen=True)
class _Feed:
    name: str
    low: float
    high: float

    @property
    def span(self) -> str:
        return f"{self.low:.3g} to {self.high:.3g}"


def _fed_by(record: _Record, row: int) -> _Feed | None:
    """The finite tensor that the bad one was computed from, as far as the order of the modules tells."""
    history, rows = record.history, record.layout.rows
    kind = rows[row].kind
    if kind in (schema.ACTIVATION, schema.PREDICTION):
        here = record.module_place(row) if kind == schema.ACTIVATION else len(record.place)
        before = [
            i
            for i in history.rows(schema.ACTIVATION)
            if record.module_place(i) < here and np.isfinite(record.cell(i, schema.MAX)) and not record.bad(i)
        ]
        source = max(before, key=record.module_place, default=None)
        inputs = history.rows(schema.INPUT)
        if source is None and kind == schema.ACTIVATION and inputs:
            source = inputs[0]
    else:
        source = next(iter(history.rows(schema.PREDICTION)), None) if kind == schema.LOSS else None
    if source is None or record.bad(source):
        return None
    low, high = (record.cell(source, name) for name in (schema.MIN, schema.MAX))
    if np.isnan(low) or np.isnan(high):
        return None
    return _Feed(rows[source].subject or NAMED.get(rows[source].kind, ""), low, high)


def _cause(record: _Record, row: int, fed: _Feed | None) -> tuple[str, tuple[str, ...]]:
    """The likely cause as a sentence, and what to try."""
    layout, history, at = record.layout, record.history, record.at
    kind, dtype = layout.rows[row].kind, layout.rows[row].dtype
    inf = np.nan_to_num(record.cell(row, schema.INF_COUNT)) > 0
    if kind in (schema.INPUT, schema.TARGET):
        return (
            "The data itself holds it; the network did not compute it.",
            (
                "Find the samples: torch.isfinite(x).all() over the data set; drop them or fill the gaps.",
                "Check the normalization for a division by a standard deviation of 0.",
            ),
        )
    if kind == schema.WEIGHT:
        if at == 0:
            return (
                "The weight was so before the first step watched.",
                ("Check its initialization, or the checkpoint it was loaded from.",),
            )
        return (
            f"An update since step {int(history.steps[at - 1]):,}, which was not measured, made it so.",
            (LOWER_RATE, "Measure every step (every=1) to see which tensor was first.", ANOMALY),
        )
    if dtype == "float16" and (inf or record.largest(row) > FLOAT16_MAX / 4):
        return f"A float16 ends at {FLOAT16_MAX:,.0f}: the value overflowed its format.", (HALF, LOWER_RATE)
    if _growing(history, at, row) or (fed is not None and max(abs(fed.low), abs(fed.high)) > NEAR_OVERFLOW):
        return "Values had been growing over the steps before: the training diverged.", (LOWER_RATE, ANOMALY)
    if kind == schema.LOSS:
        return _loss_cause(layout.criterion.type, fed)
    if kind in (schema.ACTIVATION_GRADIENT, schema.GRADIENT):
        return (
            "The loss is finite, so a derivative is not: sqrt, norm, log or power at 0, a masked branch of where.",
            (EPSILON, "In torch.where, make the masked branch finite before the operation.", ANOMALY),
        )
    if kind == schema.UPDATE:
        return (
            "The gradients are finite, so the optimizer made it: a learning rate that is not finite, or eps = 0.",
            ("Print the learning rate of each group.", "Give the optimizer an eps above 0."),
        )
    if fed is not None and fed.low <= 0 and _type_of(layout, layout.rows[row].subject) not in ARITHMETIC:
        return (
            "What feeds it reaches 0 or below: a logarithm, a root or a division there has no value.",
            (EPSILON, ANOMALY),
        )
    return (
        "Its input is finite, so the layer itself made it: a division by 0, a softmax over nothing, or an overflow.",
        (EPSILON, "A row of attention that is masked entirely gives NaN: leave one position open.", ANOMALY),
    )


def _loss_cause(criterion: str, fed: _Feed | None) -> tuple[str, tuple[str, ...]]:
    if criterion in LOG_LOSSES or (fed is not None and fed.low >= 0 and fed.high <= 1):
        return (
            "The prediction is finite and the loss takes its logarithm: a probability of exactly 0 (or 1).",
            ("Use the loss that takes logits: BCEWithLogitsLoss, CrossEntropyLoss.", EPSILON),
        )
    return (
        "The prediction is finite: the loss itself divides by 0 (a mean over no element), or takes the logarithm of 0.",
        ("Check for batches in which every target is ignored or every weight is 0.", EPSILON, ANOMALY),
    )


def _where(kind: str, subject: str, type_: str) -> str:
    named = f"`{subject}`" + (f" ({type_})" if type_ else "")
    told = {
        schema.INPUT: "the model's input",
        schema.PREDICTION: "the prediction given to the criterion",
        schema.TARGET: "the target",
        schema.LOSS: "the loss",
        schema.WEIGHT: f"the weight {named}",
        schema.ACTIVATION: f"the output of {named}",
        schema.ACTIVATION_GRADIENT: f"the gradient of the output of {named}",
        schema.GRADIENT: f"the gradient of {named}",
        schema.UPDATE: f"the update of {named}",
    }
    return told.get(kind, named)


def _type_of(layout: Any, name: str) -> str:
    return next((str(module.type) for module in layout.modules if module.name == name), "")


def _growing(history: History, at: int, row: int) -> bool:
    """Whether the tensor's own magnitude rose by ``GROWTH`` over its median before it broke."""
    rms = history.table(history.layout.rows[row].kind, schema.RMS)
    column = history.rows(history.layout.rows[row].kind).index(row)
    before = rms.values[:at, column]
    before = before[np.isfinite(before) & (before > 0)]
    if len(before) < 2:
        return False
    return bool(before[-3:].max() > GROWTH * np.median(before[: max(1, len(before) // 2)]))
