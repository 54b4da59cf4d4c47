"""A map's models as the 3D view of the report wants them: turned upright, scaled to unit size, packed small.

The page shows y up; the models come with y down (any rotation of it). Each model is turned so that the cameras stand
upright, moved to the median of its points and scaled so that most of it lies in the unit sphere. Positions are 24-bit
fixed point: three bytes an axis are finer than a pixel at any zoom, also when a few points lie far away.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.core.maps import Camera, Model

MAX_POINTS = 200_000
FAR = 60.0  # points beyond this many scene radii are not drawn: they are errors, and they would eat the precision
STEPS = (1 << 24) - 1


def up_direction(cam_from_world: NDArray[np.float64]) -> NDArray[np.float64]:
    """Which way is up, from (I,3,4) poses: the median of the cameras' -y axes, as people hold cameras level.

    Photos straight down from the air, flown to and fro, have -y axes that cancel out but one common view: then up is
    against the view. Returns a unit (3,) vector in world coordinates.
    """
    above = -cam_from_world[:, 1, :3]
    ahead = cam_from_world[:, 2, :3]
    spread = float(np.linalg.norm(above.mean(axis=0)))
    if spread < 0.5 and np.linalg.norm(ahead.mean(axis=0)) > spread:
        above = -ahead
    up = np.median(above, axis=0)
    length = float(np.linalg.norm(up))
    return up / length if length > 1e-6 else above[0]


def _upright(up: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3,3) rotation that takes ``up`` to +y by the shortest way (right-handed, so nothing is mirrored)."""
    y = np.array([0.0, 1.0, 0.0])
    cross, dot = np.cross(up, y), float(up @ y)
    if dot < -1 + 1e-9:
        return np.diag([1.0, -1.0, -1.0])
    skew = np.array([[0, -cross[2], cross[1]], [cross[2], 0, -cross[0]], [-cross[1], cross[0], 0]])
    return np.eye(3) + skew + skew @ skew / (1 + dot)


def _fixed_point(xyz: NDArray[np.float64]) -> tuple[NDArray[np.uint8], list[float], list[float]]:
    """(P,3) -> (P,9) bytes (little endian, three an axis), minimum and span per axis."""
    if not len(xyz):
        return np.zeros((0, 9), np.uint8), [0.0] * 3, [1.0] * 3
    low = xyz.min(axis=0)
    span = np.maximum(xyz.max(axis=0) - low, 1e-9)
    steps = np.rint((xyz - low) / span * STEPS).astype("<u4")
    return steps.view(np.uint8).reshape(len(xyz), 3, 4)[:, :, :3].reshape(-1, 9), low.tolist(), span.tolist()


def _varints(sorted_indices: NDArray[np.int64]) -> bytes:
    """Ascending indices as the LEB128 code of their differences: about one byte for a point that a photo sees."""
    deltas = np.diff(sorted_indices, prepend=0).astype(np.uint32)
    size = np.searchsorted([1 << (7 * k) for k in range(1, 5)], deltas, side="right") + 1
    out = np.zeros(int(size.sum()), np.uint8)
    start = np.cumsum(size) - size
    for k in range(5):
        has = size > k
        more = np.where(size[has] > k + 1, 0x80, 0)
        out[start[has] + k] = ((deltas[has] >> np.uint32(7 * k)) & 0x7F) | more
    return out.tobytes()


def _text(data: NDArray | bytes) -> str:
    raw = data if isinstance(data, bytes) else np.ascontiguousarray(data).tobytes()
    return base64.b64encode(raw).decode("ascii")


def _rays(camera: Camera) -> list[float]:
    """Left, top, right, bottom of the photo in the image plane at depth 1, lens distortion left out."""
    (fx, _, cx), (_, fy, cy), _ = camera.K
    left, top = (-0.5 - cx) / fx, (-0.5 - cy) / fy
    right, bottom = (camera.width - 0.5 - cx) / fx, (camera.height - 0.5 - cy) / fy
    # A fisheye's corners reach out to infinity in this plane; the drawn frustum need not.
    return [round(float(np.clip(v, -3, 3)), 6) for v in (left, top, right, bottom)]


def shares(sizes: Sequence[int], cap: int) -> list[int]:
    """How many points of each model to draw so that together they stay within ``cap``."""
    total = sum(sizes)
    if total <= cap:
        return list(sizes)
    return [max(1, min(n, n * cap // total)) if n else 0 for n in sizes]


def _unit_frame(model: Model) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Centre (3,), rotation (3,3) and radius of a model: ``rotation @ (x - centre) / radius`` is upright and of unit
    size, nine points of ten within the unit sphere."""
    centre = np.median(model.xyz, axis=0) if len(model.xyz) else model.centres.mean(axis=0)
    distance = np.linalg.norm(model.xyz - centre, axis=1)
    radius = float(np.percentile(distance, 90)) if len(distance) else 0.0
    if radius < 1e-12:
        radius = max(float(np.linalg.norm(model.centres - centre, axis=1).max(initial=0.0)), 1e-12)
    return centre, _upright(up_direction(model.cam_from_world)), radius


class ModelView:
    """Where the page shows what stands in a model's world, for cameras that join it later."""

    def __init__(self, model: Model) -> None:
        self._centre, self._turn, self._radius = _unit_frame(model)

    def camera(self, cam_from_world: NDArray[np.float64], camera: Camera) -> dict:
        """A camera as :func:`pack` has them, that sees none of the points."""
        centre = -cam_from_world[:, :3].T @ cam_from_world[:, 3]
        return {
            "photo": -1,
            "centre": ((centre - self._centre) @ self._turn.T / self._radius).tolist(),
            "rotation": (cam_from_world[:, :3] @ self._turn.T).ravel().tolist(),
            "rays": _rays(camera),
            "seen": "",
        }


def _seen(model: Model, keep: NDArray[np.int64]) -> list[bytes]:
    """For each photo the drawn points it sees, coded; ``keep`` are the indices of the drawn points."""
    drawn = np.full(len(model.xyz), -1, np.int64)
    drawn[keep] = np.arange(len(keep))
    point = drawn[model.obs_point]
    return [_varints(np.unique(seen[seen >= 0])) for seen in (point[rows] for rows in model.rows_of_images)]


def pack(model: Model, photo_index: Mapping[str, int], limit: int) -> dict:
    """One model for the page's JSON: points, colours, errors, track lengths, cameras and what each camera sees.

    Args:
        photo_index: photo name -> index in the page's list of photos.
        limit: points drawn at most; a seeded random choice beyond.
    """
    centre, turn, radius = _unit_frame(model)
    keep = np.flatnonzero(np.linalg.norm(model.xyz - centre, axis=1) <= FAR * radius)
    if len(keep) > limit:
        keep = np.sort(np.random.default_rng(0).choice(keep, limit, replace=False))
    data, low, span = _fixed_point((model.xyz[keep] - centre) @ turn.T / radius)
    centres = (model.centres - centre) @ turn.T / radius
    rotations = model.cam_from_world[:, :, :3] @ turn.T
    errors, lengths = model.errors[keep], model.track_lengths[keep]
    top_error = float(np.percentile(errors, 98)) if len(errors) else 1.0
    cameras = [
        {
            "photo": photo_index.get(name, -1),
            "centre": [round(v, 6) for v in centres[i].tolist()],
            "rotation": [round(v, 7) for v in rotations[i].ravel().tolist()],
            "rays": _rays(model.cameras[i]),
            "seen": _text(seen),
        }
        for i, (name, seen) in enumerate(zip(model.names, _seen(model, keep), strict=True))
    ]
    return {
        "points": len(model.xyz),
        "low": low,
        "span": span,
        "xyz": _text(data),
        "rgb": _text(model.rgb[keep]),
        "errors": _text(np.clip(errors / max(top_error, 1e-9) * 255, 0, 255).astype(np.uint8)),
        "topError": top_error,
        "lengths": _text(np.clip(lengths, 0, 255).astype(np.uint8)),
        "topLength": int(min(255, lengths.max(initial=2))),
        "cameras": cameras,
        "cameraSize": _camera_size(centres),
        "view": _first_view(rotations),
    }


def _camera_size(centres: NDArray[np.float64]) -> float:
    """Depth of a drawn frustum: half the way to the next camera, within reason of the scene (radius 1)."""
    if len(centres) < 2:
        return 0.2
    some = centres[:: max(1, len(centres) // 500)]
    gaps = np.linalg.norm(some[:, None] - centres[None], axis=2)
    gaps[gaps < 1e-9] = np.inf
    return float(np.clip(0.5 * np.median(gaps.min(axis=1)), 0.03, 0.3))


def _first_view(rotations: NDArray[np.float64]) -> dict[str, float]:
    """Azimuth and elevation (radians) to look from: behind the cameras, a little to the side and above."""
    ahead = rotations[:, 2].mean(axis=0)
    if np.linalg.norm(ahead) < 0.3:  # cameras all around: no common direction, any side will do
        ahead = rotations[0, 2]
    if np.hypot(ahead[0], ahead[2]) < 0.3 * np.linalg.norm(ahead):  # straight down
        return {"azimuth": 0.4, "elevation": 0.8}
    level = float(np.arctan2(-ahead[1], np.hypot(ahead[0], ahead[2])))
    return {
        "azimuth": float(np.arctan2(-ahead[0], -ahead[2])) + 0.45,
        "elevation": float(np.clip(level + 0.25, 0.15, 1.0)),
    }
