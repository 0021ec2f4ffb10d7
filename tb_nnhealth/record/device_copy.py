"""Copies between a device and the host that neither the training nor the device waits for."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

_POLL_SECONDS = 5e-4, 2e-2
"""Between two looks at an event: the first, and the longest; each is twice the one before."""
_RELAXED = 2  # cudaStreamCaptureModeRelaxed
_thread = threading.local()


def upload(numbers: NDArray[Any], device: Any) -> Any:
    """``numbers`` on ``device``, in the order of the current stream, which the copy does not hold up."""
    host = torch.from_numpy(numbers)
    if device.type != "cuda":
        return host.to(device)
    pinned = torch.empty(
        host.shape, dtype=host.dtype, pin_memory=True, device="cpu"
    )  # PyTorch keeps it until the copy is done
    return pinned.copy_(host).to(device, non_blocking=True)


class Download:
    """A tensor on its way to the host.

    On CUDA the copy into pinned memory is put on the current stream at once. PyTorch's allocator of pinned memory is
    the ring: it hands a buffer out again once the events of its copies have passed. On other devices the
    thread that asks for the numbers copies them.
    """

    def __init__(self, tensor: Any) -> None:
        self._tensor, self._event = tensor, None
        if tensor.device.type == "cuda":
            pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True, device="cpu")
            pinned.copy_(tensor, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record(torch.cuda.current_stream(tensor.device))
            self._tensor = pinned  # what was copied may be reused: later work follows the copy on the stream

    def numbers(self) -> NDArray[Any]:
        """Flat. Polls: the calling thread sleeps until the copy has arrived, and no stream is waited for."""
        if self._event is not None:
            _let_others_capture()
            pause, longest = _POLL_SECONDS
            while not self._event.query():
                time.sleep(pause)
                pause = min(2 * pause, longest)
        return np.asarray(self._tensor.cpu().reshape(-1).numpy())


def arriving(number: Any) -> Callable[[], Any]:
    """A callable, for a thread other than the training's, that gives ``number``, which may be a 0-d tensor."""
    if not isinstance(number, torch.Tensor) or number.is_cpu:
        return lambda: number
    download = Download(number.detach().reshape(1))
    return lambda: download.numbers()[0]


def _let_others_capture() -> None:
    """Keeps the queries of this thread from spoiling a CUDA graph that another thread is capturing.

    While one is captured in CUDA's default mode no thread may ask for an event; one that has declared itself relaxed
    may. PyTorch does the same for the watchdogs of its own.
    """
    if getattr(_thread, "relaxed", False):
        return
    _thread.relaxed = True
    if torch.version.cuda is None:
        return
    with suppress(OSError, AttributeError):
        runtime = ctypes.CDLL(f"libcudart.so.{torch.version.cuda.split('.')[0]}")  # the one that PyTorch has loaded
        runtime.cudaThreadExchangeStreamCaptureMode(ctypes.byref(ctypes.c_int(_RELAXED)))
