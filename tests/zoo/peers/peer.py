"""What a peer is: another tool's published criteria, applied to a run that we recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tb_nnhealth.history import Run


@dataclass(frozen=True)
class Peer:
    """``alarms(run)`` names what the tool would report; ``means`` gives for each alarm our rules of the same fault.

    An alarm that means nothing in ``means`` says that something is wrong and not what.
    """

    name: str
    source: str
    alarms: Callable[[Run], set[str]]
    means: Mapping[str, frozenset[str]] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    """Criteria that need what no record holds."""
