"""What is wrong now, for those who never open our tab: numbers for TensorBoard's Time Series, words for its Text.

Written when it changes and at the close, so a training that goes well adds two points for each severity.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tb_nnhealth import schema
from tb_nnhealth.events import encode
from tb_nnhealth.record.entries import Entry

if TYPE_CHECKING:
    from tb_nnhealth.record.health_log import HealthLog

Findings = Sequence[Mapping[str, Any]]
TOLD_MOST = 20
MESSAGE_CHARACTERS = 400


class OpenFindings:
    """Makes the entries of the findings that are open, where they differ from those written last."""

    def __init__(self) -> None:
        self.on = True
        self.counts: dict[str, int] = {}
        self.named: list[tuple[str, str, str]] | None = None

    def entries(self, health: HealthLog, findings: Findings, closing: bool) -> list[Entry]:
        if not self.on:
            return []
        now = [finding for finding in findings if finding["active"]]
        entries: list[Entry] = []
        for severity in schema.OPEN_SEVERITIES:
            count = sum(finding["severity"] == severity for finding in now)
            if count != self.counts.get(severity) or (closing and health.behind(schema.open_findings_tag(severity))):
                entries.append(OpenCount(health, self, severity, count))
        named = [(finding["rule"], finding["subject"], finding["severity"]) for finding in now]
        if named != (self.named or []):
            entries.append(OpenWords(health, self, named, words(now)))
        return entries


class OpenCount(Entry):
    """How many findings of a severity are open: an ordinary scalar."""

    def __init__(self, health: HealthLog, state: OpenFindings, severity: str, count: int) -> None:
        self._health, self._state, self._severity, self._count = health, state, severity, count
        self._tag = schema.open_findings_tag(severity)

    def encode(self) -> bytes:
        step = self._health.next_step(self._tag, self._health.judge.last_step)
        return encode.scalar(self._tag, step, time.time(), self._count)

    def written(self) -> Sequence[Entry]:
        self._state.counts[self._severity] = self._count
        return ()


class OpenWords(Entry):
    """The open findings in words, for the Text tab."""

    def __init__(self, health: HealthLog, state: OpenFindings, named: list[tuple[str, str, str]], text: str) -> None:
        self._health, self._state, self._named, self._text = health, state, named, text

    def encode(self) -> bytes:
        tag = schema.OPEN_FINDINGS_TAG
        step = self._health.next_step(tag, self._health.judge.last_step)
        return encode.markdown(tag, step, time.time(), self._text.encode("utf-8", "replace"), self._health.first(tag))

    def written(self) -> Sequence[Entry]:
        self._health.begun(schema.OPEN_FINDINGS_TAG)
        self._state.named = self._named
        return ()


def words(findings: Findings) -> str:
    """Markdown of open findings, root causes first, with what to try; names and messages are shown as they are."""
    if not findings:
        return "No finding is open any more."
    lines = []
    for number, finding in enumerate(findings[:TOLD_MOST], 1):
        where = f" in {_plain(finding['subject'])}" if finding["subject"] else ""
        message = finding["message"][:MESSAGE_CHARACTERS]
        lines.append(
            f"{number}. **{finding['severity']}: {_plain(finding['rule'])}**{where}, "
            f"since step {finding['first_step']}. {_plain(message)}"
        )
        if finding["advice"] and finding["caused_by"] is None:
            lines.append(f"    Try: {_plain(finding['advice'][0][:MESSAGE_CHARACTERS])}")
    if len(findings) > TOLD_MOST:
        lines.append(f"\nand {len(findings) - TOLD_MOST} more; the tab NN Health has them all")
    return "\n".join(lines)


def _plain(text: str) -> str:
    """``text`` with nothing in it that Markdown or HTML would read: names are data from strangers."""
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*_{}\[\]()>#+\-.!|~])", r"\\\1", re.sub(r"\s+", " ", text))
