"""Which pairs of photos are matched."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path, PurePath

import numpy as np

from pipelines.core.errors import ConfigError, InputError
from pipelines.core.progress import Progress, Silent
from pipelines.core.types import Features, Photo
from pipelines.pairs.gps import close_pairs, positions
from pipelines.pairs.retrieval import RetrievalIndex, build_index, similar_pairs

Pair = tuple[int, int]


@dataclass(frozen=True)
class PairingConfig:
    """How pairs are chosen.

    Attributes:
        strategy: ``auto``, ``exhaustive``, ``sequential``, ``spatial``, ``retrieval`` or ``list``. ``auto`` is
            exhaustive up to ``exhaustive_up_to`` photos; beyond, retrieval, and spatial too if all photos have GPS.
        neighbours: retrieval and spatial: photos that each photo is paired with.
        overlap: sequential: following photos that each photo is paired with.
        quadratic: sequential: also the photos 2, 4, 8 ... 2^overlap further on.
        loop_every: sequential: each so-maniest photo also looks for similar photos, to close loops; 0 for none.
        max_distance: spatial: metres, 0 for any distance.
        exhaustive_up_to: auto: the largest number of photos that are all paired with each other.
        list_file: list: text file of pairs, see :func:`read_list`.
    """

    strategy: str = "auto"
    neighbours: int = 20
    overlap: int = 10
    quadratic: bool = True
    loop_every: int = 5
    max_distance: float = 0.0
    exhaustive_up_to: int = 200
    list_file: str = ""

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            named = [name for name in STRATEGIES if name != "list"]  # a list is given as its file
            near = difflib.get_close_matches(self.strategy, named, n=1)
            raise ConfigError(
                f"There is no way {self.strategy!r} to choose pairs, and no file",
                f"known are {', '.join(named)}, or a text file of pairs",
                f"--pairs {near[0] if near else 'auto'}, or the path of a file that is there",
            )
        for name, least in (("neighbours", 1), ("overlap", 1), ("loop_every", 0), ("max_distance", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}", f"it must be {least} or more")
        if self.strategy == "list" and not self.list_file:
            raise ConfigError("No list of pairs was given", "the pairs are to come from a list", "name its file")


def select_pairs(
    photos: Sequence[Photo],
    config: PairingConfig,
    *,
    load_features: Callable[[int], Features] | None = None,
    rejected: Collection[str] = (),
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Pair]:
    """The pairs of photos to be matched: (i, j) with i < j, sorted, each once.

    Args:
        photos: in the order in which they were taken, as far as it matters (natural order of names).
        load_features: features of a photo by index; needed by retrieval and by loops of sequential.
        rejected: names of unusable photos, which a list may still hold.
        seed: of retrieval's codebook.
        progress: told of what is done.

    Raises:
        ConfigError: for a list with unknown names, spatial pairs without GPS, or missing ``load_features``.
        InputError: if the list cannot be read.
    """
    job = _Job(photos, config, load_features, rejected, seed, progress or Silent())
    return sorted({(min(pair), max(pair)) for pair in STRATEGIES[config.strategy](job) if pair[0] != pair[1]})


@dataclass(frozen=True)
class _Job:
    photos: Sequence[Photo]
    config: PairingConfig
    load_features: Callable[[int], Features] | None
    rejected: Collection[str]
    seed: int
    progress: Progress

    def index(self) -> RetrievalIndex:
        if self.load_features is None:
            raise ConfigError(
                "Similar photos cannot be found", "their features are not at hand", "choose pairs in another way"
            )
        return build_index(len(self.photos), self.load_features, seed=self.seed, progress=self.progress)


# --- strategies ----------------------------------------------------------------------------------------------


def _exhaustive(job: _Job) -> Iterable[Pair]:
    return combinations(range(len(job.photos)), 2)


def _auto(job: _Job) -> Iterable[Pair]:
    if len(job.photos) <= job.config.exhaustive_up_to:
        return _exhaustive(job)
    pairs = set(_retrieval(job))
    if all(photo.exif.gps for photo in job.photos):
        pairs |= set(_spatial(job))
    return pairs


def _retrieval(job: _Job) -> Iterable[Pair]:
    if len(job.photos) <= job.config.neighbours + 1:
        return _exhaustive(job)
    return similar_pairs(job.index(), job.config.neighbours)


def _spatial(job: _Job) -> Iterable[Pair]:
    """By GPS; photos without it are paired with those that look alike."""
    without = [number for number, photo in enumerate(job.photos) if photo.exif.gps is None]
    if len(without) == len(job.photos):
        raise ConfigError(
            "Pairs cannot be chosen by position",
            "no photo has GPS in its EXIF",
            "--pairs retrieval, or sequential for the frames of a video",
        )
    pairs = close_pairs(positions(job.photos), job.config.neighbours, job.config.max_distance)
    if without:
        job.progress.warn(f"{len(without)} photos have no GPS; they are paired with those that look alike.")
        pairs |= similar_pairs(job.index(), job.config.neighbours, np.array(without))
    return pairs


def _sequential(job: _Job) -> Iterable[Pair]:
    """Each photo with those that follow it in its folder, and loops by retrieval over all folders."""
    config = job.config
    steps = set(range(1, config.overlap + 1))
    if config.quadratic:
        steps |= {2**power for power in range(min(config.overlap, 30) + 1)}
    folders: dict[PurePath, list[int]] = {}
    for number, photo in enumerate(job.photos):
        folders.setdefault(PurePath(photo.name).parent, []).append(number)
    pairs = {
        (members[at], members[at + step])
        for members in folders.values()
        for step in steps
        for at in range(len(members) - step)
    }
    # A short sequence is exhaustive already.
    if config.loop_every and len(pairs) < len(job.photos) * (len(job.photos) - 1) // 2:
        asking = np.arange(0, len(job.photos), config.loop_every)
        pairs |= similar_pairs(job.index(), config.neighbours, asking)
    return pairs


def _list(job: _Job) -> Iterable[Pair]:
    return read_list(Path(job.config.list_file), [photo.name for photo in job.photos], job.rejected)


STRATEGIES: Mapping[str, Callable[[_Job], Iterable[Pair]]] = {
    "auto": _auto,
    "exhaustive": _exhaustive,
    "sequential": _sequential,
    "spatial": _spatial,
    "retrieval": _retrieval,
    "list": _list,
}


# --- lists ---------------------------------------------------------------------------------------------------


def read_list(path: Path, names: Sequence[str], rejected: Collection[str] = ()) -> list[Pair]:
    """Pairs from a text file with two photo names per line.

    Names are separated by a tab, a comma or spaces; names that hold spaces may stand in quotes, or bare if there
    is only one way to read the line. Empty lines and those that begin with # are skipped, so are lines with a
    rejected photo.

    Raises:
        InputError: if the file cannot be read.
        ConfigError: for a line that is no pair of two different known photos, naming the nearest photo.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The list of pairs {path} cannot be read", str(error), "check the name") from error
    number_of = {name: number for number, name in enumerate(names)}
    known = number_of.keys() | set(rejected)
    pairs = []
    for row, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        first, second = _two_names(line.strip(), known, f"Line {row} of {path}")
        if first == second:
            raise ConfigError(f"Line {row} of {path} pairs {first} with itself", "", "name two different photos")
        if first in number_of and second in number_of:
            pairs.append((number_of[first], number_of[second]))
    if not pairs:
        raise ConfigError(f"The list of pairs {path} is empty", "", "write two photo names on each line")
    return pairs


def _readings(line: str) -> list[list[str]]:
    """The ways to read a line as two names, the plainest first."""
    ways = [[part.strip() for part in line.split(mark)] for mark in ("\t", ",")]
    with suppress(ValueError):  # An apostrophe in a name is no quote.
        ways.append(shlex.split(line))
    words = line.split(" ")
    ways += [[" ".join(words[:cut]).strip(), " ".join(words[cut:]).strip()] for cut in range(1, len(words))]
    return [way for way in ways if len(way) == 2 and all(way)]


def _two_names(line: str, known: Collection[str], where: str) -> tuple[str, str]:
    ways = _readings(line)
    for first, second in ways:
        if first in known and second in known:
            return first, second
    if not ways:
        raise ConfigError(f"{where} is no pair of photos", f"it reads {line!r}", "write two photo names on it")
    # The reading of which one name is known tells which name is wrong.
    best = max(ways, key=lambda way: sum(name in known for name in way))
    wrong = next(name for name in best if name not in known)
    near = difflib.get_close_matches(wrong, known, n=1, cutoff=0.4)
    raise ConfigError(
        f"{where} names {wrong!r}, which is not among the photos",
        f"the nearest is {near[0]!r}" if near else "names are relative to the photo folder, with forward slashes",
        "correct the list; put names with spaces in quotes or a tab between them",
    )
