"""What a photo's EXIF says about camera, focal length, place and orientation (EXIF 2.32, CIPA DC-008)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pipelines.core.types import Exif

_MAKE, _MODEL, _ORIENTATION, _EXIF_IFD, _GPS_IFD = 0x010F, 0x0110, 0x0112, 0x8769, 0x8825
SOFTWARE = 0x0131
OWN_PANORAMA, OWN_PICTURE = "recon stitch", "recon picture"
"""What recon writes as the software of its pictures."""
_TAKEN, _FOCAL_MM, _FOCAL_35, _EXIF_WIDTH, _EXIF_HEIGHT = 0x9003, 0x920A, 0xA405, 0xA002, 0xA003
_PLANE_X, _PLANE_UNIT = 0xA20E, 0xA210
_LAT_REF, _LAT, _LON_REF, _LON, _ALT_REF, _ALT = range(1, 7)

# Millimetres per FocalPlaneResolutionUnit: 2 inch (the default), 3 centimetre; 4 and 5 are in use, not in the norm.
_UNIT_MM = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}
# COLMAP's guess of the focal length where EXIF is silent, in long sides of the photo.
FOCAL_GUESS = 1.2
_FILM_DIAGONAL = math.hypot(36, 24)
# Sensors outside these widths (mm) and focal lengths outside these shares of the long side are taken for errors.
_SENSOR_RANGE = (2.0, 60.0)
_FOCAL_RANGE = (0.2, 30.0)
# Two sources of the focal length that differ by more are not both right; 35 mm equivalents are whole numbers.
_AGREE = 0.1

# Width in mm of the sensors of cameras that write a focal length but neither its 35 mm equivalent nor a resolution
# of the focal plane that can be trusted. Makers' data sheets; all but DJI's FC330, FC6310, FC6520 and FC550, Canon's
# later EOS and Olympus's Four Thirds checked against openMVG's sensor_width_camera_database.txt (2024).
SENSOR_WIDTH_MM: Mapping[str, float] = {
    "canon eos d30": 22.7, "canon eos d60": 22.7, "canon eos 10d": 22.7, "canon eos 300d": 22.7,
    "canon eos digital rebel": 22.7, "canon eos 20d": 22.5, "canon eos 30d": 22.5, "canon eos 350d": 22.2,
    "canon eos digital rebel xt": 22.2, "canon eos 400d": 22.2, "canon eos digital rebel xti": 22.2,
    "canon eos 40d": 22.2, "canon eos 450d": 22.2, "canon eos 1000d": 22.2, "canon eos 1100d": 22.2,
    "canon eos 50d": 22.3, "canon eos 60d": 22.3, "canon eos 7d": 22.3, "canon eos 500d": 22.3,
    "canon eos 550d": 22.3, "canon eos 600d": 22.3, "canon eos 650d": 22.3, "canon eos 700d": 22.3,
    "canon eos 100d": 22.3, "canon eos m": 22.3, "canon eos 70d": 22.5, "canon eos 80d": 22.3,
    "canon eos 5d": 35.8, "canon eos 5d mark ii": 36.0, "canon eos 5d mark iii": 36.0, "canon eos 6d": 35.8,
    "canon eos-1d": 28.7, "canon eos-1d mark ii": 28.7, "canon eos-1d mark iii": 28.7,
    "canon eos-1d mark iv": 27.9, "canon eos-1ds": 35.8, "canon eos-1ds mark ii": 36.0,
    "canon eos-1ds mark iii": 36.0, "canon eos-1d x": 36.0,
    "canon powershot g9": 7.53, "canon powershot g10": 7.53, "canon powershot g11": 7.53,
    "canon powershot g12": 7.53, "canon powershot s90": 7.53, "canon powershot s95": 7.53,
    "canon powershot s100": 7.53, "canon powershot a620": 7.11, "canon powershot a640": 7.11,
    "canon powershot sx230 hs": 6.16, "canon powershot sx260 hs": 6.16, "canon powershot sd1000": 5.75,
    "apple iphone 4": 4.57, "apple iphone 4s": 4.57, "apple iphone 5": 4.57,
    "apple iphone 5s": 4.89, "apple iphone 6": 4.89,
    "dji fc300s": 6.16, "dji fc300x": 6.16, "dji fc350": 6.17, "dji fc330": 6.17, "dji fc550": 17.3,
    "dji fc6310": 13.2, "dji fc6520": 17.3,
    "olympus e-1": 17.3, "olympus e-300": 17.3, "olympus e-330": 17.3, "olympus e-410": 17.3,
    "olympus e-420": 17.3, "olympus e-500": 17.3, "olympus e-510": 17.3, "olympus e-520": 17.3,
}  # fmt: skip


def read_exif(picture: Any, width: int, height: int) -> Exif:
    """EXIF of an open Pillow picture.

    Args:
        picture: a ``PIL.Image.Image``; only its header is read.
        width, height: pixels of the photo, in either orientation.

    Returns:
        What could be read; damaged EXIF counts as none, never as an error.
    """
    try:
        tags = picture.getexif()
        shot, place = tags.get_ifd(_EXIF_IFD), tags.get_ifd(_GPS_IFD)
    except Exception:  # Damaged EXIF leads Pillow to many kinds of errors; the pixels may still be good.
        return Exif()
    orientation = tags.get(_ORIENTATION, 1)
    make, model = _text(tags.get(_MAKE)), _text(tags.get(_MODEL))
    return Exif(
        orientation=orientation if orientation in range(1, 9) else 1,
        make=make,
        model=model,
        focal_px=focal_in_pixels(shot, make, model, width, height),
        gps=_position(place),
        taken=_text(shot.get(_TAKEN)),
        own=_text(tags.get(SOFTWARE)) in (OWN_PANORAMA, OWN_PICTURE),
    )


def _text(value: object) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return value.replace("\0", " ").strip() if isinstance(value, str) else ""


def _number(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) else None


# --- focal length --------------------------------------------------------------------------------------------


def focal_in_pixels(shot: Mapping[int, Any], make: str, model: str, width: int, height: int) -> float | None:
    """Focal length in pixels from the EXIF sub-directory, None if it does not say.

    Sources, best first: the focal plane's resolution, the table of sensor widths, the 35 mm equivalent (a whole
    number, hence up to 2 per cent off). A better source that contradicts the 35 mm equivalent is not believed.
    The 35 mm equivalent refers to the diagonal (CIPA DCG-001), 43.27 mm on film.
    """
    long_side = max(width, height)
    equivalent = _number(shot.get(_FOCAL_35))
    by_diagonal = equivalent / _FILM_DIAGONAL * math.hypot(width, height) if equivalent and equivalent > 0 else None
    focal = _number(shot.get(_FOCAL_MM))
    found = []
    if focal and focal > 0:
        for sensor in (_sensor_of_plane(shot), SENSOR_WIDTH_MM.get(_camera_key(make, model))):
            if sensor and _SENSOR_RANGE[0] <= sensor <= _SENSOR_RANGE[1]:
                found.append(focal / sensor * long_side)
    if by_diagonal:
        found = [pixels for pixels in found if abs(pixels / by_diagonal - 1) < _AGREE] + [by_diagonal]
    sane = (pixels for pixels in found if _FOCAL_RANGE[0] <= pixels / long_side <= _FOCAL_RANGE[1])
    return next(sane, None)


def _sensor_of_plane(shot: Mapping[int, Any]) -> float | None:
    """Sensor's long side in mm: original pixels over pixels per mm. Resized copies keep the original's tags."""
    resolution = _number(shot.get(_PLANE_X))
    sides = [side for side in (_number(shot.get(_EXIF_WIDTH)), _number(shot.get(_EXIF_HEIGHT))) if side]
    unit = _UNIT_MM.get(shot.get(_PLANE_UNIT, 2))
    if not resolution or resolution <= 0 or not sides or unit is None:
        return None
    return max(sides) * unit / resolution


def _camera_key(make: str, model: str) -> str:
    """Maker and model as in the table; most models already begin with the maker's name."""
    make, model = make.lower().split(" ")[0], " ".join(model.lower().split())
    return model if model.startswith(make) else f"{make} {model}"


# --- GPS -----------------------------------------------------------------------------------------------------


def _position(place: Mapping[int, Any]) -> tuple[float, float, float] | None:
    """Latitude and longitude in degrees (south and west negative), altitude in metres."""
    latitude = _degrees(place.get(_LAT), _text(place.get(_LAT_REF)), "S", 90)
    longitude = _degrees(place.get(_LON), _text(place.get(_LON_REF)), "W", 180)
    # Cameras without a fix write zeros; nobody photographs at 0° 0'.
    if latitude is None or longitude is None or (latitude == 0 and longitude == 0):
        return None
    altitude = _number(place.get(_ALT)) or 0.0
    below = place.get(_ALT_REF) in (1, b"\1")
    return latitude, longitude, -altitude if below else altitude


def _degrees(value: object, reference: str, negative: str, limit: float) -> float | None:
    numbers = [_number(part) for part in value] if isinstance(value, (tuple, list)) else []
    if len(numbers) != 3 or any(number is None for number in numbers):
        return None
    degrees = sum(number / 60**power for power, number in enumerate(numbers) if number is not None)
    if not 0 <= degrees <= limit:
        return None
    return -degrees if reference.upper().startswith(negative) else degrees
