"""What a record is made of, brought to the host: one copy for each device, which nobody waits for in the step."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tb_nnhealth.record.device_copy import Download
from tb_nnhealth.record.device_reduce import Later

_HOST = (tuple, float)
"""What readings and shares are as a rule; asking whether they are tensors takes longer."""


class Transfer:
    """Lists of numbers, tuples, arrays and tensors; those on a device are joined into one tensor there, and copied."""

    def __init__(self, *lists: list[Any]) -> None:
        self._sources = _Sources()
        self._lists = [[self._sources.of(value) for value in values] for values in lists]
        self._downloads = {device: Download(tensor) for device, tensor in self._sources.joined()}

    def fetch(self) -> list[NDArray[np.float64]]:
        """The values of each list, joined end to end. For the writer's thread, which sleeps until they are there."""
        arrived = {device: np.asarray(download.numbers(), np.float64) for device, download in self._downloads.items()}
        return [_joined(values, arrived) for values in self._lists]


class _Place:
    """Where a value lies in what its device sends."""

    __slots__ = ("device", "end", "start")

    def __init__(self, device: Any, start: int, end: int) -> None:
        self.device, self.start, self.end = device, start, end


class _Sources:
    """Tensors by device, in the order in which they are joined."""

    def __init__(self) -> None:
        self._tensors: dict[Any, list[Any]] = {}
        self._lengths: dict[Any, int] = {}
        self._batches: dict[Any, _Place] = {}

    def of(self, value: Any) -> Any:
        """The value itself; of one on a device, its place."""
        if type(value) in _HOST:
            return value
        if isinstance(value, Later):
            whole = self._batches.get(value.batch)
            if whole is None:
                whole = self._batches[value.batch] = self._add(value.batch.results())
            width = value.batch.width
            start = whole.start + width * value.place
            return _Place(whole.device, start, start + width)
        if isinstance(value, torch.Tensor) and not value.is_cpu:
            return self._add(value)
        return value

    def _add(self, tensor: Any) -> _Place:
        start = self._lengths.get(tensor.device, 0)
        self._lengths[tensor.device] = end = start + tensor.numel()
        self._tensors.setdefault(tensor.device, []).append(tensor.detach().reshape(-1))
        return _Place(tensor.device, start, end)

    def joined(self) -> list[tuple[Any, Any]]:
        result = []
        for device, tensors in self._tensors.items():
            wide = torch.int64 if all(not t.is_floating_point() for t in tensors) else torch.float32
            result.append((device, torch.cat([t.to(wide) for t in tensors])))
        return result


def _joined(values: list[Any], arrived: dict[Any, NDArray[np.float64]]) -> NDArray[np.float64]:
    if any(isinstance(value, (_Place, torch.Tensor, np.ndarray)) for value in values):
        return np.concatenate([_numbers(value, arrived) for value in values])
    return np.array(values, np.float64).reshape(-1)


def _numbers(value: Any, arrived: dict[Any, NDArray[np.float64]]) -> NDArray[np.float64]:
    if isinstance(value, _Place):
        return arrived[value.device][value.start : value.end]
    if isinstance(value, torch.Tensor):
        return value.detach().double().reshape(-1).numpy()  # type: ignore[no-any-return]
    return np.atleast_1d(np.asarray(value, np.float64))
