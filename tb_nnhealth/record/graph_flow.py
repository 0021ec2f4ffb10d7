"""Which module's output flows into which module, read from the autograd graph of one forward."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from tb_nnhealth.record.graph_walk import NODES_READ, sources

Key = TypeVar("Key")


class Joint(Generic[Key]):
    """Where several outputs become one without a module: a sum, a product, a concatenation."""

    def __init__(self, inputs: tuple[Key | Joint[Key], ...]) -> None:
        self.inputs = inputs


def flow(outputs: Mapping[Any, Key]) -> dict[Key, tuple[Key | Joint[Key], ...]]:
    """What each key was given: the outputs behind its own with no other key between, none for the first in the graph.

    ``outputs`` says whose output a node gives. Of a module that is called several times one call counts, so that
    nothing flows into itself. A graph of more than ``NODES_READ`` nodes is not read: nothing is said of any key.
    """
    found: dict[Key, tuple[Key | Joint[Key], ...]] = {}
    origins: dict[Any, Key | Joint[Key] | None] = {}
    members = _Members[Key]()
    for node in _sources_first(outputs):
        if len(origins) >= NODES_READ:
            return {}
        inputs = members.without_repeats([origin for s in sources(node) if (origin := origins.get(s)) is not None])
        if node in outputs:
            key = outputs[node]
            found.setdefault(key, tuple(inputs))
            origins[node] = key
        else:
            origins[node] = members.joined(inputs)
    return found


def _sources_first(ends: Mapping[Any, Any]) -> Iterator[Any]:
    """The nodes of the graph behind ``ends`` and these themselves, each after those whose results it takes."""
    seen: set[Any] = set()
    for end in ends:
        stack = [(end, iter(sources(end)))] if end not in seen else []
        seen.add(end)
        while stack:
            node, left = stack[-1]
            source = next((s for s in left if s not in seen), None)
            if source is None:
                stack.pop()
                yield node
            else:
                seen.add(source)
                stack.append((source, iter(sources(source))))


class _Members(Generic[Key]):
    """Joints by the keys that come together in them; a key is a bit.

    What lies within another input of a joint is not named again: of a state to which the same module adds time and
    again one joint remains.
    """

    def __init__(self) -> None:
        self._bits: dict[Any, int] = {}
        self._joints: dict[int, Joint[Key]] = {}

    def _of(self, origin: Key | Joint[Key]) -> int:
        return self._bits.setdefault(origin, 1 << len(self._bits))

    def without_repeats(self, origins: Sequence[Key | Joint[Key]]) -> list[Key | Joint[Key]]:
        kept: dict[Any, int] = {}
        for origin in sorted(dict.fromkeys(origins), key=lambda o: -self._of(o).bit_count()):
            bits = self._of(origin)
            if not any(bits & ~other == 0 for other in kept.values()):
                kept[origin] = bits
        return list(kept)

    def joined(self, inputs: Sequence[Key | Joint[Key]]) -> Key | Joint[Key] | None:
        if len(inputs) < 2:
            return inputs[0] if inputs else None
        bits = 0
        for origin in inputs:
            bits |= self._of(origin)
        joint = self._joints.get(bits)
        if joint is None:
            joint = self._joints[bits] = Joint(tuple(inputs))
            self._bits[joint] = bits
        return joint
