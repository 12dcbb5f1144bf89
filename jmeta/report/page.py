"""Self-contained HTML pages: their style, tables and figures."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

from matplotlib.figure import Figure

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; background: #fff }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2.2rem } h3 { font-size: 1rem }
.dot { display: inline-block; width: .8rem; height: .8rem; border-radius: 50%; margin-right: .5rem }
code { background: #f3f3f3; padding: .1rem .3rem; overflow-wrap: anywhere }
summary { font-size: 1.2rem; font-weight: bold; cursor: pointer; margin-top: 2.2rem }
@media print { h2, h3 { break-after: avoid } figure, table { break-inside: avoid }
               .modebar { display: none } }
figure { margin: 1rem 0 } img { max-width: 100%; height: auto }
figcaption, .note { color: #555; font-size: .9rem }
table { border-collapse: collapse; font-size: .9rem } .scroll { overflow-x: auto }
td, th { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #ddd }
td:first-child, th:first-child { text-align: left }
"""
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>{style}</style></head><body>{body}</body></html>
"""


def page(title: str, parts: Sequence[str]) -> str:
    """The page as HTML.

    Args:
        title: title of the page.
        parts: HTML of the body.
    """
    return _PAGE.format(title=escape(title), style=_STYLE, body="".join(parts))


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of text, which scrolls on a narrow page."""
    top = "".join(f"<th>{escape(head)}</th>" for head in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    return f"<div class='scroll'><table>{f'<tr>{top}</tr>' if any(heads) else ''}{body}</table></div>"


def figure(drawn: Figure, caption: str) -> str:
    """A figure with its caption."""
    file = io.BytesIO()
    drawn.savefig(file, format="png", dpi=110)
    return image(file.getvalue(), caption)


def image(png: bytes, caption: str) -> str:
    """A PNG image with its caption."""
    data = base64.b64encode(png).decode()
    text = escape(caption, quote=True)
    picture = f"<img alt='{text}' src='data:image/png;base64,{data}'>"
    return f"<figure>{picture}<figcaption>{text}</figcaption></figure>"
