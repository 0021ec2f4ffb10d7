from __future__ import annotations

import numpy as np
import pytest

from tb_nnhealth import schema
from tb_nnhealth.plugin.arrays import decode
from tb_nnhealth.plugin.ranks import POINTS, has_ranks, ranks
from tb_nnhealth.rules.synthetic import Network


@pytest.fixture
def job() -> Network:
    network = Network(steps=300)
    network.layout.ranks = 12
    for rank in range(12):
        network.add_row(schema.RANK_SECONDS, str(rank), mean=np.full(300, 0.9 if rank == 10 else 0.3))
        network.add_row(schema.RANK_LOSS, str(rank), mean=np.linspace(2, 1, 300) + rank)
        network.add_row(schema.RANK_BATCH, str(rank), mean=np.full(300, float(rank in (0, 5))))
    apart = np.where(np.arange(300) >= 120, 0.25, 0.0)
    network.add_row(schema.RANK_WEIGHTS, "3", mean=apart, min=np.full(300, 2.0))
    return network


def test_ranks_stand_in_the_order_of_their_numbers_and_say_what_is_odd(job: Network) -> None:
    run = job.run()
    assert has_ranks(run)
    found = ranks(run)
    rows = {row["rank"]: row for row in found["ranks"]}
    assert list(rows) == [str(rank) for rank in range(12)]
    assert rows["10"]["times"] == pytest.approx(3.0)
    assert rows["2"]["times"] == pytest.approx(1.0)
    assert rows["5"]["same_batch"] == 1.0
    assert rows["4"]["same_batch"] == 0.0
    assert rows["7"]["loss"] == pytest.approx(8.0)
    assert (rows["3"]["unlike"], rows["3"]["unlike_from"]) == (0.25, 120)
    assert rows["3"]["parameter"] == run.watches[schema.DEFAULT_WATCH].layout.parameters[2].name
    assert rows["4"]["unlike"] is None
    assert len(found["steps"]) == POINTS
    assert len(decode(rows["0"]["loss_over_steps_f32"])) == POINTS


def test_a_slow_moment_is_not_lost_among_many_records() -> None:
    network = Network(steps=2000)
    spike = np.where(np.arange(2000) == 1234, 9.0, 0.1)
    for rank in ("0", "1"):
        network.add_row(schema.RANK_SECONDS, rank, mean=spike if rank == "1" else np.full(2000, 0.1))
    row = ranks(network.run())["ranks"][1]
    assert np.nanmax(decode(row["seconds_over_steps_f32"])) == 9.0


def test_one_process_has_no_ranks() -> None:
    run = Network(steps=5).run()
    assert not has_ranks(run)
    assert ranks(run) == {"steps": [], "ranks": [], "ranks_left_out": 0}
