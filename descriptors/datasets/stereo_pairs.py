"""Made stereo pairs with exact disparities: photos on slanted and curved pieces in front of each other, seen twice.

For training and choosing matching costs. Occlusions, borders, thin things, low texture, printed sheets and two cameras
that expose, blur and scatter differently are in them; no benchmark's picture is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from descriptors.datasets.scenes import DataError

_FINE = 2
"""Subpixels along each side of a pixel while pieces are drawn."""
Plane = NDArray[np.float32]


@dataclass(frozen=True)
class PairRange:
    """What made pairs look like.

    Attributes:
        width, height: pixels.
        largest: disparities stay below this.
        pieces: fewest and most pieces in front of the background.
        gain, gamma: spread (standard deviation of the logarithm) of either camera's exposure and curve.
        noise: largest standard deviation of sensor noise, grey values.
        blur: largest standard deviation of the lens's blur, px.
        alike: share of the pairs taken by one and the same camera, whose noise is at most a third of that.
        flat: share of the pieces whose texture is faded.
        printed: share of the pieces that wear a printed sheet, not a photo.
        fine: middle of the logarithm of how many texels fall on a pixel: the larger, the sharper.
    """

    width: int = 448
    height: int = 368
    largest: int = 60
    pieces: tuple[int, int] = (4, 14)
    gain: float = 0.06
    gamma: float = 0.05
    noise: float = 3.0
    blur: float = 0.6
    alike: float = 0.5
    flat: float = 0.3
    printed: float = 0.15
    fine: float = 0.3


@dataclass(frozen=True)
class Camera:
    """How a camera turns light into grey values.

    Attributes:
        gain, gamma: of its exposure and curve.
        noise: standard deviation, grey values.
        blur: standard deviation, px.
    """

    gain: float = 1.0
    gamma: float = 1.0
    noise: float = 0.0
    blur: float = 0.0


@dataclass(frozen=True)
class StereoPair:
    """A rectified pair; taken by cameras, or the light itself, without noise, as :func:`made_light` leaves it.

    Attributes:
        left, right: (H,W,3) uint8 RGB.
        disparity: (H,W) float32 x_left - x_right at pixels of the left picture.
        visible: (H,W) bool, whether the right picture shows the place too.
    """

    left: NDArray[np.uint8]
    right: NDArray[np.uint8]
    disparity: Plane
    visible: NDArray[np.bool_]


@dataclass
class _Piece:
    """A textured sheet; ``mask`` over the extended left picture, None for the background; disparities 0.5 to most."""

    most: float
    photo: NDArray[np.uint8]
    lift: NDArray[np.float64]  # disparity = lift · (1, x, y) + wave
    wave: NDArray[np.float64]  # amplitude, frequency along x and y, phase
    texture: NDArray[np.float64]  # (2,3) affine map of left pixels to the photo
    fade: float
    mask: NDArray[np.uint8] | None = None
    tint: NDArray[np.float32] = field(default_factory=lambda: np.ones(3, np.float32))

    def disparity(self, x: Plane, y: Plane) -> Plane:
        a, b, c = self.lift.tolist()
        high, fx, fy, phase = self.wave.tolist()
        lift = a + b * x + c * y
        return np.clip(lift + high * np.sin(fx * x + fy * y + phase) if high else lift, 0.5, self.most)

    def colour(self, x: Plane, y: Plane) -> NDArray[np.float32]:
        m = self.texture.tolist()
        u, v = m[0][0] * x + m[0][1] * y + m[0][2], m[1][0] * x + m[1][1] * y + m[1][2]
        seen = cv2.remap(self.photo, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101).astype(np.float32)
        middle = seen.mean(axis=(0, 1), keepdims=True)
        return (middle + (seen - middle) * self.fade) * self.tint

    def part(self, shape: tuple[int, int]) -> tuple[slice, slice]:
        """Fine rows and columns outside of which neither picture (``shape``) shows it."""
        if self.mask is None:
            return slice(0, shape[0]), slice(0, shape[1])
        rows, columns = np.flatnonzero(self.mask.any(axis=1)), np.flatnonzero(self.mask.any(axis=0))
        if not len(rows):
            return slice(0, 0), slice(0, 0)
        first = max(0, int(columns[0]) - round(_FINE * (self.most + 1)))
        return slice(int(rows[0]), int(rows[-1]) + 1), slice(first, min(shape[1], int(columns[-1]) + 1))

    def covers(self, x: Plane, y: Plane) -> NDArray[np.bool_]:
        if self.mask is None:
            return np.ones(x.shape, bool)
        at = (x + 0.5) * _FINE - 0.5, (y + 0.5) * _FINE - 0.5
        return cv2.remap(self.mask, *at, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT) > 0  # type: ignore[call-overload]


def made_light(photos: Sequence[NDArray[np.uint8]], limits: PairRange, rng: np.random.Generator) -> StereoPair:
    """What falls into the two cameras where surfaces wear the photos (H,W,3), each pixel the mean of its subpixels.

    The same generator state gives the same pair.
    """
    pieces = _pieces(photos, limits, rng)
    height, width = limits.height, limits.width
    x, y = (((np.arange(_FINE * n, dtype=np.float32) + 0.5) / _FINE - 0.5) for n in (width, height))
    across, along = (np.ascontiguousarray(axis, np.float32) for axis in np.meshgrid(x, y))
    left, near = _seen(pieces, across, along, shifted=False)
    right, far = _seen(pieces, across, along, shifted=True)
    disparity = _at_pixels(near)
    other = _at_pixels(far)
    columns = np.arange(width, dtype=np.float32)[None] - disparity
    rows = np.repeat(np.arange(height, dtype=np.float32)[:, None], width, axis=1)
    met = cv2.remap(other, columns, rows, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=-99.0)
    visible = (np.abs(met - disparity) < 0.75) & (columns >= 0)
    return StereoPair(_levels(left, limits), _levels(right, limits), disparity, visible)


def cameras(limits: PairRange, rng: np.random.Generator) -> tuple[Camera, Camera]:
    """Two cameras within the limits, either alike or not."""
    alike = rng.random() < limits.alike
    most = limits.noise / 3 if alike else limits.noise

    def one() -> Camera:
        gain, gamma = (float(np.exp(rng.normal(0, spread))) for spread in (limits.gain, limits.gamma))
        return Camera(gain, gamma, rng.uniform(min(0.3, most), most), rng.uniform(0, limits.blur))

    first = one()
    return first, first if alike else one()


def taken(light: NDArray, camera: Camera, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Grey values or colours (H,W) or (H,W,3), 0 to 255, as the camera stores them."""
    seen = light.astype(np.float32)
    if camera.blur > 0.15:
        seen = np.asarray(cv2.GaussianBlur(seen, (0, 0), camera.blur), np.float32)
    noise = rng.standard_normal(seen.shape, np.float32) * np.float32(camera.noise)
    return np.clip(np.rint(exposed(seen, camera) + noise), 0, 255).astype(np.uint8)


def exposed(light: NDArray, camera: Camera) -> NDArray:
    """Grey values through the camera's curve, neither blurred nor rounded."""
    return 255 * (light / 255) ** camera.gamma * camera.gain


def read_pair(folder: Path) -> StereoPair:
    """A rendered pair from a folder as Middlebury 2014 and ``sample_data.rooms`` have them.

    Raises:
        DataError: a picture, the disparity or the mask is missing or not readable.
    """
    names = ("im0.png", "im1.png", "disp0.pfm", "mask0nocc.png")
    read = [cv2.imread(str(folder / name), cv2.IMREAD_UNCHANGED) for name in names]
    if any(part is None for part in read):
        raise DataError(f"{folder} is no stereo pair: {', '.join(names)} are needed.")
    left, right, disparity, mask = (np.asarray(part) for part in read)
    left, right = (np.ascontiguousarray(side[:, :, ::-1]) for side in (left, right))
    return StereoPair(left, right, np.asarray(disparity, np.float32), mask == 255)


def read_photos(paths: Sequence[Path]) -> list[NDArray[np.uint8]]:
    """RGB photos (H,W,3); files that are none are left out.

    Raises:
        DataError: there are none.
    """
    found = [photo for path in paths if (photo := cv2.imread(str(path))) is not None]
    if not found:
        raise DataError("There are no photos that made pairs could wear.")
    return [np.ascontiguousarray(photo[:, :, ::-1]) for photo in found]


def _pieces(photos: Sequence[NDArray[np.uint8]], limits: PairRange, rng: np.random.Generator) -> list[_Piece]:
    reach = limits.largest * rng.uniform(0.35, 0.95)
    back = reach * rng.uniform(0.05, 0.35)
    pieces = [_piece(photos, limits, rng, back, slant=0.04)]
    if rng.random() < 0.5:  # a floor or a ceiling that comes closer
        rise = reach * rng.uniform(0.4, 0.8) / limits.height
        floor = _piece(photos, limits, rng, back, slant=0.0)
        horizon = limits.height * rng.uniform(0.3, 0.8)
        floor.lift[:] = back - rise * horizon, 0.0, rise
        floor.mask = np.zeros((_FINE * limits.height, _FINE * (limits.width + limits.largest)), np.uint8)
        floor.mask[round(_FINE * horizon) :] = 1
        pieces.append(floor)
    for _ in range(rng.integers(limits.pieces[0], limits.pieces[1] + 1)):
        pieces.append(_piece(photos, limits, rng, rng.uniform(back, reach), slant=rng.choice([0.0, 0.06, 0.18])))
        pieces[-1].mask = _mask(limits, rng)
    return pieces


def _piece(
    photos: Sequence[NDArray[np.uint8]], limits: PairRange, rng: np.random.Generator, lift: float, slant: float
) -> _Piece:
    printed = rng.random() < limits.printed
    photo = _sheet(rng) if printed else photos[int(rng.integers(len(photos)))]
    b, c = rng.normal(0, slant, 2).clip(-0.25, 0.25)
    middle = rng.uniform(0, limits.width), rng.uniform(0, limits.height)
    steep = rng.uniform(0.01, 0.12) if rng.random() < 0.35 else 0.0
    fx, fy = rng.uniform(0.005, 0.04, 2)
    wave = np.array([steep / max(fx, fy), fx, fy, rng.uniform(0, 6.28)])
    angle, scale = rng.normal(0, 0.3), np.exp(min(rng.normal(limits.fine, 0.4), 0.75))
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    texture = np.c_[turn, rng.uniform(0, 300, 2)]
    fade = rng.uniform(0.03, 0.4) if rng.random() < limits.flat else rng.uniform(0.6, 1.2)
    plane = np.array([lift - b * middle[0] - c * middle[1], b, c])
    tint = rng.uniform(0.8, 1.3, 3).astype(np.float32)
    return _Piece(limits.largest - 2.0, photo, plane, wave, texture, fade, tint=tint)


def _sheet(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A printed sheet: even patches with sharp edges, and lines of letters."""
    high, wide = 480, 640
    sheet = np.full((high, wide, 3), rng.integers(60, 256, 3), np.uint8)
    for _ in range(rng.integers(3, 25)):
        colour = tuple(rng.integers(0, 256, 3).tolist())
        x, y = int(rng.integers(-60, wide)), int(rng.integers(-60, high))
        w, h = rng.integers(8, 220, 2).tolist()
        cv2.rectangle(sheet, (x, y), (x + w, y + h), colour, -1 if rng.random() < 0.7 else int(rng.integers(1, 7)))
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789 ,.;"))
    for _ in range(rng.integers(0, 30)):
        text = "".join(rng.choice(letters, int(rng.integers(3, 30))))
        place = int(rng.integers(-40, wide)), int(rng.integers(0, high))
        size, ink = float(np.exp(rng.uniform(-0.9, 1.2))), tuple(rng.integers(0, 256, 3).tolist())
        cv2.putText(sheet, text, place, int(rng.integers(0, 8)), size, ink, int(rng.integers(1, 4)), cv2.LINE_AA)
    return sheet


def _mask(limits: PairRange, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A polygon, an ellipse, bars, or a blob."""
    shape = _FINE * limits.height, _FINE * (limits.width + limits.largest)
    mask = np.zeros(shape, np.uint8)
    centre = np.array([rng.uniform(0, shape[1]), rng.uniform(0, shape[0])])
    size = rng.uniform(0.05, 0.4) * shape[1]
    kind = rng.integers(4)
    if kind == 0:
        angles = np.sort(rng.uniform(0, 6.28, rng.integers(3, 8)))
        ring = centre + size * rng.uniform(0.5, 1.0, (len(angles), 1)) * np.c_[np.cos(angles), np.sin(angles)]
        cv2.fillPoly(mask, [np.rint(ring).astype(np.int32)], 1)
    elif kind == 1:
        axes = (round(size * rng.uniform(0.3, 1)), round(size * rng.uniform(0.3, 1)))
        cv2.ellipse(mask, tuple(np.rint(centre).astype(int).tolist()), axes, rng.uniform(0, 180), 0, 360, 1, -1)
    elif kind == 2:
        for _ in range(rng.integers(1, 6)):
            ends = centre + rng.normal(0, size, (2, 2))
            first, second = (tuple(end.astype(int).tolist()) for end in ends)
            cv2.line(mask, first, second, 1, int(rng.integers(4, 26)) * _FINE // 2)
    else:
        coarse = rng.normal(size=(9, 12)).astype(np.float32)
        blob = cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)
        mask[blob > 0.9] = 1
    return mask


def _seen(pieces: Sequence[_Piece], x: Plane, y: Plane, *, shifted: bool) -> tuple[NDArray[np.float32], Plane]:
    """Colours and disparities of the nearest piece at fine pixels of the left or the right (``shifted``) picture."""
    nearest = np.full(x.shape, -np.inf, np.float32)
    colours = np.zeros((*x.shape, 3), np.float32)
    for piece in pieces:
        part = piece.part(x.shape)
        fixed, row = x[part], y[part]
        if not fixed.size:
            continue
        at = fixed
        if shifted:
            for _ in range(6):  # x_left = x_right + disparity(x_left), contracting
                at = fixed + piece.disparity(at, row)
        lift = piece.disparity(at, row)
        front = piece.covers(at, row) & (lift > nearest[part])
        if front.any():
            colours[part][front] = piece.colour(at, row)[front]
            nearest[part][front] = lift[front]
    return colours, nearest


def _at_pixels(fine: Plane) -> Plane:
    """Disparities of pixels: the mean of their subpixels on one surface, one of the two middle ones across an edge."""
    height, width = fine.shape[0] // _FINE, fine.shape[1] // _FINE
    parts = fine.reshape(height, _FINE, width, _FINE).transpose(0, 2, 1, 3).reshape(height, width, -1)
    ordered = np.sort(parts, axis=2)
    same = ordered[:, :, -1] - ordered[:, :, 0] < 0.5
    return np.where(same, parts.mean(axis=2), ordered[:, :, 2]).astype(np.float32)


def _levels(fine: NDArray[np.float32], limits: PairRange) -> NDArray[np.uint8]:
    """Colours of pixels, from those of their subpixels."""
    seen = cv2.resize(fine, (limits.width, limits.height), interpolation=cv2.INTER_AREA)
    return np.clip(np.rint(seen), 0, 255).astype(np.uint8)
