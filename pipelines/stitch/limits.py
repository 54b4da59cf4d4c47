"""Whether a panorama can be made at all: its size is told before memory is taken."""

from __future__ import annotations

import math

from pipelines.core.errors import ConfigError
from pipelines.stitch.projection import Canvas

_BYTES = {False: 10, True: 14}
"""Memory per canvas pixel of 8 and of 16 bit: the picture, its mask, and what its file is made from."""
_LEAST = 32
"""px a side."""
_FIXED = 1.2e9
"""Memory beside: decoded photos and a tile with its pyramids."""


def check_size(canvas: Canvas, max_megapixels: float, *, deep: bool = False, longest: int = 1 << 30) -> None:
    """Refuse a canvas that is too large, before memory is taken, or too small to show anything.

    Args:
        max_megapixels: that the user allows.
        deep: whether it may become one of 16 bit.
        longest: side that the file's format can hold, px.

    Raises:
        ConfigError: with the scale that would fit.
    """
    if min(canvas.width, canvas.height) < _LEAST:
        raise ConfigError(
            f"The panorama would have {canvas.width:,} x {canvas.height:,} pixels",
            f"less than {_LEAST} a side show nothing",
            "a larger --scale",
        )
    pixels, per_pixel = float(canvas.width) * canvas.height, _BYTES[deep]
    room = max(0.8 * _memory() - _FIXED, 0.1e9) / per_pixel
    most = min(max_megapixels * 1e6, room)
    side = max(canvas.width, canvas.height)
    if pixels <= most and side <= longest:
        return
    what = f"The panorama would have {canvas.width:,} x {canvas.height:,} pixels"
    curved = ", or --projection cylinder or sphere" if canvas.name == "plane" else ""
    if pixels <= most:
        why = f"a file of this format has at most {longest:,} a side"
        raise ConfigError(what, why, f"-o NAME.tif, --scale {0.98 * longest / side:.2g}{curved}")
    why = f"{math.ceil(pixels / 1e4) / 100:,g} megapixels are more than the {max_megapixels:g} of --max-megapixels"
    if room < max_megapixels * 1e6:
        needed, free = ((count * per_pixel + _FIXED) / 1e9 for count in (pixels, room))
        why = f"{pixels / 1e6:,.0f} megapixels take about {needed:.1f} GB, more than the {free:.1f} GB that are free"
    raise ConfigError(what, why, f"--scale {0.98 * math.sqrt(most / pixels):.2g}{curved}")


def _memory() -> float:
    """Bytes that can be had: free ones, and those that the system's file cache would give back."""
    try:
        with open("/proc/meminfo", encoding="utf-8") as lines:
            return next(1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):  # No Linux: let --max-megapixels decide.
        return math.inf
