"""Shared fixtures: the embedded sample data and, where it stands beside the checkout, the real data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def sample_data() -> Path:
    """The rendered sets that ship with the repository."""
    return ROOT / "sample_data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real photos beside the checkout; the test is skipped where they are missing."""
    if not SHARED.is_dir():
        pytest.skip(f"the real data is not here: no folder {SHARED}")
    return SHARED


@pytest.fixture(autouse=True)
def environment_kept() -> Iterator[None]:
    """What a command sets for its own process goes no further: with one thread OpenBLAS adds in another order, and the
    processes that later tests start would match otherwise in the last bit than this one."""
    with mock.patch.dict(os.environ):
        yield
