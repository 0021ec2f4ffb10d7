"""Statistics against a twin in float64, over whatever tensors hypothesis thinks of."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tb_nnhealth import schema
from tb_nnhealth.record.reduce import Reading, careful, flatten, read, scalar, scaled
from tb_nnhealth.record.reduce_gather import Gathered
from tb_nnhealth.record.reduce_readable import readable
from tb_nnhealth.record.reduce_table import Record

COLUMNS = schema.STATISTICS[:8]
FLOAT32_MAX = float(np.finfo(np.float32).max)


def twin(array: np.ndarray) -> dict[str, float]:
    """The definitions of schema.py, word for word, in float64."""
    values = array.astype(np.float64).ravel()
    finite = values[np.isfinite(values)]
    result = {
        schema.NAN_COUNT: float(np.isnan(values).sum()),
        schema.INF_COUNT: float(np.isinf(values).sum()),
    }
    if not finite.size:
        return {**dict.fromkeys(COLUMNS, math.nan), **result}
    scale = np.abs(finite).max() or 1.0
    unit = finite / scale
    return {
        schema.MEAN: float(unit.mean() * scale),
        schema.STD: float(np.sqrt(((unit - unit.mean()) ** 2).mean()) * scale),
        schema.RMS: float(np.sqrt((unit**2).mean()) * scale),
        schema.MIN: float(finite.min()),
        schema.MAX: float(finite.max()),
        schema.ZERO_SHARE: float((finite == 0).mean()),
        **result,
    }


def measured(*tensors: torch.Tensor) -> dict[str, float]:
    gathered, record = Gathered(), Record()
    for tensor in tensors:
        gathered.take(tensor, integers=True)
    gathered.write(record, 0)
    return dict(zip(schema.STATISTICS, record.stats(1)()[0].tolist(), strict=True))


def assert_close(found: dict[str, float], expected: dict[str, float]) -> None:
    scale = max(abs(expected[schema.RMS]), 1e-44) if not math.isnan(expected[schema.RMS]) else 0.0
    for name in COLUMNS:
        tolerance = 1e-5 * abs(expected[name])
        if name == schema.MEAN:
            tolerance = 1e-5 * max(abs(expected[name]), 0.1 * scale)  # a mean that cancels is known to its terms' scale
        if name == schema.STD:
            tolerance += 2e-7 * scale
        expected_value = float(np.clip(expected[name], -FLOAT32_MAX, FLOAT32_MAX))
        assert found[name] == pytest.approx(expected_value, abs=max(tolerance, 1e-44), nan_ok=True), name


anything32 = arrays.arrays(
    np.float32,
    arrays.array_shapes(min_dims=0, max_dims=4, max_side=12),
    elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
)
tame = st.tuples(
    st.integers(1, 300_000), st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.floats(0, 0.99), st.integers(0, 2**31)
)


@given(anything32)
@settings(max_examples=300, deadline=None)
def test_any_float32_tensor_as_the_twin_has_it(array: np.ndarray) -> None:
    assert_close(measured(torch.from_numpy(array.copy())), twin(array))


@given(tame)
@settings(max_examples=60, deadline=None)
def test_large_tensors_as_the_twin_has_them(drawn: tuple[int, float, float, float, int]) -> None:
    numel, mean, std, zeros, seed = drawn
    random = np.random.default_rng(seed)
    array = (mean + std * random.standard_normal(numel)).astype(np.float32)
    array[random.random(numel) < zeros] = 0
    assert_close(measured(torch.from_numpy(array)), twin(array))


@given(anything32)
@settings(max_examples=200, deadline=None)
def test_way_without_branches_gives_the_same_as_a_device_would_compute_it(array: np.ndarray) -> None:
    flat = flatten(torch.from_numpy(array.copy()))
    record = Record()
    record.add(0, Reading(flat.numel(), careful(flat)))
    found = dict(zip(schema.STATISTICS, record.stats(1)()[0].tolist(), strict=True))
    assert_close(found, twin(array))


@given(st.lists(anything32, min_size=2, max_size=4))
@settings(max_examples=100, deadline=None)
def test_calls_are_pooled_as_one_tensor(parts: list[np.ndarray]) -> None:
    joined = np.concatenate([part.ravel() for part in parts])
    assert_close(measured(*(torch.from_numpy(part.copy()) for part in parts)), twin(joined))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_low_precision_is_widened(dtype: torch.dtype) -> None:
    tensor = (torch.randn(4096, generator=torch.Generator().manual_seed(0)) * 3).to(dtype)
    assert_close(measured(tensor), twin(tensor.to(torch.float32).numpy()))


def test_half_precision_sums_do_not_overflow() -> None:
    assert measured(torch.full((4096,), 300.0, dtype=torch.float16))[schema.RMS] == 300.0


def test_float64_is_read_in_float64_and_clamped() -> None:
    tensor = torch.tensor([1.0, 1.0 + 1e-9, 1.0 - 1e-9], dtype=torch.float64)
    assert measured(tensor)[schema.STD] == pytest.approx(float(tensor.std(correction=0)), rel=1e-5)
    assert measured(torch.tensor([1e300, -1e300, 0.0], dtype=torch.float64))[schema.MAX] == np.float32(FLOAT32_MAX)


def test_complex_is_read_by_magnitude() -> None:
    assert measured(torch.tensor([3 + 4j, 0j]))[schema.MAX] == 5.0


def test_variance_of_a_distant_mean_is_not_lost() -> None:
    tensor = 1000 + 0.01 * torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    expected = tensor.double().std(correction=0).item()
    assert measured(tensor)[schema.STD] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("value", [3e38, 1e-30, 1e-44])
def test_squares_outside_the_range_of_float32(value: float) -> None:
    tensor = torch.tensor([value, value, -value])
    assert measured(tensor)[schema.RMS] == pytest.approx(tensor[0].item(), rel=1e-5)


def test_sparse_tensors_count_what_they_leave_out() -> None:
    dense = torch.zeros(10, 4)
    dense[3] = 2.0
    indices = torch.tensor([[3, 3]])
    uncoalesced = torch.sparse_coo_tensor(indices, torch.ones(2, 4), (10, 4), check_invariants=False)
    for tensor in (uncoalesced, dense.to_sparse(), dense.to_sparse_csr()):
        assert_close(measured(tensor), twin(dense.numpy()))


@pytest.mark.parametrize(
    "layout",
    [
        lambda x: x.t(),
        lambda x: x[:, ::2],
        lambda x: x[:, :1].expand(-1, 7),
        lambda x: x.view(5, 4, 2, 3).contiguous(memory_format=torch.channels_last),
        lambda x: torch.view_as_complex(x.view(5, 12, 2)).conj().imag,
    ],
)
def test_any_strides(layout) -> None:
    tensor = layout(torch.randn(5, 24, generator=torch.Generator().manual_seed(0)))
    assert_close(measured(tensor), twin(tensor.resolve_neg().numpy()))


def test_memory_is_read_in_its_own_order_where_it_is_dense() -> None:
    tensor = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    assert flatten(tensor).data_ptr() == tensor.data_ptr()


def test_what_cannot_be_read_is_left_alone() -> None:
    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    lazy = torch.nn.LazyLinear(3).weight
    quantized = torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)
    jagged = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged)
    for tensor in (nested, lazy, quantized, jagged, torch.ones(3, device="meta"), torch.ones(0), torch.ones(2).int()):
        assert readable(tensor) is None


def test_tensors_that_functorch_wraps_are_left_alone() -> None:
    seen = []
    torch.func.vmap(lambda x: seen.append(readable(x)) or x)(torch.ones(3, 2))
    torch.func.grad(lambda x: seen.append(readable(x)) or x.sum())(torch.ones(3))
    assert seen == [None, None]


def test_fake_tensors_are_left_alone() -> None:
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode():
        assert readable(torch.ones(3)) is None


def test_subclasses_without_a_dispatch_of_their_own_are_read() -> None:
    class Image(torch.Tensor):
        pass

    values = readable(torch.ones(3).as_subclass(Image))
    assert values is not None
    assert type(values.tensor) is torch.Tensor


def test_integers_are_read_where_asked() -> None:
    values = readable(torch.tensor([1, 2, 3]), integers=True)
    assert values is not None
    assert values.dtype == "int64"
    assert read(values)[0].values[0] == 2.0


def test_scalar_and_scaled_readings() -> None:
    assert scalar(-2).values == (-2.0, 0.0, 2.0, -2.0, -2.0, 0.0, 0.0, 0.0)
    assert scalar(math.inf).values[-1] == 1.0
    tensor = torch.randn(50)
    (reading,) = read(readable(tensor))
    (expected,) = read(readable(tensor / 1024))
    assert scaled(reading, torch.tensor(1024.0)).values == pytest.approx(expected.values, rel=1e-6)
    on_device = scaled(Reading(50, careful(tensor)), 1024.0)
    assert on_device.values.tolist() == pytest.approx(expected.values, rel=1e-6, abs=1e-9)


def test_rows_that_a_skipped_step_did_not_update() -> None:
    record = Record()
    record.add(0, scalar(1.0))
    record.add(1, scalar(1.0))
    record.skip_if(torch.tensor(1.0), [1])
    table = record.stats(2)()
    assert table[0, 0] == 1.0
    assert np.isnan(table[1]).all()
