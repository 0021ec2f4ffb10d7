"""Events in a format that this version, or TensorBoard, does not know."""

from __future__ import annotations

from typing import Any

from tb_nnhealth import schema
from tb_nnhealth.doctor.trouble import Trouble
from tb_nnhealth.events.decode import check_version
from tb_nnhealth.events.tensor import FormatError

_FILE_VERSIONS = ("brain.Event:1", "brain.Event:2")
PLACES = 3
"""Troubles told of one file."""


class Formats:
    """Looks at the versions that one file names."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._found: dict[str, Trouble] = {}

    def see(self, event: Any, offset: int) -> None:
        """Takes the next event of the file."""
        if event.file_version and event.file_version not in _FILE_VERSIONS:
            self._note(
                "unknown-file-version",
                f"The file says that it is of version '{event.file_version[:60]}'; known are "
                f"{' and '.join(_FILE_VERSIONS)}.",
                "Upgrade TensorBoard, or write with one of its own writers.",
                offset,
            )
        for value in event.summary.value:
            plugin = value.metadata.plugin_data
            if plugin.plugin_name == schema.PLUGIN_NAME:
                try:
                    check_version(plugin.content)
                except FormatError as error:
                    told = f"Tag '{value.tag}' was {error}"
                    self._note("format-too-new", told, "pip install --upgrade tb-nnhealth", offset)

    def _note(self, what: str, message: str, advice: str, offset: int) -> None:
        if len(self._found) < PLACES:
            self._found.setdefault(what, Trouble(what, "warning", self._path, message, advice, offset))

    def troubles(self) -> list[Trouble]:
        """What is wrong with the versions."""
        return list(self._found.values())
