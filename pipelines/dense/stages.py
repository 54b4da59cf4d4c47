"""The stages of ``recon dense`` over all photos, each leaving one file a photo: a killed run goes on where it was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.core.maps import Model
from pipelines.core.progress import Progress
from pipelines.dense.agree import Checked, check
from pipelines.dense.cloud import write_cloud
from pipelines.dense.config import DenseConfig
from pipelines.dense.exposure import gains
from pipelines.dense.folder import DenseFolder
from pipelines.dense.fuse import fuse, rank
from pipelines.dense.mesh import poisson
from pipelines.dense.mesh_files import ENDINGS, Mesh, write_mesh
from pipelines.dense.neighbours import Task
from pipelines.dense.picture import TURNTABLE, Renderer, depth_picture, sheet, turns
from pipelines.dense.sweep import sweep
from pipelines.dense.views import View
from pipelines.depth.cost import CostFunction
from pipelines.depth.sgm import Penalties
from pipelines.engine import cores
from pipelines.images.write import write_picture
from pipelines.store.files import fingerprint

_CODE = 3
"""Raised when a per-photo file would change for the same photos and options."""
_TURN_SIZE = (560, 420)
"""px, of each view of the mesh."""


@dataclass
class Work:
    """What the stages share.

    Attributes:
        folder, config, model, views, progress: of the run.
        seconds: per stage.
        tasks: of the photos that have neighbours, by index.
        why: why the others have none.
        depth, checked, points: key of each photo's file.
        counts: points that each photo added to the cloud.
    """

    folder: DenseFolder
    config: DenseConfig
    model: Model
    views: list[View]
    progress: Progress
    seconds: dict[str, float]
    tasks: dict[int, Task] = field(default_factory=dict)
    why: dict[int, str] = field(default_factory=dict)
    depth: dict[int, str] = field(default_factory=dict)
    checked: dict[int, str] = field(default_factory=dict)
    points: dict[int, str] = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=dict)

    def parts(self) -> Iterator[tuple[int, NDArray[np.void]]]:
        """Index of each photo, and the points that it added, from disk."""
        for index, key in self.points.items():
            yield index, self.folder.read_points(key)

    def others(self, index: int) -> list[int]:
        """Photos with a depth of their own that a photo's depth is compared with."""
        return [other for other in self.tasks[index].neighbours if other in self.tasks]

    def read_checked(self, index: int) -> Checked:
        """Depth of a photo that others agree with, from disk."""
        return self.folder.read_checked(self.checked[index])


def sweep_all(work: Work, cost: CostFunction) -> None:
    """Depth of every photo by itself."""
    penalties = Penalties()
    made_by = cost.describer.fingerprint if cost.describer else "census"
    cv2.setNumThreads(cores())
    with work.progress.stage("Depth", len(work.tasks)) as task_bar:
        for index, task in work.tasks.items():
            seen = [work.views[member].plain() for member in (index, *task.neighbours)]
            key = fingerprint("dense depth", _CODE, seen, [task.near, task.far], made_by, penalties)
            work.depth[index] = key
            if not work.folder.has(key):
                work.folder.write_depth(key, sweep(work.views, task, cost, penalties))
            task_bar.advance(note=work.views[index].name)


def check_all(work: Work) -> None:
    """What of it other photos agree with."""
    config = work.config
    with work.progress.stage("Agreement", len(work.tasks)) as task_bar:
        for index in work.tasks:
            others = work.others(index)
            limits = (config.consistent, config.max_pixels, config.max_depth)
            keys = [work.depth[member] for member in (index, *others)]
            key = fingerprint("dense checked", _CODE, keys, limits)
            work.checked[index] = key
            if not work.folder.has(key):
                checked = check(
                    work.views,
                    index,
                    others,
                    lambda member: work.folder.read_depth(work.depth[member]),
                    consistent=config.consistent,
                    max_pixels=config.max_pixels,
                    max_depth=config.max_depth,
                )
                work.folder.write_checked(key, checked)
            task_bar.advance(note=work.views[index].name)


def fuse_all(work: Work) -> int:
    """Points of each photo, the cloud and pictures of the depth maps; the number of points."""
    place = rank(work.views, [_middle(work.tasks.get(k)) for k in range(len(work.views))])
    linked: dict[int, set[int]] = {index: set() for index in work.tasks}
    for index, task in work.tasks.items():
        for other in set(task.neighbours) & work.tasks.keys():
            linked[index].add(other)
            linked[other].add(index)
    files = work.folder.map_files(work.model.names)
    gain = gains({index: (work.others(index), work.folder.read_ratios(key)) for index, key in work.checked.items()})
    with work.progress.stage("Fusion", len(work.tasks)) as task_bar:
        for index, task in work.tasks.items():
            before = sorted((other for other in linked[index] if place[other] < place[index]), key=place.__getitem__)
            keys = [work.checked[member] for member in (index, *before)]
            key = fingerprint("dense points", _CODE, keys, gain[index].round(4).tolist())
            work.points[index] = key
            if not work.folder.has(key):
                work.folder.write_points(key, fuse(work.views, index, before, work.read_checked, gain[index]))
            work.counts[index] = len(work.folder.read_points(key))
            picture = depth_picture(work.read_checked(index).depth, task)
            write_picture(files[work.views[index].name], picture)
            task_bar.advance(note=work.views[index].name)
    return write_cloud(work.folder.cloud, (part for _, part in work.parts()))


def _middle(task: Task | None) -> float:
    """Depth in the middle of the range, NaN for a photo without neighbours."""
    return float("nan") if task is None else 2 / (task.near + task.far)


def make_mesh(work: Work, points: NDArray[np.void], step: float) -> Mesh | None:
    """The mesh, its files and its turntable; None if none was asked for."""
    if work.config.mesh == "none":
        return None
    with work.progress.stage("Mesh", 3) as task_bar:
        mesh = poisson(points, step, work.config.triangles)
        task_bar.advance(note="surface")
        if not len(mesh.faces):
            return None
        for ending in ENDINGS:
            write_mesh(mesh, work.folder.mesh(ending))
        task_bar.advance(note="files")
        draw = Renderer(mesh)
        xyz = mesh.xyz[np.random.default_rng(0).permutation(len(mesh.xyz))[:50_000]]
        columns, rows = TURNTABLE
        pictures = [draw(turn) for turn in turns(work.views, xyz, columns * rows, _TURN_SIZE)]
        write_picture(work.folder.turntable, sheet(pictures, columns))
        task_bar.advance(note="pictures")
    return mesh
