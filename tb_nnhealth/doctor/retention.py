"""What TensorBoard keeps of a tag, where that is less than was written."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tb_nnhealth.doctor.trouble import Trouble

KEPT = {"scalars": 1000, "histograms": 500, "pr_curves": 100, "images": 10, "audio": 10}
"""Points of a tag that TensorBoard holds unless --samples_per_plugin says otherwise (``data_ingester.py``)."""
TAGS = 100_000
_OLD_KINDS = {"simple_value": "scalars", "histo": "histograms", "image": "images", "audio": "audio"}


class Retention:
    """Counts the points of a run's tags."""

    def __init__(self) -> None:
        self._plugin_of: dict[str, str] = {}
        self._points: Counter[str] = Counter()

    def see(self, event: Any) -> None:
        """Takes the next event of the run."""
        for value in event.summary.value:
            if value.tag not in self._plugin_of:
                if len(self._plugin_of) >= TAGS:
                    continue
                named = value.metadata.plugin_data.plugin_name
                self._plugin_of[value.tag] = named or _OLD_KINDS.get(value.WhichOneof("value") or "", "")
            self._points[value.tag] += 1

    def troubles(self, directory: str) -> list[Trouble]:
        """One for each plugin of whose tags TensorBoard shows a sample."""
        found = []
        for plugin, kept in KEPT.items():
            points = {tag: n for tag, n in self._points.items() if n > kept and self._plugin_of[tag] == plugin}
            if points:
                tag, most = max(points.items(), key=lambda item: item[1])
                found.append(
                    Trouble(
                        "sampled",
                        "info",
                        directory,
                        f"{len(points)} tag(s) of {plugin} hold more than {kept:,} points, '{tag}' {most:,}; "
                        f"TensorBoard shows a random {kept:,} of each, and may leave out the step that matters.",
                        f"Start it with --samples_per_plugin {plugin}={most}, or {plugin}=0 to keep all.",
                        count=len(points),
                    )
                )
        return found
