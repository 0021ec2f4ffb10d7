"""What a measurement ran on: processor and versions, without names of hosts or paths."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from tb_nnhealth import native

_TOLD = ("avx", "avx2", "fma", "avx512f", "avx512bw", "avx512_bf16", "neon", "asimd")
_PACKAGES = ("torch", "numpy", "tensorboard", "wandb", "lightning", "cockpit-for-pytorch", "mosaicml")


def machine() -> dict[str, Any]:
    information = _processor()
    flags = set((information.get("flags") or information.get("Features") or "").split())
    return {
        "processor": information.get("model name", platform.machine()),
        "cores": os.cpu_count(),
        "instruction_sets": [flag for flag in _TOLD if flag in flags],
        "native_core": None if native.core is None else native.core.instruction_sets()[-1],
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        "load_average": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
    }


def _processor() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").split("\n\n")[0].splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
