"""Maps and photo sets that several end-to-end tests look at. What a test changes, it copies first."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command import SMALL, recon

from pipelines.core.progress import Silent
from pipelines.localize.map import load_map
from pipelines.localize.query import LocalizeConfig

if TYPE_CHECKING:
    from serving import Running

    from recon.serve.service import Service

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


@pytest.fixture(scope="module")
def service(small_map: Path) -> Service:
    """What ``recon serve`` answers with, of the small map."""
    pytest.importorskip("fastapi")
    from recon.serve.service import Service

    return Service(load_map(small_map, progress=Silent()), LocalizeConfig())


@pytest.fixture(scope="module")
def running(service: Service) -> Iterator[Running]:
    """The service on a port of this machine."""
    import serving

    server = serving.Running(service, serving.LIMITS)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def query(sample_data: Path) -> bytes:
    """A photo that stands in the small map's scene."""
    return (sample_data / "query" / "images" / "query_near.jpg").read_bytes()
