"""How noisy a layer's gradient is, from the samples of one batch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import nn

from tb_nnhealth import schema
from tb_nnhealth.record.layout import Catalog
from tb_nnhealth.record.layout_entries import WatchedModule
from tb_nnhealth.record.reduce_readable import readable
from tb_nnhealth.record.reduce_table import Record

SAMPLES = 256
"""Samples of a batch that are looked at, evenly spread over it."""
_RECORDS, _SELDOM = 64, 4
"""After so many records only one in four is looked at: the noise changes slowly."""


class GradientNoise:
    """The simple noise scale of the last linear layer called, trace(Σ) / |G|² (McCandlish et al. 2018).

    A sample's gradient of a linear layer is the outer product of its input and of the gradient of its output
    (Goodfellow 2015), so the products of any two samples' gradients follow from the two Gram matrices of inputs and of
    gradients, and with them the unbiased estimates of Σ's trace and of |G|². Any factor of the loss cancels. Where the
    samples do not tell |G|² from zero, the square of their number stands for "at least".
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._head = ""
        self._last = ""
        self._records = 0
        self.open()

    def open(self) -> None:
        """Begins a measured step; the layer looked at is the last one of the step measured before."""
        self._head = self._last if self._records <= _RECORDS or self._records % _SELDOM == 0 else ""
        self._records += 1
        self._calls = self._passes = 0
        self._inputs: Any = None
        self._products: Any = None

    def called(self, entry: WatchedModule, module: Any, args: Any) -> None:
        """Takes the layer's input, if this is the last linear layer."""
        weight = module._parameters.get("weight") if isinstance(module, nn.Linear) else None
        if weight is None or not weight.requires_grad or not args:
            return
        self._last = entry.name
        if entry.name != self._head:
            return
        self._calls += 1
        self._inputs = self._gram(args[0]) if self._calls == 1 else None
        if self._inputs is not None and module._parameters.get("bias") is not None:
            self._inputs += 1  # the bias' input is one

    def gradient_came(self, entry: WatchedModule, gradient: Any) -> None:
        """Takes the gradient of its output, unless it is itself to be differentiated: then it is not of the loss."""
        if entry.name != self._head or torch.is_grad_enabled():
            return
        self._passes += 1
        inputs, self._inputs = self._inputs, None
        gradients = None if inputs is None or self._passes > 1 else self._gram(gradient)
        self._products = None
        if gradients is not None and type(gradients) is type(inputs) and gradients.shape == inputs.shape:
            with np.errstate(all="ignore"):
                gradients *= inputs
            self._products = gradients

    @staticmethod
    def _gram(tensor: Any) -> Any:
        """Products of each two rows, (samples, samples), numpy on the CPU; None for what is no batch of vectors."""
        values = readable(tensor)
        if values is None or values.implicit_zeros or values.tensor.dim() != 2 or len(values.tensor) < 2:
            return None
        rows = values.tensor[:: -(-len(values.tensor) // SAMPLES)]
        with torch.autocast(rows.device.type, enabled=False):
            products = rows @ rows.mT  # not NumPy's, whose threads spin on behind each call
        return products.numpy() if products.is_cpu else products

    def write(self, record: Record) -> None:
        if self._products is None or self._calls != 1 or self._passes != 1:
            return
        scale = noise_scale(self._products)
        if not isinstance(scale, float) or math.isfinite(scale):
            record.share(self._catalog.row(schema.NOISE_SCALE, self._head), schema.MEAN, scale)


def noise_scale(products: Any) -> Any:
    """The noise scale in samples, from the inner products (n, n) of the samples' gradients.

    A float where those are a numpy array, else 0-d. NaN without any gradient; clamped to [0, n²].
    """
    n = len(products)
    if isinstance(products, np.ndarray):
        with np.errstate(all="ignore"):
            own, total = float(np.trace(products)), float(np.add.reduce(products, None))
        noise, signal = max(n * own - total, 0.0), max(total - own, 0.0)
        if not (math.isfinite(noise) and math.isfinite(signal)) or noise == signal == 0:
            return math.nan
        return min(noise / signal, float(n * n)) if signal else float(n * n)
    own, total = products.diagonal().sum(), products.sum()
    noise, signal = (n * own - total).clamp(min=0), (total - own).clamp(min=0)  # n(n-1) times trace(Σ) and |G|²
    return (noise / signal).clamp(max=float(n * n))
