"""Published criteria of other tools at their defaults, applied to the same runs as ours.

Each module says where its criteria and thresholds stand; ``Peer.left_out`` names those that need what no record holds.
"""

from __future__ import annotations

from tests.zoo.peers import autotrainer, deepdiagnosis, sagemaker, torchmortem, umlaut
from tests.zoo.peers.peer import Peer

PEERS: tuple[Peer, ...] = (
    autotrainer.PEER,
    deepdiagnosis.PEER,
    umlaut.PEER,
    sagemaker.ALL_RULES,
    sagemaker.TENSOR_RULES,
    torchmortem.PEER,
)

__all__ = ["PEERS", "Peer"]
