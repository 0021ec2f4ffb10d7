"""Synthetic runs for the rules' examples: a healthy network as the records show it, to be made ill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.history import History, Run, Series
from tb_nnhealth.messages import Criterion, Group, Layout, Module, Optimizer, Parameter, Row

Curve = NDArray[np.float64]


@dataclass
class Network:
    """A chain of fully connected layers ``layers.0`` … with ReLU between them, as a watch records it.

    Every statistic of every row starts at a healthy value with seeded noise; ``set`` overwrites
    one over time. Then ``run()`` gives the finished run.
    """

    depth: int = 6
    width: int = 64
    steps: int = 200
    every: int = 1
    lr: float = 1e-3
    seed: int = 0
    criterion: str = "CrossEntropyLoss"
    classes: int = 10
    nonlinearity: str = "relu"
    scalars: dict[str, Sequence[tuple[int, float]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._noise = np.random.default_rng(self.seed)
        self.layout = self._layout()
        self._places: dict[tuple[str, str], int] = {}
        self._histograms: dict[int, dict[int, NDArray[np.int64]]] = {}
        self.at = np.arange(0, self.steps, self.every)
        shape = (len(self.at), len(self.layout.rows), len(schema.STATISTICS))
        self.values = np.full(shape, np.nan, np.float32)
        for row in self.layout.rows:
            self._fill(row.kind, row.subject)

    def layer(self, i: int) -> str:
        return f"layers.{i}"

    def weight(self, i: int) -> str:
        return f"layers.{i}.weight"

    def set(self, kind: str, subject: str, **statistics: float | Curve) -> Network:
        """Overwrites statistics of one row, each a number or an array over the records."""
        row = self._row(kind, subject)
        for name, value in statistics.items():
            self.values[:, row, schema.STATISTICS.index(name)] = value
        return self

    def scale(self, kind: str, subject: str, factor: float | Curve) -> Network:
        """Multiplies all magnitudes of one row (mean, std, rms, min, max)."""
        row = self._row(kind, subject)
        for name in (schema.MEAN, schema.STD, schema.RMS, schema.MIN, schema.MAX):
            self.values[:, row, schema.STATISTICS.index(name)] *= factor
        return self

    def get(self, kind: str, subject: str, statistic: str) -> Curve:
        """One statistic of one row over the records, as it stands."""
        return self.values[:, self._row(kind, subject), schema.STATISTICS.index(statistic)].astype(np.float64)

    def absent(self, kind: str, subject: str, since: int = 0) -> Network:
        """Makes one row unmeasured from a record on."""
        self.values[since:, self._row(kind, subject)] = np.nan
        return self

    def loss(self, curve: Curve, tag: str = "loss/train", noise: float = 0.02) -> Network:
        """Logs a loss curve, one point per step, with relative noise."""
        noisy = curve * (1 + noise * self._noise.standard_normal(len(curve)))
        self.scalars[tag] = [(int(step), float(value)) for step, value in enumerate(noisy)]
        return self

    def spoil(
        self, kind: str, subject: str, since: int, until: int | None = None, *, nan: float = 1.0, inf: float = 0.0
    ) -> Network:
        """Makes elements of one row NaN or infinite in the records from ``since`` up to ``until``."""
        row = self._row(kind, subject)
        self.values[since:until, row, schema.STATISTICS.index(schema.NAN_COUNT)] = nan
        self.values[since:until, row, schema.STATISTICS.index(schema.INF_COUNT)] = inf
        return self

    def add_row(self, kind: str, subject: str, shape: Sequence[int] = (), **statistics: float | Curve) -> Network:
        """Appends a row, not measured but for ``statistics``."""
        self.layout.rows.append(Row(kind=kind, subject=subject, shape=shape, dtype="float32"))
        column = np.full((len(self.at), 1, len(schema.STATISTICS)), np.nan, np.float32)
        self.values = np.concatenate((self.values, column), axis=1)
        return self.set(kind, subject, **statistics)

    def histogram(
        self, kind: str, subject: str, values: NDArray[Any], *, records: Sequence[int] = (0, 50, 100)
    ) -> Network:
        """Counts ``values``, of any shape, as the elements of one row's tensor in ``records``."""
        flat = np.abs(np.asarray(values, np.float64).ravel())
        counts = np.zeros(schema.HISTOGRAM_BINS, np.int64)
        counts[0] = (flat == 0).sum()
        exponents = np.floor(np.log2(flat[flat > 0])).clip(schema.EXPONENT_LOW, schema.EXPONENT_HIGH)
        np.add.at(counts, 1 + (exponents - schema.EXPONENT_LOW).astype(np.int64), 1)
        for record in records:
            self._histograms.setdefault(record, {})[self._row(kind, subject)] = counts
        return self

    def add_module(self, name: str, type_: str, *, first: bool = False) -> Network:
        """Adds a leaf module without rows of its own, called last (or first)."""
        module = Module(name=name, type=type_, called=True)
        modules = list(self.layout.modules)
        del self.layout.modules[:]
        self.layout.modules.extend([module, *modules] if first else [*modules, module])
        return self

    def run(self) -> Run:
        history = History(self.layout)
        for t, step in enumerate(self.at):
            history.append(int(step), float(step), self.values[t])
            if t in self._histograms:
                counts = np.zeros((len(self.layout.rows), schema.HISTOGRAM_BINS), np.int32)
                for row, of_row in self._histograms[t].items():
                    counts[row] = of_row
                history.append_histogram(int(step), float(step), counts)
        scalars = {
            tag: Series([(step, float(step), value) for step, value in points]) for tag, points in self.scalars.items()
        }
        return Run("example", watches={schema.DEFAULT_WATCH: history}, scalars=scalars)

    def _row(self, kind: str, subject: str) -> int:
        if len(self._places) != len(self.layout.rows):
            self._places = {(row.kind, row.subject): i for i, row in enumerate(self.layout.rows)}
        try:
            return self._places[kind, subject]
        except KeyError:
            raise KeyError(f"no row of kind {kind!r} and subject {subject!r}") from None

    def _fill(self, kind: str, subject: str) -> None:
        scale = {
            schema.WEIGHT: np.sqrt(2 / self.width),
            schema.GRADIENT: 1e-3,
            schema.UPDATE: 1e-3 * np.sqrt(2 / self.width),
            schema.ACTIVATION: 0.8,
            schema.ACTIVATION_GRADIENT: 1e-4,
            schema.INPUT: 1.0,
            schema.PREDICTION: 1.0,
        }.get(kind)
        jitter = 1 + 0.05 * self._noise.standard_normal(len(self.at))
        if scale is not None:
            rms = scale * jitter
            self.set(kind, subject, rms=rms, std=0.99 * rms, mean=0.02 * rms, min=-3 * rms, max=3 * rms)
            self.set(kind, subject, zero_share=0.0, nan_count=0.0, inf_count=0.0)
        elif kind == schema.LEARNING_RATE:
            self.set(kind, subject, mean=self.lr, rms=self.lr, min=self.lr, max=self.lr, std=0.0)
        elif kind == schema.LOSS:
            value = np.log(self.classes) * (0.15 + 0.85 * np.exp(-self.at / max(1, self.steps / 4))) * jitter
            self.set(kind, subject, mean=value, rms=value, min=value, max=value, std=0.0, nan_count=0, inf_count=0)
        elif kind == schema.TARGET:
            high = self.classes - 1
            self.set(kind, subject, mean=high / 2, std=high / 3.5, rms=high / 1.8, min=0.0, max=float(high))
        elif kind == schema.MODE:
            self.set(kind, subject, mean=1.0)
        elif kind == schema.EVALUATION:
            self.set(kind, subject, mean=0.0)
        if kind in (schema.ACTIVATION, schema.ACTIVATION_GRADIENT):
            self.set(kind, subject, silent_share=0.0)
        if kind == schema.PREDICTION:
            self.set(kind, subject, probability_share=0.0)
        if kind == schema.WEIGHT:
            self.set(kind, subject, copied_share=0.0)

    def _layout(self) -> Any:
        layers = [self.layer(i) for i in range(self.depth)]
        parameters: Mapping[str, tuple[int, ...]] = {
            f"{layer}.{name}": ((self.width, self.width) if name == "weight" else (self.width,))
            for layer in layers
            for name in ("weight", "bias")
        }
        rows = [
            Row(kind=kind, subject=name, shape=shape, dtype="float32")
            for name, shape in parameters.items()
            for kind in schema.PARAMETER_KINDS
        ]
        rows += [
            Row(kind=kind, subject=layer, shape=(32, self.width), dtype="float32")
            for layer in layers
            for kind in schema.MODULE_KINDS
        ]
        for kind, subject, shape in (
            (schema.INPUT, "", (32, self.width)),
            (schema.PREDICTION, "", (32, self.classes)),
            (schema.TARGET, "", (32,)),
            (schema.LOSS, "", ()),
            (schema.LEARNING_RATE, "0.0", ()),
            (schema.EVALUATION, "train", ()),
            (schema.EVALUATION, "eval", ()),
        ):
            rows.append(Row(kind=kind, subject=subject, shape=shape, dtype="float32"))
        return Layout(
            watch=schema.DEFAULT_WATCH,
            framework="synthetic",
            columns=schema.STATISTICS,
            rows=rows,
            modules=[
                Module(
                    name=layer,
                    type="Linear",
                    called=True,
                    nonlinearity=self.nonlinearity if i < self.depth - 1 else "",
                )
                for i, layer in enumerate(layers)
            ],
            parameters=[
                Parameter(
                    name=name,
                    module=name.rsplit(".", 1)[0],
                    shape=shape,
                    dtype="float32",
                    trainable=True,
                    optimizer=0,
                    group=0,
                    initial_rms=float(np.sqrt(2 / self.width)),
                    fan_in=self.width if len(shape) > 1 else 0,
                    fan_out=self.width if len(shape) > 1 else 0,
                )
                for name, shape in parameters.items()
            ],
            optimizers=[
                Optimizer(
                    type="AdamW", groups=[Group(initial_lr=self.lr, weight_decay=0.01, parameters=len(parameters))]
                )
            ],
            criterion=Criterion(type=self.criterion, classes=self.classes, reduction="mean"),
            batch_size=32,
        )
