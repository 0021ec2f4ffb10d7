"""The user's settings: ``nnhealth.toml``, or the table ``[tool.nnhealth]`` of ``pyproject.toml``.

``rules`` and ``scalars`` tune the judgement as ``watch(rules=..., scalars=...)`` does, ``baseline`` and ``fail-on``
are the options of ``nnhealth inspect``; ``open-findings = false`` keeps open findings out of TensorBoard's own tabs.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from tb_nnhealth.findings import SEVERITIES
from tb_nnhealth.rules.configuration import Tuning

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

OWN_FILE, PROJECT_FILE = "nnhealth.toml", "pyproject.toml"
_KEYS = ("rules", "scalars", "baseline", "fail-on", "open-findings")


class SettingsError(ValueError):
    """A settings file that cannot be read or says what nothing understands; the message names file and key."""


@dataclass(frozen=True)
class Settings:
    """What a settings file says. ``path``: that file, None where there is none."""

    path: Path | None = None
    tuning: Tuning = field(default_factory=Tuning)
    baseline: Path | None = None
    """Relative to the file that names it."""
    fail_on: str | None = None
    open_findings: bool = True
    """Whether a recorder writes the open findings as scalars and as text."""


def discover(directory: Path) -> Settings:
    """The settings of the nearest directory, from ``directory`` upwards, that has any.

    Raises SettingsError where that file is broken.
    """
    for folder in (directory, *directory.parents):
        own, project = folder / OWN_FILE, folder / PROJECT_FILE
        if own.is_file():
            return read(own)
        if _names_us(project):
            return read(project)
    return Settings()


def _names_us(project: Path) -> bool:
    """Whether a ``pyproject.toml`` has a table for us; one that is broken otherwise is not ours to complain of."""
    try:
        return b"tool.nnhealth" in project.read_bytes()
    except OSError:
        return False


def read(path: Path) -> Settings:
    """The settings in ``path``; a ``pyproject.toml`` has them under ``[tool.nnhealth]``. Raises SettingsError."""
    try:
        table: Any = tomllib.loads(path.read_text("utf-8"))
        if path.name == PROJECT_FILE:
            table = table.get("tool", {}).get("nnhealth", {})
        return _settings(path, table)
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: expected TOML: {error}") from error
    except (ValueError, TypeError) as error:
        raise SettingsError(f"{path}: {error}") from error


def _settings(path: Path, table: Mapping[str, Any]) -> Settings:
    for key in table:
        if key not in _KEYS:
            near = get_close_matches(key, _KEYS, n=1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"unknown key {key!r}{meant}; known are {', '.join(_KEYS)}")
    baseline, fail_on = table.get("baseline"), table.get("fail-on")
    if baseline is not None and not isinstance(baseline, str):
        raise TypeError(f"baseline: expected the path of a file, found {baseline!r}")
    if fail_on is not None and fail_on not in SEVERITIES:
        raise ValueError(f"fail-on: expected one of {', '.join(SEVERITIES)}, found {fail_on!r}")
    open_findings = table.get("open-findings", True)
    if not isinstance(open_findings, bool):
        raise TypeError(f"open-findings: expected true or false, found {open_findings!r}")
    tuning = Tuning(table.get("rules", {}), table.get("scalars", {}))
    return Settings(path, tuning, None if baseline is None else path.parent / baseline, fail_on, open_findings)
