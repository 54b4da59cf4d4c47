"""JPEG photos with the EXIF of a small camera, and the geodesy behind their GPS tags."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

from sample_data.raytrace import Camera

ORIGIN = (37.975530, 23.722470, 62.0)
"""Latitude, longitude (degrees, WGS 84) and ellipsoidal height (m) of the world's origin; x east, y north, z up."""
MAKE, MODEL = "Recon", "Rendered R1"
SENSOR_WIDTH = 6.17
"""Width of the pretended sensor, mm."""
QUALITY = 90

_AXIS, _FLATTENING = 6378137.0, 1 / 298.257223563


def geodetic(east_north_up: np.ndarray) -> tuple[float, float, float]:
    """Latitude, longitude (degrees) and height (m) of a point of the local frame at ``ORIGIN``, to 1e-9 degrees."""
    latitude, longitude = np.deg2rad(ORIGIN[:2])
    east = np.array([-np.sin(longitude), np.cos(longitude), 0.0])
    up = np.array([np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)])
    frame = np.stack([east, np.cross(up, east), up])
    x, y, z = _earth_fixed(latitude, longitude, ORIGIN[2]) + np.asarray(east_north_up) @ frame
    squared = _FLATTENING * (2 - _FLATTENING)
    across, height = float(np.hypot(x, y)), ORIGIN[2]
    for _ in range(6):
        curvature = _AXIS / np.sqrt(1 - squared * np.sin(latitude) ** 2)
        latitude = np.arctan2(z, across * (1 - squared * curvature / (curvature + height)))
        height = across / np.cos(latitude) - _AXIS / np.sqrt(1 - squared * np.sin(latitude) ** 2)
    return float(np.rad2deg(latitude)), float(np.rad2deg(np.arctan2(y, x))), float(height)


def write_photo(path: Path, photo: np.ndarray, camera: Camera, stamp: str, gps: bool = True) -> None:
    """Writes RGB (H, W, 3) uint8 as a JPEG. ``stamp`` is EXIF's date and time, "YYYY:MM:DD HH:MM:SS".

    The focal length is rounded as cameras round it: to 0.1 mm, and to whole millimetres in terms of 35 mm film.
    """
    Image.fromarray(photo).save(path, quality=QUALITY, subsampling=2, optimize=True, exif=_exif(camera, stamp, gps))


def _exif(camera: Camera, stamp: str, gps: bool) -> Image.Exif:
    exif = Image.Exif()
    base, photo, place = ExifTags.Base, ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo
    exif.update({base.Make: MAKE, base.Model: MODEL, base.Orientation: 1, base.DateTime: stamp})
    exif[base.Software] = "recon sample_data"
    focal = float(camera.K[0, 0]) / camera.width
    exif.get_ifd(photo).update(
        {
            base.DateTimeOriginal: stamp,
            base.ExposureTime: _ratio(1, 250),
            base.FNumber: _ratio(40, 10),
            base.ISOSpeedRatings: 100,
            base.FocalLength: _ratio(round(10 * focal * SENSOR_WIDTH), 10),
            base.FocalLengthIn35mmFilm: round(36 * focal),
            base.ExifImageWidth: camera.width,
            base.ExifImageHeight: camera.height,
        }
    )
    if gps:
        latitude, longitude, height = geodetic(camera.centre)
        tag = ExifTags.GPS
        exif.get_ifd(place).update(
            {
                tag.GPSVersionID: b"\x02\x03\x00\x00",
                tag.GPSLatitudeRef: "N",
                tag.GPSLatitude: _sexagesimal(latitude),
                tag.GPSLongitudeRef: "E",
                tag.GPSLongitude: _sexagesimal(longitude),
                tag.GPSAltitudeRef: b"\x00",
                tag.GPSAltitude: _ratio(round(1000 * height), 1000),
            }
        )
    return exif


def _sexagesimal(degrees: float) -> tuple[TiffImagePlugin.IFDRational, ...]:
    """Degrees, minutes, seconds to 1e-5 arc seconds, about 0.3 mm."""
    seconds = round(degrees * 3600 * 100000)
    return _ratio(seconds // 360000000, 1), _ratio(seconds // 6000000 % 60, 1), _ratio(seconds % 6000000, 100000)


def _ratio(numerator: int, denominator: int) -> TiffImagePlugin.IFDRational:
    return TiffImagePlugin.IFDRational(numerator, denominator)


def _earth_fixed(latitude: float, longitude: float, height: float) -> np.ndarray:
    squared = _FLATTENING * (2 - _FLATTENING)
    curvature = _AXIS / np.sqrt(1 - squared * np.sin(latitude) ** 2)
    flat = (curvature + height) * np.cos(latitude)
    polar = (curvature * (1 - squared) + height) * np.sin(latitude)
    return np.array([flat * np.cos(longitude), flat * np.sin(longitude), polar])
