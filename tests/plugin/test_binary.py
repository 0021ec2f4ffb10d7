"""Replies in bytes: the same as in JSON, smaller, and rounded no more than is said."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tb_nnhealth.plugin.arrays import f32
from tb_nnhealth.plugin.binary import bfloat16, pack

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


def unpack(data: bytes) -> Any:
    """As the frontend does it: references become arrays."""
    size = int.from_bytes(data[:4], "little")
    assert size % 4 == 0
    tail = data[4 + size :]

    def filled(value: Any) -> Any:
        if isinstance(value, list):
            return [filled(item) for item in value]
        if not isinstance(value, dict):
            return value
        fields = {}
        for name, item in value.items():
            stem, _, kind = name.rpartition("_")
            if kind == "f32" and item is not None:
                at, count = item
                assert at % 4 == 0
                fields[stem] = np.frombuffer(tail, "<f4", count, at)
            elif kind == "bf16" and item is not None:
                at, count = item
                fields[stem] = (np.frombuffer(tail, "<u2", count, at).astype(np.uint32) << 16).view(np.float32)
            else:
                fields[name] = filled(item)
        return fields

    return filled(json.loads(data[4 : 4 + size]))


def restored(values: Any) -> Any:
    return (bfloat16(np.asarray(values, np.float32)).astype(np.uint32) << 16).view(np.float32)


@given(st.lists(FINITE, min_size=1, max_size=50))
def test_rounding_is_at_most_one_in_256_and_keeps_order(values: list[float]) -> None:
    exact = np.sort(np.asarray(values, np.float32))
    found = restored(exact)
    assert np.isfinite(found).all()
    normal = np.abs(exact) >= np.finfo(np.float32).tiny
    assert (np.abs(found - exact)[normal] <= np.abs(exact)[normal] / 256).all()
    assert (np.diff(found) >= 0).all(), "what was larger is not smaller now"
    assert ((found == 0) | (np.sign(found) == np.sign(exact))).all()


def test_what_is_no_number_stays_so() -> None:
    found = restored([np.nan, np.inf, -np.inf, 0.0, -0.0, np.finfo(np.float32).max])
    assert np.isnan(found[0])
    assert found[1:5].tolist() == [np.inf, -np.inf, 0.0, 0.0]
    assert np.isfinite(found[5])


def test_bytes_hold_what_json_holds() -> None:
    content = {
        "title": 'a "name" ü',
        "limit": float("nan"),
        "values_f32": f32([1.0, 2.5, 3.0]),
        "empty_f32": f32([]),
        "none_f32": None,
        "charts": [{"series": [{"steps": [1, 2], "values_f32": f32([7.0]), "mean_f32": f32([8.0, 9.0])}]}],
    }
    found = unpack(pack(content))
    assert found["title"] == content["title"]
    assert found["limit"] == "NaN"
    assert found["none_f32"] is None
    assert found["values"].tolist() == [1.0, 2.5, 3.0]
    assert found["empty"].tolist() == []
    series = found["charts"][0]["series"][0]
    assert (series["steps"], series["values"].tolist(), series["mean"].tolist()) == ([1, 2], [7.0], [8.0, 9.0])


@pytest.mark.parametrize("count", [1, 2, 3, 1000])
def test_rounded_arrays_are_named_otherwise_and_half_as_long(count: int) -> None:
    values = np.geomspace(1e-9, 1e9, count).astype(np.float32)
    exact, rounded = pack({"values_f32": f32(values)}), pack({"values_f32": f32(values)}, ["values"])
    assert len(rounded) - len(exact) == pytest.approx(-2 * count, abs=8)
    assert unpack(rounded)["values"] == pytest.approx(values, rel=1 / 256)
    assert unpack(exact)["values"].tolist() == values.tolist()


def test_arrays_of_one_part_are_rounded_and_those_of_another_are_not() -> None:
    part = {"values_f32": f32([1.001]), "deep": [{"values_f32": f32([1.001])}]}
    found = unpack(pack({"map": part, "charts": part}, ["map.values"]))
    assert found["map"]["values"] == found["map"]["deep"][0]["values"] == [1.0]
    assert found["charts"]["values"] == found["charts"]["deep"][0]["values"] == [np.float32(1.001)]


def test_lists_of_records_keep_their_numbers() -> None:
    worst = [{"value": 0.5, "step": 3}, None, {"value": float("nan"), "step": 4}]
    assert unpack(pack({"worst": worst}))["worst"] == [worst[0], None, {"value": "NaN", "step": 4}]
    assert unpack(pack({"worst": worst[:2]}))["worst"] == worst[:2]
    nested = unpack(pack({"series": [{"values_f32": f32([1.0, 2.0])}]}))
    assert nested["series"][0]["values"].tolist() == [1.0, 2.0]
