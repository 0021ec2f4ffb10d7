"""Recurrent and attention modules that run over the samples of a batch: ``batch_first=True`` was forgotten."""

from __future__ import annotations

from typing import Any

from tb_nnhealth import schema
from tb_nnhealth.history import History
from tb_nnhealth.rules.base import GIVEN, Hit
from tb_nnhealth.rules.data.batch_rows import number
from tb_nnhealth.rules.hits import lasting

FEWEST_RECORDS = 3


def exchanged_dimensions(history: History) -> list[Hit]:
    """One finding, at the first such module; a warning where the shapes leave no other reading."""
    shapes = {(row.kind, row.subject): tuple(row.shape) for row in history.layout.rows}
    for module in history.layout.modules:
        given = shapes.get((schema.ACTIVATION, module.name), ())
        if module.samples_dimension != 1 or len(given) != 3 or given[0] == given[1] or 1 in given[:2]:
            continue
        seen = number(history, schema.ACTIVATION, module.name, schema.RMS)
        if len(history) < FEWEST_RECORDS or not (seen > 0).any():
            continue
        if told := _one_answer_for_each(history, shapes, given):
            return [_hit(history, module, given, told, likely=False)]
        if told := _positions_along_second(history, shapes, given):
            return [_hit(history, module, given, told, likely=True)]
    return []


def _one_answer_for_each(history: History, shapes: dict[tuple[str, str], tuple[int, ...]], given: Any) -> str:
    """What tells that the first dimension counts the samples: the model's input has it too, and its target no other.

    A layout of (time, samples) would have one answer for each time, and none for each sample.
    """
    inputs = [shape for (kind, _), shape in shapes.items() if kind == schema.INPUT]
    answers = [shape for (kind, _), shape in shapes.items() if kind in (schema.TARGET, schema.PREDICTION)]
    if not answers:
        answers = [shape for (kind, subject), shape in shapes.items() if kind == schema.OUTPUT and not subject]
    if not any(_in_their_order(shape, given) for shape in inputs) or not answers:
        return ""
    alone = all(shape[:1] == given[:1] and given[1] not in shape[1:] and len(shape) <= 2 for shape in answers)
    return f"one answer is asked for each of {given[0]}, none for each of {given[1]}" if alone else ""


def _in_their_order(shape: tuple[int, ...], given: Any) -> bool:
    """Whether an input of ``shape`` begins as what the module is ``given``, or was folded into positions behind it.

    A second dimension that is a multiple of the samples may hold them, and the first be time by coincidence.
    """
    return shape[:2] == given[:2] or (shape[:1] == given[:1] and len(shape) > 1 and given[1] % given[0] != 0)


def _positions_along_second(history: History, shapes: dict[tuple[str, str], tuple[int, ...]], given: Any) -> str:
    """What tells that the second dimension counts positions: something learned of that length is added along it."""
    for parameter in history.layout.parameters:
        shape = tuple(parameter.shape)
        if len(shape) == 3 and shape[0] == 1 and shape[1] == given[1] and shape[2] == given[2]:
            return f"`{parameter.name}`, of shape {shape}, holds one vector for each of {given[1]} positions"
    inputs = [shape for (kind, _), shape in shapes.items() if kind == schema.INPUT]
    embeddings = {module.name for module in history.layout.modules if module.type == "Embedding"}
    for name in embeddings if len(inputs) == 1 and inputs[0][:2] == given[:2] else ():
        if shapes.get((schema.ACTIVATION, name)) == (given[1], given[2]):
            return f"`{name}` gives one vector for each of {given[1]}, as of positions"
    return ""


def _hit(history: History, module: Any, given: Any, told: str, *, likely: bool) -> Hit:
    steps = history.steps
    verb = "seems to be given" if likely else "is given"
    return Hit(
        subject=module.name,
        **lasting(steps, min(FEWEST_RECORDS, len(steps)) - 1),
        severity="info" if likely else "warning",
        statistic="dimension of the samples",
        unit="dimension",
        value=1.0,
        limit=0.0,
        direction="above",
        healthy=(0.0, 0.0),
        message=(
            f"`{module.name}` ({module.type}) {verb} samples along dimension 0 of {tuple(given)}, and takes dimension "
            f"1 for them, batch_first being False: it runs over the samples of the batch, not over time; {told}."
        ),
        advice=(
            f"Build it with batch_first=True: nn.{module.type}(..., batch_first=True).",
            "Or hand it x.transpose(0, 1), and transpose back what it returns.",
        ),
        more={GIVEN: True},
    )
