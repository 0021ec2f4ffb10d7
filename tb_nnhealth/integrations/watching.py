"""What the integrations have in common: options of ``watch``, a model's criterion, the directory of all ranks."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch.nn.modules.loss import _Loss

from tb_nnhealth.record.rank_store import job
from tb_nnhealth.record.summary_writer import SummaryWriter

_OPTIONS = inspect.signature(SummaryWriter.watch).parameters.keys() - {"self", "model", "optimizer"}


def watch_options(caller: str, options: dict[str, Any]) -> dict[str, Any]:
    """``options`` as given. Raises TypeError, naming ``caller``, for one that ``SummaryWriter.watch`` does not take."""
    unknown = sorted(options.keys() - _OPTIONS)
    if unknown:
        known = ", ".join(sorted(_OPTIONS))
        raise TypeError(f"{caller} got {', '.join(unknown)}; what it hands to watch() may be {known}")
    return options


def own_criterion(model: torch.nn.Module) -> torch.nn.Module | None:
    """The loss module that ``model`` holds, as in ``self.loss = nn.CrossEntropyLoss()``; None of several."""
    losses = [module for module in model.modules() if isinstance(module, _Loss)]
    return losses[0] if len(losses) == 1 else None


def directory_of_rank_zero(directory: str) -> str:
    """``directory`` as rank 0 of the job names it: ranks share one, and a name made from the time differs on each.

    On more than one rank this is a collective, to be called on all of them: once, where a training begins.
    """
    if job()[1] == 1:
        return directory
    told = [directory]
    torch.distributed.broadcast_object_list(told, src=0)
    return told[0]
