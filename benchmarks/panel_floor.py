"""A TensorBoard plugin whose tab is one line of text: how long TensorBoard itself takes to open any tab."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tensorboard.backend import http_util
from tensorboard.plugins import base_plugin
from werkzeug import wrappers

TAB = "One line"
_SCRIPT = """
export function render() {
  document.body.innerHTML = "<p class='one-line'>One line</p>";
}
"""


class OneLine(base_plugin.TBPlugin):  # type: ignore[misc]
    plugin_name = "one_line"

    def get_plugin_apps(self) -> dict[str, Any]:
        return {"/index.js": _script}

    def is_active(self) -> bool:
        return True

    def frontend_metadata(self) -> base_plugin.FrontendMetadata:
        return base_plugin.FrontendMetadata(es_module_path="/index.js", tab_name=TAB)


@wrappers.Request.application
def _script(request: Any) -> Any:
    return http_util.Respond(request, _SCRIPT, "application/javascript")


def install(folder: Path) -> None:
    """Makes of ``folder`` a directory from which, as part of PYTHONPATH, TensorBoard takes the plugin."""
    about = folder / "one_line-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: one-line\nVersion: 1\n")
    (about / "entry_points.txt").write_text(f"[tensorboard_plugins]\none_line = {__name__}:OneLine\n")
