"""The native core: what has to be fast, in C, on raw buffers.

``core`` is the extension module, or None where it was not built (no compiler) or is switched off by
``TB_NNHEALTH_NATIVE=0``. Whoever uses it has a way without it that gives the same numbers.
"""

from __future__ import annotations

import os
from typing import Any

core: Any = None
if os.environ.get("TB_NNHEALTH_NATIVE") != "0":
    try:
        from tb_nnhealth.native import _core as core
    except ImportError:
        core = None
