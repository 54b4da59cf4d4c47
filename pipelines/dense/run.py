"""A map to depth maps, cloud and mesh: the whole of ``recon dense`` as one function over the stages."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.clock import timed
from pipelines.core.config import to_plain
from pipelines.core.errors import InputError, NoOverlapError
from pipelines.core.progress import Progress
from pipelines.dense.cloud import thinned
from pipelines.dense.config import DenseConfig
from pipelines.dense.folder import DenseFolder
from pipelines.dense.measure import COMPLETE, against_map, from_surface
from pipelines.dense.mesh import spacing
from pipelines.dense.mesh_files import ENDINGS, Mesh
from pipelines.dense.neighbours import plan
from pipelines.dense.picture import depth_picture
from pipelines.dense.result import DenseOutput, DenseResult, PhotoDepth
from pipelines.dense.stages import Work, check_all, fuse_all, make_mesh, sweep_all
from pipelines.dense.views import prepare_views
from pipelines.depth.cost import CostFunction
from pipelines.engine import peak_memory
from pipelines.export.run import photo_places, read_component
from pipelines.images.write import thumbnail
from pipelines.store.files import write_errors, write_text
from pipelines.store.folder import MapFolder, check_no_map

_MESH_POINTS = 6_000_000
"""Points that a mesh is made of at most; a larger cloud is thinned for it."""

_THUMBNAIL = 480, 84
"""Longer side, px, and JPEG quality of the pictures in the report."""


def run_dense(
    map_folder: Path,
    config: DenseConfig,
    *,
    out: Path | None = None,
    photos: Path | None = None,
    component: int = 0,
    publish: Callable[[DenseFolder, DenseOutput], None] | None = None,
    progress: Progress,
) -> DenseResult:
    """Depth maps, a coloured cloud and a mesh of a map.

    Args:
        map_folder: run folder of ``recon sfm``, or a COLMAP model.
        config: all options.
        out: folder to make; ``dense`` inside the map unless given. Work that stands there from an earlier run with the
            same photos and options is used again.
        photos: where the photos are now, if they have moved.
        component: which model of the map, 0 the largest.
        publish: writes what depends on the result, such as the report.
        progress: the listener.

    Raises:
        InputError: no such map or component, a map of one photo, or photos that are missing or have changed.
        NoOverlapError: no two photos share enough of the map's points, or none agree about any depth.
        OutputError: something cannot be written.
        BusyError: another run is at work in the folder.
        ConfigError: a camera that no pinhole can stand for; a map stands in ``out``.
        DescriptorError: there is no such descriptor.
    """
    model = read_component(map_folder, component)
    if len(model.names) < 2:
        raise InputError(
            f"There is no depth in {map_folder}",
            "its model has one photo, and depth needs two of the same place at least",
            "a map of more photos",
        )
    places = photo_places(map_folder, model, photos)
    known = {entry["name"]: entry["content"] for entry in MapFolder(map_folder).read_ledger().get("photos", [])}
    cost = cost_function(config.descriptor)
    folder = DenseFolder(out or map_folder / "dense")
    check_no_map(folder.root)
    folder.create()
    with MapFolder(folder.root).locked():
        seconds: dict[str, float] = {}
        with timed(seconds, "Photos"):
            views = prepare_views(model, places, known, folder.pictures, config.size, progress=progress)
        work = Work(folder, config, model, views, progress, seconds)
        _plan(work, map_folder)
        with timed(seconds, "Depth"):
            sweep_all(work, cost)
        with timed(seconds, "Agreement"):
            check_all(work)
        with timed(seconds, "Fusion"):
            total = fuse_all(work)
        if not total:
            raise NoOverlapError(
                "The photos agree about no depth",
                f"compared with {config.neighbours} neighbours, {config.consistent} of which must agree",
                "a smaller --consistent, or check that the map is right",
            )
        points, source = thinned(work.parts(), total, _MESH_POINTS)
        step = spacing(points)
        with timed(seconds, "Mesh"):
            mesh = make_mesh(work, points, step)
        result = _result(work, total, step, mesh, points)
        if publish is not None:
            publish(folder, DenseOutput(result, model, points, source, *_thumbnails(work)))
        _remove_old(folder, result.as_plain())
        write_text(folder.ledger, json.dumps(result.as_plain(), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    return result


def _remove_old(folder: DenseFolder, ledger: Mapping[str, Any]) -> None:
    """Remove meshes and depth maps that an earlier run left, by its own ledger, and that are not of this one."""
    try:
        left = _meshes_and_maps(folder, json.loads(folder.ledger.read_text("utf-8")))
    except (OSError, ValueError, LookupError, TypeError):  # no ledger, or one that is damaged
        return
    for path in left - _meshes_and_maps(folder, ledger):
        with write_errors(path):
            path.unlink(missing_ok=True)


def _meshes_and_maps(folder: DenseFolder, ledger: Mapping[str, Any]) -> set[Path]:
    files = folder.map_files([photo["name"] for photo in ledger["photos"]])
    maps = {files[photo["name"]] for photo in ledger["photos"] if photo["neighbours"]}
    return maps | ({folder.turntable, *map(folder.mesh, ENDINGS)} if ledger["faces"] else set())


def cost_function(descriptor: str) -> CostFunction:
    """The matching cost of a name: ``census``, or dense descriptors of the zoo.

    Raises:
        DescriptorError: there is no such descriptor.
        ConfigError: a metric network, which describes nothing.
    """
    if descriptor == "census":
        return CostFunction()
    from pipelines.depth.dense_features import dense_describer

    return CostFunction(dense_describer(descriptor), census=0.0)


def _plan(work: Work, map_folder: Path) -> None:
    for index, task in enumerate(plan(work.model, work.views, work.config.neighbours)):
        if isinstance(task, str):
            work.why[index] = task
        else:
            work.tasks[index] = task
    if not work.tasks:
        raise NoOverlapError(
            f"No photo of {map_folder} has a neighbour",
            next(iter(work.why.values())),
            "photos of the same place from other sides, less than 60 degrees apart",
        )


def _thumbnails(work: Work) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """JPEG of each photo and of its depth map."""
    photos: dict[str, bytes] = {}
    maps: dict[str, bytes] = {}
    for index, view in enumerate(work.views):
        photos[view.name] = thumbnail(view.read(), *_THUMBNAIL)
        if index in work.tasks:
            depth = work.read_checked(index).depth
            maps[view.name] = thumbnail(depth_picture(depth, work.tasks[index]), *_THUMBNAIL)
    return photos, maps


def _result(work: Work, total: int, step: float, mesh: Mesh | None, points: NDArray[np.void]) -> DenseResult:
    rows = []
    for index, view in enumerate(work.views):
        task = work.tasks.get(index)
        if task is None:
            rows.append(PhotoDepth(view.name, why=work.why[index]))
            continue
        depth = work.read_checked(index).depth
        share, deviation = against_map(work.model, view, depth, index)
        row = PhotoDepth(
            name=view.name,
            neighbours=tuple(work.views[other].name for other in task.neighbours),
            planes=work.folder.read_planes(work.depth[index]),
            covered=float(np.mean(depth > 0)),
            points=work.counts[index],
            near=1 / task.near,
            far=1 / task.far,
            sparse=share,
            deviation=deviation,
            depth_file=work.checked[index],
            why="" if (depth > 0).any() else "no other photo agrees about its depth",
        )
        rows.append(row)
    distances = from_surface(work.model.xyz, mesh, points)
    files = {"cloud": work.folder.cloud.name, "report": work.folder.report.name, "depth maps": work.folder.maps.name}
    if mesh is not None:
        files |= {f"mesh {ending}": work.folder.mesh(ending).name for ending in ENDINGS}
        files["turntable"] = work.folder.turntable.name
    said = f"{total:,} points from {sum(row.covered > 0 for row in rows)} of {len(rows)} photos"
    return DenseResult(
        verdict=f"{said}." if mesh is None else f"{said}, and a mesh of {len(mesh.faces):,} triangles.",
        photos=tuple(rows),
        points=total,
        vertices=0 if mesh is None else len(mesh.xyz),
        faces=0 if mesh is None else len(mesh.faces),
        step=step,
        distance=float(np.median(distances)) if len(distances) else float("nan"),
        complete=float(np.mean(distances <= COMPLETE * step)) if len(distances) else 0.0,
        files=files,
        settings={name: str(value) for name, value in to_plain(work.config).items()},
        timings=dict(work.seconds),
        peak_memory=peak_memory(),
    )
