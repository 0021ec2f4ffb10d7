"""A model without noise: nothing drops out, so that two runs on the same batch give the same."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

_NOISY = ("dropout", "droppath", "stochasticdepth", "drop_path")


def is_dropout(module: nn.Module) -> bool:
    """Whether the module drops elements or paths at random while it trains."""
    return any(word in type(module).__name__.lower() for word in _NOISY)


def dropouts(model: nn.Module) -> list[nn.Module]:
    """The dropout modules that are not switched off."""
    return [m for m in model.modules() if is_dropout(m) and _probability(m) > 0]


def set_dropout(model: nn.Module, probability: float) -> None:
    """Sets the probability of every dropout module that has one above 0."""
    for module in dropouts(model):
        setattr(module, "p" if hasattr(module, "p") else "drop_prob", probability)


def normalizes_over_batch(model: nn.Module) -> bool:
    """Whether some layer's output depends on the other samples in train mode."""
    return any(isinstance(m, nn.modules.batchnorm._NormBase) and m.track_running_stats for m in model.modules())


def quiet(model: nn.Module, device: torch.device) -> None:
    """Puts the model into the mode in which it trains best on one batch: normalizing by the batch, dropping nothing.

    A model without batch normalization is put into eval mode, which also stops dropout that is a function. Recurrent
    layers on an accelerator can be trained in train mode alone.
    """
    for module in model.modules():
        if isinstance(module, (nn.RNNBase, nn.MultiheadAttention)):
            module.dropout = 0.0
    if normalizes_over_batch(model) or device.type != "cpu":
        model.train()
        for module in model.modules():
            if is_dropout(module):
                module.eval()
    else:
        model.eval()


def _probability(module: nn.Module) -> float:
    found: Any = getattr(module, "p", getattr(module, "drop_prob", 0.0))
    return float(found) if isinstance(found, (int, float)) else 0.0
