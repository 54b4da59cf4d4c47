"""A small ray tracer: textured grids under a soft sun and a sky, seen by pinhole cameras.

Frames and units: world x east, y north, z up, in metres; camera x right, y down, z forward; pixels with the centre
of the top-left pixel at (0, 0). Surfaces are diffuse, so that a point looks the same from every camera.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import open3d as o3d

SUN = np.array([0.34, -0.70, 0.62]) / np.linalg.norm([0.34, -0.70, 0.62])
SUN_RADIUS = 0.012
SUN_LIGHT = np.array([1.02, 0.93, 0.78], np.float32) * 2.7
SKY_LIGHT = np.array([0.62, 0.74, 0.95], np.float32) * 1.15
BOUNCE_LIGHT = np.array([0.95, 0.82, 0.66], np.float32) * 0.45
HAZE_DISTANCE = 260.0
LIFT = 0.004
"""Shadow rays start this far (m) above the surface, so that it does not shade itself."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: K (3, 3), cam_from_world (3, 4), size in pixels."""

    K: np.ndarray
    cam_from_world: np.ndarray
    width: int
    height: int

    @property
    def centre(self) -> np.ndarray:
        """The optical centre in the world, (3,) metres."""
        rotation, translation = self.cam_from_world[:, :3], self.cam_from_world[:, 3]
        return -rotation.T @ translation

    def project(self, points: np.ndarray) -> np.ndarray:
        """World points (N, 3) to pixels (N, 2)."""
        seen = points @ self.cam_from_world[:, :3].T + self.cam_from_world[:, 3]
        pixels = seen @ self.K.T
        return pixels[:, :2] / pixels[:, 2:]

    def directions(self, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """World directions (..., 3) through pixels, scaled to depth 1, so that a ray's parameter is the depth."""
        grid = np.stack(np.broadcast_arrays(columns, rows, 1.0), axis=-1)
        return grid @ (np.linalg.inv(self.K).T @ self.cam_from_world[:, :3])


def look_at(centre: np.ndarray, target: np.ndarray, roll_deg: float = 0.0) -> np.ndarray:
    """cam_from_world (3, 4) of a camera at ``centre`` that looks at ``target``, turned by ``roll_deg`` clockwise."""
    forward = np.asarray(target, float) - centre
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    level = np.stack([right, np.cross(forward, right), forward])
    angle = np.deg2rad(roll_deg)
    roll = np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    rotation = roll @ level
    return np.concatenate([rotation, (-rotation @ centre)[:, None]], axis=1)


class Material:
    """A texture: colour and relief on one raster, with the pyramids that filter them.

    Args:
        colour: (H, W, 3) float32, sRGB values in [0, 1].
        height: (H, W) float32 relief along the normal, metres.
        texel: metres per texel.
    """

    def __init__(self, colour: np.ndarray, height: np.ndarray, texel: float) -> None:
        self.texel = texel
        self.shape = height.shape
        self.height = height
        self._flat = not height.any()
        self._smoothed: dict[float, np.ndarray] = {}
        slope = np.stack([cv2.Scharr(height, cv2.CV_32F, 1, 0), cv2.Scharr(height, cv2.CV_32F, 0, 1)], axis=-1)
        self._pyramid = [(to_linear(colour), slope / np.float32(32.0 * texel))]
        while min(self._pyramid[-1][0].shape[:2]) > 8:
            self._pyramid.append((_half(self._pyramid[-1][0]), _half(self._pyramid[-1][1])))

    @property
    def colour(self) -> np.ndarray:
        """Linear colour (H, W, 3) at full resolution."""
        return self._pyramid[0][0]

    def relief(self, uv: np.ndarray, step: float) -> np.ndarray:
        """Relief (...) in metres at texels ``uv`` (..., 2), smoothed to a spacing of ``step`` metres."""
        if self._flat:
            return np.zeros(uv.shape[:-1], np.float32)
        sigma = round(0.4 * step / self.texel, 3)
        if sigma not in self._smoothed:
            self._smoothed[sigma] = cv2.GaussianBlur(self.height, (0, 0), sigma) if sigma > 0.5 else self.height
        return _sample(self._smoothed[sigma], uv.reshape(-1, 2)).reshape(uv.shape[:-1])

    def lookup(self, uv: np.ndarray, footprint: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Linear colour (N, 3) and slope (N, 2) at texels ``uv`` (N, 2), filtered to ``footprint`` (N,) metres."""
        level = np.log2(np.maximum(footprint / self.texel, 1.0))
        level = np.minimum(level, len(self._pyramid) - 1.001)
        low = level.astype(np.int32)
        share = (level - low).astype(np.float32)[:, None]
        colour = np.empty((len(uv), 3), np.float32)
        slope = np.empty((len(uv), 2), np.float32)
        for index in np.unique(low):
            rows = np.flatnonzero(low == index)
            blend = share[rows]
            fine = (uv[rows] + 0.5) / 2**index - 0.5
            coarse = (uv[rows] + 0.5) / 2 ** (index + 1) - 0.5
            below, above = self._pyramid[index], self._pyramid[index + 1]
            colour[rows] = (1 - blend) * _sample(below[0], fine) + blend * _sample(above[0], coarse)
            slope[rows] = (1 - blend) * _sample(below[1], fine) + blend * _sample(above[1], coarse)
        return colour, slope


@dataclass(frozen=True)
class Patch:
    """A grid of points that carries a material. Seen from outside, columns go right and rows go down.

    points, normal, tangent: (R, C, 3) float32; uv: (R, C, 2) texels; keep: (R - 1, C - 1) bool, the cells that exist.
    """

    points: np.ndarray
    normal: np.ndarray
    tangent: np.ndarray
    uv: np.ndarray
    material: Material
    keep: np.ndarray | None = None


@dataclass(frozen=True)
class Hits:
    """What a bundle of N rays met. depth is the ray parameter, inf where nothing was hit."""

    depth: np.ndarray
    triangle: np.ndarray
    barycentric: np.ndarray
    normal: np.ndarray


class Scene:
    """Patches in one ray-casting structure, with the light of the sky gathered beforehand on coarse grids."""

    def __init__(self, patches: list[Patch], sky: np.ndarray, ambient_step: float = 0.1) -> None:
        """``sky``: (H, W, 3) linear radiance, azimuth by elevation from the zenith down to the horizon."""
        self._sky = sky
        self._materials = list({id(p.material): p.material for p in patches}.values())
        position = {id(material): index for index, material in enumerate(self._materials)}
        vertices, triangles, owners, attributes, start = [], [], [], [], 0
        for patch in patches:
            rows, columns = patch.points.shape[:2]
            faces = _grid_faces(rows, columns, patch.keep) + start
            start += rows * columns
            vertices.append(patch.points.reshape(-1, 3))
            triangles.append(faces)
            owners.append(np.full(len(faces), position[id(patch.material)], np.int16))
            columns_of = [patch.normal, patch.tangent, patch.uv, np.zeros((rows, columns, 1))]
            attributes.append(np.concatenate(columns_of, axis=-1).reshape(rows * columns, -1).astype(np.float32))
        self._triangles = np.concatenate(triangles).astype(np.uint32)
        self._owner = np.concatenate(owners)
        self._attributes = np.concatenate(attributes)
        self._caster = o3d.t.geometry.RaycastingScene()
        points = np.ascontiguousarray(np.concatenate(vertices), np.float32)
        self._caster.add_triangles(o3d.core.Tensor.from_numpy(points), o3d.core.Tensor.from_numpy(self._triangles))
        self._attributes[:, 8] = np.concatenate([self._openness(p, ambient_step).ravel() for p in patches])

    def cast(self, origins: np.ndarray, directions: np.ndarray) -> Hits:
        """Meets of rays (N, 3), (N, 3) with the scene."""
        answer = self._caster.cast_rays(o3d.core.Tensor.from_numpy(_rays(origins, directions)))
        return Hits(
            depth=answer["t_hit"].numpy(),
            triangle=answer["primitive_ids"].numpy(),
            barycentric=answer["primitive_uvs"].numpy(),
            normal=answer["primitive_normals"].numpy(),
        )

    def hidden(self, origins: np.ndarray, directions: np.ndarray, far: float = np.inf) -> np.ndarray:
        """Which rays (N,) meet something before the parameter ``far``."""
        rays = o3d.core.Tensor.from_numpy(_rays(origins, directions))
        return self._caster.test_occlusions(rays, tnear=0.0, tfar=far).numpy()

    def radiance(self, origins: np.ndarray, directions: np.ndarray, spread: float, lottery: np.ndarray) -> np.ndarray:
        """Linear radiance (N, 3) along rays with depth-1 directions.

        Args:
            spread: width of a ray at depth 1, metres.
            lottery: (N, 2) in [0, 1), which point of the sun's disc each ray's shadow ray aims at.
        """
        hits = self.cast(origins, directions)
        length = np.linalg.norm(directions, axis=1)
        unit = directions / length[:, None]
        colour = self._sky_radiance(unit)
        met = np.flatnonzero(np.isfinite(hits.depth))
        points = origins[met] + directions[met] * hits.depth[met, None]
        attribute = self._interpolate(hits.triangle[met], hits.barycentric[met])
        normal = _unit(attribute[:, :3])
        slant = np.maximum(np.abs(np.einsum("ij,ij->i", normal, unit[met])), 0.15)
        footprint = spread * hits.depth[met] * length[met] / np.sqrt(slant)
        albedo, shading = self._surface(self._owner[hits.triangle[met]], attribute, normal, footprint)
        facing = hits.normal[met]
        facing = facing * np.sign(-np.einsum("ij,ij->i", facing, unit[met]))[:, None]
        lit = self._sunlight(points + LIFT * facing, facing, shading, lottery[met])
        open_sky = np.clip(attribute[:, 8:9], 0, 1) * (0.8 + 0.2 * shading[:, 2:3])
        light = lit[:, None] * SUN_LIGHT + open_sky * SKY_LIGHT + (1 - open_sky) * BOUNCE_LIGHT
        shaded = albedo * light / np.pi
        haze = np.exp(-hits.depth[met] * length[met] / HAZE_DISTANCE)[:, None].astype(np.float32)
        colour[met] = haze * shaded + (1 - haze) * np.array([0.52, 0.6, 0.7], np.float32)
        return colour

    def _surface(
        self, owner: np.ndarray, attribute: np.ndarray, normal: np.ndarray, footprint: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Albedo (N, 3) and relief-shaded unit normals (N, 3)."""
        albedo = np.empty((len(owner), 3), np.float32)
        slope = np.empty((len(owner), 2), np.float32)
        for index in np.unique(owner):
            rows = np.flatnonzero(owner == index)
            albedo[rows], slope[rows] = self._materials[index].lookup(attribute[rows, 6:8], footprint[rows])
        tangent = _unit(attribute[:, 3:6])
        bitangent = np.cross(tangent, normal)
        return albedo, _unit(normal - slope[:, :1] * tangent - slope[:, 1:] * bitangent)

    def _sunlight(self, points: np.ndarray, facing: np.ndarray, shading: np.ndarray, lottery: np.ndarray) -> np.ndarray:
        """Cosine of the sun (N,) where it is seen, else 0."""
        aside = _unit(np.cross(SUN, [0.0, 0.0, 1.0]))
        radius = SUN_RADIUS * np.sqrt(lottery[:, :1])
        angle = 2 * np.pi * lottery[:, 1:]
        towards = SUN + radius * (np.cos(angle) * aside + np.sin(angle) * np.cross(SUN, aside))
        cosine = np.maximum(shading @ SUN, 0) * (facing @ SUN > 0)
        asked = np.flatnonzero(cosine > 0)
        cosine[asked] *= ~self.hidden(points[asked], towards[asked])
        return cosine.astype(np.float32)

    def _interpolate(self, triangle: np.ndarray, barycentric: np.ndarray) -> np.ndarray:
        corners = self._triangles[triangle]
        second, third = barycentric[:, :1], barycentric[:, 1:]
        first = 1 - second - third
        table = self._attributes
        return first * table[corners[:, 0]] + second * table[corners[:, 1]] + third * table[corners[:, 2]]

    def _sky_radiance(self, unit: np.ndarray) -> np.ndarray:
        rows, columns = self._sky.shape[:2]
        azimuth = (np.arctan2(unit[:, 0], unit[:, 1]) / (2 * np.pi) + 0.5) * (columns - 1)
        elevation = (1 - np.clip(unit[:, 2], 0, 1)) * (rows - 1)
        return _sample(self._sky, np.stack([azimuth, elevation], axis=1))

    def _openness(self, patch: Patch, step: float) -> np.ndarray:
        """Share of the sky (R, C) that each grid point sees, cosine-weighted."""
        rows, columns = patch.points.shape[:2]
        span = np.linalg.norm(np.diff(patch.points, axis=1), axis=-1).sum(1).max()
        drop = np.linalg.norm(np.diff(patch.points, axis=0), axis=-1).sum(0).max()
        take_rows = np.linspace(0, rows - 1, int(np.clip(drop / step, 3, rows))).round().astype(int)
        take_columns = np.linspace(0, columns - 1, int(np.clip(span / step, 3, columns))).round().astype(int)
        chosen = np.ix_(take_rows, take_columns)
        normal = _unit(patch.normal[chosen].reshape(-1, 3))
        points = patch.points[chosen].reshape(-1, 3) + 0.02 * normal
        directions = _hemisphere(normal, count=32)
        count = directions.shape[1]
        origins = np.repeat(points, count, axis=0)
        seen = ~self.hidden(origins, directions.reshape(-1, 3), far=30.0).reshape(-1, count)
        sky = seen * np.clip(directions[..., 2] * 4 + 0.5, 0, 1)
        coarse = sky.mean(axis=1).reshape(len(take_rows), len(take_columns)).astype(np.float32)
        smooth = cv2.GaussianBlur(coarse, (3, 3), 0.7)
        at_rows = np.interp(np.arange(rows), take_rows, np.arange(len(take_rows)))
        at_columns = np.interp(np.arange(columns), take_columns, np.arange(len(take_columns)))
        grid = np.stack(np.meshgrid(at_columns, at_rows), axis=-1)
        return _sample(smooth, grid.reshape(-1, 2)).reshape(rows, columns)


def render(scene: Scene, camera: Camera, window: tuple[int, int, int, int] | None = None, side: int = 3) -> np.ndarray:
    """Linear radiance (h, w, 3) float32 of a photo or of its ``window`` (left, top, width, height) in pixels.

    Each pixel is the mean of ``side``² rays spread evenly over its square. A pixel does not depend on the window.
    """
    left, top, width, height = window or (0, 0, camera.width, camera.height)
    columns, rows = (a.ravel() for a in np.meshgrid(np.arange(left, left + width), np.arange(top, top + height)))
    total = np.zeros((width * height, 3), np.float32)
    offsets = (np.arange(side) + 0.5) / side - 0.5
    centre = np.broadcast_to(camera.centre, (width * height, 3))
    spread = 1.0 / (camera.K[0, 0] * side)
    for number, (dy, dx) in enumerate((y, x) for y in offsets for x in offsets):
        directions = camera.directions(columns + dx, rows + dy)
        total += scene.radiance(centre, directions, spread, _lottery(columns, rows, number))
    return (total / side**2).reshape(height, width, 3)


def depth_map(scene: Scene, camera: Camera, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Depth (len(rows), len(columns)) in metres along the optical axis at pixels, inf where the sky is seen."""
    directions = camera.directions(*np.meshgrid(columns, rows)).reshape(-1, 3)
    hits = scene.cast(np.broadcast_to(camera.centre, directions.shape), directions)
    return hits.depth.reshape(len(rows), len(columns))


def develop(
    linear: np.ndarray, exposure: float | np.ndarray, seed: int, noise: float = 0.006, vignette: float = 0.16
) -> np.ndarray:
    """A sensor and a raw converter: linear radiance (H, W, 3) of a whole photo to sRGB uint8 (H, W, 3) RGB.

    ``exposure`` is one factor, or one for each of R, G, B. Lens blur, vignetting, shot and read noise, a shoulder for
    the highlights, sRGB.
    """
    height, width = linear.shape[:2]
    x = (np.arange(width) - (width - 1) / 2) / (width / 2)
    y = (np.arange(height) - (height - 1) / 2) / (width / 2)
    falloff = 1 - vignette * (x[None, :] ** 2 + y[:, None] ** 2) / 1.56
    exposed = cv2.GaussianBlur(linear, (0, 0), 0.42) * (falloff[..., None] * exposure).astype(np.float32)
    if noise:
        grain = np.random.default_rng(seed).standard_normal(linear.shape, dtype=np.float32)
        exposed += noise * grain * np.sqrt(np.maximum(exposed, 0) * 0.8 + 0.01)
    return (to_srgb(exposed) * 255 + 0.5).astype(np.uint8)


def to_linear(srgb: np.ndarray) -> np.ndarray:
    """sRGB values in [0, 1] to linear reflectance, approximated by a power, float32."""
    return np.power(np.clip(srgb, 0, 1), 2.2, dtype=np.float32)


def to_srgb(linear: np.ndarray) -> np.ndarray:
    """Linear radiance to displayed values in [0, 1], with a shoulder above 0.7."""
    linear = np.maximum(linear, 0)
    knee = 0.7
    bent = np.where(linear > knee, knee + (1 - knee) * (1 - np.exp(-(linear - knee) / (1 - knee))), linear)
    return np.power(bent, 1 / 2.2)


def _lottery(columns: np.ndarray, rows: np.ndarray, number: int) -> np.ndarray:
    """(N, 2) numbers in [0, 1) that depend on the pixel and on the sample only."""
    mixed = columns.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= rows.astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F) + np.uint64(number * 0x165667B1)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(32)
    low, high = mixed & np.uint64(0xFFFF), (mixed >> np.uint64(16)) & np.uint64(0xFFFF)
    return np.stack([low, high], axis=1).astype(np.float32) / 65536


@functools.lru_cache(maxsize=4)
def _fibonacci(count: int) -> np.ndarray:
    index = np.arange(count) + 0.5
    radius, angle = np.sqrt(index / count), index * np.pi * (3 - np.sqrt(5))
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), np.sqrt(1 - radius**2)], axis=1)


def _hemisphere(normal: np.ndarray, count: int) -> np.ndarray:
    """Cosine-weighted directions (N, count, 3) about ``normal`` (N, 3)."""
    helper = np.where(np.abs(normal[:, 2:]) < 0.9, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
    first = _unit(np.cross(normal, helper))
    frame = np.stack([first, np.cross(normal, first), normal], axis=1)
    turn = (np.arange(len(normal)) * 2.399963) % (2 * np.pi)
    cosine, sine = np.cos(turn), np.sin(turn)
    pattern = _fibonacci(count)
    x = pattern[None, :, 0] * cosine[:, None] - pattern[None, :, 1] * sine[:, None]
    y = pattern[None, :, 0] * sine[:, None] + pattern[None, :, 1] * cosine[:, None]
    local = np.stack([x, y, np.broadcast_to(pattern[:, 2], x.shape)], axis=-1)
    return local @ frame


def _grid_faces(rows: int, columns: int, keep: np.ndarray | None) -> np.ndarray:
    """Triangles (M, 3) of a grid, two for each kept cell."""
    first = np.arange(rows * columns).reshape(rows, columns)[:-1, :-1]
    first = first[keep] if keep is not None else first.ravel()
    upper = np.stack([first, first + columns, first + 1], axis=-1)
    lower = np.stack([first + 1, first + columns, first + columns + 1], axis=-1)
    return np.stack([upper, lower], axis=1).reshape(-1, 3)


def _rays(origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
    return np.concatenate([origins, directions], axis=1).astype(np.float32)


def _sample(image: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Bilinear values (N, C) or (N,) at pixels ``uv`` (N, 2). OpenCV's remap takes no side above 32,767."""
    count, width = len(uv), 4096
    grid = np.zeros((-(-count // width), width, 2), np.float32)
    grid.reshape(-1, 2)[:count] = uv
    picked = cv2.remap(image, grid[..., 0], grid[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return picked.reshape(len(grid) * width, *image.shape[2:])[:count]


def _half(image: np.ndarray) -> np.ndarray:
    odd_rows, odd_columns = image.shape[0] % 2, image.shape[1] % 2
    even = cv2.copyMakeBorder(image, 0, odd_rows, 0, odd_columns, cv2.BORDER_REPLICATE)
    return cv2.resize(even, (even.shape[1] // 2, even.shape[0] // 2), interpolation=cv2.INTER_AREA)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def save_png(path: Path, image: np.ndarray) -> None:
    """Writes grey or RGB, 8 or 16 bit, losslessly."""
    stored = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(path), stored, [cv2.IMWRITE_PNG_COMPRESSION, 9])
