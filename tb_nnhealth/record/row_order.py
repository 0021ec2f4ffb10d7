"""The rows of a watch whose name is used again: the new watch's rows, in the order that the log has given them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class RowOrder:
    """Rows of one name over all watches that bear it, one after the other. Rows are only ever appended."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], Any] = {}
        self.used = False
        """An earlier watch of this name has had a layout."""

    def note(self, layout: Any) -> None:
        """Takes in the layout of the only watch of this name so far."""
        for row in layout.rows:
            self._rows[row.kind, row.subject] = row

    def merge(self, layout: Any) -> NDArray[np.intp]:
        """Puts all rows of the name into ``layout``, in the log's order; returns where each of its own now stands."""
        own = [(row.kind, row.subject) for row in layout.rows]
        self.note(layout)
        place = {key: i for i, key in enumerate(self._rows)}
        rows = list(self._rows.values())
        merged = [type(row).FromString(row.SerializeToString()) for row in rows]
        del layout.rows[:]
        layout.rows.extend(merged)
        self._rows = dict(zip(self._rows, merged, strict=True))
        return np.array([place[key] for key in own], np.intp)


def placed(table: NDArray[Any], places: NDArray[np.intp], missing: float) -> NDArray[Any]:
    """``table`` with its rows at ``places`` and ``missing`` in the others. A table may have fewer rows than places."""
    places = places[: len(table)]
    moved = np.full((int(places.max(initial=-1)) + 1, table.shape[1]), missing, table.dtype)
    moved[places] = table
    return moved
