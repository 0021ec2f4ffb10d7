"""What a rank tells of its shards in a measured step, and how all ranks' pieces make statistics of the whole."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.record.reduce_table import pool

_STATISTICS = (
    schema.MEAN, schema.STD, schema.RMS, schema.MIN, schema.MAX,
    schema.ZERO_SHARE, schema.NAN_COUNT, schema.INF_COUNT, schema.COPIED_SHARE,
)  # fmt: skip
COLUMNS = [schema.STATISTICS.index(name) for name in _STATISTICS]
_ZEROS, _NAN, _INF, _COPIED = (
    _STATISTICS.index(name) for name in (schema.ZERO_SHARE, schema.NAN_COUNT, schema.INF_COUNT, schema.COPIED_SHARE)
)
BYTES_EACH = 8 + 4 * len(COLUMNS)
"""Sent of one tensor."""
_SMALLEST_VARIANCE = 1e-13
"""Relative to the squared mean: below it float32 means cannot tell it from none."""
_HEADER = struct.Struct("<IQ")
_FLOAT32_MAX = float(np.finfo(np.float32).max)
KINDS = len(schema.PARAMETER_KINDS)


@dataclass(frozen=True)
class Pieces:
    """Of P parameters: ``numel`` int64 (P, 3), elements contributed, -1 for none; ``values`` float32 (P, 3, 9).

    The statistics are those of ``COLUMNS``; NaN where this rank did not measure them. ``signature`` is the model's.
    """

    signature: int
    numel: NDArray[np.int64]
    values: NDArray[np.float32]

    @classmethod
    def of(
        cls, table: NDArray[np.float32], signature: int, rows: NDArray[np.int64], numel: NDArray[np.int64],
        by_rows: NDArray[np.bool_],
    ) -> Pieces:  # fmt: skip
        """Taken from a record's ``table``; ``rows`` (P, 3) says where, -1 for nowhere; ``by_rows`` as in ``Plan``."""
        values = np.full((*rows.shape, len(COLUMNS)), np.nan, np.float32)
        there = (rows >= 0) & (rows < len(table))
        values[there] = table[rows[there]][:, COLUMNS]
        values[~by_rows, :, _COPIED] = np.nan  # units cut in parts cannot be compared
        return cls(signature, numel, values)

    def fits(self, other: Pieces) -> bool:
        """Whether both are of the same parameters."""
        return (self.signature, self.numel.shape) == (other.signature, other.numel.shape)

    def pack(self) -> bytes:
        head = _HEADER.pack(self.signature, len(self.numel))
        return head + self.numel.astype("<i8").tobytes() + self.values.astype("<f4").tobytes()

    @classmethod
    def unpack(cls, data: bytes) -> Pieces:
        signature, parameters = _HEADER.unpack_from(data)
        numel = np.frombuffer(data, "<i8", parameters * KINDS, _HEADER.size).reshape(-1, KINDS)
        values = np.frombuffer(data, "<f4", offset=_HEADER.size + numel.nbytes).reshape(-1, KINDS, len(COLUMNS))
        return cls(signature, numel, values)


def whole(pieces: Sequence[Pieces]) -> NDArray[np.float32]:
    """Statistics (P, 3, 9) of the tensors that ``pieces`` make up; NaN where a piece that has elements lacks them."""
    parameters = len(pieces[0].numel)
    numel = np.stack([piece.numel for piece in pieces]).reshape(len(pieces), -1)
    values = np.stack([piece.values for piece in pieces]).reshape(len(pieces), -1, len(COLUMNS)).astype(np.float64)
    has = numel > 0
    unmeasured = (has & np.isnan(values[:, :, _NAN])).any(axis=0) | ~has.any(axis=0)
    piece, place = np.nonzero(has & ~unmeasured)
    elements, readings = numel[piece, place].astype(np.float64), values[piece, place]
    copied = readings[:, _COPIED].copy()
    finite = elements - readings[:, _NAN] - readings[:, _INF]
    readings[:, _ZEROS] = np.where(finite > 0, finite * readings[:, _ZEROS], 0.0)
    table = pool(parameters * KINDS, place, elements, readings[:, :_COPIED])[:, COLUMNS]
    total = np.bincount(place, weights=elements, minlength=len(table))
    with np.errstate(invalid="ignore", divide="ignore"):
        table[:, _COPIED] = np.bincount(place, weights=elements * copied, minlength=len(table)) / total
    table[unmeasured] = np.nan
    return table.reshape(parameters, KINDS, len(COLUMNS))


@dataclass(frozen=True)
class Moments:
    """The same as float64 that ranks can add up: ``sums`` (P, 3, 9), and ``extremes`` (P, 3, 2) to take the most of.

    Sums: elements, finite ones, their values, their squares, zeros, NaN, Inf, copied units by elements, and pieces that
    lack statistics. Extremes: the greatest value and the negative of the least one.
    """

    sums: NDArray[np.float64]
    extremes: NDArray[np.float64]

    @classmethod
    def of(cls, pieces: Pieces) -> Moments:
        """What one rank contributes."""
        has = pieces.numel > 0
        mean, std, _, low, high, zeros, nan, inf, copied = np.moveaxis(pieces.values.astype(np.float64), 2, 0)
        lacking = has & np.isnan(nan)
        elements = np.where(has & ~lacking, pieces.numel, 0).astype(np.float64)
        finite = np.where(elements > 0, elements - nan - inf, 0.0)
        value = [elements, finite, finite * mean, finite * (std**2 + mean**2), finite * zeros, nan, inf]
        sums = [np.where((elements > 0) & ((finite > 0) | (i in (0, 5, 6))), x, 0.0) for i, x in enumerate(value)]
        copies = np.where(elements > 0, elements * copied, 0.0)
        extremes = [np.where(finite > 0, x, -np.inf) for x in (high, -low)]
        return cls(np.stack([*sums, copies, lacking.astype(np.float64)], axis=2), np.stack(extremes, axis=2))

    def statistics(self) -> NDArray[np.float32]:
        """Of the wholes, shape (P, 3, 9), as ``whole`` gives them."""
        elements, finite, total, squares, zeros, nan, inf, copied, lacking = np.moveaxis(self.sums, 2, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean, square = total / finite, squares / finite
            variance = square - mean**2
            variance = np.where(variance > _SMALLEST_VARIANCE * mean**2, variance, 0.0)
            low, high = -self.extremes[:, :, 1], self.extremes[:, :, 0]
            moments = [mean, np.sqrt(variance), np.sqrt(square), low, high]
            columns = [*(np.where(finite > 0, x, np.nan) for x in moments), zeros / finite, nan, inf, copied / elements]
        result = np.clip(np.stack(columns, axis=2), -_FLOAT32_MAX, _FLOAT32_MAX).astype(np.float32)
        result[(lacking > 0) | (elements == 0)] = np.nan
        return np.asarray(result, np.float32)
