"""How smooth a convolution's filters are."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tb_nnhealth import schema
from tb_nnhealth.record.layout import Catalog
from tb_nnhealth.record.reduce_readable import held, plain
from tb_nnhealth.record.reduce_table import Record

_LARGEST = 1 << 20
"""Elements of a weight up to which its filters are looked at."""


def write_smoothness(catalog: Catalog, record: Record) -> None:
    """Adds the smoothness of the filters of the first convolution called whose windows are 3 by 3 or larger."""
    for entry in catalog.in_order_of_calls():
        module = entry.reference()
        if isinstance(module, nn.Conv2d) and min(module.kernel_size) >= 3:
            parameter = module._parameters.get("weight")
            known = None if parameter is None else catalog.known_parameter(parameter)
            weight = None if known is None or held(parameter) else plain(parameter)
            if known is not None and weight is not None and weight.numel() <= _LARGEST:
                record.share(catalog.row(schema.SMOOTHNESS, known.name), schema.MEAN, smoothness(weight))
            return


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
