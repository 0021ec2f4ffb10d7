"""What Lightning calls for each of its trainers: nothing, unless the environment says ``TB_NNHEALTH=1``.

Installing a package must not change trainings, so the variable is asked first, before anything else is imported.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

VARIABLE = "TB_NNHEALTH"


def lightning() -> list[Any]:
    """Callbacks for trainers of ``lightning.pytorch``."""
    return _callbacks("tb_nnhealth.integrations.lightning")


def pytorch_lightning() -> list[Any]:
    """Callbacks for trainers of ``pytorch_lightning``."""
    return _callbacks("tb_nnhealth.integrations.pytorch_lightning")


def _callbacks(module: str) -> list[Any]:
    if os.environ.get(VARIABLE, "").strip().lower() not in ("1", "true", "yes", "on"):
        return []
    try:
        callback = import_module(module).NNHealthCallback()
    except Exception as error:
        from tb_nnhealth.record.faults import describe, warn

        warn(f"{VARIABLE} is set, but this training cannot be watched: {describe(error)}")
        return []
    callback.activated = True
    return [callback]
