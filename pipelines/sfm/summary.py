"""What a run says about itself: the verdict, a row per photo, a row per model, the ledger."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

import descriptors
from pipelines.core.config import finite, to_plain
from pipelines.core.errors import ReconError
from pipelines.core.maps import Camera, ComponentRow, MapSummary, Model, PhotoRow, Unregistered
from pipelines.core.types import Rejected
from pipelines.engine import peak_memory
from pipelines.features.extract import FeatureFiles
from pipelines.sfm.config import SfmConfig
from pipelines.sfm.why import MatchGraph, all_of, listed

_PACKAGES = ("recon", "pycolmap", "opencv-contrib-python", "numpy", "scipy", "onnxruntime", "torch")


def summarise(
    graph: MatchGraph,
    models: Sequence[Model],
    *,
    cameras: Sequence[Camera],
    rejected: Sequence[Rejected],
    unregistered: Sequence[Unregistered],
    timings: Mapping[str, float],
    settings: Mapping[str, str],
    failure: str = "",
) -> MapSummary:
    """Everything that report and ledger say about a run.

    Args:
        graph: what matching found.
        models: largest first; empty if mapping failed.
        cameras: intrinsics prior of each photo of the graph.
        failure: the sentence of the error that ended the run, if one did.
    """
    components = tuple(_component(index, model) for index, model in enumerate(models))
    return MapSummary(
        verdict=failure or verdict(len(graph.names), components, rejected),
        photos=tuple(_rows(graph, models, cameras)),
        rejected=tuple(rejected),
        unregistered=tuple(unregistered),
        links=tuple((graph.names[a], graph.names[b], len(v), v.raw) for (a, b), v in graph.views.items()),
        components=components,
        timings=dict(timings),
        settings=dict(settings),
        versions=_versions(),
        peak_memory=peak_memory(),
    )


def _versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _component(index: int, model: Model) -> ComponentRow:
    lengths = model.track_lengths
    return ComponentRow(
        folder=str(Path("sparse") / str(index)),
        photos=len(model.names),
        points=len(model.xyz),
        observations=len(model.obs_point),
        track_length=float(lengths.mean()) if len(lengths) else 0.0,
        error=float(np.average(model.errors, weights=lengths)) if len(lengths) else float("nan"),
    )


def verdict(total: int, components: Sequence[ComponentRow], rejected: Sequence[Rejected]) -> str:
    """The run in a sentence or three: ``total`` readable photos, the models of them, files that were no photos."""
    first = components[0]
    unread = f" {len(rejected)} file{'s were' if len(rejected) > 1 else ' was'} left out." if rejected else ""
    figures = f"{first.points:,} points, mean reprojection error {first.error:.2f} px"
    if first.photos == total:
        return f"{all_of(total)} photos are in one model: {figures}.{unread}"
    missing = total - sum(component.photos for component in components)
    if len(components) == 1:
        are = "is not; the reason stands" if missing == 1 else "are not; the reasons stand"
        return f"{first.photos} of {total} photos are in the model: {figures}. {missing} {are} below.{unread}"
    rest = ""
    if missing > 0:
        are = "photo is in none; the reason stands" if missing == 1 else "photos are in none; the reasons stand"
        rest = f" {missing} {are} below."
    sizes = listed([component.photos for component in components])
    start = f"{total} photos fell into {len(components)} models, of {sizes} photos"
    return f"{start}; the largest has {figures}.{rest}{unread}"


def _rows(graph: MatchGraph, models: Sequence[Model], cameras: Sequence[Camera]) -> list[PhotoRow]:
    placed = {name: (m, i) for m, model in reversed(list(enumerate(models))) for i, name in enumerate(model.names)}
    verified = graph.verified()
    rows = []
    for index, name in enumerate(graph.names):
        best = graph.best_partner(index)
        camera = cameras[index]
        component, observations, error = None, 0, float("nan")
        if name in placed:
            component, image = placed[name]
            model = models[component]
            seen = model.rows_of_images[image]
            observations = len(seen)
            error = float(model.reprojection_errors[seen].mean()) if observations else float("nan")
            camera = model.cameras[image]
        rows.append(
            PhotoRow(
                name=name,
                keypoints=graph.keypoints[index],
                verified=int(verified[index]),
                best=None if best is None else (graph.names[best[0]], best[1]),
                component=component,
                observations=observations,
                error=error,
                focal_px=camera.params[0],
                camera_source=cameras[index].source,
            )
        )
    return rows


def settings_of(config: SfmConfig) -> dict[str, str]:
    """The configuration as option -> value, nested names joined by dots."""

    def flatten(plain: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
        for key, value in plain.items():
            if isinstance(value, Mapping):
                yield from flatten(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}", "" if value is None else str(value)

    return dict(flatten(to_plain(config), ""))


def ledger_of(
    summary: MapSummary,
    files: FeatureFiles,
    config: SfmConfig,
    cameras: Sequence[Camera],
    camera_of: Sequence[int],
    failure: ReconError | None,
    imported: str,
) -> dict[str, Any]:
    """What recon.json says; ``imported`` is the model of others that the map was made of, '' if it was not."""
    plain = finite(to_plain(summary))
    return {
        "status": "done" if failure is None else "failed",
        "verdict": summary.verdict,
        "exit_code": 0 if failure is None else failure.exit_code,
        "seed": config.seed,
        "descriptor": config.features.descriptor,
        "descriptor_fingerprint": descriptors.fingerprint(config.features.descriptor),
        "config": to_plain(config),
        "cameras": to_plain(list(cameras)),
        "photos": [
            {
                "name": photo.name,
                "path": str(photo.path.resolve()),
                "width": photo.width,
                "height": photo.height,
                "content": photo.content,
                "exif": to_plain(photo.exif),
                "camera": camera,
                "features": key,
            }
            for photo, camera, key in zip(files.photos, camera_of, files.keys, strict=True)
        ],
        "result": {key: value for key, value in plain.items() if key != "verdict"},
        **({"imported": imported} if imported else {}),
    }
