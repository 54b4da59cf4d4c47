"""Map photos with frequent snapshots, and die in the middle: a process for tests/e2e/test_snapshots.py to start.

Arguments: photos, run folder, photos between two snapshots, how many photos to register before a SIGKILL (0: none).
Prints how many photos were registered.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.core.progress import Silent, Task
from pipelines.features.detectors import DetectorConfig
from pipelines.features.extract import FeatureConfig
from pipelines.sfm.config import MappingConfig, SfmConfig
from pipelines.sfm.run import run_sfm
from pipelines.store.folder import MapFolder


class _Registered:
    def __init__(self, limit: int) -> None:
        self.count, self.limit = 0, limit

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.count += steps
        if self.count == self.limit:
            os.kill(os.getpid(), signal.SIGKILL)


class _Listener(Silent):
    def __init__(self, limit: int) -> None:
        self.mapping = _Registered(limit)

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Task]:
        yield self.mapping if name == "Mapping" else _Registered(0)


def main(photos: str, folder: str, every: str, limit: str) -> None:
    """Make the map of the photos."""
    features = FeatureConfig(detector=DetectorConfig(max_keypoints=1000), max_side=512)
    config = SfmConfig(features, mapping=MappingConfig(snapshot_every=int(every)))
    listener = _Listener(int(limit))
    run_sfm(Path(photos), MapFolder(Path(folder)), config, progress=listener)
    print(listener.mapping.count)


if __name__ == "__main__":
    main(*sys.argv[1:])
