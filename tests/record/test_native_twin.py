"""Every statistic of ten thousand tensors against a twin of greater precision, by each way of reducing them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
import torch
from native_ways import SETS, TORCH, way  # noqa: F401

from tb_nnhealth import native, schema
from tb_nnhealth.record.reduce import FIELDS
from tb_nnhealth.record.reduce_copies import copied_share
from tb_nnhealth.record.reduce_gather import Gathered
from tb_nnhealth.record.reduce_native import CODES
from tb_nnhealth.record.reduce_table import Record
from tb_nnhealth.record.units import alive_units, saturation

TENSORS = 10_000
COLUMNS = schema.STATISTICS[:8]
FLOAT32_MAX = float(np.finfo(np.float32).max)
SMALLEST = float(np.finfo(np.float32).smallest_subnormal)
DTYPES = list(CODES)


# --- the tensors ------------------------------------------------------------------------------------------------------


def values(random: np.random.Generator, numel: int, dtype: torch.dtype) -> torch.Tensor:
    """Numbers of some kind that trainings know, or that break a careless sum."""
    normal = torch.from_numpy(random.standard_normal(numel))
    low, high = (-300, 300) if dtype is torch.float64 else (-44, 37) if dtype is not torch.float16 else (-7, 4)
    scale = 10.0 ** float(random.uniform(low, high))
    kind = random.integers(9)
    if kind == 0:
        return normal * 10.0 ** float(random.uniform(-4, 2))
    if kind == 1:  # of any size, one beside the other
        return normal.sign() * torch.from_numpy(10.0 ** random.uniform(low, high, numel))
    if kind == 2:
        return normal * scale
    if kind == 3:
        return torch.full((numel,), scale, dtype=torch.float64)
    if kind == 4:  # far from zero
        return 1 + normal * 10.0 ** float(random.uniform(-9, 0))
    if kind == 5:  # what a ReLU leaves
        return normal.clamp(min=0)
    if kind == 6:  # denormal numbers, and zeros of both signs
        tiny = torch.finfo(dtype).smallest_normal
        return normal.sign() * torch.from_numpy(random.integers(0, 4, numel)) * (tiny / 8)
    if kind == 7:  # a block unlike the others
        return torch.where(torch.arange(numel) < 2048, normal, 1e4 + normal)
    return torch.zeros(numel, dtype=torch.float64)


def laid_out(random: np.random.Generator, flat: torch.Tensor) -> torch.Tensor:
    """The elements in one of the layouts of memory that trainings know."""
    numel, kind = flat.numel(), random.integers(7)
    columns = next((n for n in (7, 3, 2) if numel % n == 0), 1)
    if kind == 0:
        return flat.view(-1, columns).t()
    if kind == 1:
        return torch.stack([flat, flat + 1], 1)[:, 0]
    if kind == 2:
        return torch.cat([flat[:3], flat])[3:]
    if kind == 3 and numel:
        return flat[: max(1, numel // 2)].view(-1, 1).expand(-1, 2)
    if kind == 4 and numel % 12 == 0:
        return flat.view(-1, 3, 2, 2).contiguous(memory_format=torch.channels_last)
    if kind == 5:
        return flat.as_strided((numel,), (1,)).view(-1, columns)
    return flat


def tensors(seed: int, count: int) -> Iterator[torch.Tensor]:
    random = np.random.default_rng(seed)
    sizes = [*range(71), 2047, 2048, 2049, 4097]
    for _ in range(count):
        numel = int(random.choice(sizes) if random.random() < 0.99 else random.integers(2050, 80_000))
        dtype = DTYPES[random.choice(len(DTYPES), p=[0.4, 0.2, 0.2, 0.2])]
        flat = values(random, numel, dtype).to(dtype)
        if random.random() < 0.3:
            for strange, share in zip((math.nan, math.inf, -math.inf), random.choice([0.0, 0.01, 1.0], 3), strict=True):
                flat[torch.from_numpy(random.random(numel) < share)] = strange
        yield laid_out(random, flat)


# --- the twin ---------------------------------------------------------------------------------------------------------


def twin(tensor: torch.Tensor) -> dict[str, float]:
    """The definitions of schema.py in the widest numbers that numpy has."""
    elements = tensor.detach().double().numpy().ravel().astype(np.longdouble)
    finite = elements[np.isfinite(elements)]
    result = {schema.NAN_COUNT: float(np.isnan(elements).sum()), schema.INF_COUNT: float(np.isinf(elements).sum())}
    if not finite.size:
        return {**dict.fromkeys(COLUMNS, math.nan), **result}
    scale = np.abs(finite).max() or np.longdouble(1)
    unit = finite / scale
    mean = unit.mean()
    return {
        schema.MEAN: mean * scale,
        schema.STD: np.sqrt(((unit - mean) ** 2).mean()) * scale,
        schema.RMS: np.sqrt((unit**2).mean()) * scale,
        schema.MIN: finite.min(),
        schema.MAX: finite.max(),
        schema.ZERO_SHARE: (finite == 0).mean(),
        **result,
    }


@cache
def with_twins() -> list[tuple[torch.Tensor, dict[str, float] | None]]:
    """The ten thousand, with their twins; None for those without elements."""
    return [(tensor, twin(tensor) if tensor.numel() else None) for tensor in tensors(2024, TENSORS)]


def histogram_twin(tensor: torch.Tensor) -> list[int]:
    counts = [0] * schema.HISTOGRAM_BINS
    for value in tensor.double().flatten().tolist():
        if not math.isfinite(value):
            counts[-1] += 1
        elif value == 0:
            counts[0] += 1
        else:
            exponent = math.frexp(value)[1] - 1
            counts[1 + min(max(exponent, schema.EXPONENT_LOW), schema.EXPONENT_HIGH) - schema.EXPONENT_LOW] += 1
    return counts


def measured(tensor: torch.Tensor, *, counted: bool = False) -> tuple[list[float], list[int] | None]:
    gathered, record = Gathered(), Record()
    gathered.take(tensor, counted=counted)
    gathered.write(record, 0)
    counts = record.histograms(1)()[0].tolist() if counted and record.has_histograms else None
    return record.stats(1)()[0].tolist()[:8], counts


def disagreement(found: list[float], expected: dict[str, float], native: bool) -> str:
    rms = abs(float(expected[schema.RMS]))
    for value, name in zip(found, COLUMNS, strict=True):
        right = float(np.clip(np.float64(expected[name]), -FLOAT32_MAX, FLOAT32_MAX))
        if math.isnan(right) and math.isnan(value):
            continue
        tolerance = 1e-5 * abs(right) + SMALLEST
        if name == schema.MEAN:  # one that cancels is known to its terms' scale
            tolerance += (1e-12 if native else 1e-6) * rms
        if name == schema.STD and not native:
            tolerance += 2e-7 * rms
        if not abs(value - right) <= tolerance:
            return f"{name}: expected {right}, found {value}"
    return ""


# --- the tests --------------------------------------------------------------------------------------------------------


def test_ten_thousand_tensors_as_the_twin_has_them(way: str) -> None:  # noqa: F811
    wrong, empty = [], 0
    for i, (tensor, expected) in enumerate(with_twins()):
        found, _ = measured(tensor)
        if expected is None:
            empty += 1
            assert all(map(math.isnan, found))
            continue
        said = disagreement(found, expected, way != TORCH)
        if said:
            wrong.append(f"{i}: {tensor.dtype} {tuple(tensor.shape)} {tensor.stride()}: {said}")
    assert not wrong, f"{len(wrong)} of {TENSORS}, the first: " + "\n".join(wrong[:5])
    assert 0 < empty < TENSORS / 10


def test_histograms_as_the_twin_has_them(way: str) -> None:  # noqa: F811
    for i, tensor in enumerate(tensors(7, 600)):
        _, counts = measured(tensor, counted=True)
        assert counts == (histogram_twin(tensor) if tensor.numel() else None), (i, tensor.dtype, tensor.shape)


def test_what_is_not_finite_is_counted_and_nothing_else_said(way: str) -> None:  # noqa: F811
    for dtype in DTYPES:
        found, _ = measured(torch.tensor([math.nan, math.inf, -math.inf] * 7, dtype=dtype))
        assert all(map(math.isnan, found[:6]))
        assert found[6:] == [7, 14]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_units_saturation_and_copies_as_torch_has_them(way: str, dtype: torch.dtype) -> None:  # noqa: F811
    torch.manual_seed(0)
    for shape in ((37, 12), (5, 12, 6, 7), (2, 6, 12)):
        x = torch.randn(shape).to(dtype)
        for dimension in range(1, len(shape)):
            dead = x.clone()
            dead.select(dimension, 1).zero_()
            dead.select(dimension, 4).zero_().neg_()
            dead.select(dimension, 5).fill_(math.nan)
            for tensor in (dead, dead.transpose(0, dimension).contiguous().transpose(0, dimension)):
                gathered = Gathered()
                values, reading = gathered.take(tensor)  # type: ignore[misc]
                alive = alive_units(values.tensor, dimension, reading)
                expected = [not bool((unit == 0).all()) for unit in tensor.unbind(dimension)]
                assert alive.tolist() == expected
                lively = (tensor == 0).to(tensor.dtype)
                values, reading = Gathered().take(lively)  # type: ignore[misc]
                everywhere = alive_units(values.tensor, dimension, reading)
                alive_there = [bool((unit != 0).any()) for unit in lively.unbind(dimension)]
                assert (everywhere is None and all(alive_there)) or everywhere.tolist() == alive_there
                values, reading = gathered.take(tensor)  # type: ignore[misc]
                share, numel = saturation(torch.nn.Tanh(), "", values.tensor, reading)  # type: ignore[misc]
                assert numel == tensor.numel()
                assert float(share) == pytest.approx(float((tensor.float().abs() > 0.97).float().mean()))
    weight = torch.randn(9, 40).to(dtype)
    weight[4], weight[7] = weight[1], weight[1]
    assert copied_share(weight) == pytest.approx(2 / 9)
    weight[7, 33] = -weight[7, 33] if weight[7, 33] else 1.0
    assert copied_share(weight) == pytest.approx(1 / 9)


@pytest.mark.skipif(not SETS, reason="the native core was not built")
def test_the_core_refuses_what_is_no_tensor() -> None:
    x = torch.zeros(4)
    for arguments in (
        (x.data_ptr() + 1, 3, 0, 0),
        (x.data_ptr(), 0, 0, 0),
        (x.data_ptr(), 4, 9, 0),
        (0, 4, 0, 0),
        (x.data_ptr(), -1, 0, 0),
    ):
        with pytest.raises(ValueError, match="expected elements of a known dtype"):
            native.core.statistics(*arguments)
    with pytest.raises(TypeError, match="expected 4 integers, found 1"):
        native.core.statistics(x.data_ptr())
    with pytest.raises(ValueError, match="instruction_sets"):
        native.core.use("none")
    assert len(native.core.statistics(x.data_ptr(), 4, 0, 0)) == len(FIELDS)
