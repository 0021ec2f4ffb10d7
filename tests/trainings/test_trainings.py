"""Every rule finds its ill training, on the right subject and in time, and is silent on all healthy ones.

The findings told live, by reading the files, and through TensorBoard's data provider are the same.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tb_nnhealth.rules.engine import judge
from tb_nnhealth.rules.registry import RULES
from tb_nnhealth.source.files import FileSource
from tests.trainings.proof import Job, diagnosis, jobs, run, telling
from tests.trainings.registry import PAIRS

WITHOUT_TRAINING = {"shim-error"}
TIMED = {name for name, pair in PAIRS.items() if pair.timed}


def test_every_rule_has_its_training():
    assert {pair.rule for pair in PAIRS.values()} == {rule.id for rule in RULES} - WITHOUT_TRAINING


@pytest.mark.parametrize(
    "job", [job for job in jobs() if job.name not in TIMED], ids=lambda job: f"{job.kind}-{job.name}"
)
def test_diagnosis(job: Job, tmp_path: Path):
    live = run(job, tmp_path)
    if job.kind == "ill":
        assert diagnosis(PAIRS[job.name], live) is None
    else:
        assert [(finding.rule, finding.subject, finding.message) for finding in telling(live)] == []
    source = FileSource([tmp_path / job.kind])
    source.refresh()
    read = judge(source.run(job.name)).findings
    assert [finding.to_json() for finding in read] == [finding.to_json() for finding in live]
