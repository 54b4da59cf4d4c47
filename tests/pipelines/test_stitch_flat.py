"""Scans and photos of flat things: maps against those they were made with."""

from __future__ import annotations

import cv2
import numpy as np
import PIL.Image
import pytest

from pipelines.core.errors import ConfigError, NoModelError
from pipelines.core.progress import Silent
from pipelines.stitch.flat import lay_out_flat
from pipelines.stitch.photos import find_photos
from pipelines.stitch.run import StitchConfig, stitch
from pipelines.stitch.told import plain


def page() -> np.ndarray:
    """A 900 x 700 page full of shapes."""
    random = np.random.default_rng(7)
    out = np.full((700, 900, 3), 235, np.uint8)
    for _ in range(500):
        x, y, r = random.integers(0, 900), random.integers(0, 700), int(random.integers(4, 22))
        tint = random.integers(0, 220, 3).tolist()
        if random.random() < 0.5:
            cv2.circle(out, (int(x), int(y)), r, tint, -1, cv2.LINE_AA)
        else:
            cv2.putText(out, "Aq7&"[r % 4], (int(x), int(y)), cv2.FONT_HERSHEY_DUPLEX, r / 14, tint, 1, cv2.LINE_AA)
    return out


def views(folder, maps: dict[str, np.ndarray]) -> None:
    """Photos of 420 x 360 px; each map carries the page's px to the photo's."""
    whole = page()
    for name, photo_from_page in maps.items():
        photo = cv2.warpPerspective(whole, photo_from_page, (420, 360), flags=cv2.INTER_AREA, borderValue=(90, 90, 90))
        cv2.imwrite(str(folder / f"{name}.png"), photo)


def shifted(x: float, y: float, turn: float = 0.0, lean: float = 0.0) -> np.ndarray:
    cos, sin = np.cos(turn), np.sin(turn)
    return np.array([[cos, -sin, 0], [sin, cos, 0], [lean, -lean / 2, 1]]) @ np.array(
        [[1, 0, -x], [0, 1, -y], [0, 0, 1.0]]
    )


@pytest.mark.parametrize(("model", "lean"), [("affine", 0.0), ("homography", 2.5e-4)])
def test_six_parts_of_a_page_become_the_page(tmp_path, model, lean):
    maps = {
        f"{row}{column}": shifted(
            230 * column + 5 * row, 310 * row + 4 * column, 0.03 * (column - 1), lean * (column - row)
        )
        for row in (0, 1)
        for column in (0, 1, 2)
    }
    views(tmp_path, maps)
    photos, _ = find_photos([str(tmp_path)])
    (one,) = stitch(photos, [], tmp_path / "x.png", StitchConfig(mode=model), progress=Silent()).panoramas
    assert len(one.solved.members) == 6 and one.solved.rms < 0.7
    found = dict(zip([photos[i].path.stem for i in one.solved.members], one.solved.plane_from_photo, strict=True))
    # The plane is some homography of the page; all photos must agree on it.
    corners = np.array([[60, 60, 1], [360, 60, 1], [360, 300, 1], [60, 300, 1.0]])
    places, pages = [], []
    for name, plane_from_photo in found.items():
        on_page, on_plane = (corners @ np.asarray(m).T for m in (np.linalg.inv(maps[name]), plane_from_photo))
        pages.append(on_page[:, :2] / on_page[:, 2:])
        places.append(on_plane[:, :2] / on_plane[:, 2:])
    pages, places = np.concatenate(pages), np.concatenate(places)
    common, _ = cv2.findHomography(pages, places, 0)
    carried = cv2.perspectiveTransform(pages[None], common)[0]
    assert np.linalg.norm(carried - places, axis=1).max() < 1.5
    # And the picture is the page.
    with PIL.Image.open(tmp_path / "x.png") as picture:
        made = np.asarray(picture.convert("RGBA")).astype(float)
    origin = np.array([[1, 0, -one.canvas.origin[0]], [0, 1, -one.canvas.origin[1]], [0, 0, 1]])
    meant = cv2.warpPerspective(page(), origin @ common, made.shape[1::-1])[..., ::-1]
    inside = cv2.erode((made[..., 3] > 0).astype(np.uint8), np.ones((15, 15), np.uint8)) > 0
    on_page = cv2.warpPerspective(np.full((700, 900), 255, np.uint8), origin @ common, made.shape[1::-1]) == 255
    assert np.abs(made[..., :3] - meant)[inside & on_page].mean() < 8
    told = plain_of(one, photos)
    assert set(told["photos"][0]) == {"name", "plane_from_photo", "shift", "gains"} and told["projection"] == "flat"


def plain_of(one, photos):
    from pipelines.stitch.run import StitchResult

    return plain(StitchResult(tuple(photos), (one,), (), {}))["panoramas"][0]


def test_what_reaches_beyond_the_horizon_is_refused():
    with pytest.raises(NoModelError, match="horizon"):
        lay_out_flat(np.array([[[1, 0, 0], [0, 1, 0], [-0.004, 0, 1.0]]]), [(400, 300)], 1.0)


def test_modes_are_checked():
    with pytest.raises(ConfigError, match="no mode 'scan'"):
        StitchConfig(mode="scan")
    with pytest.raises(ConfigError, match="no projection sphere"):
        StitchConfig(mode="affine", projection="sphere")
