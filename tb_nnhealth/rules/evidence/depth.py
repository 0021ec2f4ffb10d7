"""Forward order, and how a statistic changes across it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth.history import Floats, History
from tb_nnhealth.rules.evidence.flow import flow_of


def forward_positions(layout: Any, parameters: Sequence[str]) -> NDArray[np.int64]:
    """Where in the forward pass each parameter is used, shape (n,): the place of its module's first call.

    A parameter whose module was not seen to be called takes the place of the parameter before it
    in the layout, whose order is that of definition.
    """
    called = {module.name: i for i, module in enumerate(layout.modules) if module.called}
    place: dict[str, int] = {}
    last = -1
    for parameter in layout.parameters:
        last = called.get(parameter.module, last)
        place[parameter.name] = last
    return np.array([place.get(name, -1) for name in parameters], np.int64)


def slopes(values: Floats) -> tuple[Floats, Floats]:
    """Least-squares slope of ln ``values`` per place, and its correlation with depth, for each record.

    ``values``: shape (records, places in forward order), positive; other cells are left out. A record with
    fewer than three usable places has NaN. Both results have shape (records,).
    """
    usable = np.isfinite(values) & (values > 0)
    logs = np.log(np.where(usable, values, 1.0).astype(np.float64))
    depth = np.arange(values.shape[1], dtype=np.float64)
    n = usable.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        x = np.where(usable, depth - ((usable * depth).sum(axis=1) / n)[:, None], 0)
        y = np.where(usable, logs - ((usable * logs).sum(axis=1) / n)[:, None], 0)
        xx, yy, xy = (x * x).sum(axis=1), (y * y).sum(axis=1), (x * y).sum(axis=1)
        slope, correlation = xy / xx, xy / np.sqrt(xx * yy)
    enough = n >= 3
    return np.where(enough, slope, np.nan), np.where(enough, correlation, np.nan)


LINEAR_TYPES = ("Linear", "Conv", "Dense", "Bilinear")
"""Beginnings, after a possible "Lazy" or "Quantized", of the types whose outputs are compared across depth."""
BREAKING_TYPES = ("Norm", "Softmax", "LSTM", "GRU", "RNN", "Embedding", "Attention", "Transformer")
"""Parts of the types after whose output a new chain begins: they set the scale of what follows themselves."""


def chains(history: History) -> list[tuple[str, ...]]:
    """Linear and convolution modules in the order of their first call, cut wherever the scale is set anew.

    Of modules none of which flows into the other (two towers, two heads) each goes into a chain of its own. The last
    such modules, whose outputs are the predictions, are left out; so are modules that start at zero, for the scale of
    a branch that begins as nothing compares with no other.
    """
    layout, flow = history.layout, flow_of(history)
    zero = {p.module for p in layout.parameters if len(p.shape) > 1 and p.initial_rms == 0}
    called = [module for module in layout.modules if module.called]
    last = flow.ends([module.name for module in called if _is_linear(module.type)])
    open_: list[list[str]] = []
    closed: list[list[str]] = []
    for module in called:
        breaks = any(part in module.type for part in BREAKING_TYPES)
        linear = _is_linear(module.type) and module.name not in last
        if breaks or (linear and module.normalized):
            closed += [chain for chain in open_ if not flow.apart(chain[-1], module.name)]
            open_ = [chain for chain in open_ if flow.apart(chain[-1], module.name)]
        elif linear and module.name not in zero:
            before = next((chain for chain in reversed(open_) if not flow.apart(chain[-1], module.name)), None)
            if before is None:
                open_.append([module.name])
            else:
                before.append(module.name)
    place = {module.name: i for i, module in enumerate(called)}
    return sorted((tuple(chain) for chain in closed + open_), key=lambda chain: place[chain[0]])


@lru_cache
def _is_linear(kind: str) -> bool:
    return any(part in kind for part in LINEAR_TYPES) and not any(part in kind for part in BREAKING_TYPES)


def total_change(values: Floats) -> tuple[Floats, Floats, Floats]:
    """The change of a statistic from the first to the last place of a chain, fitted as exponential.

    ``values``: shape (records, places). Returns the total factor, the factor per place, and the correlation of the
    logarithm with depth, each of shape (records,), NaN with fewer than three usable places.
    """
    slope, correlation = slopes(values)
    with np.errstate(over="ignore"):
        return np.exp(slope * (values.shape[1] - 1)), np.exp(slope), correlation


def standing(sequence: Sequence[str], of: Sequence[str]) -> NDArray[np.int64]:
    """Indices in ``of`` of the members of ``sequence`` that it has."""
    place = {name: i for i, name in enumerate(of)}
    return np.array([place[name] for name in sequence if name in place], np.int64)
