"""Batches and samples that came before, known by fingerprints of their bits."""

from __future__ import annotations

from collections import deque
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch

from tb_nnhealth import native, schema
from tb_nnhealth.record.observe_block import POSITIONS, SAMPLES
from tb_nnhealth.record.reduce_native import batch_address

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int32}
"""By the size of an element; eight bytes are read as two halves, or their uppermost bits would count for little."""
_NEXT = 0x9E3779B97F4A7C15
"""What the fingerprint of a batch is multiplied with before that of the next one of its step is added."""
_FEWEST_INTEGERS = 4
"""Integers that make a sample one of its own: fewer are an index, which any number of samples share."""


class Fingerprint(NamedTuple):
    """``samples``: int64 (samples,), numpy or a tensor on a device; ``whole``: of all of them, an int or 0-d tensor."""

    form: tuple[Any, ...]
    samples: Any
    whole: Any
    identifies: bool
    """Whether equal fingerprints of samples mean the same sample of the data."""


def fingerprint(tensor: Any, block: Any) -> Fingerprint:
    """Of the bits in ``block``, which was taken from ``tensor``: sums of words by fixed weights, modulo 2**64."""
    form = tensor.shape, tensor.dtype, block.device
    identifies = block.is_floating_point() or block.shape[1] >= _FEWEST_INTEGERS
    where = batch_address(block)
    if where:
        return fingerprint_there(tensor, where)
    words = block if block.dtype is torch.int64 else block.view(_INTEGERS[block.element_size()])
    if block.is_cpu:
        across, down = _weights_on_host()
        samples = words.numpy() @ across[: words.shape[1]]
        return Fingerprint(form, samples, int(samples @ down[: len(samples)]), identifies)
    across, down = _weights(block.device)
    samples = (words.to(torch.int64) * across[: words.shape[1]]).sum(1)
    return Fingerprint(form, samples, (samples * down[: len(samples)]).sum(), identifies)


def fingerprint_there(tensor: Any, where: tuple[int, ...]) -> Fingerprint:
    """The same of the block at an address."""
    own = np.empty(where[2], np.int64)
    whole = native.core.fingerprint(*where, *_addresses(), own.ctypes.data)
    identifies = tensor.is_floating_point() or where[4] >= _FEWEST_INTEGERS
    return Fingerprint((tensor.shape, tensor.dtype, tensor.device), own, whole, identifies)


def joined(one: Fingerprint, other: Fingerprint) -> Fingerprint:
    """Of two batches of one step, the one after the other."""
    form = (*one.form, *other.form)
    if one.form[-1] != other.form[-1]:  # devices, whose numbers do not meet
        return one
    if isinstance(one.samples, torch.Tensor):
        samples, whole = torch.cat([one.samples, other.samples]), one.whole * _signed(_NEXT) + other.whole
    else:
        samples, whole = np.concatenate([one.samples, other.samples]), _wrapped(one.whole * _NEXT + other.whole)
    return Fingerprint(form, samples, whole, one.identifies and other.identifies)


@cache
def _addresses() -> tuple[int, int]:
    across, down = _weights_on_host()
    return across.ctypes.data, down.ctypes.data


@cache
def _weights_on_host() -> tuple[Any, Any]:
    across, down = _weights(torch.device("cpu"))
    return across.numpy(), down.numpy()


@cache
def _weights(device: Any) -> tuple[Any, Any]:
    """Odd numbers of 64 random-looking bits (splitmix64), made where they are used: no generator is touched."""
    state = torch.arange(1, 2 * POSITIONS + SAMPLES + 1, device=device) * _signed(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        state = (state ^ _shifted(state, shift)) * _signed(factor)
    state = (state ^ _shifted(state, 31)) | 1
    return state[: 2 * POSITIONS], state[2 * POSITIONS :]


def _signed(number: int) -> int:
    return number - (1 << 64)


def _wrapped(number: int) -> int:
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)


def _shifted(state: Any, by: int) -> Any:
    return (state >> by) & ((1 << (64 - by)) - 1)


class Repeats:
    """Whether a tensor equals that of one of the last ``schema.BATCHES_REMEMBERED`` records."""

    def __init__(self) -> None:
        self._earlier: deque[tuple[int, Fingerprint]] = deque(maxlen=schema.BATCHES_REMEMBERED)

    def find(self, now: Fingerprint, step: int) -> tuple[Any, Any]:
        """1 or 0, and the steps since the last equal one (None or NaN where there is none); remembers ``now``."""
        alike = [(step - before, old.whole) for before, old in self._earlier if old.form == now.form]
        self._earlier.append((step, now._replace(samples=None)))
        if not isinstance(now.whole, torch.Tensor):
            ago = [steps for steps, whole in alike if whole == now.whole]
            return (1.0, float(ago[-1])) if ago else (0.0, None)
        return find_on_device(now.whole, alike)


def find_on_device(whole: Any, alike: list[tuple[int, Any]]) -> tuple[Any, Any]:
    """The same without waiting for the device; the oldest of ``alike`` comes first."""
    ago = torch.full((), torch.nan, device=whole.device)
    for steps, old in alike:
        ago = torch.where(whole == old, float(steps), ago)
    return (~ago.isnan()).float(), ago


class Marks:
    """The first ``schema.SAMPLES_MARKED`` distinct samples, and how many of a batch are among them."""

    def __init__(self) -> None:
        self._host: set[int] = set()
        self._devices: dict[Any, DeviceMarks] = {}

    def find(self, samples: Any) -> tuple[Any, Any]:
        """Share of ``samples`` marked in earlier batches, and how many were marked; then marks these."""
        if isinstance(samples, torch.Tensor):
            marks = self._devices.get(samples.device)
            if marks is None:
                marks = self._devices[samples.device] = DeviceMarks(samples.device)
            return marks.find(samples)
        there, marked = samples.tolist(), len(self._host)
        known = sum(map(self._host.__contains__, there))
        if marked < schema.SAMPLES_MARKED and known < len(there):
            new = [sample for sample in dict.fromkeys(there) if sample not in self._host]
            self._host.update(new[: schema.SAMPLES_MARKED - marked])
        return known / len(there), float(marked)


class DeviceMarks:
    """The same on a device, whose counts are not known here: each batch writes where the last one ended."""

    def __init__(self, device: Any) -> None:
        self._marks = torch.zeros(schema.SAMPLES_MARKED + 1, dtype=torch.int64, device=device)  # the last: overflow
        self._count = torch.zeros((), dtype=torch.int64, device=device)
        self._places = torch.arange(schema.SAMPLES_MARKED, device=device)

    def find(self, samples: Any) -> tuple[Any, Any]:
        """0-d tensors: share of ``samples`` marked before, and the number marked."""
        samples = samples.sort().values
        marked = self._count
        known = ((samples[:, None] == self._marks[:-1]) & (self._places < marked)).any(1)
        new = ~known
        new[1:] &= samples[1:] != samples[:-1]
        place = (marked + new.cumsum(0) - 1).clamp(max=schema.SAMPLES_MARKED)
        place = torch.where(new, place, schema.SAMPLES_MARKED)
        self._marks = self._marks.scatter(0, place, samples)
        self._count = (marked + new.sum()).clamp(max=schema.SAMPLES_MARKED)
        return known.float().mean(), marked.float()
