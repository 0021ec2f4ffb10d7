"""Arrays without torch: their statistics, their names, and trainings that are judged by them."""

from __future__ import annotations

import importlib.util
import math
from collections import namedtuple
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from test_reduce import twin

from tb_nnhealth import Recorder, schema, statistics
from tb_nnhealth.findings import Finding
from tb_nnhealth.source.files import FileSource

ROOT = Path(__file__).parent.parent.parent


@given(
    arrays.arrays(
        st.sampled_from([np.float64, np.float32, np.float16, np.int64, np.bool_]), arrays.array_shapes(max_side=8)
    )
)
def test_statistics_are_those_of_the_definition(array: np.ndarray) -> None:
    found, expected = statistics(array), twin(array)
    for name, value in expected.items():
        assert found.get(name, math.nan) == pytest.approx(value, rel=1e-9, abs=1e-300, nan_ok=True), name


def test_an_empty_array_has_none_and_what_is_no_number_is_refused() -> None:
    assert statistics(np.zeros((0, 3))) == {}
    for wrong in (np.array(["a"]), np.array([1j]), np.array([None]), object()):
        with pytest.raises(TypeError, match="array of real numbers"):
            statistics(wrong)


@dataclass
class Layer:
    weight: Any
    bias: Any = None


def test_nested_arrays_are_named_by_their_way(tmp_path: Path) -> None:
    pair = namedtuple("pair", "first second")
    one = np.ones(3)
    weights = {"a": Layer(one), "b": [one, {"c": one}], "d": pair(one, (one,))}
    with Recorder(tmp_path) as recorder:
        recorder.measure(0, weights=weights, loss=2.5, inputs={"x": one, "y": 2 * one}, learning_rate=0.1)
    history = read(tmp_path)
    assert history.subjects(schema.WEIGHT) == ("a.weight", "b.0", "b.1.c", "d.first", "d.second.0")
    assert history.table(schema.LOSS, schema.MEAN).values.tolist() == [[2.5]]
    assert history.table(schema.INPUT, schema.MEAN).values.tolist() == [[1.0]]
    assert history.table(schema.LEARNING_RATE, schema.MEAN).values[0, 0] == pytest.approx(0.1)


def test_what_is_no_array_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder:
        with pytest.raises(TypeError, match="array of real numbers"):
            recorder.measure(0, weights={"a": np.ones(3), "b": "no array"})
        recorder.measure(1, weights={"a": np.ones(3)})
    assert read(tmp_path).steps.tolist() == [1]


def read(directory: Path) -> Any:
    source = FileSource([directory])
    source.refresh()
    return source.run(".").watches[schema.DEFAULT_WATCH]


def alarms(findings: list[Finding]) -> list[str]:
    return [finding.rule for finding in findings if finding.severity != "info"]


def numpy_training(log_dir: Path, rate: float, scale: float = 1.0) -> list[Finding]:
    """A network of three layers on digits, by hand; ``scale`` multiplies the initial weights."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x = (x - x.mean(0)) / (x.std(0) + 1e-6)
    random = np.random.default_rng(0)
    sizes = (64, 64, 64, 10)
    weights = [random.normal(0, scale * math.sqrt(2 / n), (n, m)) for n, m in pairwise(sizes)]
    recorder = Recorder(log_dir, framework="numpy")
    for step in range(300):
        rows = random.integers(0, len(x), 64)
        outputs = [x[rows]]
        for weight in weights[:-1]:
            outputs.append(np.maximum(outputs[-1] @ weight, 0))
        logits = outputs[-1] @ weights[-1]
        logs = logits - logits.max(1, keepdims=True)
        logs = logs - np.log(np.exp(logs).sum(1, keepdims=True))
        error = (np.exp(logs) - np.eye(10)[y[rows]]) / 64
        gradients = []
        for i in (2, 1, 0):
            gradients.insert(0, outputs[i].T @ error)
            error = (error @ weights[i].T) * (outputs[i] > 0)
        updates = [-rate * gradient for gradient in gradients]
        recorder.measure(
            step, weights=weights, gradients=gradients, updates=updates, inputs=x[rows],
            activations={str(i): outputs[i] for i in (1, 2)}, predictions=logits,
            loss=-logs[np.arange(64), y[rows]].mean(), learning_rate=rate,
        )  # fmt: skip
        weights = [weight + update for weight, update in zip(weights, updates, strict=True)]
    recorder.close()
    return recorder.findings()


def test_a_training_in_numpy_is_judged(tmp_path: Path) -> None:
    assert alarms(numpy_training(tmp_path / "healthy", 0.1)) == []
    with np.errstate(all="ignore"):
        found = numpy_training(tmp_path / "fast", 10.0)
    assert found[0].rule in ("update-ratio-too-high", "learning-rate-too-high"), found


def test_the_example_in_jax(tmp_path: Path) -> None:
    pytest.importorskip("jax")
    spec = importlib.util.spec_from_file_location("train_jax", ROOT / "examples" / "train_jax.py")
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    assert alarms(example.train(str(tmp_path / "healthy")).findings()) == []
    history = read(tmp_path / "healthy")
    assert set(history.subjects(schema.UPDATE)) == {"hidden.weight", "hidden.bias", "output.weight", "output.bias"}
    fast = example.train(str(tmp_path / "fast"), rate=50.0, every=1).findings()
    assert fast[0].rule in ("update-ratio-too-high", "learning-rate-too-high", "non-finite"), fast
