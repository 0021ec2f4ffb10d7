"""The same numbers for other tools' criteria, and for ours by the same count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.zoo.peers import Peer
from tests.zoo.registry import Specimen
from tests.zoo.runner.run import Result
from tests.zoo.runner.score import share, telling

OURS = "nnhealth"


@dataclass(frozen=True)
class PeerScore:
    name: str
    kinds_covered: int
    """Kinds of ill specimens for whose cause the tool has an alarm."""
    named: float | None
    """Share of the covered kinds' runs, each kind counted once, in which an alarm that means the cause is given."""
    named_of_all: float | None
    """The same over all ill runs, covered or not."""
    alarmed: float | None
    """Share of ill runs with any alarm."""
    false_alarms: int
    healthy: int

    @property
    def false_alarm_rate(self) -> float | None:
        return self.false_alarms / self.healthy if self.healthy else None


def peer_score(peer: Peer, specimens: Mapping[str, Specimen], results: Sequence[Result]) -> PeerScore:
    meant = {result.name: _meant(peer, result.peers.get(peer.name, ())) for result in results}
    alarmed = {result.name: bool(result.peers.get(peer.name)) for result in results}
    return _score(peer.name, frozenset().union(*peer.means.values()), meant, alarmed, specimens)


def our_score(specimens: Mapping[str, Specimen], results: Sequence[Result]) -> PeerScore:
    """Ours: every warning and critical finding is an alarm that means its rule."""
    meant = {result.name: frozenset(finding["rule"] for finding in telling(result.findings)) for result in results}
    return _score(OURS, None, meant, {name: bool(rules) for name, rules in meant.items()}, specimens)


def _meant(peer: Peer, alarms: Sequence[str]) -> frozenset[str]:
    return frozenset().union(*(peer.means.get(alarm, frozenset()) for alarm in alarms))


def _score(
    name: str,
    covered: frozenset[str] | None,
    meant: Mapping[str, frozenset[str]],
    alarmed: Mapping[str, bool],
    specimens: Mapping[str, Specimen],
) -> PeerScore:
    ill = [specimens[run] for run in meant if specimens[run].ill]
    kinds: dict[str, list[bool]] = {}
    for specimen in ill:
        if covered is None or not covered.isdisjoint(specimen.rules):
            kinds.setdefault(specimen.kind, []).append(not meant[specimen.name].isdisjoint(specimen.rules))
    by_kind = [sum(right) / len(right) for right in kinds.values()]
    healthy = [alarmed[run] for run in meant if not specimens[run].ill]
    return PeerScore(
        name,
        len(kinds),
        sum(by_kind) / len(by_kind) if by_kind else None,
        share(not meant[specimen.name].isdisjoint(specimen.rules) for specimen in ill),
        share(alarmed[specimen.name] for specimen in ill),
        sum(healthy),
        len(healthy),
    )
