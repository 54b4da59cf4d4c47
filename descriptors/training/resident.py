"""Batches made on a GPU: the photos' pyramids lie there, patches are cut and changed there.

What :class:`descriptors.datasets.tracks.PatchCutter` and :func:`descriptors.training.augment.change_patches` do on the
CPU, in torch; tests hold the two together. Cutting on the CPU would keep a data-centre GPU waiting most of the time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from descriptors.training.augment import Light

# libjpeg's table for grey values (ITU T.81, Annex K.1), for quality 50.
_QUANTA = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55), (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62), (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip


class TensorCutter:
    """Cuts patches from many photos at once, whatever their sizes: all levels of all pyramids in one flat tensor."""

    def __init__(self, pyramids: Sequence[Sequence[NDArray[np.uint8]]], device: torch.device) -> None:
        """Bring pyramids, two levels an octave each, to ``device``: ``PatchCutter.pyramids``."""
        levels = [level for pyramid in pyramids for level in pyramid]
        depth = torch.tensor([len(pyramid) for pyramid in pyramids])
        sizes = torch.tensor([level.shape for level in levels])
        self._pixels = torch.from_numpy(np.concatenate([level.ravel() for level in levels])).to(device)
        self._start = (sizes.prod(dim=1).cumsum(0) - sizes.prod(dim=1)).to(device)
        self._height, self._width = sizes.to(device).unbind(1)
        self._depth = depth.to(device)
        self._first = (depth.cumsum(0) - depth).to(device)
        self._device = device

    def cut(
        self, image: NDArray[np.integer], frames: NDArray[np.float32], *, patch_size: int, magnification: float
    ) -> Tensor:
        """Patches (N,1,S,S) float32 in 0..255, whole numbers, at frames (N,2,3) of the photos of the given indices."""
        size = patch_size
        longer = np.linalg.norm(frames[:, :, :2].astype(np.float64), ord=2, axis=(1, 2))
        wanted = np.rint(2 * np.log2(np.maximum(longer * 2 * magnification / size, 1e-6))).astype(np.int64)
        owner = torch.from_numpy(image.astype(np.int64)).to(self._device)
        level = torch.minimum(torch.from_numpy(wanted).to(self._device).clamp_min(0), self._depth[owner] - 1)
        scaled = torch.from_numpy(frames).to(self._device) * torch.exp2(-(level // 2).float())[:, None, None]
        half = magnification * (2 * torch.arange(size, device=self._device) + 1 - size) / size
        place = scaled[:, :, 0, None, None] * half + (scaled[:, :, 1, None] * half)[..., None]
        place = place + scaled[:, :, 2, None, None]
        return self._sample(self._first[owner] + level, place[:, 0], place[:, 1]).round()[:, None]

    def _sample(self, level: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Bilinear values at (N,S,S) of each row's level (N,); outside, a level goes on with its edge pixels."""
        right, bottom = (self._width[level] - 1)[:, None, None], (self._height[level] - 1)[:, None, None]
        x0, y0 = x.floor(), y.floor()
        across, down = x - x0, y - y0
        columns = [(x0.long() + step).clamp_min(0).minimum(right) for step in (0, 1)]
        rows = [(y0.long() + step).clamp_min(0).minimum(bottom) * (right + 1) for step in (0, 1)]
        start = self._start[level][:, None, None]
        corners = [[self._pixels[start + row + column].float() for column in columns] for row in rows]
        top, below = (a + across * (b - a) for a, b in corners)
        return top + down * (below - top)


def change_tensor(patches: Tensor, light: Light, generator: torch.Generator) -> Tensor:
    """Patches (N,1,S,S) in 0..255 seen in another light and through a worse lens, each by itself, as whole numbers.

    As :func:`descriptors.training.augment.change_patches`, with strengths of blur and JPEG of their own for each patch.
    """
    draw = _Draw(len(patches), generator)
    grey = patches[:, 0].float()
    gamma = torch.exp(draw.normal(light.gamma) * draw.share(0.5))
    grey = 255 * (grey / 255).clamp_min(0) ** gamma[:, None, None]
    u = (2 * torch.arange(grey.shape[-1], device=grey.device) + 1 - grey.shape[-1]) / grey.shape[-1]
    on = draw.share(0.5)
    across, down = (torch.exp(draw.normal(light.slope)[:, None] * on[:, None] * u) for _ in range(2))
    grey = grey * across[:, None, :] * down[:, :, None]
    strongest = max(light.blur, 0.31)
    blurred = blur(grey, draw.uniform(0.3, strongest), strongest)
    grey = torch.where(draw.share(light.blur_share)[:, None, None], blurred, grey)
    strength = draw.uniform(0, light.noise) * draw.share(light.noise_share) * (_deviation(grey) + 1)
    grey = grey + strength[:, None, None] * torch.randn(grey.shape, generator=generator, device=grey.device)
    edge = draw.uniform(0.3, 1.5) * _deviation(grey)
    mean, chosen = grey.mean(dim=(1, 2)), draw.uniform(0, 1)
    high = torch.where(chosen < light.clip_share / 2, mean + edge, torch.inf)
    low = torch.where(chosen > 1 - light.clip_share / 2, mean - edge, -torch.inf)
    stored = grey.clamp(low[:, None, None], high[:, None, None]).clamp(0, 255).floor()
    squeezed = jpeg(stored, draw.uniform(light.jpeg[0], light.jpeg[1] + 1).floor(), draw.shift(), draw.shift())
    return torch.where(draw.share(light.jpeg_share)[:, None, None], squeezed, stored)[:, None]


def blur(grey: Tensor, deviation: Tensor, strongest: float) -> Tensor:
    """Patches (N,S,S) blurred with Gaussians of their own deviations (N,), px, mirrored at the border.

    None deviates by more than ``strongest``, which is told, since to look would be to wait for the GPU.
    """
    reach = min(grey.shape[-1] - 1, math.ceil(3 * strongest))
    steps = torch.arange(-reach, reach + 1, device=grey.device)
    weights = torch.exp(-0.5 * (steps / deviation[:, None]) ** 2)
    weights = weights / weights.sum(dim=1, keepdim=True)
    for _ in range(2):  # down the columns, then, turned, down what were the rows
        padded = functional.pad(grey[:, None], (0, 0, reach, reach), mode="reflect")[:, 0]
        total = torch.zeros_like(grey)
        for step in range(2 * reach + 1):
            total += weights[:, step, None, None] * padded[:, step : step + grey.shape[1]]
        grey = total.transpose(1, 2)
    return grey


def jpeg(grey: Tensor, quality: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Patches (N,S,S), whole numbers in 0..255, after JPEG of their own qualities (N,), 1..100.

    S is a multiple of 8. ``down`` and ``across`` (N,), 0..7, shift the blocks against the patch, which goes on at its
    other side.
    """
    count, size = len(grey), grey.shape[-1]
    place = torch.arange(size, device=grey.device)
    y, x = ((place + shift[:, None]) % size for shift in (down, across))
    row = torch.arange(count, device=grey.device)[:, None, None]
    blocks = grey[row, y[:, :, None], x[:, None, :]].reshape(count, size // 8, 8, size // 8, 8) - 128
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)[:, None, None]
    quanta = ((_table(grey.device) * scale + 50) / 100).floor().clamp(1, 255)[:, None, :, None, :]
    cosine = _cosines(grey.device)
    waves = torch.einsum("fy,naybx,gx->nafbg", cosine, blocks, cosine)
    kept = (waves / quanta).round() * quanta
    back = torch.einsum("fy,nafbg,gx->naybx", cosine, kept, cosine).reshape(count, size, size)
    result = torch.empty_like(grey)
    result[row, y[:, :, None], x[:, None, :]] = (back + 128).round().clamp(0, 255)
    return result


@lru_cache(maxsize=2)
def _table(device: torch.device) -> Tensor:
    return torch.tensor(_QUANTA, dtype=torch.float32, device=device)


@lru_cache(maxsize=2)
def _cosines(device: torch.device) -> Tensor:
    """The orthonormal matrix (8,8) of the discrete cosine transform."""
    wave, place = torch.arange(8, device=device)[:, None], torch.arange(8, device=device)
    matrix = torch.cos(math.pi * wave * (2 * place + 1) / 16) / 2
    matrix[0] /= math.sqrt(2)
    return matrix


def _deviation(grey: Tensor) -> Tensor:
    return grey.std(dim=(1, 2), correction=0)


class _Draw:
    """Random numbers, one for each of ``count`` patches."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        self._count, self._generator = count, generator

    def uniform(self, low: float, high: float) -> Tensor:
        raw = torch.rand(self._count, generator=self._generator, device=self._generator.device)
        return low + (high - low) * raw

    def normal(self, deviation: float) -> Tensor:
        return deviation * torch.randn(self._count, generator=self._generator, device=self._generator.device)

    def share(self, probability: float) -> Tensor:
        return self.uniform(0, 1) < probability

    def shift(self) -> Tensor:
        return self.uniform(0, 8).long().clamp_max(7)
