"""The contract of a rule, and what it may answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth.findings import Direction, Severity
from tb_nnhealth.history import History, Run

Group = Literal[
    "gradients", "updates", "activations", "weights", "numerics", "loss", "data", "set-up", "distributed", "shim"
]


GIVEN = "given"
ASIDE = "aside"


@dataclass(frozen=True)
class Option:
    """A number that a user may tune: ``rules={"rule-id": {name: value}}``."""

    name: str
    default: float
    unit: str
    help: str
    source: str
    """Where the default comes from: a paper, a course, a measurement."""


@dataclass(frozen=True)
class Hit:
    """One subject that a rule found ill, before hits that belong together become one finding."""

    subject: str
    first_step: int
    fired_step: int
    last_step: int
    count: int
    active: bool
    severity: Severity
    statistic: str
    unit: str
    value: float
    limit: float
    direction: Direction
    message: str
    advice: tuple[str, ...]
    healthy: tuple[float, float] | None = None
    more: Mapping[str, Any] = field(default_factory=dict)
    """Further numbers of the evidence. ``GIVEN: True`` says that the program did it: it is nothing else's symptom.
    ``ASIDE: True`` that it is too little to be the cause of anything else."""
    rank: float = 0.0
    """Among hits that began together the highest rank gives the finding its subject, message and numbers."""


@dataclass(frozen=True)
class Closest:
    """How near a passed rule came to its limit: ``share`` of the way, 1 at the limit."""

    share: float
    subject: str
    step: int
    what: str
    """What came close, as a noun phrase: "gradient norm"."""


@dataclass(frozen=True)
class Passed:
    """The rule looked and all is well."""

    closest: Closest | None = None


@dataclass(frozen=True)
class Ill:
    """The rule found something."""

    hits: Sequence[Hit]


@dataclass(frozen=True)
class NotApplicable:
    """The rule has nothing to judge in this run, and would have nothing to judge in a longer one."""

    why: str


@dataclass(frozen=True)
class TooLittleData:
    """The rule will judge when there is more of the run."""

    why: str


@dataclass(frozen=True)
class CouldNotCheck:
    """The rule lacks what only the user can give it."""

    needs: str
    """The line of code that would let the rule check: 'pass criterion= to watch()'."""


@dataclass(frozen=True)
class Failed:
    """The rule itself raised; a fault of ours, shown as such and never as a pass."""

    error: str


Outcome = Passed | Ill | NotApplicable | TooLittleData | CouldNotCheck | Failed


class Options:
    """A rule's options for one run: defaults, the user's values, and values per layer glob.

    ``given`` is what stands under the rule's id in ``rules=``: names of options, "severity", and
    globs of subjects mapping to such an object, or to ``False`` to silence them.
    """

    def __init__(self, options: Sequence[Option], given: Mapping[str, Any] | None = None) -> None:
        self._values = {option.name: option.default for option in options}
        self._globs: list[tuple[str, Any]] = []
        self.severity: Severity | None = None
        for key, value in (given or {}).items():
            if key == "severity":
                self.severity = value
            elif key in self._values:
                self._values[key] = float(value)
            else:
                self._globs.append((key, value))

    def __getitem__(self, name: str) -> float:
        return self._values[name]

    def of(self, name: str, subject: str) -> float:
        """The option for one subject: the last glob that matches it and names the option wins."""
        value = self._values[name]
        for glob, given in self._globs:
            if isinstance(given, Mapping) and name in given and fnmatchcase(subject, glob):
                value = float(given[name])
        return value

    def per_subject(self, name: str, subjects: Sequence[str]) -> NDArray[np.float64]:
        """The option for each subject, shape (n,)."""
        if not self._globs:
            return np.full(len(subjects), self._values[name])
        return np.array([self.of(name, subject) for subject in subjects], np.float64)

    def severity_of(self, subject: str) -> Severity | None:
        """The severity that the user gives to findings on ``subject``, None for the rule's own."""
        severity = self.severity
        for glob, given in self._globs:
            if isinstance(given, Mapping) and "severity" in given and fnmatchcase(subject, glob):
                severity = given["severity"]
        return severity

    def silenced(self, subject: str) -> bool:
        return any(given is False and fnmatchcase(subject, glob) for glob, given in self._globs)


@dataclass(frozen=True)
class Case:
    """What a rule is asked about: one watch of a run, or the run as a whole.

    ``history`` and ``prefix`` are those of the watch where the rule's scope is "watch"; for scope
    "run" the history is that of the first watch, or None in a log of plain scalars.
    """

    run: Run
    history: History | None
    prefix: str
    options: Options


@dataclass(frozen=True)
class Example:
    """A synthetic run with what the rule must say of it; tests and the rule's page are made from these."""

    title: str
    build: Callable[[], Run]
    """Builds the run; seeded, the same each time."""
    ill: bool
    subject: str | None = None
    """Expected subject of the finding, where it is ill."""
    first_step: int | None = None
    outcome: str = ""
    """Expected outcome's class name where it is not ill: "Passed", "NotApplicable", ..."""


@dataclass(frozen=True)
class Rule:
    """One thing that can be wrong. ``page`` is the docstring of the rule's module, under these headings:
    What it detects, Why it matters, How it is computed, What to try, When it is harmless, References.
    """

    id: str
    healthy: str
    """Title when all is well, adjective form: "Gradients reach every layer"."""
    ill: str
    """Title when it is not: "Gradients vanishing"."""
    group: Group
    severity: Severity
    """The severest it reports by default."""
    scope: Literal["watch", "run"]
    check: Callable[[Case], Outcome]
    options: tuple[Option, ...]
    examples: tuple[Example, ...]
    page: str
    causes: tuple[str, ...] = ()
    """Ids of the rules whose findings may be symptoms of this one's."""
    statistic: str = ""
    """Id in ``derive.STATISTICS`` of the statistic judged, where there is one; its limit is drawn with it."""
