"""Runs as TensorBoard's DataProvider gives them, with or without its data server."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tensorboard import context
from tensorboard.data import provider

from tb_nnhealth import schema
from tb_nnhealth.events.decode import SCALARS_PLUGIN, Tag
from tb_nnhealth.history import Problem, Run
from tb_nnhealth.phases import lines, validations
from tb_nnhealth.source.base import Glimpse
from tb_nnhealth.source.beside import is_line, with_lines, with_validation
from tb_nnhealth.source.provider_run import ProviderRun, describe

EVERYTHING = 1 << 30
"""Asked for as ``downsample``: 0 would give nothing; None and negative numbers are refused."""
SCALAR_SAMPLES = 1000
"""Points of a scalar tag that TensorBoard keeps by default."""

Listed = Mapping[str, Mapping[str, Any]]


class ProviderSource:
    """The runs of a ``tensorboard.data.provider.DataProvider``.

    ``scalar_samples`` is the number of points that TensorBoard keeps of a scalar tag, 0 for all of them
    (``--samples_per_plugin scalars=N``). ``logdir`` is TensorBoard's log directory: where it is on this machine, tags
    of which only a sample was kept are read from its event files, and so are runs that TensorBoard has not read yet. It
    must be None where run names are no paths below one directory (``--logdir_spec``).

    A run that has grown is the same object with other parts: histories and series that were given are not changed.
    """

    def __init__(
        self,
        data_provider: provider.DataProvider,
        *,
        experiment_id: str = "",
        logdir: str | None = None,
        scalar_samples: int = SCALAR_SAMPLES,
    ) -> None:
        self._provider, self._experiment_id = data_provider, experiment_id
        self._logdir, self._scalar_samples = logdir, scalar_samples
        self._runs: dict[str, ProviderRun | None] = {}
        self._validations: dict[str, dict[str, str]] = {}
        self._lines: dict[str, tuple[str, ...]] = {}
        self._above: dict[str, str] = {}
        self._health: Listed = {}
        self._scalars: Listed = {}
        self._problems: list[Problem] = []

    @property
    def problems(self) -> list[Problem]:
        """What TensorBoard could not list. What could not be read of a run is in its own problems."""
        return list(self._problems)

    def runs(self) -> list[str]:
        return list(self._runs)

    def refresh(self) -> None:
        """Asks TensorBoard what there is; a list that it cannot give stays as it was."""
        self._problems = []
        listed = self._list("runs", self._provider.list_runs)
        if listed is not None:
            self._runs = {
                run.run_name: self._runs.get(run.run_name) for run in sorted(listed, key=lambda r: r.run_name)
            }
            self._validations = validations(self._runs)
            self._lines = lines(self._runs)
            self._above = {line: name for name, below in self._lines.items() for line in below}
        health = functools.partial(self._provider.list_tensors, plugin_name=schema.PLUGIN_NAME)
        self._health = self._list("health records", health) or self._health
        scalars = functools.partial(self._provider.list_scalars, plugin_name=SCALARS_PLUGIN)
        self._scalars = self._list("scalars", scalars) or self._scalars

    def run(self, name: str) -> Run:
        entry = self._update(name)
        run, own = entry.run, entry.scalars
        run.part_of = self._above.get(name, "") if is_line(name, replace(run, scalars=own)) else ""
        beside = [] if run.part_of else list(self._validations.get(name, {}).items())
        below = [] if run.part_of else self._lines.get(name, ())
        if beside or below:
            scalars = with_validation(own, [(word, self._update(other).run) for word, other in beside])
            run.scalars = with_lines(scalars, [(line, self._update(line).run) for line in below])
        return run

    def unread(self, name: str) -> bool:
        """Whether TensorBoard has yet to read what the run's event files hold, as of the last ``refresh``."""
        listed = self._health.get(name) or self._scalars.get(name)
        return not listed and name in self._runs and self._known(name).holds_data

    def _update(self, name: str) -> ProviderRun:
        run = self._known(name)
        scalars = {tag: series for tag, series in self._scalars.get(name, {}).items() if schema.is_users_scalar(tag)}
        run.update(self._health.get(name, {}), scalars)
        return run

    def _known(self, name: str) -> ProviderRun:
        run = self._runs[name]
        if run is None:
            run = self._runs[name] = ProviderRun(
                name,
                functools.partial(self._read, self._provider.read_tensors, schema.PLUGIN_NAME, name),
                functools.partial(self._read, self._provider.read_scalars, SCALARS_PLUGIN, name),
                samples=self._scalar_samples,
                logdir=self._logdir,
            )
        return run

    def grown_to(self, name: str) -> object:
        """Differs whenever TensorBoard has new data of the run, as of the last ``refresh``."""
        return tuple(
            (tag, series.max_step, series.max_wall_time)
            for run in (name, *self._validations.get(name, {}).values(), *self._lines.get(name, ()))
            for listed in (self._health, self._scalars)
            for tag, series in listed.get(run, {}).items()
        )

    def glimpse(self, name: str) -> Glimpse:
        """What TensorBoard's lists tell of the run, as of the last ``refresh``."""
        tags = self._health.get(name, {}).items()
        records = [series for tag, series in tags if (known := Tag.parse(tag)) and known.series == "stats"]
        scalars = [series for tag, series in self._scalars.get(name, {}).items() if schema.is_users_scalar(tag)]
        return Glimpse(
            max((series.max_step for series in records or scalars), default=0),
            max((series.max_wall_time for series in (*records, *scalars)), default=None),
            bool(records),
        )

    def forget(self, name: str) -> None:
        """Lets go of what was read of a run; it is read anew when it is asked for."""
        if name in self._runs:
            self._runs[name] = None

    def _list(self, what: str, ask: Callable[..., Any]) -> Any:
        try:
            return ask(context.RequestContext(), experiment_id=self._experiment_id)
        except Exception as error:  # gRPC's and TensorBoard's errors have no common class
            self._problems.append(Problem("TensorBoard", f"could not list its {what}: {describe(error)}"))
            return None

    def _read(self, ask: Callable[..., Any], plugin: str, run: str, tags: Sequence[str]) -> Mapping[str, Sequence[Any]]:
        found: Listed = ask(
            context.RequestContext(),
            experiment_id=self._experiment_id,
            plugin_name=plugin,
            downsample=EVERYTHING,
            run_tag_filter=provider.RunTagFilter(runs=[run], tags=list(tags)),
        )
        return found.get(run, {})
