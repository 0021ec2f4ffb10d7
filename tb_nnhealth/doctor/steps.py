"""Steps that go back, and steps that are written again and again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tensorboard.compat.proto import event_pb2

from tb_nnhealth.doctor.trouble import Trouble

TAGS = 100_000
"""Tags followed in one run; what is written under further ones is not looked at."""
REPEATS = 10
"""Points of one tag at one step from which on it is told: fewer come of resuming, or of two loaders."""
_START = event_pb2.SessionLog.START


@dataclass
class _Tag:
    step: int
    path: str
    repeats: int = 0
    most: int = 0
    most_at: int = 0


@dataclass
class _Back:
    path: str
    offset: int
    tag: str
    at: int
    to: int
    resumed: bool
    count: int = 0
    tags: set[str] = field(default_factory=set)


class Steps:
    """Follows the steps of a run's tags over its files."""

    def __init__(self) -> None:
        self._tags: dict[str, _Tag] = {}
        self._back: dict[tuple[str, bool], _Back] = {}

    def see(self, event: Any, path: str, offset: int) -> None:
        """Takes the next event of the run."""
        if event.session_log.status == _START:
            self._tags = {name: tag for name, tag in self._tags.items() if tag.step < event.step}
            return
        for value in event.summary.value:
            tag = self._tags.get(value.tag)
            if tag is None:
                if len(self._tags) < TAGS:
                    self._tags[value.tag] = _Tag(event.step, path)
                continue
            if event.step < tag.step:
                self._went_back(value.tag, tag, event.step, path, offset)
            tag.repeats = tag.repeats + 1 if event.step == tag.step else 0
            if tag.repeats > tag.most:
                tag.most, tag.most_at = tag.repeats, event.step
            tag.step, tag.path = event.step, path

    def _went_back(self, name: str, tag: _Tag, step: int, path: str, offset: int) -> None:
        resumed = path != tag.path
        back = self._back.setdefault((path, resumed), _Back(path, offset, name, tag.step, step, resumed))
        back.count += 1
        if len(back.tags) < TAGS:
            back.tags.add(name)

    def troubles(self) -> list[Trouble]:
        """What is wrong with the steps."""
        return [_told(back) for back in self._back.values()] + self._repeated()

    def _repeated(self) -> list[Trouble]:
        often = {name: tag for name, tag in self._tags.items() if tag.most + 1 >= REPEATS}
        if not often:
            return []
        name, tag = max(often.items(), key=lambda item: item[1].most)
        step = tag.most_at
        return [
            Trouble(
                "repeated-step",
                "warning",
                tag.path,
                f"{len(often)} tag(s) hold many points at one step, as '{name}' has {tag.most + 1} in a row at step "
                f"{step}; TensorBoard's data server shows one of them.",
                "Give each point its step: writer.add_scalar(tag, value, global_step).",
                step=step,
                count=len(often),
            )
        ]


def _told(back: _Back) -> Trouble:
    what = f"steps of {len(back.tags)} tag(s) go back, first of '{back.tag}' from {back.at} to {back.to}"
    if back.resumed:
        return Trouble(
            "resumed-at-earlier-step",
            "info",
            back.path,
            f"With this file {what}: a training resumed from a checkpoint. TensorBoard shows the newer points alone.",
            "Nothing, if that is so. Two trainings in one directory belong into two.",
            back.offset,
            back.to,
            back.count,
        )
    return Trouble(
        "steps-go-back",
        "warning",
        back.path,
        f"Within this file {what} ({back.count} times); TensorBoard's data server drops what was written before from "
        "the smaller step on, so that curves are cut or empty.",
        "Count steps over the whole training, not anew in each epoch, or give each phase a tag or a run of its own.",
        back.offset,
        back.to,
        back.count,
    )
