"""Published criteria of other tools, applied to the same runs as ours."""

from __future__ import annotations

from tests.zoo.peers.peer import Peer

PEERS: tuple[Peer, ...] = ()

__all__ = ["PEERS", "Peer"]
