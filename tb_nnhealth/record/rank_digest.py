"""What a rank of a distributed job tells the others of one measured step, and how two of them compare."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema

PARAMETERS = 2048
"""Parameters compared; of more, as many evenly spread."""
_STATISTICS = [schema.STATISTICS.index(name) for name in (schema.MIN, schema.MAX, schema.MEAN, schema.RMS)]
_MEAN = schema.STATISTICS.index(schema.MEAN)
_TOLERANCE = 1e-5
"""Of the RMS: how far means may lie apart that were summed up in another order."""
_HEADER = struct.Struct("<qqqffI?")


@dataclass(frozen=True)
class Digest:
    """``index`` counts optimizer steps; ``weights`` is float32 (parameters, 4): minimum, maximum, mean and RMS.

    ``signature`` stands for the parameters' names and shapes; ``batch`` for the inputs, where ``batch_known``.
    ``every``: steps from one measured one to the next, as this rank would choose them.
    """

    index: int
    batch: int
    every: int
    loss: float
    seconds: float
    signature: int
    batch_known: bool
    weights: NDArray[np.float32]

    def pack(self) -> bytes:
        head = self.index, self.batch, self.every, self.loss, self.seconds, self.signature, self.batch_known
        return _HEADER.pack(*head) + self.weights.astype("<f4").tobytes()

    @classmethod
    def unpack(cls, data: bytes) -> Digest:
        weights = np.frombuffer(data, "<f4", offset=_HEADER.size).reshape(-1, len(_STATISTICS))
        index, batch, every, loss, seconds, signature, known = _HEADER.unpack_from(data)
        return cls(index, batch, every, loss, seconds, signature, known, weights)


def unlike(own: Digest, other: Digest) -> NDArray[np.intp] | None:
    """The parameters whose weights differ; None where the two hold different ones, as the parts of a model do.

    Least and greatest weight must be the same bit for bit. Sums depend on the order of the additions.
    """
    if own.signature != other.signature or own.weights.shape != other.weights.shape or not len(own.weights):
        return None
    a, b = own.weights, other.weights
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(all="ignore"):
        same[:, 2:] |= np.abs(a[:, 2:] - b[:, 2:]) <= _TOLERANCE * np.abs(a[:, 3:])
    return np.flatnonzero(~same.all(axis=1))


class Reader:
    """Makes digests from a watch's records, whose rows are only ever appended."""

    def __init__(self, rows: Sequence[Any], own: str, split: Container[str]) -> None:
        """``rows``: the layout's, which grow; ``own``: the subject of this rank's; ``split``: parameters in parts."""
        self._rows, self._own, self._split = rows, own, split
        self._read = 0
        self._weights: list[int] = []
        self._places: dict[str, int] = {}

    def digest(self, index: int, table: NDArray[np.float32], batch: Any, every: int) -> Digest:
        """``batch``: the inputs' fingerprint, an int, a 0-d tensor on the CPU or None."""
        self._read_rows(len(table))
        weights = self._compared()
        signature = zlib.crc32(repr([(self._rows[i].subject, list(self._rows[i].shape)) for i in weights]).encode())
        return Digest(
            index=index,
            batch=0 if batch is None else int(batch),
            every=every,
            loss=self._number(table, schema.LOSS),
            seconds=self._number(table, schema.RANK_SECONDS),
            signature=signature,
            batch_known=batch is not None,
            weights=table[np.ix_(weights, _STATISTICS)].astype(np.float32),
        )

    def name(self, place: int) -> str:
        """The parameter at ``place`` of a digest's weights."""
        return str(self._rows[self._compared()[place]].subject)

    def _compared(self) -> list[int]:
        return self._weights[:: max(1, -(-len(self._weights) // PARAMETERS))]

    def _read_rows(self, count: int) -> None:
        for i in range(self._read, count):
            row = self._rows[i]
            if row.kind == schema.WEIGHT and row.subject not in self._split:
                self._weights.append(i)
            elif (row.kind, row.subject) in ((schema.LOSS, ""), (schema.RANK_SECONDS, self._own)):
                self._places[row.kind] = i
        self._read = max(self._read, count)

    def _number(self, table: NDArray[np.float32], kind: str) -> float:
        place = self._places.get(kind)
        return math.nan if place is None else float(table[place, _MEAN])
