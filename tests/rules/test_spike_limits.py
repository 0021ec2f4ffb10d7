"""The limits of gradient-spike, computed for all records at once, are those of each record for itself."""

from __future__ import annotations

import numpy as np
import pytest

from tb_nnhealth.rules.gradients.gradient_spike import EXCEPTIONS, SETTLED, SIGMA_OF_MAD, spike_limits


@pytest.mark.parametrize("count", [0, SETTLED, SETTLED + 1, 70, 400])
@pytest.mark.parametrize("window", [SETTLED, 50, 1000])
def test_each_record_against_those_before_it(count: int, window: int) -> None:
    norms = np.random.default_rng(count + window).lognormal(size=count)
    found = spike_limits(norms, window, 8.0, 3.0)
    for i in range(count):
        before = np.sort(norms[max(0, i - window) : i])
        if i < SETTLED:
            assert found[i] == np.inf
            continue
        middle = np.median(before)
        spread = SIGMA_OF_MAD * np.median(np.abs(before - middle))
        assert found[i] == max(middle + 8.0 * spread, 3.0 * before[-1 - EXCEPTIONS])
