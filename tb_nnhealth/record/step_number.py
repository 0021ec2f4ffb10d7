"""The number under which a step is recorded: the user's own, or a count of the optimizers' steps."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any


class StepNumber:
    """Numbers the steps of one watch.

    Counted are the steps that the optimizers have made, those before the watch included: a training that is resumed in
    its directory goes on where it was, instead of making obsolete what was recorded before. An optimizer that keeps
    no count (SGD) begins at ``first``.
    """

    def __init__(self, given: Callable[[], int] | None, first: int, fail: Callable[[str, Exception], bool]) -> None:
        """``given``: the user's own counter. ``fail`` is told once where that gives no number of a step."""
        self._given, self._first, self._fail = given, first, fail
        self._before: int | None = None

    @property
    def is_given(self) -> bool:
        """The user counts."""
        return self._given is not None

    def of(self, index: int, optimizers: Sequence[Any]) -> int:
        """The number of the step under way, before which the watch has seen ``index`` steps of the ``optimizers``."""
        number = self._of_user()
        if number is not None:
            return number
        if self._before is None:
            made = [count for count in map(steps_made, optimizers) if count is not None]
            self._before = max(0, min(made) - index) if made else self._first
        return self._before + index

    def _of_user(self) -> int | None:
        if self._given is None:
            return None
        try:
            given = self._given()
            if isinstance(given, bool):
                raise TypeError(f"expected an int, found {given!r}")
            number = operator.index(given)
            if not 0 <= number < 2**63:
                raise ValueError(f"expected a step from 0 to 2**63 - 1, found {number}")
        except Exception as error:
            self._fail("step= given to watch(); steps are counted by the optimizer's from here on", error)
            self._given = None
            return None
        return number


def steps_made(optimizer: Any) -> int | None:
    """Steps that ``optimizer`` has made by its own count; None where it keeps none.

    The count of the parameter that it stepped first: those that were frozen for a while have fewer.
    """
    for state in getattr(optimizer, "state", {}).values():
        if isinstance(state, dict) and "step" in state:
            return max(0, int(state["step"]))
    return None
