"""A marble bust, carved as signed distances of smooth solids (metres, face towards -y)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sample_data import shapes, textures
from sample_data.raytrace import Patch


def bust(foot: shapes.Point, scale: float, yaw_deg: float = 12.0, seed: int = 170) -> list[Patch]:
    """Head and shoulders standing on ``foot``, about 0.5 m high times ``scale``."""
    turn = shapes.rotation(yaw_deg)
    head_stone = textures.marble((900, 1800), 0.0016, seed)
    body_stone = textures.marble((900, 1800), 0.0024, seed + 1)
    head_centre = np.asarray(foot) + turn @ np.array([0.0, -0.01, 0.375]) * scale
    body_centre = np.asarray(foot) + turn @ np.array([0.0, 0.03, 0.10]) * scale
    head = shapes.star(head_centre, lambda p: scale * _head(p / scale), 0.26 * scale, head_stone, 0.004, turn)
    body = shapes.star(body_centre, lambda p: scale * _body(p / scale), 0.30 * scale, body_stone, 0.007, turn, -35)
    socle_stone = textures.marble((500, 1200), 0.002, seed + 2)
    socle = [(0.0, 0.1), (0.085, 0.1), (0.07, 0.085), (0.065, 0.05), (0.10, 0.02), (0.105, 0.0)]
    stand = shapes.turned(foot, [(r * scale, h * scale) for r, h in socle], socle_stone, 0.008)
    return [head, body, stand]


def _head(p: np.ndarray) -> np.ndarray:
    side = np.abs(p[:, 0])
    q = np.column_stack([side, p[:, 1:]])
    skull = _ellipsoid(q, (0, 0.014, 0.026), (0.09, 0.112, 0.108))
    face = _ellipsoid(q, (0, -0.035, -0.04), (0.068, 0.07, 0.08))
    solid = _blend(skull, face, 0.04)
    solid = _blend(solid, _capsule(q, (0.02, -0.088, 0.034), (0.05, -0.078, 0.032), 0.015), 0.02)
    solid = -_blend(-solid, _ball(q, (0.034, -0.112, 0.012), 0.021), 0.014)
    solid = _blend(solid, _ellipsoid(q, (0.033, -0.078, 0.011), (0.016, 0.014, 0.011)), 0.004)
    solid = _blend(solid, _capsule(q, (0.033, -0.09, 0.0215), (0.045, -0.084, 0.016), 0.004), 0.005)
    nose = _blend(
        _capsule(q, (0, -0.1, 0.026), (0, -0.13, -0.022), 0.009), _ball(q, (0.011, -0.114, -0.024), 0.009), 0.01
    )
    solid = _blend(solid, nose, 0.014)
    solid = _blend(solid, _ball(q, (0.043, -0.07, -0.02), 0.024), 0.025)
    solid = _blend(solid, _ball(q, (0, -0.084, -0.097), 0.026), 0.03)
    mouth = _capsule(q, (0, -0.117, -0.058), (0.024, -0.1, -0.0585), 0.005)
    solid = _blend(solid, _capsule(q, (0, -0.104, -0.051), (0.02, -0.095, -0.054), 0.0085), 0.008)
    solid = _blend(solid, _capsule(q, (0, -0.102, -0.068), (0.016, -0.095, -0.065), 0.009), 0.008)
    solid = -_blend(-solid, mouth, 0.004)
    ear = _ellipsoid(q, (0.088, 0.012, -0.004), (0.012, 0.023, 0.036))
    solid = _blend(solid, ear, 0.008)
    neck = _capsule(q, (0, 0.025, -0.08), (0, 0.04, -0.25), 0.058)
    solid = _blend(solid, neck, 0.03)
    line = 0.075 - 0.9 * np.maximum(p[:, 1] + 0.075, 0) + 0.05 * side
    hair = np.clip((p[:, 2] - np.maximum(line, -0.06)) / 0.02, 0, 1)
    locks = np.sin(90 * p[:, 0] + 3 * np.sin(40 * p[:, 2])) * np.sin(
        70 * p[:, 1] + 55 * p[:, 2] + 2.5 * np.sin(60 * p[:, 0])
    )
    return solid - hair * (0.009 + 0.0055 * locks)


def _body(p: np.ndarray) -> np.ndarray:
    side = np.abs(p[:, 0])
    q = np.column_stack([side, p[:, 1:]])
    chest = _ellipsoid(q, (0, 0.0, -0.01), (0.165, 0.095, 0.13))
    shoulder = _ellipsoid(q, (0.125, 0.005, 0.03), (0.06, 0.065, 0.06))
    neck = _capsule(q, (0, 0.0, 0.1), (0, -0.005, 0.22), 0.056)
    solid = _blend(_blend(chest, shoulder, 0.05), neck, 0.06)
    fold = np.sin(70 * (p[:, 2] + 0.55 * p[:, 0] - 0.9 * p[:, 0] ** 2) + 4 * np.sin(9 * p[:, 0] + 1))
    cloth = np.clip((0.075 - p[:, 2] - 0.25 * p[:, 0]) / 0.03, 0, 1)
    return solid - cloth * (0.008 + 0.006 * fold)


def _ball(p: np.ndarray, centre: Sequence[float], radius: float) -> np.ndarray:
    return np.linalg.norm(p - centre, axis=1) - radius


def _ellipsoid(p: np.ndarray, centre: Sequence[float], axes: Sequence[float]) -> np.ndarray:
    inner = np.linalg.norm((p - centre) / axes, axis=1)
    slope = np.linalg.norm((p - centre) / np.square(axes), axis=1)
    return inner * (inner - 1) / np.maximum(slope, 1e-9)


def _capsule(p: np.ndarray, start: Sequence[float], end: Sequence[float], radius: float) -> np.ndarray:
    first = np.asarray(start, float)
    axis = np.asarray(end, float) - first
    share = np.clip((p - first) @ axis / (axis @ axis), 0, 1)
    return np.linalg.norm(p - first - share[:, None] * axis, axis=1) - radius


def _blend(a: np.ndarray, b: np.ndarray, width: float) -> np.ndarray:
    """Smooth union (polynomial), ``width`` metres wide."""
    share = np.clip(0.5 + 0.5 * (b - a) / width, 0, 1)
    return b + (a - b) * share - width * share * (1 - share)
