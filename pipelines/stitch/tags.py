"""What a panorama's file says about itself: the EXIF of its photos, and Google's panorama tags (GPano XMP).

GPano: https://developers.google.com/streetview/spherical-metadata. ``equirectangular`` is our sphere; ``cylindrical``
is understood by phones' viewers; a plane is an ordinary picture and only says how many photos it was made of.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pipelines.core.types import Photo
from pipelines.images.exif import OWN_PANORAMA, SOFTWARE
from pipelines.images.formats import open_picture, pillow
from pipelines.stitch.projection import Canvas

_KEPT = (0x010F, 0x0110, 0x0132, 0x013B, 0x8298, 0x010E)
"""Maker, model, date, artist, copyright, description."""
_SHOT = (0x829A, 0x829D, 0x8822, 0x8827, 0x9003, 0x9004, 0x9010, 0x9011, 0x9201, 0x9202, 0x9204, 0x9207, 0x9208, 0x9209,
         0x920A, 0xA402, 0xA403, 0xA432, 0xA433, 0xA434)  # fmt: skip
"""How it was shot. Not the focal length in film's terms nor the sensor's pixels: they are no longer those of the
picture."""
_ORIENTATION, _EXIF, _GPS = 0x0112, 0x8769, 0x8825
_WIDTH, _HEIGHT = 0xA002, 0xA003
_PROJECTIONS = {"sphere": "equirectangular", "cylinder": "cylindrical"}


class Tags(NamedTuple):
    """EXIF as Pillow holds it, without its header, and XMP as text."""

    exif: Any
    xmp: str

    @property
    def exif_bytes(self) -> bytes:
        """TIFF structure that begins with ``II`` or ``MM``."""
        data = self.exif.tobytes()
        return data[6:] if data.startswith(b"Exif\0\0") else data


def make_tags(
    photos: Sequence[Photo], canvas: Canvas, size: tuple[int, int], corner: tuple[int, int], *, turned: bool
) -> Tags:
    """Tags of a panorama.

    Args:
        photos: that are in it; EXIF is that of the middle one.
        size: (width, height) of the picture, px.
        corner: (left, top) px of the canvas at which the picture begins.
        turned: whether the camera turned, rather than scanned something flat.
    """
    return Tags(_exif(photos[len(photos) // 2], size), _xmp(len(photos), canvas, size, corner, turned))


def _exif(photo: Photo, size: tuple[int, int]) -> Any:
    image = pillow()
    out = image.Exif()
    try:
        with open_picture(np.fromfile(photo.path, np.uint8)) as picture:
            source = picture.getexif()
            shot, place = source.get_ifd(_EXIF), source.get_ifd(_GPS)
            for tag in _KEPT:
                if tag in source:
                    out[tag] = source[tag]
            out.get_ifd(_EXIF).update({tag: shot[tag] for tag in _SHOT if tag in shot})
            if place:
                out.get_ifd(_GPS).update(place)
            out.tobytes()  # Damaged values are found out here, while the rest can still be written.
    except Exception:  # As in read_exif: damaged EXIF leads Pillow to many kinds of errors, and is only a loss of tags.
        out = image.Exif()
    out[_ORIENTATION], out[SOFTWARE] = 1, OWN_PANORAMA
    out.get_ifd(_EXIF).update({_WIDTH: size[0], _HEIGHT: size[1]})
    return out


def _xmp(count: int, canvas: Canvas, size: tuple[int, int], corner: tuple[int, int], turned: bool) -> str:
    values: dict[str, object] = {"StitchingSoftware": "recon", "SourcePhotosCount": count}
    projection = _PROJECTIONS.get(canvas.name) if turned else None
    values["UsePanoramaViewer"] = projection is not None
    if projection is not None:
        around = round(2 * math.pi * canvas.scale)
        left = round((canvas.origin[0] + math.pi) * canvas.scale - 0.5) + corner[0]
        if canvas.name == "sphere":
            high, top = round(math.pi * canvas.scale), round((canvas.origin[1] + math.pi / 2) * canvas.scale - 0.5)
            top += corner[1]
        else:
            high, top = size[1], 0
        values |= {
            "ProjectionType": projection,
            "FullPanoWidthPixels": max(around, size[0]),
            "FullPanoHeightPixels": max(high, size[1]),
            "CroppedAreaImageWidthPixels": size[0],
            "CroppedAreaImageHeightPixels": size[1],
            "CroppedAreaLeftPixels": left % around if size[0] < around else 0,
            "CroppedAreaTopPixels": min(max(0, top), max(high, size[1]) - size[1]),
        }
    inside = "".join(f' GPano:{name}="{value}"' for name, value in values.items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        f'xmlns:GPano="http://ns.google.com/photos/1.0/panorama/"{inside}/></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    )
