"""``{name: {statistic: value}}`` as the rows and columns of a record, for frameworks other than PyTorch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import messages, schema

_WHOLE_RUN = (schema.INPUT, schema.PREDICTION, schema.TARGET, schema.LOSS)
_COLUMNS = {statistic: i for i, statistic in enumerate(schema.STATISTICS)}


@dataclass(frozen=True)
class Shaped:
    """What an array says of itself beside its statistics."""

    shape: tuple[int, ...]
    dtype: str


class PlainTable:
    """Gives each name the next row when it first appears. ``layout`` is the ``messages.Layout`` of all rows so far."""

    def __init__(self, framework: str) -> None:
        self.layout = messages.Layout(framework=framework, columns=schema.STATISTICS)
        self._rows: dict[tuple[str, str], int] = {}
        self._described: set[str] = set()

    def values(
        self, statistics: Mapping[str, Mapping[str, float]], arrays: Mapping[str, Shaped] | None = None
    ) -> tuple[NDArray[np.float32], bool]:
        """The record, float32 of shape (rows, columns), and whether it has rows that the last one had not.

        ``arrays`` tells of the arrays behind names, where they are known: parameters that come with a gradient or an
        update are then known to be trained, and matrices to be matrices.
        Raises ValueError or TypeError, naming the name, for what is not understood; the table is unchanged then.
        """
        if not isinstance(statistics, Mapping):
            raise TypeError(f"record: expected {{name: {{statistic: value}}}}, found {type(statistics).__name__}")
        cells = [
            (_row(name), _COLUMNS[_statistic(name, statistic)], _number(name, statistic, value))
            for name, values in statistics.items()
            for statistic, value in _items(name, values)
        ]
        before = len(self._rows)
        for key, _, _ in cells:
            if key not in self._rows:
                self._rows[key] = len(self._rows)
                self._describe(*key)
        if len(self._rows) > before and arrays:
            self._shape({_row(name): shaped for name, shaped in arrays.items()}, statistics)
        table = np.full((len(self._rows), len(_COLUMNS)), np.nan, np.float32)
        with np.errstate(over="ignore"):
            for key, column, value in cells:
                table[self._rows[key], column] = value
        return table, len(self._rows) > before

    def _describe(self, kind: str, subject: str) -> None:
        self.layout.rows.add(kind=kind, subject=subject)
        if subject in self._described:
            return
        if kind in schema.PARAMETER_KINDS:
            self._described.add(subject)
            owner = subject.rpartition(".")[0]
            self.layout.parameters.add(name=subject, module=owner, trainable=True, optimizer=-1, group=-1)
        elif kind in schema.MODULE_KINDS:
            self._described.add(subject)
            self.layout.modules.add(name=subject, called=True)

    def _shape(self, arrays: Mapping[tuple[str, str], Shaped], statistics: Mapping[str, Mapping[str, float]]) -> None:
        for row in self.layout.rows:
            shaped = arrays.get((row.kind, row.subject))
            if shaped is not None and not row.dtype:
                row.shape.extend(shaped.shape)
                row.dtype = shaped.dtype
        told = arrays.get((schema.INPUT, ""))
        if told is not None and told.shape:
            self.layout.batch_size = told.shape[0]
        for parameter in self.layout.parameters:
            kinds = [(kind, parameter.name) for kind in schema.PARAMETER_KINDS if (kind, parameter.name) in arrays]
            if not kinds or parameter.dtype:
                continue
            shaped = arrays[kinds[0]]
            parameter.shape.extend(shaped.shape)
            parameter.dtype = shaped.dtype
            if len(shaped.shape) > 1:
                receptive = math.prod(shaped.shape[:-2])
                parameter.fan_in, parameter.fan_out = receptive * shaped.shape[-2], receptive * shaped.shape[-1]
            parameter.initial_rms = statistics.get(f"{parameter.name}:{schema.WEIGHT}", {}).get(schema.RMS, 0.0)
            parameter.trainable = any(kind != schema.WEIGHT for kind, _ in kinds)
            if parameter.trainable:
                self._train(parameter, statistics)

    def _train(self, parameter: messages.Parameter, statistics: Mapping[str, Mapping[str, float]]) -> None:
        """Puts a parameter into the one group of the one optimizer."""
        if not self.layout.optimizers:
            rates = [values for name, values in statistics.items() if _row(name)[0] == schema.LEARNING_RATE]
            rate = rates[0].get(schema.MEAN, 0.0) if rates else 0.0
            self.layout.optimizers.add().groups.add(initial_lr=rate)
        self.layout.optimizers[0].groups[0].parameters += 1
        parameter.optimizer = parameter.group = 0


def _row(name: str) -> tuple[str, str]:
    """Kind and subject of a row. Raises ValueError for a kind that is none."""
    if not isinstance(name, str):
        raise TypeError(f"record: expected names to be strings, found {name!r}")
    if name in _WHOLE_RUN:
        return name, ""
    subject, colon, kind = name.rpartition(":")
    if not colon or kind.isdigit():  # TensorFlow's names of variables end in ":0"
        return schema.WEIGHT, name
    if kind not in schema.KINDS:
        raise ValueError(f"record: {name!r} ends in no kind; kinds are {', '.join(schema.KINDS)}")
    return kind, subject


def _items(name: str, values: Mapping[str, float]) -> list[tuple[str, float]]:
    if not isinstance(values, Mapping):
        raise TypeError(f"record: expected {{statistic: value}} for {name!r}, found {type(values).__name__}")
    return list(values.items())


def _statistic(name: str, statistic: str) -> str:
    if statistic not in _COLUMNS:
        known = ", ".join(schema.STATISTICS)
        raise ValueError(f"record: {statistic!r} of {name!r} is not a statistic; statistics are {known}")
    return statistic


def _number(name: str, statistic: str, value: float) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"record: expected a number for {statistic!r} of {name!r}, found {value!r}") from error
