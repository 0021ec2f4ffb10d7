"""Tensors that the forward pass learns with and that are no parameters of the model, so that no optimizer gets them."""

from __future__ import annotations

import math

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.history import History, Run
from tb_nnhealth.rules.base import GIVEN, Hit
from tb_nnhealth.rules.evidence.progress import progress


def stray_parameters(run: Run, history: History, records: int) -> list[Hit]:
    """One hit for each such tensor that never changed in ``records`` records or more, one for layers made anew."""
    seen = progress(run, history)
    learned = seen is not None and seen.learned
    return [
        *_kept(history, records, learned=learned),
        *_made_anew(history, records, learned=learned),
    ]


def _kept(history: History, records: int, *, learned: bool) -> list[Hit]:
    table = history.table(schema.STRAY, schema.MEAN)
    shapes = {row.subject: tuple(row.shape) for row in history.layout.rows if row.kind == schema.STRAY}
    hits = []
    for name, values in zip(table.subjects, table.values.T, strict=True):
        told = np.flatnonzero(np.isfinite(values))
        if len(told) < records or not (values[told] == 1).all():
            continue
        holder = name.rsplit(".", 1)[0]
        registered = (
            f"{name} = nn.Parameter(...)" if "." not in name else "nn.ModuleList, nn.ModuleDict or nn.ParameterList"
        )
        hits.append(
            _hit(
                history, told, name, records, learned=learned, numel=math.prod(shapes.get(name, ())),
                message=f"`{name}` takes part in the forward pass and requires a gradient, but it is no parameter of"
                f" the model: model.parameters() does not list it, so no optimizer trains it. In {len(told)} records it"
                " never changed.",
                advice=(
                    f"Register it: {registered} in place of a plain list, dict or tensor; then"
                    " model.parameters() lists it.",
                    "Build the optimizer after that.",
                    f"If `{holder}` is meant to rest, freeze it: requires_grad_(False).",
                ),
            )
        )  # fmt: skip
    return hits


def _made_anew(history: History, records: int, *, learned: bool) -> list[Hit]:
    table = history.table(schema.STRAY, schema.MAX)
    if "" not in table.subjects:
        return []
    told = np.flatnonzero(table.values[:, table.subjects.index("")] == 1)
    if len(told) < records:
        return []
    shape = next(tuple(row.shape) for row in history.layout.rows if (row.kind, row.subject) == (schema.STRAY, ""))
    size = " × ".join(f"{n:,}" for n in shape)
    return [
        _hit(
            history, told, "", records, learned=learned, numel=math.prod(shape),
            message=f"Each forward pass makes a new parameter of its own ({size}), random and forgotten after it: it is"
            " no parameter of the model, and no optimizer trains it.",
            advice=(
                "Make the layer once, in __init__, as an attribute of the module; in forward() only call it.",
                "Build the optimizer after that.",
            ),
        )
    ]  # fmt: skip


def _hit(
    history: History,
    told: np.ndarray[tuple[int], np.dtype[np.intp]],
    name: str,
    records: int,
    *,
    learned: bool,
    numel: int,
    message: str,
    advice: tuple[str, ...],
) -> Hit:
    steps = history.steps
    return Hit(
        subject=name,
        first_step=int(steps[told[0]]),
        fired_step=int(steps[told[records - 1]]),
        last_step=int(steps[told[-1]]),
        count=len(told),
        active=True,
        severity="warning" if learned else "critical",
        statistic="records of a parameter that is not registered",
        unit="records",
        value=float(len(told)),
        limit=float(records),
        direction="above",
        healthy=(0.0, 0.0),
        message=message,
        advice=advice,
        more={"elements": numel, GIVEN: True},
        rank=1e9 + numel,
    )
