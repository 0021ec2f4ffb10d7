"""``{name: {statistic: value}}`` as the rows and columns of a record, for frameworks other than PyTorch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import messages, schema

_WHOLE_RUN = (schema.INPUT, schema.PREDICTION, schema.TARGET, schema.LOSS)
_COLUMNS = {statistic: i for i, statistic in enumerate(schema.STATISTICS)}


class PlainTable:
    """Gives each name the next row when it first appears. ``layout`` is the ``messages.Layout`` of all rows so far."""

    def __init__(self, framework: str) -> None:
        self.layout = messages.Layout(framework=framework, columns=schema.STATISTICS)
        self._rows: dict[tuple[str, str], int] = {}
        self._described: set[str] = set()

    def values(self, statistics: Mapping[str, Mapping[str, float]]) -> tuple[NDArray[np.float32], bool]:
        """The record, float32 of shape (rows, columns), and whether it has rows that the last one had not.

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
