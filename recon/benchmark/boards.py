"""``recon benchmark NAME``: the table of boards, what each needs, and running one or all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from descriptors.benchmarks.results import Board, Contestant, Store, digest
from descriptors.datasets.scenes import DataError
from pipelines.core.errors import InputError
from pipelines.core.progress import Progress


@dataclass(frozen=True)
class Request:
    """What a board is run with.

    Attributes:
        data: folder of data sets; each board says which one below it is its own.
        out: predictions (``predictions/``) and results are written here.
        detector: None for the strongest DoG keypoints, or a name of :mod:`pipelines.features.detectors`.
        keypoints: how many a photo, on the boards of sequences.
        splits: of HPatches.
    """

    data: Path
    out: Path
    detector: str | None = None
    keypoints: int = 1500
    splits: tuple[str, ...] = ()


Run = Callable[[Request, Sequence[Contestant], Store, Progress], Board]


def _sequences(name: str, folder: str) -> Run:
    def run(request: Request, contestants: Sequence[Contestant], store: Store, progress: Progress) -> Board:
        from descriptors.benchmarks import sequences
        from descriptors.datasets.sequences import read_sequences

        found = read_sequences(_own(request.data, folder))
        with progress.stage(name, len(found) * len(contestants)) as task:
            return sequences.run(name, found, contestants, _keypoints(request), store, listener=task)

    return run


def _scenes(request: Request, contestants: Sequence[Contestant], store: Store, progress: Progress) -> Board:
    from descriptors.benchmarks import scenes

    pairs = scenes.read_pairs(request.data)
    with progress.stage("scenes", len(pairs) * len(contestants)) as task:
        return scenes.run(pairs, contestants, store, listener=task)


def _brown(request: Request, contestants: Sequence[Contestant], store: Store, progress: Progress) -> Board:
    from descriptors.benchmarks import brown
    from descriptors.datasets.brown import read_sets

    sets = read_sets(_own(request.data, "brown"))
    with progress.stage("brown", len(sets) * len(contestants)) as task:
        return brown.run(sets, contestants, store, listener=task)


def _hpatches(request: Request, contestants: Sequence[Contestant], store: Store, progress: Progress) -> Board:
    from descriptors.benchmarks import hpatches
    from descriptors.datasets.hpatches import read_patches

    root = _own(_own(request.data, "hpatches"), "hpatches-release")
    sequences = read_patches(root)
    tasks = next((folder for folder in (root / "tasks", root.parent / "tasks") if folder.is_dir()), None)
    with progress.stage("hpatches", len(sequences) * len(contestants)) as task:
        return hpatches.run(sequences, contestants, store, splits=request.splits, tasks=tasks, listener=task)


def _speed(request: Request, contestants: Sequence[Contestant], store: Store, progress: Progress) -> Board:
    from descriptors.benchmarks import speed

    with progress.stage("speed", len(contestants)) as task:
        return speed.run(contestants, listener=task)


BOARDS: dict[str, Run] = {
    "oxford": _sequences("oxford", "oxford"),
    "sequences": _sequences("sequences", "hpatches-sequences"),
    "scenes": _scenes,
    "brown": _brown,
    "hpatches": _hpatches,
    "speed": _speed,
}


def run_boards(
    names: Sequence[str], request: Request, contestants: Sequence[Contestant], *, progress: Progress
) -> list[Board]:
    """Run boards one after the other; of several, those whose data is missing are left out, with a line that says so.

    Raises:
        InputError: the data of the only board is missing, or of all of them.
    """
    store = Store(request.out / "predictions")
    boards, missing = [], []
    for name in names:
        try:
            boards.append(BOARDS[name](request, contestants, store, progress))
        except DataError as error:
            missing.append(f"{name}: {error}")
            progress.warn(f"left out {missing[-1]}")
    if not boards:
        raise InputError("No board could be run", " ".join(missing), "--data with the folder of the data sets")
    return boards


def _own(data: Path, folder: str) -> Path:
    """A data set below the data folder, or the data folder itself if it is the set."""
    return data / folder if (data / folder).is_dir() else data


def _keypoints(request: Request):
    from descriptors.benchmarks.sequences import Keypoints, strongest_dog

    if request.detector is None:
        return strongest_dog(request.keypoints)
    import cv2

    from pipelines.features.detectors import DetectorConfig, detect

    config = DetectorConfig(request.detector, request.keypoints)
    return Keypoints(
        f"{request.keypoints:,} keypoints of recon's detector {request.detector}",
        digest("recon", repr(config), cv2.__version__),
        lambda image: detect(image, config).frames,
    )
