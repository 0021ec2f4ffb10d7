"""Names that stay the same however a model is wrapped, and which of them a user asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

_WRAPPERS = frozenset({"_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"})


def clean_name(name: str) -> str:
    """``name`` without the parts that torch.compile, data parallelism, checkpoint wrappers and Fabric put into it.

    "module" is a wrapper's name only where it stands first or behind another wrapper's part.
    """
    kept: list[str] = []
    behind_wrapper = True
    for part in name.split("."):
        if part in _WRAPPERS and (part != "module" or behind_wrapper):
            behind_wrapper = True
            continue
        kept.append(part)
        behind_wrapper = False
    return ".".join(kept)


def patterns(argument: str, value: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """The globs of ``include=`` or ``exclude=``; TypeError where they are not strings."""
    if value is None:
        return None
    if not isinstance(value, (str, Iterable)):
        raise TypeError(f"watch(): {argument}= expects glob patterns on module names, found {value!r}")
    globs = (value,) if isinstance(value, str) else tuple(value)
    for glob in globs:
        if not isinstance(glob, str):
            raise TypeError(f"watch(): {argument}= expects glob patterns on module names, found {glob!r}")
    return globs


class Selection:
    """Which names ``include`` and ``exclude`` leave: a name counts with all names it lies beneath."""

    def __init__(self, include: tuple[str, ...] | None, exclude: tuple[str, ...] | None) -> None:
        self._include, self._exclude = include, exclude or ()

    def __contains__(self, name: str) -> bool:
        parts = name.split(".")
        names = [".".join(parts[: i + 1]) for i in range(len(parts))]
        if any(fnmatchcase(n, glob) for glob in self._exclude for n in names):
            return False
        return self._include is None or any(fnmatchcase(n, glob) for glob in self._include for n in names)
