from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet import s3


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    with s3.serving() as address:
        yield address


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> s3.Bucket:
    """A new bucket, which the user's environment gives access to."""
    for name, value in {**s3.ACCOUNT, "AWS_ENDPOINT_URL": endpoint, "AWS_EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    return s3.Bucket(f"logs-{uuid.uuid4().hex[:8]}", endpoint)
