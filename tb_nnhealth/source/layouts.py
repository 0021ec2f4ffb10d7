"""One layout for all sessions of a run.

Within a session rows are only appended. A run that is resumed in its directory starts a new session, whose rows
may stand in another order or be others: its model may have changed. Rows keep the place at which their
kind and subject were first seen, and the records of every session are put into those places.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth.messages import Layout

Places = NDArray[np.intp]


class Layouts:
    """The layouts of one watch in the order of writing, and the one that describes all of its records."""

    def __init__(self) -> None:
        self._taken: list[tuple[int, Any]] = []
        self.merged: Any = None
        """The newest ``messages.Layout``, with the rows and columns of all; None before the first."""
        self._rows: Places = np.arange(0)
        self._columns: Places = np.arange(0)

    def append(self, step: int, layout: Any) -> bool:
        """Takes the layout in force from ``step`` on. Says whether that made earlier ones obsolete."""
        rewound = self.rewind(step)
        self._taken.append((step, layout))
        self._merge(layout)
        return rewound

    def rewind(self, step: int) -> bool:
        """Forgets the layouts from ``step`` on. Says whether there were any."""
        kept = [taken for taken in self._taken if taken[0] < step]
        if len(kept) == len(self._taken):
            return False
        self._taken, self.merged = kept, None
        for _, layout in kept:
            self._merge(layout)
        return True

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether the newest layout describes all rows and columns of a record, or of records, of this shape."""
        return shape[-2] <= len(self._rows) and shape[-1] <= len(self._columns)

    def place(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Records (..., rows, columns) of the newest session as ``merged`` has them; what it lacks is left out."""
        rows, columns = self._rows[: values.shape[-2]], self._columns[: values.shape[-1]]
        values = values[..., : len(rows), : len(columns)]
        if _unmoved(rows) and _unmoved(columns):
            return values
        shape = (*values.shape[:-2], int(rows.max(initial=-1)) + 1, int(columns.max(initial=-1)) + 1)
        placed = np.full(shape, np.nan, np.float32)
        placed[..., rows[:, None], columns] = values
        return placed

    def place_rows(self, counts: NDArray[np.int32]) -> NDArray[np.int32]:
        """Histogram records (..., rows, bins) of the newest session, their rows as ``merged`` has them."""
        rows = self._rows[: counts.shape[-2]]
        counts = counts[..., : len(rows), :]
        if _unmoved(rows):
            return counts
        placed = np.zeros((*counts.shape[:-2], int(rows.max(initial=-1)) + 1, counts.shape[-1]), np.int32)
        placed[..., rows, :] = counts
        return placed

    def _merge(self, layout: Any) -> None:
        before = Layout() if self.merged is None else self.merged
        rows = {_key(row): row for row in before.rows}
        self._rows = _places(list(rows), [_key(row) for row in layout.rows])
        rows.update((_key(row), row) for row in layout.rows)
        columns = dict.fromkeys([*before.columns, *layout.columns])
        self._columns = _places(list(before.columns), layout.columns)
        self.merged = Layout()
        self.merged.CopyFrom(layout)
        del self.merged.rows[:], self.merged.columns[:]
        self.merged.rows.extend(rows.values())
        self.merged.columns.extend(columns)


def _key(row: Any) -> tuple[str, str]:
    return row.kind, row.subject


def _places(known: Sequence[Hashable], new: Sequence[Hashable]) -> Places:
    """The place of each of ``new``: where it is known, or behind all that are."""
    place = {key: i for i, key in enumerate(known)}
    return np.array([place.setdefault(key, len(place)) for key in new], np.intp)


def _unmoved(places: Places) -> bool:
    return np.array_equal(places, np.arange(len(places)))
