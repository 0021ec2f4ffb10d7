"""The layers of a run: leaf modules, owners of parameters and modules that compute attention, with their prefix."""

from __future__ import annotations

from typing import Any

from tb_nnhealth import schema
from tb_nnhealth.history import History, Run


def layer_names(run: Run) -> list[str]:
    """Every layer of every watch, in forward order."""
    return [prefix + name for prefix, history in run.histories() for name in layers_of_history(history)]


def layers_of_history(history: History) -> list[str]:
    """Layers of one watch without prefix: modules as first called, then owners of further parameters, then of heads."""
    modules = [module.name for module in history.layout.modules]
    owners = [parameter.module for parameter in history.layout.parameters]
    return list(dict.fromkeys([*modules, *owners, *attention_modules(history.layout)]))


def attention_modules(layout: Any) -> list[str]:
    """The modules whose heads were recorded."""
    rows = (row.subject for row in layout.rows if row.kind == schema.ATTENTION)
    return list(dict.fromkeys(subject.rpartition(schema.HEAD_SEPARATOR)[0] for subject in rows))


def layers_of(run: Run, subject: str) -> list[str]:
    """The layers that a finding's subject points at: a parameter's module, a module, or a module's leaves."""
    if not subject:
        return []
    for prefix, history in run.histories():
        if not subject.startswith(prefix):
            continue
        name = subject[len(prefix) :]
        for parameter in history.layout.parameters:
            if name == parameter.name:
                return [prefix + parameter.module]
        layers = layers_of_history(history)
        found = [layer for layer in layers if layer == name or layer.startswith(f"{name}.")]
        if found:
            return [prefix + layer for layer in found]
    return []
