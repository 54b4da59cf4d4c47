"""Pictures to look at: depth maps in colour, and a mesh seen from around, without a display."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.dense.mesh import cast, raycasting
from pipelines.dense.mesh_files import Mesh
from pipelines.dense.neighbours import Task
from pipelines.dense.views import View

TURNTABLE = (4, 3)
"""Columns and rows of the sheet that shows a mesh from around."""
_NOTHING = (46, 42, 40)
_SKY = 255
_FILLED, _SHOWN = 0.86, 0.96
"""Share of a turntable picture's sides that is filled, and share of the points that end within each side: what stands
apart, as a tree behind a wall, may be cut."""
_ARC = np.radians(35)
"""Half the arc of a turntable where the photos were all taken from one side."""


def depth_picture(depth: NDArray[np.float32], task: Task) -> NDArray[np.uint8]:
    """(H,W,3) RGB: near is red, far is blue, evenly in inverse depth; unknown is dark grey."""
    inverse = np.where(depth > 0, 1 / np.maximum(depth, 1e-30), task.far)
    level = np.clip((inverse - task.far) / (task.near - task.far), 0, 1)
    colours = cv2.applyColorMap((255 * level).astype(np.uint8), cv2.COLORMAP_TURBO)
    colours[depth <= 0] = _NOTHING
    return np.asarray(colours[..., ::-1], np.uint8)


@dataclass(frozen=True)
class Turn:
    """Where a turntable picture is taken from.

    Attributes:
        cam_from_world: (3,4).
        focal: px, for a picture of the given width and height.
    """

    cam_from_world: NDArray[np.float64]
    focal: float
    width: int
    height: int


def turns(views: Sequence[View], xyz: NDArray[np.float64], count: int, size: tuple[int, int]) -> list[Turn]:
    """Cameras on a circle around the surface, or on an arc on the side that the photos were taken from.

    Args:
        views: the photos.
        xyz: (P,3) points of the surface.
        count: cameras.
        size: width and height of the pictures, px.
    """
    up = np.mean([-view.cam_from_world[1, :3] for view in views], axis=0)
    ahead = np.mean([view.cam_from_world[2, :3] for view in views], axis=0)
    if np.linalg.norm(up) < 0.3 or np.linalg.norm(up) < 0.5 * np.linalg.norm(ahead) * abs(_unit(up) @ _unit(ahead)):
        up = -ahead  # photos straight down: up is against the view
    up = _unit(up)
    low, high = np.quantile(xyz, [0.02, 0.98], axis=0)
    middle = np.median(xyz[((xyz >= low) & (xyz <= high)).all(axis=1)], axis=0)
    offset = np.array([view.centre for view in views]) - middle
    level = offset - np.outer(offset @ up, up)
    mean = level.mean(axis=0)
    around = np.linalg.norm(mean) < 0.35 * np.linalg.norm(level, axis=1).mean()
    forward = _unit(mean) if not around else _unit(level[0])
    side = np.cross(up, forward)
    rise = float(
        np.clip(np.median(np.arctan2(offset @ up, np.linalg.norm(level, axis=1))), np.radians(8), np.radians(50))
    )
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False) if around else np.linspace(-_ARC, _ARC, count)
    focal = 1.3 * max(size)
    half = np.array(size) / 2 / focal * _FILLED
    made = []
    for angle in angles:
        out = np.cos(rise) * (np.cos(angle) * forward + np.sin(angle) * side) + np.sin(rise) * up
        right = _unit(np.cross(-out, up))
        rotation = np.stack([right, np.cross(-out, right), -out])
        # A camera that stands back by d and aside by c sees a point (x, y, z) if |x - c| <= half (z + d), and so for y:
        # the outermost points of each side say how near the camera comes, and where the middle is.
        cam = (xyz - middle) @ rotation.T
        above, below = (np.quantile(sign * cam[:, :2] - half * cam[:, 2:], _SHOWN, axis=0) for sign in (1, -1))
        aside, back = (above - below) / 2, ((above + below) / 2 / half).max()
        made.append(Turn(np.column_stack([rotation, [*-aside, back] - rotation @ middle]), focal, *size))
    return made


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)


class Renderer:
    """Draws a mesh on the CPU."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._scene, self._middle = raycasting(mesh)

    def __call__(self, turn: Turn) -> NDArray[np.uint8]:
        """(H,W,3) RGB."""
        x, y = np.meshgrid(np.arange(turn.width), np.arange(turn.height))
        cam = np.stack(
            [(x - turn.width / 2) / turn.focal, (y - turn.height / 2) / turn.focal, np.ones(x.shape)], axis=-1
        )
        hit = cast(self._scene, self._middle, turn.cam_from_world, cam)
        face = hit["primitive_ids"].numpy().astype(np.int64)
        met = np.isfinite(hit["t_hit"].numpy())
        corners = self._mesh.faces[np.where(met, face, 0)]
        uv = hit["primitive_uvs"].numpy()
        weights = np.stack([1 - uv.sum(axis=-1), uv[..., 0], uv[..., 1]], axis=-1)
        normal = np.einsum("hwk,hwkc->hwc", weights, self._mesh.normals[corners])
        normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)
        light = _unit(np.array([-0.45, -0.6, -0.75])) @ turn.cam_from_world[:, :3]  # over the left shoulder
        facing = np.clip(np.abs(normal @ light), 0, 1)
        colour = np.einsum("hwk,hwkc->hwc", weights, self._mesh.rgb[corners].astype(np.float64))
        shaded = colour * (0.72 + 0.33 * facing[..., None])
        return np.where(met[..., None], np.clip(shaded, 0, 255), _SKY).astype(np.uint8)


def sheet(pictures: Sequence[NDArray[np.uint8]], columns: int) -> NDArray[np.uint8]:
    """Pictures of one size beside and below each other; places that are left over are white."""
    height, width = pictures[0].shape[:2]
    rows = -(-len(pictures) // columns)
    out = np.full((rows * height, columns * width, 3), _SKY, np.uint8)
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        out[row * height : (row + 1) * height, column * width : (column + 1) * width] = picture
    return out
