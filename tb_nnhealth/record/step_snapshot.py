"""A weight as it was before the optimizer's step, or a sample of it, and the update that follows from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn.parameter import is_lazy

from tb_nnhealth import schema
from tb_nnhealth.record import device_table
from tb_nnhealth.record.layout_entries import WatchedParameter
from tb_nnhealth.record.reduce import FIELDS, ZEROS, flatten
from tb_nnhealth.record.reduce_gather import Gathered
from tb_nnhealth.record.reduce_readable import plain
from tb_nnhealth.record.reduce_table import Record

SAMPLED = 4096
"""Coordinates of a weight that are copied where updates are sampled."""
NOTE = (
    f"Updates are sampled, {SAMPLED} coordinates of each weight: their root mean square is known to about 1 %, "
    "their extremes are not."
)
SURELY_FITS = 1 << 28
"""Bytes of weights whose copies need no look at the memory that is left."""
_SHARE = 0.5
"""Of the memory available, what the copies may take."""
_ESTIMATED = {schema.MEAN: "mean", schema.STD: "std", schema.RMS: "rms"}
_MEMINFO = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")


class Snapshot:
    """What is kept of one parameter over the step."""

    def __init__(self, entry: WatchedParameter, parameter: Any, *, sampled: bool, gradient_read: bool = False) -> None:
        """``gradient_read``: of a step with a closure, too, somebody else reads the gradient."""
        self.entry, self.parameter, self.sampled, self.gradient_read = entry, parameter, sampled, gradient_read
        self._before = self._now()
        if self._before is not None:
            self._before = self._before.clone()

    def _now(self) -> Any:
        data = plain(self.parameter)
        if data is None or data.layout is not torch.strided:
            return None
        return sample(data) if self.sampled else data

    def write(self, record: Record, row: int, *, counted: bool) -> None:
        """Adds the row of the update; leaves it unmeasured where the parameter has changed its shape or device."""
        before, after = self._before, self._now()
        if before is None or after is None or after.shape != before.shape or after.device != before.device:
            return
        if before.is_complex() or before.dtype in (torch.float32, torch.float64):
            difference = torch.sub(after, before, out=before)
        else:
            difference = after.to(torch.float32).sub_(before.to(torch.float32))
        gathered = Gathered()
        taken = gathered.take(difference, counted=counted and not self.sampled)
        if not self.sampled:
            gathered.write(record, row)
        elif taken is not None:
            values = taken[1].values
            for statistic, field in _ESTIMATED.items():
                record.share(row, statistic, values[FIELDS.index(field)])
            record.share(row, schema.ZERO_SHARE, values[ZEROS] / difference.numel())


def sample(data: Any) -> Any:
    """At least ``SAMPLED`` elements of a larger tensor at regular distances, always at the same places; a view."""
    flat = flatten(data)
    distance = flat.numel() // SAMPLED
    while distance > 1 and math.gcd(distance, flat.numel()) > 1:  # or only some columns would be met
        distance -= 1
    return flat[:: max(1, distance)]


def copies_fit(optimizer: Any) -> bool:
    """Whether memory suffices for copies of the weights that ``optimizer`` is about to change.

    They may take half of what is available. Where the system does not tell, they fit.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"] if not is_lazy(p)]
    size = _size(parameters)
    return (size <= SURELY_FITS or size <= _SHARE * available_memory()) and device_table.copies_fit(parameters)


def _size(parameters: Sequence[Any]) -> int:
    return sum(p.numel() * p.element_size() for p in parameters if p.is_cpu and p.requires_grad)


def available_memory() -> float:
    """Bytes that this process may still take, by the machine and by its control group; infinite where unknown."""
    left = math.inf
    try:
        lines = dict(line.split(":", 1) for line in _MEMINFO.read_text("ascii").splitlines())
        left = 1024.0 * int(lines["MemAvailable"].split()[0])
    except (OSError, ValueError, KeyError):
        pass
    try:
        most = int((_GROUP / "memory.max").read_text("ascii"))  # "max" where there is no limit
        left = min(left, most - int((_GROUP / "memory.current").read_text("ascii")))
    except (OSError, ValueError):
        pass
    return left
