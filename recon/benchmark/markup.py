"""The frame of every benchmark's page: one self-contained HTML file, light or dark as the reader has it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_STYLE = """
:root{--ink:#1c2733;--soft:#5b6b7a;--line:#d8dee5;--page:#f6f8fa;--card:#fff;--peer:#9aa7b4;--ours:#0e8ca4}
@media(prefers-color-scheme:dark){:root{--ink:#e6ecf2;--soft:#9aa9b8;--line:#2c3947;--page:#12181f;--card:#1a222c;
--peer:#627182}}
body{margin:0;font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page)}
main{max-width:1180px;margin:auto;padding:2rem 1rem}h1{font-size:1.5rem;margin:0 0 .3rem}
h2{font-size:1.05rem;margin:0 0 .8rem}p{color:var(--soft);margin:.2rem 0 1.4rem}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:1.1rem 1.2rem;margin:0 0 1.2rem;
overflow-x:auto}svg{display:block;width:100%;min-width:660px;height:auto}
svg text{font:12px system-ui,sans-serif;fill:var(--ink)}
svg .soft{fill:var(--soft)}table{border-collapse:collapse;font-variant-numeric:tabular-nums;white-space:nowrap}
td,th{padding:.35rem .8rem .35rem 0;text-align:right;border-bottom:1px solid var(--line)}
td:nth-child(-n+2),th:nth-child(-n+2){text-align:left}th{font-weight:600;color:var(--soft);white-space:normal;vertical-align:bottom}
.key{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin:0 .35em 0 0;vertical-align:-.05em}
.named{white-space:nowrap;margin-right:1em}
"""


def document(title: str, heading: str, intro: str, body: str, *, style: str = "") -> str:
    """A page.

    Args:
        title, heading: plain text.
        intro: HTML of the paragraph below the heading.
        body: HTML of the rest.
        style: CSS of what only this page has.
    """
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}{style}</style><main><h1>{escape(heading)}</h1>"
        f"<p>{intro}</p>{body}</main></html>"
    )


def section(title: str, content: str) -> str:
    """A card with a heading, of HTML ``content``."""
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of plain texts."""
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
