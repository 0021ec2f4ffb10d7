from __future__ import annotations

import base64

import numpy as np
import pytest

from tb_nnhealth import schema
from tb_nnhealth.events import filter_pictures
from tb_nnhealth.history import Run
from tb_nnhealth.plugin.filters import SHOWN, filters
from tb_nnhealth.rules.synthetic import Network


def run_with(*steps: int, noise: int = 1) -> Run:
    """A run whose eight filters are waves but for ``noise`` of them."""
    run = Network(steps=50).run()
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:7, :7]
    wave = np.sin(0.6 * x + 0.4 * y)
    values = np.stack([np.stack([wave * (1 + i)] * 3) for i in range(8)]).astype(np.float32)
    values[:noise] = rng.standard_normal((noise, 3, 7, 7))
    for step in steps:
        encoded = filter_pictures.encode("layers.0.weight", 8, values)
        run.watches[schema.DEFAULT_WATCH].append_filters(filter_pictures.decode(step, encoded))
    return run


def test_pictures_of_the_layer_from_the_first_to_the_newest() -> None:
    found = filters(run_with(*range(0, 3000, 100)), "layers.0")
    assert found is not None
    steps = [picture["step"] for picture in found["pictures"]]
    assert len(steps) <= SHOWN
    assert (steps[0], steps[-1]) == (0, 2900)
    assert steps == sorted(set(steps))
    assert (found["parameter"], found["total"]) == ("layers.0.weight", 8)
    picture = found["pictures"][0]
    assert len(base64.b64decode(picture["pixels"])) == np.prod(picture["shape"])


def test_a_filter_of_noise_among_waves_is_marked() -> None:
    found = filters(run_with(0, noise=2), "layers.0")
    assert found is not None
    assert found["pictures"][0]["noisy"] == [0, 1]


def test_where_all_are_noise_none_is_marked() -> None:
    found = filters(run_with(0, noise=8), "layers.0")
    assert found is not None
    assert found["pictures"][0]["noisy"] == []


@pytest.mark.parametrize("layer", ["layers.1", "", "layers.0.weight"])
def test_other_layers_have_none(layer: str) -> None:
    assert filters(run_with(0), layer) is None
