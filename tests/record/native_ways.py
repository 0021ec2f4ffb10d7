"""The ways in which tensors are reduced: each instruction set of the native core that this processor has, and torch."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tb_nnhealth import native

TORCH = "torch"
SETS: list[str] = [] if native.core is None else native.core.instruction_sets()
WAYS = [*SETS, TORCH]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Reduces by one of ``WAYS`` for as long as a test runs."""
    name: str = request.param
    if name == TORCH:
        monkeypatch.setattr(native, "core", None)
        yield name
        return
    native.core.use(name)
    yield name
    native.core.use(SETS[-1])


@pytest.fixture(params=[*SETS[-1:], TORCH])
def best_way_or_torch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs a test with the native core, where it was built, and without it."""
    name: str = request.param
    if name == TORCH:
        monkeypatch.setattr(native, "core", None)
    return name
