"""The replies about one run that a saved report holds: those of the routes, made once, rounded and packed."""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tensorboard.backend import json_util

from tb_nnhealth.derive import BY_ID
from tb_nnhealth.history import Problem, Run
from tb_nnhealth.plugin import arrays
from tb_nnhealth.plugin.evidence import evidence, why_none
from tb_nnhealth.plugin.heatmap import heatmap
from tb_nnhealth.plugin.layer import layer
from tb_nnhealth.plugin.model import model
from tb_nnhealth.plugin.ranks import ranks
from tb_nnhealth.plugin.runs import summary
from tb_nnhealth.plugin.scalars import scalars
from tb_nnhealth.report.build import SCHEMA

LEVELS = ESSENTIAL, MAPS, ILL_LAYERS, LAYERS, TAGS = range(5)
"""What is left out last to first: verdict, findings and their map; other maps; the findings' layers; others; tags."""
FIRST_MAP = "update-ratio"
"""The statistic that the panel shows where no finding names one."""
COLUMNS_MOST, CELLS_LEAST, CELLS_MOST = 500, 6_000, 60_000
POINTS_LEAST, POINTS_MOST = 120, 400
LAYER_POINTS = 160
TAGS_MOST = 200
DROPPED_BITS = 12
"""Of the 23 bits of a float32's fraction: the rest is exact to 1 in 4,000, finer than a pixel, and packs well."""


@dataclass(frozen=True)
class Reply:
    """What ``route`` answers about ``about`` (a statistic, a finding's index, a layer, a tag) of ``run``."""

    route: str
    run: str
    about: str
    packed: str
    level: int


@dataclass(frozen=True)
class SavedRun:
    """A run's row in the list and as many of its replies as were asked for, most important first."""

    row: dict[str, Any]
    tags: frozenset[str]
    replies: tuple[Reply, ...]
    left_out: Mapping[int, int]
    """How many replies of a level were not made."""


def saved_run(run: Run, report: Mapping[str, Any], limit: int) -> SavedRun:
    """The run with replies of about ``limit`` bytes, packed; all that are essential even where they are more."""
    kept: list[Reply] = []
    left_out = dict.fromkeys(LEVELS, 0)
    size = 0
    for level, route, about, make in _wanted(run, report, limit):
        if level != ESSENTIAL and size >= limit:
            left_out[level] += 1
            continue
        content = make()
        if content is not None:
            kept.append(Reply(route, run.name, about, pack(content), level))
            size += len(kept[-1].packed)
    return SavedRun(summary(run, report), frozenset(run.scalars), tuple(kept), left_out)


def _wanted(run: Run, report: Mapping[str, Any], limit: int) -> Iterator[tuple[int, str, str, Any]]:
    """Level, route, what it is about, and how to make the reply."""
    findings: Sequence[Mapping[str, Any]] = report["findings"]
    yield ESSENTIAL, "report", "", lambda: _report(report, run.problems)
    points = min(POINTS_MOST, max(POINTS_LEAST, limit // 1_000))
    yield ESSENTIAL, "scalars", "", lambda: scalars(run, limit=points)
    described = model(run)
    yield ESSENTIAL, "model", "", lambda: described
    if described["ranks"]:
        yield ESSENTIAL, "ranks", "", lambda: ranks(run)
    known = [statistic["id"] for statistic in described["statistics"]]
    pointed = [finding["statistic_id"] for finding in findings if finding["statistic_id"] in known]
    first = list(dict.fromkeys([*pointed, *(i for i in known if i == FIRST_MAP)] or known[:1]))
    columns = _columns(len(described["layers"]), limit)
    for statistic in first:
        yield ESSENTIAL, "heatmap", statistic, lambda s=statistic: heatmap(run, BY_ID[s], limit=columns)
    for i, finding in enumerate(findings):
        yield ESSENTIAL, "evidence", str(i), lambda f=finding: evidence(run, f, limit=points) or {"absent": why_none(f)}
    for statistic in known:
        if statistic not in first:
            yield MAPS, "heatmap", statistic, lambda s=statistic: heatmap(run, BY_ID[s], limit=columns)
    ill = dict.fromkeys(name for finding in findings for name in [finding["layer"], *finding["layers"]])
    for name in sorted((entry["name"] for entry in described["layers"]), key=lambda name: name not in ill):
        level = ILL_LAYERS if name in ill else LAYERS
        yield level, "layer", name, lambda n=name: layer(run, n, findings, limit=LAYER_POINTS)
    for place, tag in enumerate(run.scalars):
        yield TAGS, "scalars", tag, lambda t=tag, p=place: (p < TAGS_MOST and _of_tag(run, t, points)) or None


def _report(report: Mapping[str, Any], problems: Sequence[Problem]) -> dict[str, Any]:
    told = [{"path": problem.path, "message": problem.message} for problem in problems]
    return {"schema": SCHEMA, "problems": told, "run": report}


def _of_tag(run: Run, tag: str, points: int) -> dict[str, Any]:
    """One tag's chart; which tags there are stands in the run's standard charts."""
    return {**scalars(run, [tag], limit=points), "tags": []}


def _columns(layers: int, limit: int) -> int:
    cells = min(CELLS_MOST, max(CELLS_LEAST, limit // 20))
    return max(1, min(COLUMNS_MOST, cells // max(1, layers)))


def pack(content: Any) -> str:
    """``content`` as JSON, deflated, as base64."""
    text = json.dumps(_rounded(content), separators=(",", ":"), allow_nan=False)
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode("ascii")


def _rounded(value: Any, name: str = "") -> Any:
    """``value`` with its arrays of numbers rounded to what a picture shows; a text for what is not finite."""
    if isinstance(value, Mapping):
        return {key: _rounded(item, key) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    if isinstance(value, str) and name.endswith("_f32"):
        return arrays.f32(rounded(arrays.decode(value)))
    if isinstance(value, float) and not math.isfinite(value):  # damaged records may hold any number anywhere
        return json_util.Cleanse(value)
    return value


def rounded(values: Any) -> Any:
    """float32 ``values`` with ``DROPPED_BITS`` bits less of fraction; NaN, infinities and the largest as they are."""
    bits = np.asarray(values, np.float32).view(np.uint32)
    half = np.uint32(1 << (DROPPED_BITS - 1))
    kept = ((bits.astype(np.uint64) + half) & np.uint64(0xFFFFFFFF ^ ((1 << DROPPED_BITS) - 1))).astype(np.uint32)
    near = kept.view(np.float32)
    return np.where(np.isfinite(near) & np.isfinite(values), near, values).astype(np.float32)
