"""Leaves the process as it was: every random number generator, modes of autograd, flags of the backends, filters."""

from __future__ import annotations

import random
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch

_ACCELERATORS = ("cuda", "mps", "xpu")
_CUDNN_FLAGS = ("enabled", "benchmark", "deterministic", "allow_tf32")


@contextmanager
def isolated() -> Iterator[None]:
    """Within it gradients are on, warnings are off, and whatever is drawn or switched is undone at the end."""
    restore = [_generators(), _flags()]
    try:
        with warnings.catch_warnings(), torch.inference_mode(False), torch.enable_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        for undo in restore:
            undo()


def seed(number: int) -> None:
    """Seeds every generator that is in use.

    Those of a CUDA that nobody has initialised are left alone: ``torch.manual_seed`` would queue a seed for them,
    which could not be taken back.
    """
    random.seed(number)
    np.random.seed(number)
    torch.default_generator.manual_seed(number)
    for module in _in_use():
        getattr(module, "manual_seed_all", module.manual_seed)(number)


def _in_use() -> list[Any]:
    found = []
    for name in _ACCELERATORS:
        module = getattr(torch, name, None)
        initialised = getattr(module, "is_initialized", getattr(module, "is_available", lambda: False))
        if module is not None and initialised():
            found.append(module)
    return found


def _generators() -> Callable[[], None]:
    python, numpy, cpu, first = random.getstate(), np.random.get_state(), torch.get_rng_state(), torch.initial_seed()
    devices = {module: _states(module) for module in _in_use()}

    def undo() -> None:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        for module in _in_use():
            if module not in devices:  # initialised meanwhile: back to what its first use would have found
                getattr(module, "manual_seed_all", module.manual_seed)(first)
            elif hasattr(module, "set_rng_state_all"):
                module.set_rng_state_all(devices[module])
            else:
                module.set_rng_state(devices[module])

    return undo


def _states(module: Any) -> Any:
    return module.get_rng_state_all() if hasattr(module, "get_rng_state_all") else module.get_rng_state()


def _flags() -> Callable[[], None]:
    grad, dtype = torch.is_grad_enabled(), torch.get_default_dtype()
    anomaly, checked = torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    precision, tf32 = torch.get_float32_matmul_precision(), torch.backends.cuda.matmul.allow_tf32
    cudnn = {name: getattr(torch.backends.cudnn, name) for name in _CUDNN_FLAGS}

    def undo() -> None:
        torch.set_grad_enabled(grad)
        torch.set_default_dtype(dtype)
        torch.autograd.set_detect_anomaly(anomaly, checked)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        if torch.get_float32_matmul_precision() != precision:
            torch.set_float32_matmul_precision(precision)
        if torch.backends.cuda.matmul.allow_tf32 != tf32:
            torch.backends.cuda.matmul.allow_tf32 = tf32
        for name, value in cudnn.items():
            if getattr(torch.backends.cudnn, name) != value:
                setattr(torch.backends.cudnn, name, value)

    return undo


def uncompiled() -> AbstractContextManager[Any]:
    """A context in which what ``torch.compile`` has taken runs as it is written; older versions of torch have none."""
    stance = getattr(torch.compiler, "set_stance", None)
    return nullcontext() if stance is None or "torch._dynamo" not in sys.modules else stance("force_eager")
