"""Which modules lie on a way with one another, by what the layout tells of their inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth.history import History
from tb_nnhealth.rules.evidence.once import once

SHARE_OF_ALL = 0.75
"""Share of all modules from which those on a way with one are as good as all."""


@dataclass(frozen=True)
class Strand:
    """Places to be judged, and those to compare them with, in forward order; both as indices."""

    judged: NDArray[np.int64]
    along: NDArray[np.int64]


class Flow:
    """Which modules of a layout flow into which. Of a module whose inputs nobody traced nothing is known.

    A set of modules is an integer, bit ``i`` for ``layout.modules[i]``.
    """

    def __init__(self, layout: Any) -> None:
        self._at = {module.name: i for i, module in enumerate(layout.modules)}
        self._traced = sum(1 << i for i, module in enumerate(layout.modules) if module.traced)
        modules, joints = len(layout.modules), len(layout.joints)
        nodes = [*layout.modules, *layout.joints]
        behind: list[list[int]] = [
            [j for i in node.inputs if -joints <= i < modules for j in (i if i >= 0 else modules - 1 - i,)]
            for node in nodes
        ]
        ahead: list[list[int]] = [[] for _ in nodes]
        for i, inputs in enumerate(behind):
            for j in inputs:
                ahead[j].append(i)
        self._behind, self._ahead = (_reached(steps, modules) for steps in (behind, ahead))

    def apart(self, one: str, other: str) -> bool:
        """Whether neither module flows into the other, as in two towers or two heads; False where it is not known."""
        return bool(self._apart_from(one) & self._bit(other))

    def ends(self, modules: Sequence[str]) -> set[str]:
        """Those of ``modules`` that flow into no other of them; the last, where nothing is known."""
        known = [name for name in modules if self._bit(name) & self._traced]
        those = sum({self._bit(name) for name in known})
        return {name for name in known if not self._ahead[self._at[name]] & those} or set(modules[-1:])

    def strands(self, modules: Sequence[str]) -> list[Strand]:
        """Each place with those on a way with it, where these are fewer than ``SHARE_OF_ALL``; else with all.

        ``modules``: the module at each place. A layer is compared with the layers that it flows into or that flow into
        it: not with those of another tower, another head, another network.
        """
        bits = [self._bit(name) for name in modules]
        those = sum(set(bits))
        judged: dict[int, list[int]] = {}
        for i, name in enumerate(modules):
            apart = self._apart_from(name) & those
            few = apart.bit_count() > (1 - SHARE_OF_ALL) * those.bit_count()
            judged.setdefault(apart if few else 0, []).append(i)
        return [
            Strand(np.array(places), np.array([i for i, bit in enumerate(bits) if not bit & apart]))
            for apart, places in judged.items()
        ]

    def _bit(self, name: str) -> int:
        return 1 << self._at[name] if name in self._at else 0

    def _apart_from(self, name: str) -> int:
        own = self._bit(name)
        if not own & self._traced:
            return 0
        return self._traced & ~(own | self._behind[self._at[name]] | self._ahead[self._at[name]])


@once
def flow_of(history: History) -> Flow:
    """Which modules of a watch flow into which, as its newest layout tells."""
    return Flow(history.layout)


def _reached(steps: Sequence[Sequence[int]], modules: int) -> list[int]:
    """For each module those that are reached from it by ``steps``; a circle, which no log should hold, is let be."""
    known: dict[int, int] = {}
    for start in range(len(steps)):
        waiting = [start]
        while waiting:
            at = waiting[-1]
            if at not in known:
                known[at] = 0
                waiting += [i for i in steps[at] if i not in known]
                continue
            waiting.pop()
            for i in steps[at]:
                known[at] |= known[i] | (1 << i if i < modules else 0)
    return [known[i] for i in range(modules)]
