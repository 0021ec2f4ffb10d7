"""The Triton kernels that read tensors on a GPU: statistics, histogram, copy and update in one pass over memory.

A tensor is cut into tiles that fit a program's registers. Each tile gives its moments around its own mean, scaled by a
power of two so that no square leaves float32's range; a second kernel pools the tiles' moments (Chan et al. 1979) in
float64. Importing this module needs Triton, which comes with PyTorch's CUDA builds.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, misc"
# ruff: noqa: N803, SIM108
# Triton reads the source of a kernel, annotations included, and knows none but its own.
from __future__ import annotations

import torch
import triton
import triton.language as tl

from tb_nnhealth import schema

TILE = 4096
"""Elements read by one program; a count within a tile fits 16 bits."""
OPTIONS = {"num_warps": 4, "enable_fp_fusion": True}
"""Of every launch. Triton warns of a change to come where fusion is not named."""
POOLED = 512
"""Tiles pooled at once."""
READ, COPY, MINUS = range(3)
"""What is done with a tensor: it is read; it is read and copied elsewhere; another is subtracted as it is read."""
JOB = 5
"""Numbers of a job, int64: address, elements, number of the first tile, operation, place of the copy in bytes."""
PARTIAL = 12
"""float32 of a tile: mean, what the mean missed, squared deviations, the unit of these three, low, high, zeros, NaN,
Inf; the last three are unused, so that every tensor's first tile is aligned to 16 bytes."""
BINS = 128
"""A power of two above ``schema.HISTOGRAM_BINS``; the last one takes what is outside the tensor."""
DTYPES = {torch.float32: tl.float32, torch.float16: tl.float16, torch.bfloat16: tl.bfloat16}

_HISTOGRAM_BINS = tl.constexpr(schema.HISTOGRAM_BINS)
_LOW, _HIGH = tl.constexpr(schema.EXPONENT_LOW), tl.constexpr(schema.EXPONENT_HIGH)
_BINS = tl.constexpr(BINS)
_PARTIAL = tl.constexpr(PARTIAL)
_JOB = tl.constexpr(JOB)
_COPY, _MINUS = tl.constexpr(COPY), tl.constexpr(MINUS)
_INFINITE = tl.constexpr(0x7F800000)


@triton.jit
def _loaded(pointers, inside, full):
    """A full tile is read without a mask, which would keep it from being read in vectors."""
    if full:
        x = tl.load(pointers)
    else:
        x = tl.load(pointers, mask=inside, other=0.0)
    return x


@triton.jit
def _widened(x):
    """float32; bfloat16 is its upper half."""
    if x.dtype == tl.bfloat16:
        wide = (x.to(tl.int16, bitcast=True).to(tl.int32) << 16).to(tl.float32, bitcast=True)
    else:
        wide = x.to(tl.float32)
    return wide


@triton.jit
def _count(bits, inside, counts):
    exponent = (bits >> 23) - 127
    clipped = tl.minimum(tl.maximum(exponent, _LOW), _HIGH)
    place = tl.where(bits == 0, 0, clipped - _LOW + 1)
    place = tl.where(bits >= _INFINITE, _HISTOGRAM_BINS - 1, place)
    found = tl.histogram(tl.where(inside, place, _BINS - 1), _BINS)
    bins = tl.arange(0, _BINS)
    tl.atomic_add(counts + bins, found.to(tl.int64), mask=(bins < _HISTOGRAM_BINS) & (found > 0), sem="relaxed")


@triton.jit
def _measure(x, inside, partial, counts, COUNTED: tl.constexpr):
    """``x``: float32 (TILE,); ``inside``: which of them belong to the tensor."""
    bits = x.to(tl.int32, bitcast=True) & 0x7FFFFFFF
    finite = inside & (bits < _INFINITE)
    nan = tl.sum((inside & (bits > _INFINITE)).to(tl.int32), 0)
    zeros_and_inf = tl.sum((inside & (bits == 0)).to(tl.int32) + ((inside & (bits == _INFINITE)).to(tl.int32) << 16), 0)
    low = tl.min(tl.where(finite, x, float("inf")), 0)
    high = tl.max(tl.where(finite, x, float("-inf")), 0)
    n = tl.sum(finite.to(tl.int32), 0)
    top = tl.where(n > 0, tl.maximum(-low, high), 1.0)
    power = tl.minimum(tl.maximum(top.to(tl.int32, bitcast=True) & _INFINITE, 1 << 23), 253 << 23)
    unit, inverse = power.to(tl.float32, bitcast=True), ((254 << 23) - power).to(tl.float32, bitcast=True)
    scaled = tl.where(finite, x, 0.0) * inverse
    count = tl.maximum(n, 1).to(tl.float32)
    mean = tl.sum(scaled, 0) / count
    apart = tl.where(finite, scaled - mean, 0.0)
    missed = tl.sum(apart, 0) / count
    squares = tl.sum(apart * apart, 0) - missed * missed * count
    squares = tl.where(low < high, tl.maximum(squares, 0.0), 0.0)
    tl.store(partial, mean)
    tl.store(partial + 1, missed)
    tl.store(partial + 2, squares)
    tl.store(partial + 3, unit)
    tl.store(partial + 4, low)
    tl.store(partial + 5, high)
    tl.store(partial + 6, (zeros_and_inf & 0xFFFF).to(tl.float32))
    tl.store(partial + 7, nan.to(tl.float32))
    tl.store(partial + 8, (zeros_and_inf >> 16).to(tl.float32))
    if COUNTED:
        _count(bits, inside, counts)


@triton.jit
def read_table(
    jobs,
    job_of,
    copies,
    partials,
    counts,
    DTYPE: tl.constexpr,
    ALIGNED: tl.constexpr,
    COUNTED: tl.constexpr,
    SIZE: tl.constexpr,
):
    """One tile of the tensors in ``jobs``, int64 (tensors, JOB); all are of DTYPE.

    ``job_of``: int32 (tiles,). ``copies``: uint8, holds the copies made or subtracted. ``partials``: float32 (tiles,
    PARTIAL). ``counts``: int64 (tensors, schema.HISTOGRAM_BINS), added to if COUNTED. ALIGNED: every address and place
    is a multiple of 16 bytes.
    """
    tile = tl.program_id(0)
    index = tl.load(job_of + tile)
    job = jobs + index * _JOB
    address = tl.load(job)
    numel = tl.load(job + 1)
    start = (tile - tl.load(job + 2)) * SIZE
    operation = tl.load(job + 3)
    if ALIGNED:
        address = tl.multiple_of(address, 16)
    pointers = address.to(tl.pointer_type(DTYPE))
    if ALIGNED:
        pointers = tl.multiple_of(pointers, 16)
    place = tl.load(job + 4)
    if ALIGNED:
        place = tl.multiple_of(place, 16)
    others = (copies + place).to(tl.pointer_type(DTYPE), bitcast=True)
    offsets = start + tl.arange(0, SIZE)
    inside = offsets < numel
    full = start + SIZE <= numel
    raw = _loaded(pointers + offsets, inside, full)
    x = _widened(raw)
    if operation == _COPY:
        if full:
            tl.store(others + offsets, raw)
        else:
            tl.store(others + offsets, raw, mask=inside)
    if operation == _MINUS:
        x = x - _widened(_loaded(others + offsets, inside, full))
    _measure(x, inside, partials + tile.to(tl.int64) * _PARTIAL, counts + index * _HISTOGRAM_BINS, COUNTED)


@triton.jit(do_not_specialize=["numel"])
def read_tensor(tensor, numel, partials, counts, COUNTED: tl.constexpr, SIZE: tl.constexpr):
    """One tile of ``tensor``, whose ``numel`` elements lie end to end; else as ``read_table``."""
    tile = tl.program_id(0).to(tl.int64)
    start = tile * SIZE
    offsets = start + tl.arange(0, SIZE)
    inside = offsets < numel
    x = _widened(_loaded(tensor + offsets, inside, start + SIZE <= numel))
    _measure(x, inside, partials + tile * _PARTIAL, counts, COUNTED)


@triton.jit
def _pooled_tiles(first, tile, numel, SIZE: tl.constexpr):
    """Finite elements and mean of some tiles, float64; 0 of what lies beyond the tensor."""
    there = tile * SIZE < numel
    partial = first + tile * _PARTIAL
    elements = tl.minimum(numel - tile * SIZE, SIZE).to(tl.float64)
    nan = tl.load(partial + 7, mask=there, other=0.0)
    infinite = tl.load(partial + 8, mask=there, other=0.0)
    n = tl.where(there, elements - nan - infinite, 0.0)
    unit = tl.load(partial + 3, mask=there, other=0.0).to(tl.float64)
    mean = tl.load(partial, mask=there, other=0.0).to(tl.float64)
    mean += tl.load(partial + 1, mask=there, other=0.0).to(tl.float64)
    return n, mean * unit, unit


@triton.jit
def pool_tiles(jobs, results, SIZE: tl.constexpr, AT_ONCE: tl.constexpr):
    """One tensor's statistics from those of its tiles.

    ``jobs``: int64 (tensors, 2), the address of a tensor's first partial, and its elements. ``results``: float32
    (tensors, 8), in the order of reduce.FIELDS.
    """
    index = tl.program_id(0)
    first = tl.load(jobs + index * 2).to(tl.pointer_type(tl.float32))
    numel = tl.load(jobs + index * 2 + 1)
    tiles = tl.cdiv(numel, SIZE)
    lanes = tl.arange(0, AT_ONCE).to(tl.int64)
    count = tl.zeros([AT_ONCE], tl.float64)
    total = tl.zeros([AT_ONCE], tl.float64)
    for start in range(0, tiles, AT_ONCE):
        n, mean, _ = _pooled_tiles(first, start + lanes, numel, SIZE)
        count += n
        total += n * mean
    n_all = tl.sum(count, 0)
    divisor = tl.maximum(n_all, 1.0)
    mean_all = tl.sum(total, 0) / divisor
    squares = tl.zeros([AT_ONCE], tl.float64)
    low = tl.full([AT_ONCE], float("inf"), tl.float32)
    high = tl.full([AT_ONCE], float("-inf"), tl.float32)
    zeros = tl.zeros([AT_ONCE], tl.float64)
    nan = tl.zeros([AT_ONCE], tl.float64)
    infinite = tl.zeros([AT_ONCE], tl.float64)
    for start in range(0, tiles, AT_ONCE):
        tile = start + lanes
        n, mean, unit = _pooled_tiles(first, tile, numel, SIZE)
        partial, there = first + tile * _PARTIAL, tile < tiles
        within = tl.load(partial + 2, mask=there, other=0.0).to(tl.float64)
        squares += within * unit * unit + n * (mean - mean_all) * (mean - mean_all)
        low = tl.minimum(low, tl.load(partial + 4, mask=there, other=float("inf")))
        high = tl.maximum(high, tl.load(partial + 5, mask=there, other=float("-inf")))
        zeros += tl.load(partial + 6, mask=there, other=0.0)
        nan += tl.load(partial + 7, mask=there, other=0.0)
        infinite += tl.load(partial + 8, mask=there, other=0.0)
    lowest, highest = tl.min(low, 0), tl.max(high, 0)
    variance = tl.sum(squares, 0) / divisor
    constant = lowest == highest
    mean_all = tl.where(constant, lowest.to(tl.float64), mean_all)
    variance = tl.where(constant, 0.0, variance)
    missing = tl.where(n_all > 0, 0.0, float("nan"))
    result = results + index * 8
    largest = 3.4028234663852886e38
    tl.store(result, mean_all.to(tl.float32) + missing)
    tl.store(result + 1, tl.minimum(tl.sqrt(variance), largest).to(tl.float32) + missing)
    tl.store(result + 2, tl.minimum(tl.sqrt(variance + mean_all * mean_all), largest).to(tl.float32) + missing)
    tl.store(result + 3, lowest + missing)
    tl.store(result + 4, highest + missing)
    tl.store(result + 5, tl.sum(zeros, 0).to(tl.float32))
    tl.store(result + 6, tl.sum(nan, 0).to(tl.float32))
    tl.store(result + 7, tl.sum(infinite, 0).to(tl.float32))
