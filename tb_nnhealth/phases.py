"""What the words of a name say of the phase that it stands for: training or validation."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection
from functools import lru_cache
from typing import Literal

Phase = Literal["train", "val"]

PHASES: dict[str, Phase] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "eval", "evaluation", "test", "testing", "dev"), "val"),
}
_TRIAL = "test"
"""What a validation may be called, and an attempt as well."""
_LINE_WORDS = PHASES.keys() | {"loss", "losses"}
"""One of them stands in the name of a line that tells of the training; few runs of a sweep are named so."""
_PART = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")


@lru_cache(maxsize=4096)
def parts(text: str) -> tuple[str, ...]:
    """The words of a name in lower case: separators and changes of case part them, digits stand alone."""
    words = [word.lower() for word in _PART.findall(text)]
    joined: list[str] = []
    for word in words:
        if joined and (joined[-1], word) in {("learning", "rate"), ("cross", "entropy")}:
            joined[-1] += word
        else:
            joined.append(word)
    return tuple(joined)


def validations(runs: Collection[str]) -> dict[str, dict[str, str]]:
    """For each run that has its validation in another one: the names of those, by the word that says so.

    Keras writes ``exp/train`` and ``exp/validation``, ``add_scalars`` ``exp/loss_train`` and ``exp/loss_val``,
    TensorFlow's estimators ``exp`` and ``exp/eval``: one training, of which each run has a part.
    """
    places: dict[tuple[str, tuple[str, ...], Phase | None], dict[str, str]] = defaultdict(dict)
    for run in runs:
        parent, last = _split(run)
        words = parts(last)
        named = [word for word in words if word in PHASES]
        if len(named) == 1:
            rest = tuple(word for word in words if word not in PHASES)
            places[parent, rest, PHASES[named[0]]].setdefault(named[0], run)
    found: dict[str, dict[str, str]] = {}
    for (parent, rest, phase), named_so in list(places.items()):
        if phase == "train":
            beside = places.get((parent, rest, "val"))
            if beside and len(named_so) == 1:
                found |= dict.fromkeys(named_so.values(), beside)
        elif not rest and parent in runs and not places.get((parent, (), "train")):
            below = {word: run for word, run in named_so.items() if word != _TRIAL}
            if below and not set(parts(_split(parent)[1])) & PHASES.keys():
                found[parent] = below
    return found


def lines(runs: Collection[str]) -> dict[str, tuple[str, ...]]:
    """For each run the runs directly below it that may be lines of its plots, as ``add_scalars`` writes them.

    ``exp/loss_train`` and ``exp/loss_val`` are, by their names, lines of ``exp``; what they hold tells (``line_of``).
    """
    found: dict[str, list[str]] = defaultdict(list)
    for run in runs:
        parent, last = _split(run)
        if parent in runs and names_line(last):
            found[parent].append(run)
    return {parent: tuple(sorted(below)) for parent, below in found.items()}


def names_line(directory: str) -> bool:
    """Whether a directory may be a line of a plot that tells of the training, by its name alone."""
    return "_" in directory and not _LINE_WORDS.isdisjoint(parts(directory))


def line_of(tag: str, run: str) -> str | None:
    """Where ``run`` is named as ``add_scalars(tag, {line: ...})`` names it: the line."""
    opening = tag.replace("/", "_") + "_"
    last = _split(run)[1]
    return last[len(opening) :] if last.startswith(opening) and len(last) > len(opening) else None


def _split(run: str) -> tuple[str, str]:
    """The run that the directory around ``run`` is, and the last part of its name."""
    if run == ".":
        return "", ""
    parent, _, last = run.rpartition("/")
    return parent or ".", last
