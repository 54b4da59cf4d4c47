"""The report: escaped, self-contained, and true to the model it shows."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from pipelines.core.errors import OutputError
from pipelines.core.maps import Camera, ComponentRow, MapSummary, Model, PhotoRow, Unregistered
from pipelines.core.types import Rejected
from recon.report import drawing, scene, tables
from recon.report.page import asset, write_report

HOSTILE = "Дом & <b>\"é' </script><script>alert(1)</script><!--.jpg"


def looking_at(eye: np.ndarray, target: np.ndarray, up: np.ndarray) -> np.ndarray:
    """(3,4) cam_from_world of a level camera, y down."""
    z = (target - eye) / np.linalg.norm(target - eye)
    x = np.cross(z, up) / np.linalg.norm(np.cross(z, up))
    rotation = np.stack([x, np.cross(z, x), z])
    return np.column_stack([rotation, -rotation @ eye])


def ring_model(names: tuple[str, ...], up: np.ndarray, points: int = 400, seed: int = 0) -> Model:
    """Cameras in a half circle around a ball of points, the world turned so that ``up`` is up."""
    rng = np.random.default_rng(seed)
    middle = np.array([10.0, -4.0, 3.0])
    side = np.cross(up, [0.31, 0.7, -0.2])
    side /= np.linalg.norm(side)
    ahead = np.cross(side, up)
    eyes = [5 * (np.cos(a) * side - np.sin(a) * ahead) + 0.3 * up for a in np.linspace(0.6, 2.4, len(names))]
    xyz = rng.normal(size=(points, 3)) * [1.0, 0.6, 0.8] + middle
    poses = np.array([looking_at(eye + middle, middle, up) for eye in eyes])
    seen = rng.random((len(names), points)) < 0.5
    seen[:2] = True
    image, point = np.nonzero(seen)
    cameras = tuple(Camera("SIMPLE_RADIAL", 640, 480, (600.0, 319.5, 239.5, 0.0), "exif") for _ in names)
    return Model(
        names=names,
        cameras=cameras,
        cam_from_world=poses,
        xyz=xyz,
        rgb=rng.integers(0, 256, (points, 3), dtype=np.uint8),
        errors=rng.gamma(2.0, 0.2, points).astype(np.float32),
        obs_image=image.astype(np.int32),
        obs_point=point.astype(np.int32),
        obs_keypoint=point.astype(np.int32),
        obs_xy=np.zeros((len(image), 2), np.float32),
    )


def summary_of(models: list[Model], left_out: tuple[str, ...] = (), rejected: tuple[str, ...] = ()) -> MapSummary:
    rows = [
        PhotoRow(name, 900, 700, (model.names[0], 80), k, 200, 0.4, 600.0, "exif")
        for k, model in enumerate(models)
        for name in model.names
    ]
    rows += [PhotoRow(name, 4, 12, None, None, 0, float("nan"), float("nan"), "guess") for name in left_out]
    links = tuple(
        (model.names[i], model.names[j], 100 * (10 - j + i), 1200)
        for model in models
        for i in range(len(model.names))
        for j in range(i + 1, len(model.names))
    )
    return MapSummary(
        verdict=f"{len(rows) - len(left_out)} of {len(rows)} photos <are> in a model.",
        photos=tuple(rows),
        rejected=tuple(Rejected(name, "it is a text file", "remove it") for name in rejected),
        unregistered=tuple(
            Unregistered(name, "12 verified matches, 30 needed", "a photo between") for name in left_out
        ),
        links=links,
        components=tuple(
            ComponentRow(f"sparse/{k}", len(m.names), len(m.xyz), len(m.obs_xy), float(m.track_lengths.mean()), 0.4)
            for k, m in enumerate(models)
        ),
        timings={"features": 3.0, "matching": 61.5},
        settings={"descriptor": "l2net", "photos": "/tmp/<photos>"},
        versions={"recon": "0.1.0"},
        peak_memory=123_000_000,
    )


def jpeg() -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (32, 24), (200, 90, 30)).save(stream, "JPEG")
    return stream.getvalue()


class Page(HTMLParser):
    """Elements, attributes and text of a page, and what its script elements hold."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.text: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script":
            self.scripts[-1] += data
        elif not self._open or self._open[-1] != "style":
            self.text.append(data)

    @property
    def data(self) -> dict:
        return json.loads(self.scripts[0])


def written(
    tmp_path: Path, summary: MapSummary, models: list[Model], thumbnails: dict[str, bytes] | None = None
) -> str:
    path = tmp_path / "report.html"
    write_report(path, summary, models, thumbnails or {}, title="a & b <i>")
    return path.read_text(encoding="utf-8")


UP = np.array([0.1, -0.9, 0.3]) / np.linalg.norm([0.1, -0.9, 0.3])


def test_names_are_escaped_everywhere(tmp_path: Path) -> None:
    model = ring_model((HOSTILE, "ordner mit leer/b.jpg", "c.jpg"), UP)
    summary = summary_of([model], left_out=("z" + HOSTILE,), rejected=("y" + HOSTILE,))
    text = written(tmp_path, summary, [model], {HOSTILE: jpeg(), "c.jpg": jpeg()})
    page = Page(text)
    # Two scripts, ours: a name that broke out would make more of them, or <b> elements inside the main part.
    assert len(page.scripts) == 2
    assert "alert(1)" not in page.scripts[1]
    assert not [tag for tag, attrs in page.elements if tag == "i" and not attrs]
    assert page.data["photos"][0]["name"] == HOSTILE
    visible = "".join(page.text)
    for name in (HOSTILE, "z" + HOSTILE, "y" + HOSTILE, "ordner mit leer/b.jpg", "/tmp/<photos>", "a & b <i>"):
        assert name in visible
    assert "photos <are> in a model" in visible


def test_page_needs_no_network(tmp_path: Path) -> None:
    model = ring_model(("a.jpg", "b.jpg", "c.jpg"), UP)
    text = written(tmp_path, summary_of([model]), [model], {"a.jpg": jpeg()})
    page = Page(text)
    for tag, attrs in page.elements:
        assert tag not in ("link", "iframe", "object", "base")
        for name in ("src", "href", "action", "srcset"):
            assert not attrs.get(name) or str(attrs[name]).startswith("data:"), (tag, attrs)
    assert not re.search(r"@import|url\(|https?://", re.sub(r"http://www\.w3\.org/\S+", "", text))
    policies = [attrs["content"] for tag, attrs in page.elements if tag == "meta" and "http-equiv" in attrs]
    assert policies and str(policies[0]).startswith("default-src 'none'")
    assert base64.b64decode(page.data["thumbnails"]["0"]) == jpeg()


def unpacked(packed: dict) -> np.ndarray:
    """(P,3) positions as the page's JavaScript reads them."""
    raw = np.frombuffer(base64.b64decode(packed["xyz"]), np.uint8).reshape(-1, 3, 3).astype(np.int64)
    steps = raw[..., 0] | raw[..., 1] << 8 | raw[..., 2] << 16
    return np.array(packed["low"]) + steps / scene.STEPS * np.array(packed["span"])


def seen_points(code: str) -> list[int]:
    out, value, shift, at = [], 0, 0, 0
    for byte in base64.b64decode(code):
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            at += value
            out.append(at)
            value = shift = 0
    return out


@pytest.mark.parametrize("up", [UP, np.array([0.0, 1.0, 0.0]), np.array([0.0, -1.0, 0.0]), np.array([1.0, 0.0, 0.0])])
def test_scene_is_upright_and_true_to_scale(up: np.ndarray) -> None:
    model = ring_model(("a", "b", "c", "d"), up)
    packed = scene.pack(model, {"a": 0, "b": 1, "c": 2, "d": 3}, 10_000)
    xyz = unpacked(packed)
    centres = np.array([camera["centre"] for camera in packed["cameras"]])
    rotations = np.array([camera["rotation"] for camera in packed["cameras"]]).reshape(-1, 3, 3)
    # One similarity takes points and cameras together; the points' pixels do not change.
    before = np.linalg.norm(model.xyz[:, None] - model.centres[None], axis=2)
    after = np.linalg.norm(xyz[:, None] - centres[None], axis=2)
    ratio = before / after
    assert np.ptp(ratio) < 1e-4 * ratio.mean()
    for pose, rotation, centre in zip(model.cam_from_world, rotations, centres, strict=True):
        assert np.linalg.det(rotation) == pytest.approx(1.0, abs=1e-5)
        local = model.xyz @ pose[:, :3].T + pose[:, 3]
        shown = (xyz - centre) @ rotation.T
        np.testing.assert_allclose(shown[:, :2] / shown[:, 2:], local[:, :2] / local[:, 2:], atol=1e-4)
    # The cameras are level, so their -y axes and the world's up are the page's +y; the eye starts above the floor.
    assert (-rotations[:, 1, 1]).min() > 0.97
    assert 0 < packed["view"]["elevation"] < 1.3
    assert np.percentile(np.linalg.norm(xyz, axis=1), 90) == pytest.approx(1.0, abs=0.01)
    for i, camera in enumerate(packed["cameras"]):
        assert seen_points(camera["seen"]) == sorted(model.obs_point[model.obs_image == i].tolist())
    left, top, right, bottom = packed["cameras"][0]["rays"]
    assert (right, bottom) == pytest.approx((320 / 600, 240 / 600), abs=1e-6)
    assert (left, top) == pytest.approx((-320 / 600, -240 / 600), abs=1e-6)


def test_up_of_photos_straight_down() -> None:
    # A survey flown to and fro: every second photo is turned by 180 degrees about the vertical.
    down = np.array([0.0, 0.0, 1.0])
    poses = []
    for i in range(6):
        x = np.array([1.0, 0.0, 0.0]) * (-1) ** i
        rotation = np.stack([x, np.cross(down, x), down])
        poses.append(np.column_stack([rotation, -rotation @ np.array([i, 0.0, -9.0])]))
    np.testing.assert_allclose(scene.up_direction(np.array(poses)), -down, atol=1e-9)


def test_far_points_are_left_out_and_many_are_thinned() -> None:
    model = ring_model(("a", "b", "c"), UP, points=1000)
    xyz = model.xyz.copy()
    xyz[7] += 1e6
    packed = scene.pack(replace(model, xyz=xyz), {"a": 0, "b": 1, "c": 2}, 300)
    shown = unpacked(packed)
    assert packed["points"] == 1000
    assert len(shown) == 300
    assert np.linalg.norm(shown, axis=1).max() < scene.FAR
    assert max(seen_points(packed["cameras"][0]["seen"])) < 300
    assert scene.shares([900, 90, 10, 0], 100) == [90, 9, 1, 0]
    assert scene.shares([5, 6], 100) == [5, 6]


def test_varints_of_large_gaps() -> None:
    indices = np.array([0, 1, 127, 128, 20_000, 2_200_000, 2_200_001, 300_000_000])
    assert seen_points(base64.b64encode(scene._varints(indices)).decode()) == indices.tolist()


def test_models_without_points_or_a_single_camera() -> None:
    model = ring_model(("a", "b"), UP)
    bare = replace(model, xyz=np.zeros((0, 3)), rgb=np.zeros((0, 3), np.uint8), errors=np.zeros(0, np.float32))
    none = np.zeros(0, np.int32)
    bare = replace(bare, obs_image=none, obs_point=none, obs_keypoint=none, obs_xy=np.zeros((0, 2), np.float32))
    packed = scene.pack(bare, {}, 100)
    assert packed["points"] == 0 and all(np.isfinite(camera["centre"]).all() for camera in packed["cameras"])
    assert json.dumps(packed, allow_nan=False)
    assert "<svg" in drawing.track_histogram(bare.track_lengths) and "<svg" in drawing.error_histogram(bare.errors)


def test_report_of_several_models(tmp_path: Path) -> None:
    models = [ring_model(("a1", "a2", "a3", "a4"), UP), ring_model(("b1", "b2"), UP, seed=1)]
    page = Page(written(tmp_path, summary_of(models, left_out=("x",)), models))
    assert [len(component["cameras"]) for component in page.data["components"]] == [4, 2]
    options = [attrs for tag, attrs in page.elements if tag == "option" and str(attrs["value"]).isdigit()]
    assert len(options) == 2
    assert any(tag == "div" and attrs.get("class") == "verdict warn" for tag, attrs in page.elements)
    assert "x12 verified matches, 30 neededTry: a photo between" in "".join(page.text)


def test_a_model_within_another_counts_once(tmp_path: Path) -> None:
    whole = ring_model(("a", "b", "c", "d"), UP, points=500)
    part = ring_model(("b", "c"), UP, points=60, seed=2)
    summary = summary_of([whole, part])
    summary = replace(summary, photos=tuple(row for row in summary.photos if row.component == 0))
    text = written(tmp_path, summary, [whole, part])
    page = Page(text)
    assert any(attrs.get("class") == "verdict good" for _, attrs in page.elements)
    assert "<dd>500</dd>" in text and "in 2 models" not in text
    assert len(page.data["components"]) == 2  # it can still be looked at


def test_report_of_a_failed_run(tmp_path: Path) -> None:
    summary = replace(summary_of([], left_out=("a.jpg", "b.jpg")), verdict="No model could be made.")
    page = Page(written(tmp_path, summary, [], {"a.jpg": jpeg()}))
    assert not [tag for tag, _ in page.elements if tag == "canvas"]
    assert any(attrs.get("class") == "verdict bad" for _, attrs in page.elements)
    visible = "".join(page.text)
    assert "No model could be made." in visible and "a photo between" in visible
    empty = replace(summary, photos=(), unregistered=(), links=(), timings={}, settings={}, versions={})
    assert "No model could be made." in "".join(Page(written(tmp_path, empty, [])).text)


def test_numbers_of_the_page(tmp_path: Path) -> None:
    model = ring_model(("a", "b", "c"), UP, points=1234)
    text = written(tmp_path, summary_of([model]), [model])
    assert "1,234" in text and f"{model.track_lengths.mean():.2f}" in text
    assert "1 <small>min</small> 4 <small>s</small>" in text and "123 <small>MB</small>" in text
    bars = [
        attrs["data-tip"] for tag, attrs in Page(text).elements if tag == "rect" and "photos:" in str(attrs["data-tip"])
    ]
    assert bars == [f"points seen by {k} photos: {n}" for k, n in enumerate(np.bincount(model.track_lengths)) if n]


def test_error_histogram_counts_every_point() -> None:
    errors = np.random.default_rng(1).gamma(2.0, 0.3, 5000).astype(np.float32)
    tips = re.findall(r'data-tip="[^"]*: ([\d,]+)"', drawing.error_histogram(errors))
    assert sum(int(tip.replace(",", "")) for tip in tips) == 5000


def test_many_photos_get_a_matrix(tmp_path: Path) -> None:
    from PIL import Image

    names = tuple(f"{i:03d}.jpg" for i in range(drawing.GRAPH_LIMIT + 5))
    model = ring_model(names, UP)
    summary = replace(summary_of([model]), links=((names[1], names[0], 90, 100), (names[7], names[40], 9, 20)))
    page = Page(written(tmp_path, summary, [model]))
    assert page.data["links"] == [[0, 1, 90, 100], [7, 40, 9, 20]]
    source = next(str(attrs["src"]) for tag, attrs in page.elements if tag == "img" and attrs.get("src"))
    picture = Image.open(io.BytesIO(base64.b64decode(source.split(",")[1])))
    alpha = np.array(picture.convert("RGBA"))[:, :, 3]
    off_diagonal = alpha * (1 - np.eye(len(names), dtype=np.uint8))
    assert sorted(map(tuple, np.argwhere(off_diagonal).tolist())) == [(0, 1), (1, 0), (7, 40), (40, 7)]
    assert alpha[0, 1] > alpha[7, 40] > 0


def test_weakest_links_hold_the_model_together() -> None:
    rows = tuple(PhotoRow(name, 9, 9, None, 0, 5, 0.5, 600.0, "exif") for name in "abcd")
    rows += (PhotoRow("x", 9, 9, None, None, 0, float("nan"), 0.0, "guess"),)
    links = (("a", "b", 90, 99), ("b", "c", 80, 99), ("a", "c", 10, 99), ("c", "d", 20, 99), ("b", "d", 15, 99))
    summary = replace(summary_of([]), photos=rows, links=(*links, ("d", "x", 5, 50)))
    # a-c and b-d are weaker, but there are better ways between these photos; x is in no model.
    assert tables.weakest_links(summary) == [(2, 3, 20, 99), (1, 2, 80, 99), (0, 1, 90, 99)]
    assert tables.weakest_links(summary, 1) == [(2, 3, 20, 99)]


def test_the_last_tick_of_a_histogram_stands_clear_of_its_neighbour() -> None:
    drawn = drawing.track_histogram(np.arange(2, 60))
    texts = re.findall(r'<text x="([\d.]+)" y="235" text-anchor="middle">([\d+]+)<', drawn)
    assert [texts[0][1], texts[-1][1]] == ["2", "40+"]
    assert np.diff([float(x) for x, _ in texts]).min() > 30


def test_what_is_written_stands_out_from_its_ground() -> None:
    """WCAG's contrast of small text, 4.5, in both schemes."""
    style = asset("report.css")
    light, dark = re.findall(r":root \{(.*?)\}", style, re.DOTALL)

    def luminance(name: str, scheme: str) -> float:
        digits = re.search(rf"{name}: #(\w{{6}});", scheme)
        assert digits, name
        share = np.array([int(digits[1][k : k + 2], 16) for k in (0, 2, 4)]) / 255
        return float(
            np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]
        )

    texts = set(re.findall(r"[; {]color: var\((--\w+)\)", style)) - {"--card", "--page"}  # on buttons and the hint
    for scheme in (light, dark):
        for text, ground in [*((text, "--card") for text in texts), ("--accent", "--accent-soft")]:
            pair = sorted((luminance(text, scheme), luminance(ground, scheme)))
            assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, (text, ground)


def test_of_a_long_name_the_end_is_shown() -> None:
    cut = tables.cut_name("day 1/" + 40 * "long " + "& 0001.jpg")
    assert Page(cut).text == ["day 1/" + 40 * "long " + "& 0001.jpg"] and 'dir="ltr"' in cut
    rule = next(line for line in asset("report.css").splitlines() if line.startswith(".cut"))
    assert "direction: rtl" in rule and "text-overflow: ellipsis" in rule


def test_labels_stay_distinct() -> None:
    assert drawing.short_names(["a/IMG_0001.jpg", "a/IMG_0002.jpg"]) == ["IMG_0001", "IMG_0002"]
    assert drawing.short_names(["a/1.jpg", "b/1.jpg"]) == ["a/1", "b/1"]
    assert drawing.short_names(["1.jpg", "1.png"]) == ["1.jpg", "1.png"]
    assert drawing.short_names(["a very long name 17.jpg"]) == ["…ong name 17"]


def test_unwritable_place_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="report"):
        write_report(tmp_path / "missing" / "report.html", summary_of([]), [], {}, title="t")


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium to open the page in")
def test_page_runs_in_a_browser(tmp_path: Path) -> None:
    model = ring_model((HOSTILE, "b.jpg", "c.jpg"), UP)
    written(tmp_path, summary_of([model]), [model], {HOSTILE: jpeg(), "c.jpg": jpeg()})
    command = ["chromium", "--headless", "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-sync"]
    command += ["--disable-background-networking", "--disable-component-update", "--use-gl=angle"]
    command += ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--virtual-time-budget=3000", "--dump-dom", (tmp_path / "report.html").as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    page = Page(dom)
    # The page's own script has run: thumbnails stand in the table, those that do not exist are gone.
    thumbnails = [attrs for tag, attrs in page.elements if tag == "img" and "data-thumb" in attrs]
    assert [str(attrs["src"])[:5] for attrs in thumbnails] == ["blob:", "blob:"]
    stage = next(attrs for tag, attrs in page.elements if attrs.get("id") == "stage")
    assert "broken" not in str(stage.get("class", "")), "the 3D view did not start"
