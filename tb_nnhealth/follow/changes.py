"""What has changed in a run's findings since the last look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from tb_nnhealth.report.identity import Identity, identities

What = Literal["appeared", "cleared"]


class Change(NamedTuple):
    """A finding that has appeared, or one that no longer holds."""

    what: What
    identity: Identity
    finding: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {
            "event": self.what,
            "fingerprint": self.identity.fingerprint,
            "run": self.identity.run,
            "finding": {name: value for name, value in self.finding.items() if name != "rule_page"},
        }


@dataclass
class _Known:
    finding: dict[str, Any]
    active: bool
    subjects: frozenset[str]


class Ledger:
    """The findings of all runs, as of the last look at each."""

    def __init__(self) -> None:
        self._runs: dict[str, dict[Identity, _Known]] = {}

    def update(self, report: dict[str, Any]) -> list[Change]:
        """The changes that ``report`` brings, in its order, then those that have cleared."""
        before = self._runs.get(report["run"], {})
        after: dict[Identity, _Known] = {}
        changes: list[Change] = []
        named = list(zip(identities(report), report["findings"], strict=True))
        taken = {identity for identity, _ in named if identity in before}
        for own, finding in named:
            subjects = _subjects(finding)
            identity = own if own in before else _moved(own, subjects, before, taken)
            taken.add(identity)
            after[identity] = _Known(finding, finding["active"], subjects)
            was = identity in before and before[identity].active
            if finding["active"] != was:
                changes.append(Change("appeared" if finding["active"] else "cleared", identity, finding))
            elif identity not in before:  # over before it was seen: it appeared, and has cleared
                changes += [Change("appeared", identity, finding), Change("cleared", identity, finding)]
        for identity, known in before.items():
            if identity not in after and known.active:
                changes.append(Change("cleared", identity, known.finding))
        self._runs[report["run"]] = after
        return changes

    def finding(self, identity: Identity) -> dict[str, Any]:
        """As of the last update of its run. Raises KeyError."""
        return self._runs[identity.run][identity].finding

    def forget(self, run: str) -> list[Change]:
        """The changes where a run is gone: all its findings have cleared."""
        gone = self._runs.pop(run, {})
        return [Change("cleared", identity, known.finding) for identity, known in gone.items() if known.active]


def _subjects(finding: dict[str, Any]) -> frozenset[str]:
    return frozenset(entry["subject"] for entry in finding["subjects"]) | {finding["subject"]}


def _moved(own: Identity, subjects: frozenset[str], before: dict[Identity, _Known], taken: set[Identity]) -> Identity:
    """The known finding that this one is: a finding spreads over layers, and another of them then gives it its name."""
    for identity, known in before.items():
        if identity not in taken and identity.rule == own.rule and identity.subject in subjects:
            return identity
        if identity not in taken and identity.rule == own.rule and own.subject in known.subjects:
            return identity
    return own
