"""The nodes of an autograd graph, from its ends back to the parameters."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

NODES_READ = 20_000


def sources(node: Any) -> list[Any]:
    """The nodes whose results ``node`` takes."""
    return [source for source, _ in node.next_functions if source is not None]


def nodes_behind(ends: Iterable[Any], but: Iterable[Any] = ()) -> Iterator[Any]:
    """Each of ``ends`` and of what lies behind them once, the nearest first, at most ``NODES_READ``.

    ``but``: nodes that are left out, and what lies behind nothing else.
    """
    queue, seen = deque(ends), set[Any](but)
    while queue and len(seen) < NODES_READ:
        node = queue.popleft()
        if node in seen:
            continue
        seen.add(node)
        yield node
        queue.extend(sources(node))
