"""Is my network training well, and if not, what is wrong, where, since when, and what do I do?

Importing the package imports neither torch nor tensorboard; each public name is loaded
when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tb_nnhealth import init as init
    from tb_nnhealth.findings import Finding as Finding
    from tb_nnhealth.record.plain_arrays import statistics as statistics
    from tb_nnhealth.record.recorder import Recorder as Recorder
    from tb_nnhealth.record.summary_writer import SummaryWriter as SummaryWriter
    from tb_nnhealth.record.watch import Watch as Watch
    from tb_nnhealth.sanity.runner import preflight as preflight

__version__ = "0.1.0"

_EXPORTS = {
    "Finding": "tb_nnhealth.findings",
    "Recorder": "tb_nnhealth.record.recorder",
    "SummaryWriter": "tb_nnhealth.record.summary_writer",
    "Watch": "tb_nnhealth.record.watch",
    "preflight": "tb_nnhealth.sanity.runner",
    "statistics": "tb_nnhealth.record.plain_arrays",
}

__all__ = ["Finding", "Recorder", "SummaryWriter", "Watch", "__version__", "init", "preflight", "statistics"]


def __getattr__(name: str) -> Any:
    if name not in (*_EXPORTS, "init"):
        raise AttributeError(f"module 'tb_nnhealth' has no attribute {name!r}; it has {', '.join(__all__)}")
    try:
        return import_module("tb_nnhealth.init") if name == "init" else getattr(import_module(_EXPORTS[name]), name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ModuleNotFoundError(
            f"tb_nnhealth.{name} needs PyTorch; install it: pip install torch", name="torch"
        ) from None


def __dir__() -> list[str]:
    return list(__all__)
