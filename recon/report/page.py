"""The report: one HTML file that needs nothing but a browser, put together from a map's summary and models."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

from pipelines.core.maps import MapSummary, Model
from pipelines.store.files import write_text
from recon.report import drawing, scene, tables

SCRIPTS = ("gl.js", "viewer.js", "orbit.js", "page.js")
"""What the 3D view and the tables need."""
_MARKS = {
    "good": '<path d="m9.5 16.5 4.2 4.2 8.8-9.2"/>',
    "warn": '<path d="M16 9.5v8M16 22v.1"/>',
    "bad": '<path d="m11 11 10 10M21 11 11 21"/>',
}


def write_report(
    path: Path, summary: MapSummary, models: Sequence[Model], thumbnails: Mapping[str, bytes], *, title: str
) -> None:
    """Write the report of a finished or failed run, atomically.

    Args:
        path: the HTML file.
        summary: what the run found; ``summary.components[i]`` describes ``models[i]``.
        models: the map's models, largest first; empty for a failed run, whose report is then about the reasons.
        thumbnails: photo name -> JPEG bytes, about 320 px on the long side; photos without one are shown by name.
        title: what the report is about, e.g. the photo folder's name.

    Raises:
        OutputError: the file cannot be written.
    """
    sections, data = _sections(summary, models, bool(thumbnails)), _page_data(summary, models, thumbnails)
    write_page(path, title, sections, data, footer=_footer(summary))


def write_page(
    path: Path, title: str, sections: Sequence[str], data: object, *, footer: str, scripts: Sequence[str] = SCRIPTS
) -> None:
    """Put a self-contained page together, and write it.

    Args:
        path: the HTML file.
        title: plain text.
        sections: HTML of the body.
        data: what the scripts read, as JSON takes it.
        footer: HTML.
        scripts: names of assets.

    Raises:
        OutputError: the file cannot be written.
    """
    page = Template(asset("report.html")).substitute(
        title=escape(title),
        css=asset("report.css"),
        body="\n".join(sections),
        footer=footer,
        data=json_text(data),
        script="\n".join(asset(name) for name in scripts),
    )
    write_text(path, page)


def asset(name: str) -> str:
    """Text of a file of the page."""
    return resources.files("recon.report").joinpath("assets", name).read_text(encoding="utf-8")


def json_text(data: object) -> str:
    """JSON that may stand in a script element: nothing in it can end the element or open a comment."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _page_data(summary: MapSummary, models: Sequence[Model], thumbnails: Mapping[str, bytes]) -> dict:
    index = {row.name: k for k, row in enumerate(summary.photos)}
    limits = scene.shares([len(model.xyz) for model in models], scene.MAX_POINTS)
    return {
        "photos": [
            {"name": row.name, "component": row.component, "facts": tables.photo_facts(row)} for row in summary.photos
        ],
        "thumbnails": {
            index[name]: base64.b64encode(jpeg).decode("ascii") for name, jpeg in thumbnails.items() if name in index
        },
        "links": _indexed_links(summary) if len(summary.photos) > drawing.GRAPH_LIMIT else [],
        "components": [scene.pack(model, index, limit) for model, limit in zip(models, limits, strict=True)],
    }


def _indexed_links(summary: MapSummary) -> list[tuple[int, int, int, int]]:
    """The verified pairs as photo indices, the smaller first."""
    index = {row.name: k for k, row in enumerate(summary.photos)}
    known = ((index[a], index[b], n, raw) for a, b, n, raw in summary.links if a in index and b in index)
    return [(min(a, b), max(a, b), n, raw) for a, b, n, raw in known]


def _sections(summary: MapSummary, models: Sequence[Model], with_photos: bool) -> list[str]:
    missing = tables.left_out(summary)
    parts = [verdict(standing(summary, models), summary.verdict), _figures(summary)]
    if models:
        parts += [_stage(summary, models, with_photos), missing, _quality(models)]
    else:
        parts += [missing]
    if summary.photos:
        parts += [_matches(summary, bool(models)), tables.photo_table(summary.photos)]
    settings = {name: value or "default" for name, value in summary.settings.items()}
    return [*parts, time_card(summary.timings), definitions({"Settings": settings, "Versions": summary.versions})]


def standing(summary: MapSummary, models: Sequence[Model]) -> str:
    """``good``: every file is in one model; ``warn``: files are left out or spread over models; ``bad``: no model."""
    if not models:
        return "bad"
    whole = all(row.component == 0 for row in summary.photos) and not summary.rejected
    return "good" if whole else "warn"


def verdict(kind: str, text: str) -> str:
    """The page's headline with a mark: ``good``, ``warn`` or ``bad``."""
    mark = f'<svg viewBox="0 0 32 32" aria-hidden="true"><circle cx="16" cy="16" r="16"/>{_MARKS[kind]}</svg>'
    return f'<div class="verdict {kind}">{mark}<h1>{escape(text)}</h1></div>'


def duration(seconds: float) -> str:
    """Seconds as a person would say them."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def memory(size: int) -> str:
    """Bytes in decimal units."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def small_unit(text: str) -> str:
    """HTML of numbers and their units, which are set small."""
    return re.sub(r" ([A-Za-z]+)", r" <small>\1</small>", text)


def _figures(summary: MapSummary) -> str:
    registered = sum(row.component is not None for row in summary.photos)
    # A model all of whose photos are in a larger one too adds nothing to count.
    used = sorted({row.component for row in summary.photos if row.component is not None})
    components = [summary.components[k] for k in used if k < len(summary.components)]
    points = sum(component.points for component in components)
    observations = sum(component.observations for component in components)
    track = f"{observations / points:.2f}" if points else "–"
    errors = sum(component.error * component.observations for component in components)
    error = errors / observations if observations else 0.0
    several = f" <small>in {len(used)} models</small>" if len(used) > 1 else ""
    values = (
        ("Photos in a model", f"{registered} <small>of {len(summary.photos)}</small>{several}"),
        ("3D points", f"{points:,}"),
        ("Mean track length", f"{track} <small>photos</small>" if points else "–"),
        ("Mean reprojection error", f"{error:.2f} <small>px</small>" if points else "–"),
        ("Time", small_unit(duration(sum(summary.timings.values())))),
        ("Peak memory", small_unit(memory(summary.peak_memory))),
    )
    return figures(values)


def figures(values: Iterable[tuple[str, str]]) -> str:
    """Names and values (HTML) beside each other, in large type."""
    cells = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in values)
    return f'<dl class="figures">{cells}</dl>'


def _stage(summary: MapSummary, models: Sequence[Model], with_photos: bool) -> str:
    total = sum(len(model.xyz) for model in models)
    notes = ["click a camera: its photo and points"]
    if total > scene.MAX_POINTS:
        notes.append(f"{scene.MAX_POINTS:,} of {total:,} points drawn")
    chooser = ""
    if len(models) > 1:
        options = "".join(
            f'<option value="{k}">Model {k}: {row.photos} photos, {row.points:,} points</option>'
            for k, row in enumerate(summary.components)
        )
        chooser = f'<label class="tool"><select id="component" aria-label="Model">{options}</select></label>'
    return Template(asset("stage.html")).substitute(
        chooser=chooser, note=escape("; ".join(notes)), photos="" if with_photos else "hidden"
    )


def _quality(models: Sequence[Model]) -> str:
    """Histograms of every model; the page shows those of the chosen one."""

    def each(draw: list[str]) -> str:
        return "".join(
            f'<div data-component="{k}"{" hidden" if k else ""}>{figure}</div>' for k, figure in enumerate(draw)
        )

    lengths = each([drawing.track_histogram(model.track_lengths) for model in models])
    errors = each([drawing.error_histogram(model.errors) for model in models])
    return (
        '<div class="pair"><section class="card"><h2>Track lengths</h2>'
        '<p class="note">Points that many photos see hold the cameras together.</p>'
        f'{lengths}</section><section class="card"><h2>Reprojection errors</h2>'
        '<p class="note">How far the model\'s points fall from the keypoints they were made of.</p>'
        f"{errors}</section></div>"
    )


def _matches(summary: MapSummary, mapped: bool) -> str:
    names = [row.name for row in summary.photos]
    links = _indexed_links(summary)
    if not links:
        figure = '<p class="note">No two photos have verified matches.</p>'
    elif len(names) <= drawing.GRAPH_LIMIT:
        figure = drawing.match_graph(names, [row.component for row in summary.photos], links)
    else:
        figure = drawing.match_matrix(names, links)
    possible = len(names) * (len(names) - 1) // 2
    note = f"{len(links):,} of {possible:,} pairs of photos have matches that agree with one camera motion."
    graph = f'<section class="card"><h2>Match graph</h2><p class="note">{note}</p>{figure}</section>'
    if not mapped:
        return graph
    return (
        f'<div class="pair wide">{graph}<section class="card"><h2>Weakest links</h2>'
        '<p class="note">On these pairs the model hangs: where it bends or breaks, it does so here. '
        f"A photo taken between the two helps.</p>{tables.link_table(summary)}</section></div>"
    )


def time_card(timings: Mapping[str, float]) -> str:
    """Seconds of each stage; empty without any."""
    if not timings:
        return ""
    texts = {stage: duration(seconds) for stage, seconds in timings.items()}
    return (
        f'<section class="card"><h2>Time: {duration(sum(timings.values()))}</h2>'
        f'<p class="note">Stages in the order of work.</p>{drawing.timeline(timings, texts)}</section>'
    )


def definitions(titled: Mapping[str, Mapping[str, str]]) -> str:
    """Cards of names and values beside each other, by their titles; those without any are left out."""
    cards = [
        f'<section class="card"><h2>{title}</h2>{tables.definition_list(values)}</section>'
        for title, values in titled.items()
        if values
    ]
    return f'<div class="pair made">{"".join(cards)}</div>'


def _footer(summary: MapSummary) -> str:
    version = summary.versions.get("recon", "")
    return escape(f"Made by recon {version}".strip()) + ". This file needs no network and can be sent as it is."
