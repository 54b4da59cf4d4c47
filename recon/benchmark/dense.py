"""``recon benchmark dense``: how far a mesh of ``recon dense`` lies from its map's points, in metres if known."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.benchmarks.truth import TrueCamera, read_depths, read_truth
from pipelines.core.config import finite
from pipelines.core.errors import InputError
from pipelines.core.maps import Model
from pipelines.dense.folder import DenseFolder
from pipelines.dense.fuse import POINT
from pipelines.dense.measure import from_surface
from pipelines.dense.mesh_files import read_mesh
from pipelines.export.run import read_component
from pipelines.geometry.similarity import centres_of, similarity
from recon.benchmark.dense_truth import WRONG, Exact, against_depth

NEAR = 0.03
"""Metres from the surface within which a point of the map counts as met."""


@dataclass(frozen=True)
class Row:
    """One dense model.

    Attributes:
        name: of the map's folder.
        points, triangles: of the cloud and the mesh.
        metres: of a map unit, NaN if the true cameras are not known.
        distance: median distance of the map's points from the mesh, map units.
        complete: share of the map's points with the mesh within three steps between points of the cloud.
        near: share of the map's points within :data:`NEAR`; NaN without metres.
        deviation: median over photos of the median relative difference from the map's points in depth.
        seconds: of the stages, as the last run of ``recon dense`` measured them.
        peak_memory: bytes, of that run.
        exact: comparison with the exact depth, None where it is not known.
    """

    name: str
    points: int
    triangles: int
    metres: float
    distance: float
    complete: float
    near: float
    deviation: float
    seconds: float
    peak_memory: int
    exact: Exact | None


def measured(map_folder: Path, truth: Path | None, component: int = 0) -> Row:
    """Figures of the dense model that stands in a map.

    Args:
        map_folder: run folder of ``recon sfm`` in which ``recon dense`` has made ``dense``.
        truth: data set with the true cameras, see :func:`pipelines.benchmarks.truth.read_truth`; metres follow from
            their centres. Where it has exact depth, too, depth maps and mesh are compared with it.
        component: which model of the map the dense model is of.

    Raises:
        InputError: no map, no dense model with a mesh, no truth of three of its cameras, or files that are damaged or
            of an earlier recon.
    """
    folder = DenseFolder(map_folder / "dense")
    if not folder.ledger.is_file() or not folder.mesh("ply").is_file():
        raise InputError(
            f"There is no mesh in {folder.root}",
            "what it measures is what recon dense has made",
            f"recon dense {map_folder}",
        )
    plain = json.loads(folder.ledger.read_text("utf-8"))
    model = read_component(map_folder, component)
    mesh = read_mesh(folder.mesh("ply"))
    distances = from_surface(model.xyz, mesh, np.zeros(0, POINT))
    cameras = _true_cameras(model, truth) if truth else {}
    metres = _metres(model, cameras) if truth else float("nan")
    depths = read_depths(truth) if truth else {}
    if depths and not all("depth_file" in photo for photo in plain["photos"]):
        raise InputError(
            f"{folder.ledger} does not tell where the depth maps are",
            "an earlier recon made it",
            f"recon dense {map_folder}",
        )
    deviations = [photo["deviation"] for photo in plain["photos"] if photo["deviation"] is not None]
    return Row(
        name=map_folder.resolve().name,
        points=plain["points"],
        triangles=len(mesh.faces),
        metres=metres,
        distance=float(np.median(distances)),
        complete=plain["complete"],
        near=float(np.mean(distances * metres <= NEAR)) if truth else float("nan"),
        deviation=float(np.median(deviations)) if deviations else float("nan"),
        seconds=sum(plain["timings"].values()),
        peak_memory=plain["peak_memory"],
        exact=against_depth(model, mesh, folder, plain["photos"], cameras, depths) if depths else None,
    )


def _true_cameras(model: Model, dataset: Path) -> dict[str, TrueCamera]:
    """Of the map's photos, by name."""
    sizes = {name: (camera.width, camera.height) for name, camera in zip(model.names, model.cameras, strict=True)}
    truth = read_truth(dataset, sizes)
    known = {name: truth[name] for name in model.names if name in truth}
    if len(known) < 3:
        raise InputError(
            f"{dataset} has the true cameras of {len(known)} photos of the map",
            "three are needed to tell its scale",
            "a folder with gt/NAME.camera or cameras.json for the photos of the map",
        )
    return known


def _metres(model: Model, truth: dict[str, TrueCamera]) -> float:
    """Metres of a map unit, by the true centres of its cameras."""
    rows = [index for index, name in enumerate(model.names) if name in truth]
    true = np.array([truth[model.names[index]].cam_from_world for index in rows])
    return similarity(model.centres[rows], centres_of(true))[0]


def table(rows: Sequence[Row]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and cells for the terminal."""
    header = ("map", "points", "triangles", "to the mesh", f"within {100 * NEAR:.0f} cm", "complete", "in depth",
              "seconds", "MB")  # fmt: skip
    return header, [_cells(row) for row in rows]


def _cells(row: Row) -> tuple[str, ...]:
    known = math.isfinite(row.metres)
    distance = f"{1000 * row.distance * row.metres:.1f} mm" if known else f"{row.distance:.4g} units"
    near = f"{100 * row.near:.1f} %" if known else "-"
    return (row.name, f"{row.points:,}", f"{row.triangles:,}", distance, near, f"{100 * row.complete:.1f} %",
            f"{100 * row.deviation:.3f} %", f"{row.seconds:.0f}", f"{row.peak_memory / 1e6:.0f}")  # fmt: skip


def exact_table(rows: Sequence[Row]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and cells of the comparison with exact depth; no cells where none is known."""
    within = f"within {100 * WRONG:.0f} %"
    header = ("map", "error of depth", within, f"covered {within}", "sky with a depth", f"mesh {within}", "nearer",
              "farther", "sky with a mesh")  # fmt: skip
    return header, [
        (row.name, f"{100 * row.exact.deviation:.3f} %", *(f"{100 * share:.2f} %" for share in astuple(row.exact)[1:]))
        for row in rows
        if row.exact
    ]


def results(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows as JSON takes them: what is not known is null."""
    return [finite(asdict(row)) for row in rows]
