"""The native core: what has to be fast, in C, on raw buffers.

``core`` is the extension module, or None where it was not built (no compiler) or is switched off by
``TB_NNHEALTH_NATIVE=0``. Whoever uses it has a way without it that gives the same numbers.
"""

from __future__ import annotations

import contextlib
import os
from importlib import import_module
from typing import Any

_NEWEST = "silent"
"""The function that came last: a core without it was built from earlier sources, and is not used."""

core: Any = None
if os.environ.get("TB_NNHEALTH_NATIVE") != "0":
    with contextlib.suppress(ImportError):
        core = import_module("tb_nnhealth.native._core")
if not hasattr(core, _NEWEST):
    core = None
