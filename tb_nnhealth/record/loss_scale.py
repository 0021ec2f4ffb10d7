"""The scale of a gradient scaler, and the steps that the scaler skips."""

from __future__ import annotations

import gc
import sys
import weakref
from typing import Any

from torch.amp import GradScaler

from tb_nnhealth import schema
from tb_nnhealth.record.layout import Catalog
from tb_nnhealth.record.reduce_table import Record

_STEPPING = tuple(
    getattr(GradScaler, name).__code__ for name in ("step", "_maybe_opt_step") if hasattr(GradScaler, name)
)
"""Code of the scaler's that calls an optimizer's step."""
_FRAMES = 12
"""Callers among which the scaler is looked for: ours, and the wrappers of optimizer and scheduler, come before it."""
_LOOKS = 10
"""Measured steps in which it is looked for."""
_CALLS = 12
"""Calls of the model in training, without any step of the optimizer, after which a scaler is looked for in memory: few
accumulate gradients over more, and for them it is some milliseconds, once."""
_UNSTEPPED = 32
"""Updates of a scale on a device without a step of ours, after which each is one skipped.

The scale itself cannot be read there without waiting. A scaler that comes down from 2¹⁶ skips sixteen steps; one that
serves another model too is updated some times between two steps of this one.
"""


class LossScale:
    """Reads the scale that the gradients of a step were computed with, and notices steps that were skipped.

    Where no scaler is given it is found in the call stack of the first step that it makes; where it makes none,
    among all objects, once.
    """

    def __init__(self, catalog: Catalog, scaler: GradScaler | None) -> None:
        self._catalog = catalog
        self._looks, self._calls = _LOOKS, 0
        self._scaler = (lambda: None) if scaler is None else weakref.ref(scaler)
        self._scale: Any = None
        self._look()

    def _look(self) -> None:
        """What is seen from here on is compared with the scale as it is now."""
        self._stepped, self._unstepped = False, 0
        scale = self._current()
        self._version = 0 if scale is None else scale._version
        self._value: float | None = scale.item() if scale is not None and scale.is_cpu else None

    def _current(self) -> Any:
        """The scale as a 0-d tensor; None before the scaler's first use and where it is off."""
        return getattr(self._scaler(), "_scale", None)  # get_scale() would wait for the device

    @property
    def known(self) -> bool:
        return self._scaler() is not None

    def attach(self) -> None:
        """Steps before this were not seen."""
        self._look()

    def open(self) -> None:
        self._scale = None

    def stepping(self) -> None:
        """An optimizer is about to step, in a measured step or not."""
        self._stepped = True

    def about_to_step(self, optimizer: Any) -> None:
        """Before the optimizer's measured step: the scaler changes its scale after it, in place."""
        if not self.known and self._looks:
            self._looks -= 1
            self._find()
        scale = self._current() if self.known else getattr(optimizer, "grad_scale", None)
        if scale is not None:
            self._scale = scale.item() if scale.is_cpu else scale.clone()

    def _find(self) -> None:
        frame: Any = sys._getframe(1)
        for _ in range(_FRAMES):
            if frame is None:
                return
            if frame.f_code in _STEPPING:
                there = frame.f_locals
                scaler = there.get("self")
                if isinstance(scaler, GradScaler) and scaler.is_enabled():
                    self._scaler, stepped = weakref.ref(scaler), self._stepped
                    self._look()
                    self._stepped = stepped
                return
            frame = frame.f_back

    def _find_in_memory(self) -> None:
        """The one scaler in use: one that has skipped every step so far stands in no call stack of ours.

        The frames of the user's loop are not asked for it: to read their variables keeps these alive.
        """
        used = [
            thing
            for thing in gc.get_objects()
            if issubclass(type(thing), GradScaler) and thing.is_enabled() and thing._scale is not None
        ]
        if len(used) == 1:
            self._scaler = weakref.ref(used[0])
            self._look()

    def skipped(self) -> bool:
        """Whether the scaler has skipped a step since the last call; for each call of the model with gradients.

        The scaler's ``update`` ends a step whether it was made or not, and is counted by the scale's version.
        """
        if not self._stepped and self._calls <= _CALLS:
            self._calls += 1
            if self._calls > _CALLS and not self.known:
                self._find_in_memory()
        scaler, scale = self._scaler(), self._current()
        if scaler is None or scale is None or scale._version == self._version:
            return False
        self._version = scale._version
        stepped, self._stepped = self._stepped, False
        before, value = self._value, scale.item() if scale.is_cpu else None
        self._value = value
        self._unstepped = 0 if stepped else self._unstepped + 1
        if stepped:
            return False
        if value is None:
            if self._unstepped <= _UNSTEPPED:
                return False
            self._scale = scale / scaler.get_backoff_factor()
            return True
        if before is None:
            before = float(scaler._init_scale)
        self._scale = before
        return bool(value < before)

    def write(self, record: Record) -> None:
        if self._scale is not None:
            record.share(self._catalog.row(schema.LOSS_SCALE, ""), schema.MEAN, self._scale)
