"""Remedies for a poor initial scale."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def lsuv_(
    model: nn.Module,
    batch: Any,
    *,
    tolerance: float = 0.1,
    rounds: int = 10,
    orthonormal: bool = True,
    generator: torch.Generator | None = None,
) -> dict[str, float]:
    """Layer-sequential unit-variance initialization, in place.

    Each linear and convolutional weight is set to an orthonormal matrix (left as it is with
    ``orthonormal=False``); then, in the order in which the layers are called, it is divided by the standard
    deviation of its layer's output on ``batch`` until the variance is 1 within ``tolerance``, or for ``rounds`` rounds.

    ``batch`` is the model's input: a tensor, or a tuple or mapping of arguments. Weights that are all zero (residual
    branches that start at zero) and parametrized ones are left alone. The model runs in eval mode and is put back
    into the modes it had; buffers stay as they are. Random numbers come from ``generator`` where given.

    Returns the standard deviation reached, by layer. Raises TypeError where ``model`` is none, ValueError where a
    layer's output does not vary, or is not finite, so that no scale can make its variance 1.

    Source: Mishkin and Matas, "All you need is a good init", ICLR 2016, arXiv:1511.06422, algorithm 1.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"lsuv_: expected a torch.nn.Module and a batch of its inputs, found {type(model).__name__} first"
        )
    reached: dict[str, float] = {}
    with torch.no_grad(), _in_eval_mode(model):
        for name, layer in _in_order_of_call(model, batch):
            weight = layer._parameters["weight"]
            assert weight is not None
            if orthonormal:
                nn.init.orthogonal_(weight, generator=generator)
            for _ in range(rounds):
                std = _output_std(model, layer, batch)
                if not 0 < std < float("inf"):
                    raise ValueError(
                        f"lsuv_: expected the output of layer {name!r} to vary over the batch, found a standard "
                        f"deviation of {std:g}; give a batch of several different samples with finite values"
                    )
                reached[name] = std
                if abs(std * std - 1) < tolerance:
                    break
                weight /= std
    return reached


def _in_order_of_call(model: nn.Module, batch: Any) -> list[tuple[str, nn.Module]]:
    """Layers with a plain weight that is not zero, each once, as the batch meets them."""
    names = {
        layer: name
        for name, layer in model.named_modules()
        if isinstance(layer, _WEIGHTED) and (weight := layer._parameters.get("weight")) is not None and weight.any()
    }
    called: dict[nn.Module, str] = {}

    def note(layer: nn.Module, args: Any, output: Tensor) -> None:
        called.setdefault(layer, names[layer])

    hooks = [layer.register_forward_hook(note) for layer in names]
    try:
        _call(model, batch)
    finally:
        for hook in hooks:
            hook.remove()
    return [(name, layer) for layer, name in called.items()]


def _output_std(model: nn.Module, layer: nn.Module, batch: Any) -> float:
    outputs: list[Tensor] = []
    hook = layer.register_forward_hook(lambda layer, args, output: outputs.append(output.detach().float().flatten()))
    try:
        _call(model, batch)
    finally:
        hook.remove()
    return float(torch.cat(outputs).std(correction=0))


def _call(model: nn.Module, batch: Any) -> None:
    if isinstance(batch, dict):
        model(**batch)
    elif isinstance(batch, (tuple, list)):
        model(*batch)
    else:
        model(batch)


@contextmanager
def _in_eval_mode(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
