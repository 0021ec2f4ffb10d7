"""What flows into a module, as the places in a Layout of whose output it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tb_nnhealth import messages
from tb_nnhealth.record.graph_flow import Joint
from tb_nnhealth.record.layout_entries import WatchedModule


class Places:
    """Numbers the modules of a layout, and the joints before them as they are met."""

    def __init__(self, modules: Sequence[WatchedModule]) -> None:
        self._at: dict[Any, int] = {module: i for i, module in enumerate(modules)}
        self.joints: list[Any] = []
        """A ``messages.Joint`` for each joint met so far."""

    def of(self, inputs: Iterable[WatchedModule | Joint[WatchedModule]]) -> list[int]:
        """Modules by their number, joints by -1 less theirs; what the layout does not have is left out."""
        places = []
        for one in inputs:
            if isinstance(one, Joint):
                self._number(one)
            if one in self._at:
                places.append(self._at[one])
        return places

    def _number(self, joint: Joint[WatchedModule]) -> None:
        """Numbers ``joint`` after those that flow into it; a residual stream is thousands of them in a row."""
        waiting = [joint]
        while waiting:
            last = waiting[-1]
            missing = [one for one in last.inputs if isinstance(one, Joint) and one not in self._at]
            if missing:
                waiting += missing
                continue
            waiting.pop()
            if last not in self._at:
                self.joints.append(messages.Joint(inputs=[self._at[one] for one in last.inputs if one in self._at]))
                self._at[last] = -len(self.joints)
