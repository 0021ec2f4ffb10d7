"""What TensorBoard loads at start: nothing here may fail, whatever else is broken.

TensorBoard imports this module, and calls the flag hooks, without guarding either: an exception
here would keep TensorBoard itself from starting. So the plugin proper is imported in ``load``,
which TensorBoard does guard.
"""

from __future__ import annotations

import argparse
import contextlib

from tensorboard.plugins import base_plugin

from tb_nnhealth import schema


class Loader(base_plugin.TBLoader):  # type: ignore[misc]
    """Entry point of the group ``tensorboard_plugins``."""

    def fix_flags(self, flags: argparse.Namespace) -> None:
        """Asks TensorBoard to keep every health record (0 means all) unless the user said otherwise.

        By default it would keep a sample of 100 (or 10) records of an unknown plugin.
        """
        with contextlib.suppress(Exception):
            if flags.samples_per_plugin is None:
                flags.samples_per_plugin = {}
            flags.samples_per_plugin.setdefault(schema.PLUGIN_NAME, 0)

    def load(self, context: base_plugin.TBContext) -> base_plugin.TBPlugin:
        from tb_nnhealth.plugin.plugin import HealthPlugin
        from tb_nnhealth.plugin.wsgi import pack_frontend

        pack_frontend()
        plugin = HealthPlugin(context)
        plugin.look_ahead()  # who starts TensorBoard will look soon
        return plugin
