"""The zoo's numbers of each part: what may be told of the part set aside, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tests.zoo.catalogue import PARTS, part
from tests.zoo.peers import PEERS
from tests.zoo.registry import Specimen
from tests.zoo.runner.run import Result
from tests.zoo.runner.score import FalseAlarms, Score, diagnosis, false_alarms, score
from tests.zoo.runner.score_peers import PeerScore, our_score, peer_score


@dataclass(frozen=True)
class Totals:
    part: str
    ill_kinds: int
    score: Score
    healthy_kinds: int
    false_alarms: FalseAlarms
    criteria: tuple[PeerScore, ...]
    """Ours, and then the peers'."""
    broken: int
    """Trainings that raised or hung; they are in none of the other numbers."""


def totals(
    specimens: Mapping[str, Specimen], results: Sequence[Result], *, show_held_out: bool = False
) -> list[Totals]:
    """Of each part that has results; without the rules of false alarms in the part set aside."""
    told = []
    for name in PARTS:
        of_part = [result for result in results if part(specimens[result.name]) == name]
        sound = [result for result in of_part if result.error is None]
        ill = [result for result in sound if specimens[result.name].ill]
        healthy = [result for result in sound if not specimens[result.name].ill]
        alarms = false_alarms(result.findings for result in healthy)
        if of_part:
            told.append(
                Totals(
                    name,
                    len({specimens[result.name].kind for result in ill}),
                    score([diagnosis(specimens[result.name], result.findings) for result in ill]),
                    len({specimens[result.name].kind for result in healthy}),
                    alarms if name == PARTS[0] or show_held_out else replace(alarms, rules={}),
                    (our_score(specimens, sound), *(peer_score(peer, specimens, sound) for peer in PEERS)),
                    len(of_part) - len(sound),
                )
            )
    return told
