"""Statistics of NumPy's arrays, and of all that can become one, without torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.record.plain_table import Shaped

_WHOLE_RUN = (schema.INPUT, schema.PREDICTION, schema.TARGET, schema.LOSS)
_DEEPEST = 32


def statistics(array: Any) -> dict[str, float]:
    """The statistics of one array as ``Recorder.record`` takes them, in float64; empty for an empty array.

    ``array`` is anything that ``numpy.asarray`` makes an array of real numbers. Mean, standard deviation (of the
    population), root mean square, extremes and share of zeros are of the finite elements; without any they are left
    out. Raises TypeError for other elements.
    """
    values = np.asarray(array)
    if values.dtype.kind in "cOSUmMV" and values.dtype.name not in _LOW_PRECISION:
        raise TypeError(
            f"statistics: expected an array of real numbers, found {type(array).__name__} of {values.dtype}"
        )
    values = values.astype(np.float64).ravel()
    if not values.size:
        return {}
    nan, infinite = np.isnan(values), np.isinf(values)
    counts = {schema.NAN_COUNT: float(nan.sum()), schema.INF_COUNT: float(infinite.sum())}
    finite = values[~(nan | infinite)]
    if not finite.size:
        return counts
    largest = float(np.abs(finite).max()) or 1.0
    scaled = finite / largest  # squares of very large or small elements would leave the range
    return {
        schema.MEAN: float(scaled.mean()) * largest,
        schema.STD: float(scaled.std()) * largest,
        schema.RMS: float(np.sqrt(np.square(scaled).mean())) * largest,
        schema.MIN: float(finite.min()),
        schema.MAX: float(finite.max()),
        schema.ZERO_SHARE: float((finite == 0).mean()),
        **counts,
    }


_LOW_PRECISION = frozenset({"bfloat16", "float8_e4m3fn", "float8_e5m2"})
"""Real numbers that NumPy itself does not know; JAX registers them as of no kind."""


def measured(given: Mapping[str, Any]) -> tuple[dict[str, dict[str, float]], dict[str, Shaped]]:
    """``{name: {statistic: value}}`` of arrays nested below each kind, and their shapes.

    Of inputs, predictions, targets and losses the first is taken.
    """
    found: dict[str, dict[str, float]] = {}
    shapes: dict[str, Shaped] = {}
    for kind, tree in given.items():
        for name, array in _arrays(tree, kind):
            name = kind if kind in _WHOLE_RUN else f"{name}:{kind}"
            values = statistics(array)
            if values and name not in found:
                found[name] = values
                shapes[name] = Shaped(np.shape(array), str(np.asarray(array).dtype))
    return found, shapes


def _arrays(tree: Any, kind: str, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    if len(path) > _DEEPEST:
        raise TypeError(f"measure: expected arrays nested at most {_DEEPEST} deep in {kind}")
    if tree is None:
        return
    if isinstance(tree, Mapping):
        inner = [(str(key), value) for key, value in tree.items()]
    elif is_dataclass(tree) and not isinstance(tree, type):
        inner = [(field.name, getattr(tree, field.name)) for field in fields(tree)]
    elif isinstance(tree, tuple) and hasattr(tree, "_fields"):
        inner = list(zip(tree._fields, tree, strict=True))
    elif isinstance(tree, (tuple, list)):
        inner = [(str(i), value) for i, value in enumerate(tree)]
    else:
        yield ".".join(path) or kind, tree
        return
    for key, value in inner:
        yield from _arrays(value, kind, (*path, key))
