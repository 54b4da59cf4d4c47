"""Intrinsics as a user gives them: numbers, COLMAP's cameras.txt, or JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path

from pipelines.core.errors import ConfigError
from pipelines.images.cameras import MODELS, NEUTRAL, Intrinsics, check_model, named


def parse_intrinsics(text: str) -> Intrinsics:
    """Intrinsics from what a user gives on the command line.

    - numbers: ``f,cx,cy`` or ``fx,fy,cx,cy`` or all parameters of a model, the centre of the top-left pixel at
      (0, 0) as in OpenCV's calibration; ``@WxH`` behind them names the size of the photos they were measured on;
    - a file in COLMAP's cameras.txt format with one camera;
    - a JSON file with ``fx fy cx cy`` (or ``fl_x fl_y``, nerfstudio's) or a 3x3 ``K`` or ``camera_matrix``, and if
      known ``k1 k2 p1 p2 k3 k4 k5 k6`` or ``dist``, ``width height`` (or ``w h``), and ``model`` with its own
      parameters under COLMAP's names (``omega``, ``alpha`` …).

    Raises:
        ConfigError: if neither numbers nor a readable file were given, or the numbers make no sense.
    """
    path = Path(text).expanduser()
    if path.suffix.lower() not in (".txt", ".json") and not path.is_file():
        return intrinsics_of_numbers(text)
    try:
        content = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The intrinsics {text!r} cannot be read", str(error), "check the name") from error
    found = _from_json(content, text) if content.lstrip().startswith("{") else _from_cameras_txt(content, text)
    _check_numbers(found, text)
    return found


def intrinsics_of_numbers(text: str) -> Intrinsics:
    """The numbers of :func:`parse_intrinsics`; no file is ever read, whatever the text is.

    Raises:
        ConfigError: it holds no numbers, or they make no sense.
    """
    numbers, _, size = text.partition("@")
    found = Intrinsics(_numbers(re.split(r"[,;\s]+", numbers.strip()), text), _size(size, text) if size else None)
    _check_numbers(found, text)
    return found


def _bad(text: str, why: str) -> ConfigError:
    return ConfigError(f"The intrinsics {text!r} cannot be used", why, "e.g. --intrinsics 1380,768,512@1536x1024")


def _numbers(words: Sequence[str], text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in words)
    except ValueError as error:
        raise _bad(text, f"they are neither a file nor numbers with commas ({error})") from None


def _size(size: str, text: str) -> tuple[int, int]:
    match = re.fullmatch(r"\s*(\d+)\s*[xX×]\s*(\d+)\s*", size)
    if not match or not int(match[1]) or not int(match[2]):
        raise _bad(text, f"{size!r} is no size in pixels")
    return int(match[1]), int(match[2])


def _check_numbers(found: Intrinsics, text: str) -> None:
    if not all(math.isfinite(value) for value in found.params):
        raise _bad(text, "a number is not finite")
    if len(found.params) < 3:
        raise _bad(text, f"{len(found.params)} numbers are too few")
    if found.params[0] <= 0:
        raise _bad(text, f"the focal length {found.params[0]:g} is not above 0")


def _from_cameras_txt(content: str, text: str) -> Intrinsics:
    lines = [line.split() for line in content.splitlines() if line.strip() and not line.startswith("#")]
    if len(lines) != 1:
        raise _bad(text, f"the file holds {len(lines)} cameras, not one")
    if len(lines[0]) < 7:
        raise _bad(text, "a line of cameras.txt is: id, model, width, height, parameters")
    model = check_model(lines[0][1])
    values = named(_numbers(lines[0][4:], text), model)
    values["cx"] -= 0.5
    values["cy"] -= 0.5
    return Intrinsics(tuple(values.values()), _size("x".join(lines[0][2:4]), text), model)


_JSON_NAMES = {"fl_x": "fx", "fl_y": "fy", "w": "width", "h": "height", "camera_model": "model", "camera_matrix": "K"}
_JSON_DISTORTION = ("dist", "dist_coeffs", "distortion_coefficients")
_OPENCV_ORDER = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")


def _from_json(content: str, text: str) -> Intrinsics:
    try:
        raw = json.loads(content)
        data = {_JSON_NAMES.get(key, key): value for key, value in raw.items()}
        if "K" in data:
            k = data["K"]
            data.update(fx=k[0][0], fy=k[1][1], cx=k[0][2], cy=k[1][2])
        for key in _JSON_DISTORTION:
            data.update(zip(_OPENCV_ORDER, (float(value) for value in data.get(key, ())), strict=False))
        model = check_model(str(data["model"])) if data.get("model") else ""
        data.setdefault("fx", data.get("f"))
        data["fy"] = data.get("fy") or data["fx"]
        # nerfstudio follows COLMAP's pixels, K and cx, cy those of OpenCV.
        shift = 0.5 if "fl_x" in raw else 0.0
        named_so = (*_OPENCV_ORDER, *MODELS.get(model, ()))
        values = {name: float(data[name]) for name in named_so if data.get(name)}
        values.update({name: float(data[name]) for name in ("fx", "fy", "cx", "cy")})
        values.update(cx=values["cx"] - shift, cy=values["cy"] - shift)
        size = (int(data["width"]), int(data["height"])) if "width" in data and "height" in data else None
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise _bad(text, f"the JSON file lacks fx, fy, cx, cy or K ({error})") from None
    model = model or next(name for name in ("PINHOLE", "OPENCV", "FULL_OPENCV") if set(values) <= set(MODELS[name]))
    if "f" in MODELS[model]:
        values["f"] = (values["fx"] + values["fy"]) / 2
        values.setdefault("k", values.get("k1", 0.0))
    return Intrinsics(tuple(values.get(name, NEUTRAL.get(name, 0.0)) for name in MODELS[model]), size, model)
