"""How many units of a weight are copies of an earlier one: the sign of a symmetric initialization."""

from __future__ import annotations

from typing import Any

import torch

from tb_nnhealth.record.reduce_native import copies
from tb_nnhealth.record.reduce_readable import widened

_SAMPLED_COLUMNS = 32
_CHUNK = 1 << 20
_MULTIPLIER = 0x9E3779B97F4A7C15 - (1 << 64)  # odd, from the golden ratio; wraps as int64 does


def copied_share(weight: Any) -> Any:
    """Share of the rows of dimension 0 that equal an earlier row bit for bit; None for fewer than two rows.

    ``weight`` is dense, of floating point. A number on the CPU, a 0-d tensor on a device. Rows are compared by a
    64-bit hash of their bits, so the chance of taking two rows wrongly for copies is about 2⁻³².
    """
    if weight.dim() < 2 or weight.shape[0] < 2 or weight.numel() == 0:
        return None
    found = copies(weight)
    if found is not None:
        return found / weight.shape[0]
    weight = widened(weight)
    rows = weight.reshape(weight.shape[0], -1)
    if not weight.is_cpu:
        return _copies(_hashes(rows)).to(torch.float32) / rows.shape[0]
    if rows.shape[1] > _SAMPLED_COLUMNS:
        stride = rows.shape[1] // _SAMPLED_COLUMNS
        if _copies(_hashes(rows[:, ::stride])).item() == 0:
            return 0.0
    return _copies(_hashes(rows)).item() / rows.shape[0]


def _hashes(rows: Any) -> Any:
    bits = torch.int32 if rows.dtype is torch.float32 else torch.int64
    hashes = torch.zeros(rows.shape[0], dtype=torch.int64, device=rows.device)
    width = max(1, _CHUNK // rows.shape[0])
    for start in range(0, rows.shape[1], width):
        chunk = (rows[:, start : start + width] + 0.0).view(bits).to(torch.int64)  # -0.0 + 0.0 is 0.0
        place = torch.arange(start + 1, start + 1 + chunk.shape[1], dtype=torch.int64, device=rows.device)
        mixed = place * _MULTIPLIER
        mixed = (mixed ^ (mixed >> 29)) * _MULTIPLIER | 1
        hashes += (chunk * mixed).sum(1)
    return hashes


def _copies(hashes: Any) -> Any:
    ordered = hashes.sort().values
    return (ordered[1:] == ordered[:-1]).sum()
