"""A map in metres: by its photos' GPS, by a list of camera centres, or by one known distance."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines import colmap
from pipelines.core.errors import ConfigError, InputError
from pipelines.geometry.earth import Place, to_metres
from pipelines.geometry.similarity import similarity
from pipelines.sfm.mapping import keep_models, models_key
from pipelines.store.alignment import ModelAlignment, alignment_text, read_alignment
from pipelines.store.folder import MapFolder

_TRIPLES = 1000
_FLAT = 0.02
"""Least spread of the given places across their main direction, as a share of that along it: below it they lie in a
line, and errors of the places turn the map about it."""


@dataclass(frozen=True)
class Target:
    """Where cameras are known to be.

    Attributes:
        how: ``gps`` or ``centres``.
        places: photo name -> metres.
        tolerance: metres that a place may be wrong by.
        origin: of the metres on earth, if known.
    """

    how: str
    places: Mapping[str, tuple[float, float, float]]
    tolerance: float
    origin: Place | None = None


def gps_target(folder: MapFolder, tolerance: float) -> Target:
    """Metres east, north and up of the photos' mean place. Altitudes count if all photos with GPS have one.

    Raises:
        InputError: fewer than three photos have GPS, or there is no finished map.
    """
    found = {
        photo["name"]: photo["exif"]["gps"]
        for photo in folder.finished_ledger()["photos"]
        if photo["exif"]["gps"] is not None
    }
    if len(found) < 3:
        raise InputError(
            f"{len(found)} photos of the map have GPS in their EXIF",
            "three at least are needed",
            "--centres or --distance",
        )
    places = np.array(list(found.values()), np.float64)
    if not places[:, 2].all():
        places[:, 2] = 0.0
    # The mean of 179.9 and -179.9 degrees is not 0.
    places[:, 1] = np.unwrap(places[:, 1], period=360)
    latitude, longitude, altitude = places.mean(axis=0).tolist()
    origin = (latitude, longitude - 360 * round(longitude / 360), altitude)
    metres = to_metres(places, origin)
    return Target("gps", dict(zip(found, map(tuple, metres.tolist()), strict=True)), tolerance, origin)


def read_centres(path: Path, tolerance: float) -> Target:
    """Camera centres from a text file: a photo's name, x, y and z in metres on each line, apart by spaces or commas.

    Raises:
        InputError: the file cannot be read, or a line is none of these.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The list of centres {path} cannot be read", str(error), "check the name") from error
    places: dict[str, tuple[float, float, float]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        words = line.replace(",", " ").split()
        with suppress(ValueError):
            quoted = shlex.split(line.replace(",", " "))
            words = quoted if len(quoted) == 4 else words
        try:
            x, y, z = (float(word) for word in words[-3:])
        except ValueError:
            x = y = z = float("nan")
        if len(words) < 4 or not np.isfinite([x, y, z]).all():
            raise InputError(
                f"Line {number} of {path} is no camera centre", f"it reads {line!r}", "a line like photo.jpg 1.5 0.2 -3"
            )
        places[" ".join(words[:-3])] = (x, y, z)
    return Target("centres", places, tolerance)


def align_to(folder: MapFolder, target: Target) -> dict[str, ModelAlignment]:
    """Move every model of a map into the target's metres; what cannot be aligned stays as it is.

    Places that are wrong by more than the tolerance are left out, by RANSAC over triples of cameras.

    Returns:
        Folder of each model that was aligned -> how well it fits.

    Raises:
        InputError: none of the models could be aligned; no finished map.
    """
    folder.finished_ledger()
    reasons: list[str] = []

    def fit(names: tuple[str, ...], centres: NDArray[np.float64]) -> _Fit | None:
        rows = [index for index, name in enumerate(names) if name in target.places]
        if len(rows) < 3:
            reasons.append(f"{len(rows)} of its {len(names)} photos have a known place, and three at least are needed")
            return None
        wanted = np.array([target.places[names[index]] for index in rows])
        move, kept = _robust(centres[rows], wanted, target.tolerance)
        if kept.sum() < 3:
            reasons.append(f"no three of its {len(rows)} known places agree within {target.tolerance:g} m")
            return None
        spread = np.linalg.svd(wanted[kept] - wanted[kept].mean(axis=0), compute_uv=False)
        if spread[1] < _FLAT * spread[0]:
            reasons.append("its cameras with a known place stand in a line, about which the map could turn")
            return None
        off = np.linalg.norm(move.apply(centres[rows]) - wanted, axis=1)[kept]
        told = ModelAlignment(
            target.how,
            move.scale,
            int(kept.sum()),
            int((~kept).sum()),
            float(np.median(off)),
            float(off.max()),
            target.origin,
        )
        return move, told

    made = _apply(folder, fit)
    if not made:
        raise InputError(
            f"The map in {folder.root} cannot be aligned",
            "; ".join(reasons),
            "--distance A B METRES gives it its scale",
        )
    return made


def align_distance(folder: MapFolder, a: str, b: str, metres: float) -> dict[str, ModelAlignment]:
    """Scale the model that holds two photos so that their cameras are so many metres apart.

    Raises:
        ConfigError: no model holds both, or the distance is not positive.
    """
    folder.finished_ledger()
    if not (metres > 0 and np.isfinite(metres)) or a == b:
        raise ConfigError(f"{a} and {b} cannot be {metres:g} m apart", "", "two photos and a length above 0")

    def fit(names: tuple[str, ...], centres: NDArray[np.float64]) -> _Fit | None:
        if a not in names or b not in names:
            return None
        apart = float(np.linalg.norm(centres[names.index(a)] - centres[names.index(b)]))
        if apart <= 1e-12:
            return None
        scale = metres / apart
        return _Move(scale, np.eye(3), np.zeros(3)), ModelAlignment("distance", scale, 2)

    made = _apply(folder, fit)
    if not made:
        raise ConfigError(
            f"No model of the map holds both {a} and {b}", "the distance is between two cameras of one model",
            "names as in the report, relative to the photo folder",
        )  # fmt: skip
    return made


class _Move(NamedTuple):
    """x_new = scale rotation x + shift."""

    scale: float
    rotation: NDArray[np.float64]
    shift: NDArray[np.float64]

    def apply(self, xyz: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.scale * xyz @ self.rotation.T + self.shift


_Fit = tuple[_Move, ModelAlignment]


def _apply(
    folder: MapFolder, fit: Callable[[tuple[str, ...], NDArray[np.float64]], _Fit | None]
) -> dict[str, ModelAlignment]:
    """Move each model as ``fit`` says of its photos' names and cameras' centres (I,3), and write all in place of the
    old."""
    with folder.locked():
        paths = colmap.component_folders(folder.sparse)
        models = [colmap.load(path) for path in paths]
        known = read_alignment(folder.sparse)
        made: dict[str, ModelAlignment] = {}
        for path, reconstruction in zip(paths, models, strict=True):
            model = colmap.to_model(reconstruction)
            fitted = fit(model.names, model.centres)
            if fitted is not None:
                move, made[f"sparse/{path.name}"] = fitted
                colmap.transform(reconstruction, *move)
        if made:
            keep_models(folder, models, models_key(folder), alignment_text({**known, **made}))
    return made


def _robust(
    centres: NDArray[np.float64], wanted: NDArray[np.float64], tolerance: float
) -> tuple[_Move, NDArray[np.bool_]]:
    """The similarity that most places agree with, fitted to these, and which they are."""
    count = len(centres)
    every = count * (count - 1) * (count - 2) // 6
    rng = np.random.default_rng(0)
    triples = (
        [list(rows) for rows in combinations(range(count), 3)]
        if every <= _TRIPLES
        else [rng.choice(count, 3, replace=False).tolist() for _ in range(_TRIPLES)]
    )
    best, kept = _Move(1.0, np.eye(3), np.zeros(3)), np.zeros(count, bool)
    least = np.inf
    for rows in [list(range(count)), *triples]:
        move = _Move(*similarity(centres[rows], wanted[rows]))
        if not np.isfinite(move.scale) or move.scale <= 0:
            continue
        off = np.linalg.norm(move.apply(centres) - wanted, axis=1)
        cost = float(np.minimum(off, tolerance).sum())
        if cost < least:
            best, kept, least = move, off <= tolerance, cost
    for _ in range(3):
        if kept.sum() < 3:
            break
        best = _Move(*similarity(centres[kept], wanted[kept]))
        kept = np.linalg.norm(best.apply(centres) - wanted, axis=1) <= tolerance
    return best, kept
