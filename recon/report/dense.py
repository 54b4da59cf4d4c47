"""The self-contained page of ``recon dense``: the cloud to turn, the mesh from around, each photo with its depth."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from html import escape
from string import Template

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import OutputError
from pipelines.core.maps import Model
from pipelines.dense.folder import DenseFolder
from pipelines.dense.picture import TURNTABLE
from pipelines.dense.result import DenseOutput, DenseResult, PhotoDepth
from pipelines.store.files import write_text
from recon.report import page, scene

MAX_POINTS = 300_000
_CARD = ("<!--dense-->", "<!--/dense-->")


def write_dense_report(folder: DenseFolder, output: DenseOutput) -> None:
    """Write ``report.html`` of a dense folder, and a card that leads there into the report of its map.

    Raises:
        OutputError: the page cannot be written.
    """
    result = output.result
    title = f"{folder.root.resolve().parent.name} · dense"
    turntable = folder.turntable.read_bytes() if result.faces and folder.turntable.is_file() else b""
    footer = "Made by recon dense. This file needs no network and can be sent as it is."
    sections, data, scripts = _sections(output, turntable), _page_data(output), (*page.SCRIPTS, "turntable.js")
    page.write_page(folder.report, title, sections, data, footer=footer, scripts=scripts)
    _tell_map(folder, output)


def _page_data(output: DenseOutput) -> dict:
    names = [row.name for row in output.result.photos]
    index = {name: number for number, name in enumerate(names)}
    return {
        "photos": [{"name": row.name, "component": 0, "facts": _facts(row)} for row in output.result.photos],
        "thumbnails": {index[name]: _base64(jpeg) for name, jpeg in output.photos.items()},
        "links": [],
        "components": [
            scene.pack(_as_model(output), index, MAX_POINTS),
            scene.pack(output.model, index, scene.MAX_POINTS),
        ],
    }


def _as_model(output: DenseOutput) -> Model:
    """The thinned cloud in the form that the 3D view shows: tracks as long as photos agree, each seen by its own."""
    points, source = output.points, output.source
    if len(points) > 2 * MAX_POINTS:
        chosen = np.sort(np.random.default_rng(1).choice(len(points), 2 * MAX_POINTS, replace=False))
        points, source = points[chosen], source[chosen]
    views = points["views"].astype(np.int64)
    return replace(
        output.model,
        xyz=np.column_stack([points[name] for name in "xyz"]).astype(np.float64),
        rgb=np.column_stack([points[name] for name in ("red", "green", "blue")]).astype(np.uint8),
        errors=np.zeros(len(points), np.float32),
        obs_point=np.repeat(np.arange(len(points), dtype=np.int32), views),
        obs_image=np.repeat(source, views).astype(np.int32),
        obs_keypoint=np.zeros(int(views.sum()), np.int32),
        obs_xy=np.zeros((int(views.sum()), 2), np.float32),
    )


def _facts(row: PhotoDepth) -> str:
    if row.why:
        return row.why
    return f"{row.points:,} points added, depth on {row.covered:.0%} of it\ncompared with {len(row.neighbours)} photos"


def _sections(output: DenseOutput, turntable: bytes) -> list[str]:
    result = output.result
    without = sum(bool(row.why) for row in result.photos)
    parts = [page.verdict("warn" if without else "good", result.verdict), _figures(result)]
    parts.append(_stage(result, len(output.model.xyz)))
    if turntable:
        parts.append(_turn(turntable, result))
    parts += [_depths(result, output), page.time_card(result.timings)]
    return [*parts, page.definitions({"Settings": result.settings, "Files": result.files})]


def _figures(result: DenseResult) -> str:
    deviations = np.array([row.deviation for row in result.photos])
    known = deviations[np.isfinite(deviations)]
    return page.figures((
        ("Points", f"{result.points:,}"),
        ("Triangles", f"{result.faces:,}" if result.faces else "–"),
        ("Depth of the map’s points", f"{np.median(known):.2%} <small>off, median</small>" if len(known) else "–"),
        ("Map’s points reached", f"{result.complete:.0%}"),
        ("Time", page.small_unit(page.duration(sum(result.timings.values())))),
        ("Peak memory", page.small_unit(page.memory(result.peak_memory))),
    ))  # fmt: skip


def _stage(result: DenseResult, sparse: int) -> str:
    drawn = min(MAX_POINTS, result.points)
    notes = f"click a camera: its photo and the points it added; {drawn:,} of {result.points:,} points drawn"
    options = f'<option value="0">Dense cloud</option><option value="1">The map’s {sparse:,} points</option>'
    chooser = f'<label class="tool"><select id="component" aria-label="Model">{options}</select></label>'
    stage = Template(page.asset("stage.html")).substitute(chooser=chooser, note=escape(notes), photos="")
    # Errors are not measured point by point, and the track of a dense point is how many photos agree about it.
    stage = re.sub(r'<option value="error">.*?</option>', "", stage)
    return stage.replace("Track length", "Photos that agree")


def _turn(turntable: bytes, result: DenseResult) -> str:
    columns, rows = TURNTABLE
    return (
        '<section class="card"><h2>Mesh</h2>'
        f'<p class="note">{result.faces:,} triangles with colours at {result.vertices:,} vertices, seen from around. '
        "Drag, or use the slider.</p>"
        f'<div class="turntable" data-columns="{columns}" data-rows="{rows}" role="img" aria-label="The mesh">'
        f'<img src="data:image/jpeg;base64,{_base64(turntable)}" alt="The mesh from {columns * rows} sides"></div>'
        f'<input class="turn" type="range" min="0" max="{columns * rows - 1}" value="{columns * rows // 2}" '
        'aria-label="Turn the mesh"></section>'
    )


def _depths(result: DenseResult, output: DenseOutput) -> str:
    items = []
    for number, row in enumerate(result.photos):
        name = escape(row.name, quote=True)
        if row.name in output.maps:
            picture = f'<img src="data:image/jpeg;base64,{_base64(output.maps[row.name])}" alt="Depth of {name}">'
            near = f"{row.near:.3g} to {row.far:.3g} map units; near is red, far is blue, grey is not known"
            off = f", {row.deviation:.2%} off the map’s points" if np.isfinite(row.deviation) else ""
            words = f"{row.covered:.0%} covered{off}; {row.points:,} points"
        else:
            picture, near, words = "", "", row.why
        items.append(
            f'<figure data-pick="{number}" tabindex="0"><div><img data-thumb="{number}" alt="">{picture}</div>'
            f'<figcaption title="{escape(near, quote=True)}"><strong>{name}</strong>{escape(words)}'
            "</figcaption></figure>"
        )
    return (
        '<section class="card"><h2>Depth maps</h2><p class="note">What several photos agree about. '
        f'Near is red, far is blue, dark grey is not known.</p><div class="depths">{"".join(items)}</div></section>'
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


# --- the map's own report ---------------------------------------------------------------------------------------------


def _tell_map(folder: DenseFolder, output: DenseOutput) -> None:
    """Put a card with the cloud's figures, a picture and the way here into the map's report, if there is one."""
    path = folder.root.resolve().parent / "report.html"
    if not path.is_file() or folder.root.resolve().name != "dense":
        return
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):  # beside a COLMAP model it may be a page of somebody else
        return
    begin, end = _CARD
    text = re.sub(f"{begin}.*?{end}", "", text, flags=re.DOTALL)
    if "</main>" not in text:
        return
    head, _, tail = text.partition("</main>")
    picture = _first_turn(folder) if output.result.faces else ""
    link = f'<a href="dense/{folder.report.name}">dense/{folder.report.name}</a>'
    card = (
        f'{begin}<section class="card"><h2>Dense: {escape(output.result.verdict)}</h2>'
        f'<p class="note">The cloud, the mesh from around and the depth maps: {link}</p>{picture}</section>{end}'
    )
    try:
        write_text(path, f"{head}{card}</main>{tail}")
    except OutputError:  # the map may be read-only; the dense report is elsewhere then, and complete
        return


def _first_turn(folder: DenseFolder) -> str:
    import cv2

    pixels = cv2.imread(str(folder.turntable))
    if pixels is None:
        return ""
    columns, rows = TURNTABLE
    height, width = pixels.shape[0] // rows, pixels.shape[1] // columns
    shown = np.hstack([_cell(pixels, k, height, width, columns) for k in (1, columns * rows // 2, columns * rows - 2)])
    jpeg = cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, 82])[1].tobytes()
    return f'<img style="max-width:100%" src="data:image/jpeg;base64,{_base64(jpeg)}" alt="The mesh from three sides">'


def _cell(pixels: NDArray, number: int, height: int, width: int, columns: int) -> NDArray:
    row, column = divmod(number, columns)
    return pixels[row * height : (row + 1) * height, column * width : (column + 1) * width]
