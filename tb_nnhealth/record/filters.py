"""How smooth a convolution's filters are, and now and then how they look."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from tb_nnhealth import schema
from tb_nnhealth.events import filter_pictures
from tb_nnhealth.record.device_copy import Download
from tb_nnhealth.record.layout import Catalog
from tb_nnhealth.record.reduce_readable import held, plain
from tb_nnhealth.record.reduce_table import Record

_LARGEST = 1 << 20
"""Elements of a weight up to which its filters are looked at."""


_SHOWN, _PIXELS = 40, 1 << 14
"""Filters of one picture, and bytes of all of them at most."""
_OPENING, _GROWTH = 8, 1.5
"""Records until the second picture; each later one when the run is so many times as long: 25 in 100,000 records."""


class FilterPictures:
    """When the filters of a training are recorded as pictures: often in the beginning, then ever more seldom."""

    def __init__(self) -> None:
        self._records = 0
        self._next = 0

    def due(self, there: bool) -> bool:
        """Called once a record; ``there``: whether this one looked at the filters."""
        self._records += 1
        if not there or self._records <= self._next:
            return False
        self._next = max(_OPENING, int(_GROWTH * self._records))
        return True


def write_smoothness(catalog: Catalog, record: Record) -> tuple[str, Any] | None:
    """Adds the smoothness of the filters of the first convolution called whose windows are 3 by 3 or larger.

    Returns its parameter's name and its weight, None where there is none.
    """
    for entry in catalog.in_order_of_calls():
        module = entry.reference()
        if isinstance(module, nn.Conv2d) and min(module.kernel_size) >= 3:
            parameter = module._parameters.get("weight")
            known = None if parameter is None else catalog.known_parameter(parameter)
            weight = None if known is None or held(parameter) else plain(parameter)
            if known is not None and weight is not None and weight.numel() <= _LARGEST:
                record.share(catalog.row(schema.SMOOTHNESS, known.name), schema.MEAN, smoothness(weight))
                return known.name, weight
            return None
    return None


def picture(parameter: str, weight: Any) -> tuple[Callable[[], bytes], int]:
    """What makes the picture of the first filters of ``weight`` (filters, channels, height, width), and its bytes.

    One or three channels are kept as they are, of others the mean. The weight is copied now; no device is waited for.
    """
    planes = weight.shape[1] if weight.shape[1] in (1, 3) else 1
    each = planes * weight.shape[2] * weight.shape[3]
    some = weight[: max(1, min(_SHOWN, _PIXELS // each))].to(torch.float32)
    shown = some if planes == weight.shape[1] else some.mean(1, keepdim=True)
    shape = tuple(shown.shape)
    copied = Download(shown.contiguous().clone())

    def make() -> bytes:
        return filter_pictures.encode(parameter, len(weight), copied.numbers().reshape(shape))

    return make, 4 * shown.numel()


def smoothness(weight: Any) -> Any:
    """Correlation of vertically and horizontally neighbouring pixels, mean over filters; 0-d, in [-1, 1].

    ``weight``: (filters, channels, height, width). 0 for independent elements of mean zero, 1 for constant planes. Each
    filter counts equally, whatever its size; those of zeros do not count. NaN where there is none.
    """
    filters = weight.to(torch.float32)
    filters = filters / filters.abs().amax((1, 2, 3), keepdim=True)
    square = filters.square().mean((1, 2, 3))
    down = (filters[:, :, 1:] * filters[:, :, :-1]).mean((1, 2, 3))
    right = (filters[:, :, :, 1:] * filters[:, :, :, :-1]).mean((1, 2, 3))
    return ((down + right) / (2 * square)).clamp(-1, 1).nanmean()
