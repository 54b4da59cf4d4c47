"""The report's tables and lists: photos, photos left out, weakest links, settings. Every name is escaped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from pipelines.core.groups import Groups
from pipelines.core.maps import MapSummary, PhotoRow

# Column title, shown as, sorted first.
_COLUMNS = (
    ("Photo", "left", "ascending"),
    ("In the model", "left", "ascending"),
    ("Keypoints", "", "descending"),
    ("Verified matches", "", "descending"),
    ("Best partner", "left", "ascending"),
    ("Observations", "", "descending"),
    ("Error, px", "", "ascending"),
    ("Focal, px", "", "descending"),
    ("Camera from", "left", "ascending"),
)

# What a table says for Camera.source.
CAMERA_SOURCES = {"given": "you", "exif": "EXIF", "guess": "a guess", "map": "the map"}


def cut_name(name: str) -> str:
    """HTML of a photo's name, of which a narrow column shows the end: it tells a photo from its neighbours."""
    text = escape(name, quote=True)
    return f'<span class="cut" title="{text}"><bdi dir="ltr">{text}</bdi></span>'


def _status(component: int | None, models: int) -> str:
    """In which model a photo is; just "yes" where there is only one."""
    if component is None:
        return '<span class="tag out">no</span>'
    return f'<span class="tag">{"yes" if models == 1 else f"model {component}"}</span>'


def photo_facts(row: PhotoRow) -> str:
    """Two short lines about a photo, for the card in the 3D view."""
    if row.component is None:
        return f"{row.keypoints:,} keypoints, {row.verified:,} verified matches\nnot in a model"
    return (
        f"{row.observations:,} of {row.keypoints:,} keypoints in use\n"
        f"error {row.error:.2f} px, focal length {row.focal_px:,.0f} px"
    )


def _photo_row(index: int, row: PhotoRow, models: int, top: int) -> str:
    name = escape(row.name, quote=True)
    inside = row.component is not None
    best = "–"
    if row.best:
        best = f'<div class="best">{cut_name(row.best[0])}<small>{row.best[1]:,}</small></div>'
    known = inside and math.isfinite(row.error)
    focal = f"{row.focal_px:,.0f}" if math.isfinite(row.focal_px) and row.focal_px > 0 else "–"
    meter = f'<span class="meter"><i style="width:{100 * row.observations / max(top, 1):.0f}%"></i></span>'
    cells = (
        (name, "left", f'<div class="photo"><img data-thumb="{index}" alt="">{cut_name(row.name)}</div>'),
        (-1 if row.component is None else row.component, "left", _status(row.component, models)),
        (row.keypoints, "", f"{row.keypoints:,}"),
        (row.verified, "", f"{row.verified:,}"),
        (escape(row.best[0], quote=True) if row.best else "", "left soft", best),
        (row.observations if inside else "", "", f"{row.observations:,}{meter}" if inside else "–"),
        (f"{row.error:.6f}" if known else "", "", f"{row.error:.2f}" if known else "–"),
        (row.focal_px if focal != "–" else "", "", focal),
        (row.camera_source, "left soft", escape(CAMERA_SOURCES.get(row.camera_source, row.camera_source))),
    )
    body = "".join(f'<td class="{kind}" data-key="{key}">{text}</td>' for key, kind, text in cells)
    return f'<tr data-pick="{index}" tabindex="0" data-name="{name}">{body}</tr>'


def photo_table(rows: Sequence[PhotoRow]) -> str:
    """The sortable table of all readable photos; a row's ``data-pick`` is the photo's index."""
    models = len({row.component for row in rows if row.component is not None})
    heads = "".join(
        f'<th class="{kind}" data-first="{first}" scope="col"{" aria-sort=ascending" if not k else ""}>'
        f'<button type="button">{title}</button></th>'
        for k, (title, kind, first) in enumerate(_COLUMNS)
    )
    top = max((row.observations for row in rows), default=0)
    body = "".join(_photo_row(index, row, models, top) for index, row in enumerate(rows))
    search = '<input id="search" type="search" placeholder="Find a photo" aria-label="Find a photo">'
    return (
        '<section class="card"><div class="headline"><div><h2>Photos</h2>'
        f"<p>{'Click a row to see the photo’s camera and points in the 3D view.' if models else ''}</p></div>"
        f"{search if len(rows) > 20 else ''}</div>"
        f'<div class="scroll" tabindex="0"><table class="sortable" id="photos"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table></div></section>"
    )


def left_out(summary: MapSummary) -> str:
    """Photos in no model and files that were no photos: why, and what to try. Empty if there are none."""
    index = {row.name: k for k, row in enumerate(summary.photos)}
    items = []
    for photo in summary.unregistered:
        number = index.get(photo.name)
        image = "" if number is None else f'<img data-thumb="{number}" alt="">'
        items.append(_left_out_item(image, photo.name, "", photo.why, photo.try_))
    for file in summary.rejected:
        mark = '<span class="none" aria-hidden="true">?</span>'
        items.append(_left_out_item(mark, file.name, "not usable", file.why, file.try_))
    if not items:
        return ""
    count = len(items)
    parts = [f"{len(summary.unregistered)} not in a model"] if summary.unregistered else []
    if summary.rejected:
        parts.append(f"{len(summary.rejected)} not usable as {'a photo' if len(summary.rejected) == 1 else 'photos'}")
    return (
        f'<section class="card"><h2>Left out: {count} file{"s" if count != 1 else ""}</h2>'
        f'<p class="note">{", ".join(parts)}. Why, and what to try:</p>'
        f'<ul class="left-out">{"".join(items)}</ul></section>'
    )


def _left_out_item(image: str, name: str, kind: str, why: str, try_: str) -> str:
    label = f'<span class="kind">{kind}</span>' if kind else ""
    advice = f'<p class="try"><b>Try:</b> {escape(try_)}</p>' if try_ else ""
    return f"<li>{image}<div><strong>{escape(name)}</strong>{label}<p>{escape(why)}</p>{advice}</div></li>"


def weakest_links(summary: MapSummary, count: int = 10) -> list[tuple[int, int, int, int]]:
    """The pairs on which the models hang: the thinnest edges of the maximum spanning forest of verified matches.

    Only pairs within one model count. Returns photo indices a, b, verified and raw matches, thinnest first.
    """
    index = {row.name: k for k, row in enumerate(summary.photos)}
    component = {row.name: row.component for row in summary.photos}
    groups, forest = Groups(len(summary.photos)), []
    for a, b, verified, raw in sorted(summary.links, key=lambda link: -link[2]):
        if component.get(a) is None or component.get(a) != component.get(b):
            continue
        if groups.join(index[a], index[b]):
            forest.append((index[a], index[b], verified, raw))
    return forest[::-1][:count]


def link_table(summary: MapSummary) -> str:
    """The weakest links as a card's body; a sentence where there are none."""
    links = weakest_links(summary)
    if not links:
        return '<p class="note">No two photos of a model are linked by verified matches.</p>'
    rows = []
    for a, b, verified, raw in links:
        first, second = (f'<td class="left name">{cut_name(summary.photos[k].name)}</td>' for k in (a, b))
        share = f"{verified / raw:.0%}" if raw else "–"
        rows.append(
            f'<tr data-pick="{b}">{first}{second}<td>{verified:,}</td><td class="soft">{raw:,}</td>'
            f'<td class="soft">{share}</td></tr>'
        )
    return (
        '<div class="scroll plain"><table><thead><tr><th class="left">Photo</th><th class="left">Photo</th>'
        "<th>Verified</th><th>Matches</th><th>Kept</th></tr></thead><tbody>" + "".join(rows) + "</tbody></table></div>"
    )


def definition_list(values: Mapping[str, str]) -> str:
    """Names and values in two columns."""
    items = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in values.items())
    return f'<dl class="list">{items}</dl>'
