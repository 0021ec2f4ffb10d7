"""A reply as bytes: its JSON, and behind it its arrays as they lie in memory, instead of base64 in the JSON."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth.findings import json_number

ENDING, COARSE_ENDING = "_f32", "_bf16"
_PLAIN = frozenset({int, str, bool, type(None)})


def pack(content: Mapping[str, Any], coarse: Iterable[str] = ()) -> bytes:
    """``content``, a reply as JSON would hold it, as ``http_api.md`` describes.

    Arrays in fields of the names in ``coarse`` (without their ending) are rounded to bfloat16; "part.name" is such a
    field within the field ``part`` of ``content``.
    """
    rounded = frozenset(coarse)
    arrays: list[bytes] = []
    end = 0

    def place(data: bytes, width: int) -> list[int]:
        nonlocal end
        at = end
        arrays.append(data + bytes(-len(data) % 4))
        end += len(arrays[-1])
        return [at, len(data) // width]

    def moved(value: Any, within: str = "") -> Any:
        if isinstance(value, (list, tuple)):
            if _is_plain(value):
                return value
            return [item if isinstance(item, (int, str)) else moved(item, within) for item in value]
        if isinstance(value, float) and not math.isfinite(value):
            return json_number(value)
        if not isinstance(value, Mapping):
            return value
        fields: dict[str, Any] = {}
        for name, item in value.items():
            if not (name.endswith(ENDING) and isinstance(item, str)):
                fields[name] = moved(item, within or f"{name}.")
                continue
            data, stem = base64.b64decode(item), name.removesuffix(ENDING)
            if stem in rounded or within + stem in rounded:
                fields[stem + COARSE_ENDING] = place(bfloat16(np.frombuffer(data, "<f4")).astype("<u2").tobytes(), 2)
            else:
                fields[name] = place(data, 4)
        return fields

    head = json.dumps(moved(content), separators=(",", ":"), allow_nan=False).encode("ascii")
    head += b" " * (-len(head) % 4)
    return len(head).to_bytes(4, "little") + head + b"".join(arrays)


def _is_plain(values: Sequence[Any]) -> bool:
    """Whether JSON can hold them as they are: names, stretches and worst values, which are many."""
    kinds = set(map(type, values))
    if kinds <= {list, tuple}:
        return set(map(type, chain.from_iterable(values))) <= _PLAIN
    if kinds <= {dict, type(None)}:
        fields = [field for value in values if value for field in value.items()]
        if any(name.endswith(ENDING) for name in {name for name, _ in fields}):
            return False
        return all(type(item) in _PLAIN or (type(item) is float and math.isfinite(item)) for _, item in fields)
    return kinds <= _PLAIN


def bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The upper half of each float32, rounded to the nearest: wrong by at most 1 in 256, with the same range.

    Zero, infinity and NaN stay what they are; what is finite stays finite.
    """
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    nearest = (bits + np.uint32(0x7FFF) + ((bits >> 16) & np.uint32(1))) >> 16
    kept = np.where(np.isfinite(values), nearest, bits >> 16)
    overflown = np.isfinite(values) & ((kept & 0x7FFF) >= 0x7F80)
    kept = np.where(overflown, kept - 1, kept)
    return np.where(np.isnan(values), np.uint32(0x7FC0), kept).astype(np.uint16)
