"""Maps and photo sets that several end-to-end tests look at. What a test changes, it copies first."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from command import SMALL, recon

PhotoSet = Callable[[Iterable[int]], Path]


@pytest.fixture(scope="session")
def photos(sample_data: Path) -> Path:
    """Twelve rendered photos of a courtyard."""
    return sample_data / "sfm" / "images"


@pytest.fixture
def some(photos: Path, tmp_path: Path) -> PhotoSet:
    """Make a folder that holds the sample photos of the given numbers, 1 to 12."""

    def make(numbers: Iterable[int], name: str = "photos") -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for number in numbers:
            shutil.copy(photos / f"courtyard_{number:02}.jpg", folder)
        return folder

    return make


@pytest.fixture(scope="session")
def small_map(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A map of the sample photos with :data:`command.SMALL`, made without interruption. Not to be changed."""
    folder = tmp_path_factory.mktemp("small") / "map"
    outcome = recon("sfm", photos, "--out", folder, *SMALL)
    assert outcome.code == 0, outcome
    return folder


@pytest.fixture
def copied(small_map: Path, tmp_path: Path) -> Path:
    """A copy of ``small_map`` that a test may change."""
    return shutil.copytree(small_map, tmp_path / "copied")
