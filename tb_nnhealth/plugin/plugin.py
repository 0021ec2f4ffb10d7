"""The plugin as TensorBoard knows it: its tab, and a thin route for each function of this package."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from tensorboard import errors, plugin_util
from tensorboard.backend import http_util
from tensorboard.plugins import base_plugin

from tb_nnhealth import schema
from tb_nnhealth.derive import BY_ID
from tb_nnhealth.plugin import page, parameters
from tb_nnhealth.plugin.evidence import evidence, why_none
from tb_nnhealth.plugin.experiment import PATIENT, Experiment, UnknownRunError
from tb_nnhealth.plugin.heatmap import heatmap
from tb_nnhealth.plugin.judged import Opened, UnreadableRunError
from tb_nnhealth.plugin.layer import layer
from tb_nnhealth.plugin.limits import trial
from tb_nnhealth.plugin.ranks import ranks
from tb_nnhealth.plugin.rejudge import options, rejudge
from tb_nnhealth.plugin.replies import saved_run
from tb_nnhealth.plugin.runs import shown_first
from tb_nnhealth.plugin.scalars import scalars
from tb_nnhealth.plugin.unhurried import Background
from tb_nnhealth.plugin.wsgi import STATIC_FILES, Answer, part_route, route, static_route, unchanged_since
from tb_nnhealth.report.build import SCHEMA
from tb_nnhealth.rules.registry import BY_ID as BY_RULE
from tb_nnhealth.source.provider import SCALAR_SAMPLES, ProviderSource

COLUMNS, COLUMNS_MOST = 400, 1000
POINTS, POINTS_MOST = 400, 2000
EXPERIMENTS_MOST = 8
ENOUGH = 8
"""Verdicts with which the page can begin; while there are fewer, whoever looks at the list waits for them."""
COARSE = {"/heatmap": ("values",), "/together": ("heatmap.values",)}
"""Arrays of the heatmap that are rounded in bytes: no eye tells colours apart so finely."""


AboutRun = Callable[[Any, Opened], dict[str, Any]]
"""What a route answers to a request about a run that has been opened."""


class Watched(NamedTuple):
    """An experiment, and who judges its runs while nobody asks for them."""

    experiment: Experiment
    background: Background


class HealthPlugin(base_plugin.TBPlugin):  # type: ignore[misc]
    """The tab "NN Health". All its routes are described in ``http_api.md``."""

    plugin_name = schema.PLUGIN_NAME

    def __init__(self, context: base_plugin.TBContext) -> None:
        self._provider = context.data_provider
        self._logdir = context.logdir or ""
        self._scalar_samples = (context.sampling_hints or {}).get("scalars")
        self._lock = threading.Lock()
        self._experiments: dict[str, Watched] = {}
        self._life = secrets.token_hex(4)
        """Tells the states of this process's runs from those of the one before."""
        self._about_run: Mapping[str, AboutRun] = {
            "report": self._report,
            "model": self._model,
            "heatmap": self._heatmap,
            "scalars": self._scalars,
        }
        """What a page of one run begins with: routes that may be asked together."""

    def get_plugin_apps(self) -> Mapping[str, Any]:
        answers: Mapping[str, Answer] = {
            "/runs": self._runs,
            **{f"/{name}": partial(self._answer_about, name) for name in self._about_run},
            "/together": self._together,
            "/evidence": self._evidence,
            "/rejudge": self._rejudge,
            "/layer": self._layer,
            "/ranks": self._ranks,
        }
        static = {f"/{name}": static_route(name, mime) for name, mime in STATIC_FILES.items()}
        routes = {path: route(answer, COARSE.get(path, ())) for path, answer in answers.items()}
        routes["/report_html"] = route(self._report_html)
        return {**routes, **static, "/parts/*": part_route()}

    def data_plugin_names(self) -> tuple[str, ...]:
        """The tab is there for health records, and for plain scalars too: the loss rules read those."""
        return (schema.PLUGIN_NAME, "scalars")

    def is_active(self) -> bool:
        return False  # asked only where data_plugin_names() matched nothing

    def frontend_metadata(self) -> base_plugin.FrontendMetadata:
        self.look_ahead(page_opens=True)
        return base_plugin.FrontendMetadata(es_module_path="/index.js", tab_name="NN Health")

    def look_ahead(self, *, page_opens: bool = False) -> None:
        """Has the newest runs of a local log judged before the tab is clicked.

        ``page_opens``: a page with our tab is being opened, or the tab itself, which needs the processor first.
        """
        with contextlib.suppress(Exception):  # what is raised here would take every tab away
            if self._provider is not None and self._logdir:
                background = self._watched("").background
                if page_opens:
                    background.stand_aside()
                background.look_ahead()

    def _runs(self, request: Any) -> dict[str, Any]:
        watched = self._watched(plugin_util.experiment_id(request.environ))
        experiment = watched.experiment
        opens = "first" in request.args
        experiment.names(PATIENT if opens else 1.0)
        if opens:
            experiment.look_soon()
        watched.background.wake()
        # Before the rows are taken: what is judged meanwhile makes another state, and is asked for again.
        awaited, version = experiment.awaited(), experiment.version()
        rows = experiment.rows()
        pending = sum(row["verdict"] == "pending" for row in rows)
        if pending and len(rows) - pending < ENOUGH:
            experiment.stand_aside(0)
        unchanged_since(request, f"{self._life}-{version}-{awaited}")
        return {
            "logdir": os.path.basename(self._logdir.rstrip("/\\")),
            "runs": rows,
            "scalar_tags": experiment.scalar_tags(),
            "pending": pending,
            "judging": awaited,
            **({"first": _first(experiment, request.args["first"], rows)} if opens else {}),
        }

    def _answer_about(self, name: str, request: Any) -> dict[str, Any]:
        with self._opened(request) as opened:
            return self._about_run[name](request, opened)

    def _together(self, request: Any) -> dict[str, Any]:
        wanted = parameters.several(request, "of", self._about_run)
        with self._opened(request) as opened:
            return {name: self._about_run[name](request, opened) for name in wanted}

    def _report(self, request: Any, opened: Opened) -> dict[str, Any]:
        return _reported(opened, self._experiment(request))

    def _model(self, request: Any, opened: Opened) -> dict[str, Any]:
        return opened.model()

    def _heatmap(self, request: Any, opened: Opened) -> dict[str, Any]:
        name = parameters.text(request, "statistic")
        start, end = parameters.span(request)
        columns = parameters.count(request, "columns", COLUMNS, COLUMNS_MOST)
        if name not in BY_ID:
            raise errors.InvalidArgumentError(f"expected a statistic ({', '.join(BY_ID)}), found {name[:80]!r}")
        return heatmap(opened.tables, BY_ID[name], start=start, end=end, limit=columns)

    def _evidence(self, request: Any) -> dict[str, Any]:
        index = parameters.integer(request, "finding", None, -1, 2**31)
        points = parameters.count(request, "points", POINTS, POINTS_MOST)
        if index is None:
            raise errors.InvalidArgumentError("expected a parameter 'finding', found none")
        with self._opened(request) as opened:
            run, findings = opened.run, opened.report["findings"]
            if not 0 <= index < len(findings):
                raise errors.NotFoundError(f"run {run.name!r} has {len(findings)} findings, none numbered {index}")
            chart = evidence(run, findings[index], limit=points, made=opened.tables)
            if chart is None:
                raise errors.NotFoundError(why_none(findings[index]))
            known = options(run, BY_RULE[findings[index]["rule"]])
            return {**chart, "trial": trial(findings[index], chart["limit"], known)}

    def _rejudge(self, request: Any) -> dict[str, Any]:
        parameters.text(request, "run")
        rule_id = parameters.text(request, "rule")
        rule = BY_RULE.get(rule_id)
        if rule is None:
            raise errors.NotFoundError(f"there is no rule {rule_id[:80]!r}")
        option = request.args.get("option")
        value = None if option is None else parameters.number(request, "value")
        with self._opened(request) as opened:
            run, report = opened.run, opened.report
            known = options(run, rule)
            answer: dict[str, Any] = {"rule": rule.id, "options": known, "tried": None}
            if value is None:
                return answer
            names = [entry["name"] for entry in known]
            if option not in names:
                raise errors.InvalidArgumentError(
                    f"expected an option of {rule.id} ({', '.join(names) or 'it has none'}), found {option[:80]!r}"
                )
            tried = opened.once((rule.id, option, value), lambda: rejudge(run, report, rule, option, value))
            return {**answer, "tried": tried}

    def _scalars(self, request: Any, opened: Opened) -> dict[str, Any]:
        tags = parameters.tags(request)
        start, end = parameters.span(request)
        points = parameters.count(request, "points", POINTS, POINTS_MOST)
        run = opened.run
        for tag in tags:
            if tag not in run.scalars:
                raise errors.NotFoundError(f"run {run.name!r} has no scalar {tag[:200]!r}")
        known = None if tags else opened.charts
        return scalars(run, tags, start=start, end=end, limit=points, known=known)

    def _ranks(self, request: Any) -> dict[str, Any]:
        with self._opened(request) as opened:
            return ranks(opened.run)

    def _layer(self, request: Any) -> dict[str, Any]:
        name = parameters.text(request, "layer")
        points = parameters.count(request, "points", POINTS, POINTS_MOST)
        with self._opened(request) as opened:
            run = opened.run
            found = layer(run, name, opened.report["findings"], limit=points, made=opened.tables)
            if found is None:
                raise errors.NotFoundError(f"run {run.name!r} has no layer {name[:200]!r}")
            return found

    def _report_html(self, request: Any) -> Any:
        try:
            page.check_built()
        except page.NotBuiltError as error:
            raise errors.NotFoundError(str(error)) from error
        with self._opened(request) as opened:
            run = opened.run
            saved = saved_run(run, opened.report, page.share(1))
        content = page.page([saved], logdir=os.path.basename(self._logdir.rstrip("/\\")), title=run.name)
        # Saved and not shown: in TensorBoard's own origin the page's policy would be TensorBoard's.
        headers = [("Content-Disposition", f'attachment; filename="{_file_name(run.name)}"')]
        return http_util.Respond(request, content, "text/html", headers=headers)

    @contextmanager
    def _opened(self, request: Any) -> Iterator[Opened]:
        """The run asked for, at once where it has been judged before: what it has grown by is judged in the background.

        Raises UnchangedError and KeptError as ``unchanged_since`` does.
        """
        name = parameters.text(request, "run")
        watched = self._watched(plugin_util.experiment_id(request.environ))
        experiment = watched.experiment
        try:
            experiment.names(PATIENT)
            version = experiment.version_of(name)
            if experiment.awaited():
                watched.background.wake()
            if version is not None:
                unchanged_since(request, self._state(experiment, version))
            with experiment.open(name) as opened:
                if opened.version != version:
                    unchanged_since(request, self._state(experiment, opened.version))
                yield opened
        except UnknownRunError:
            raise errors.NotFoundError(f"TensorBoard knows no run {name[:200]!r}; it may have been deleted") from None
        except UnreadableRunError as error:
            raise errors.NotFoundError(str(error)) from error

    def _state(self, experiment: Experiment, version: int) -> str:
        problems = [(problem.path, problem.message) for problem in experiment.problems]
        return f"{self._life}-{version}-{zlib.crc32(repr(problems).encode('utf-8', 'replace')):08x}"

    def _experiment(self, request: Any) -> Experiment:
        """The experiment that the request is about."""
        return self._watched(plugin_util.experiment_id(request.environ)).experiment

    def _watched(self, experiment_id: str) -> Watched:
        """The experiment of this id, and who judges it; a local TensorBoard has one, called ""."""
        with self._lock:
            if experiment_id not in self._experiments:
                while len(self._experiments) >= EXPERIMENTS_MOST:
                    self._experiments.pop(next(iter(self._experiments)))
                source = ProviderSource(
                    self._provider,
                    experiment_id=experiment_id,
                    logdir=self._logdir or None,
                    scalar_samples=SCALAR_SAMPLES if self._scalar_samples is None else self._scalar_samples,
                )
                experiment = Experiment(source)
                self._experiments[experiment_id] = Watched(experiment, Background(experiment))
            return self._experiments[experiment_id]


def _first(experiment: Experiment, named: str, rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """What the page asks for next about the run shown first, where that is known; ``named``: "" for the worst."""
    run = named or shown_first(rows)
    opened = None if run is None else experiment.known(run)
    if opened is None:
        return None
    recorded = opened.report["has_records"]
    return {"run": run, "report": _reported(opened, experiment), "model": opened.model() if recorded else None}


def _reported(opened: Opened, experiment: Experiment) -> dict[str, Any]:
    problems = [*experiment.problems, *opened.run.problems]
    return {
        "schema": SCHEMA,
        "problems": [{"path": problem.path, "message": problem.message} for problem in problems],
        "run": opened.report,
    }


def _file_name(run: str) -> str:
    """A name for the saved report of ``run``, of characters that every system and header takes."""
    return f"nnhealth-{re.sub(r'[^A-Za-z0-9._-]+', '_', run).strip('._')[:80] or 'run'}.html"
