"""``stitch.html``: the contestants' panoramas one under the other, with their figures, on one self-contained page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

from pipelines.images.formats import pillow
from pipelines.store.files import write_text
from recon.benchmark import markup
from recon.benchmark.stitch import PEER, Row, Setting, facts, table

_THUMBNAIL = (1000, 420)
_STYLE = """
figure{margin:0 0 1rem}figure img{display:block;max-width:100%;height:auto;background:#0002;border-radius:4px}
figcaption{color:var(--soft);font-size:.9rem;margin:.25rem 0}td.worse{color:#c8553d}td.better{color:#0e8ca4}
"""


def write_page(path: Path, rows: Sequence[Row], setting: Setting) -> None:
    """Write the page.

    Args:
        path: the HTML file.
        rows: results; the pictures they name are shown as thumbnails.
        setting: what all contestants were given.
    """
    parts = [markup.section("All figures", markup.table(*table(rows)))]
    for name in dict.fromkeys(row.dataset for row in rows):
        parts.append(markup.section(name, "".join(_figure(row) for row in rows if row.dataset == name)))
    given = f"registration at {setting.max_size:,} px, rendering at full resolution, seed {setting.seed}"
    intro = (
        f"Same photos, one process after the other; {escape(given)}. Residuals are those of AKAZE checkpoints, which "
        "no contestant used, in pairs of photos that all used, in pixels of the full resolution. Ratios are over "
        f"{PEER}."
    )
    heading = "Panoramas, side by side"
    write_text(path, markup.document("recon benchmark stitch", heading, intro, "".join(parts), style=_STYLE))


def _figure(row: Row) -> str:
    words = escape(" · ".join([row.contestant, *facts(row)]))
    if not row.picture:
        return f"<figure><figcaption>{words}</figcaption></figure>"
    with pillow().open(row.picture) as picture:
        picture.draft("RGB", _THUMBNAIL)
        small = picture.convert("RGB")
    small.thumbnail(_THUMBNAIL)
    memory = io.BytesIO()
    small.save(memory, "JPEG", quality=85)
    data = base64.b64encode(memory.getvalue()).decode()
    return (
        f'<figure><img alt="{escape(row.dataset)} by {escape(row.contestant)}" width="{small.width}" '
        f'height="{small.height}" src="data:image/jpeg;base64,{data}"><figcaption>{words}</figcaption></figure>'
    )
