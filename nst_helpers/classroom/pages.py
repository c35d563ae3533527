"""The look of the reports: one plain page without scripts or anything from the web."""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Sequence

__all__ = ["bar", "histogram", "page", "slug_of"]

_STYLE = """
:root { color-scheme: light dark; --ink: #1f2430; --paper: #fbfaf7; --card: #ffffff; --line: #e4e1d8; --soft: #6a6f7b;
 --good: #2f7d5b; --half: #a86d12; --bad: #b2402f; --wait: #45618c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e4de; --paper: #16181d; --card: #1e2127; --line: #343842;
 --soft: #9aa0ab; --good: #6cc49b; --half: #e0ae5c; --bad: #ea8b7b; --wait: #93b1de; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 17px/1.55 system-ui, sans-serif; }
main { max-width: 46rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 1rem; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; display: flex; justify-content: space-between; }
h2 span { color: var(--soft); font-weight: 400; font-variant-numeric: tabular-nums; }
h3 { font-size: 1rem; margin: 0 0 .25rem; display: flex; justify-content: space-between; gap: 1rem; }
p { margin: .35rem 0; } a { color: inherit; }
.score { font-size: 1.15rem; } .score b { font-size: 2.1rem; } .quiet, small { color: var(--soft); }
small { font-size: .85rem; }
section { background: var(--card); border: 1px solid var(--line); border-left: .3rem solid var(--soft);
 border-radius: .4rem; padding: .8rem 1rem; margin: .8rem 0; overflow-wrap: anywhere; }
section h3 span { white-space: nowrap; font-variant-numeric: tabular-nums; }
.right { border-left-color: var(--good); } .right span { color: var(--good); }
.part { border-left-color: var(--half); } .part span { color: var(--half); }
.wrong { border-left-color: var(--bad); } .wrong span { color: var(--bad); }
.open { border-left-color: var(--wait); } .open span { color: var(--wait); }
.bar { height: .55rem; border-radius: .3rem; background: var(--line); overflow: hidden; margin: .45rem 0; }
.bar i { display: block; height: 100%; background: var(--good); }
table { border-collapse: collapse; width: 100%; font-size: .93rem; }
td { border-top: 1px solid var(--line); padding: .45rem .6rem .45rem 0; vertical-align: top; overflow-wrap: anywhere; }
.who { min-width: 7rem; max-width: 11rem; }
.n { white-space: nowrap; font-variant-numeric: tabular-nums; } .wide { width: 40%; }
code { font-size: .88em; white-space: nowrap; } .answer { white-space: pre-wrap; }
pre { background: var(--paper); border: 1px solid var(--line); border-radius: .3rem; padding: .6rem .8rem;
 margin: .6rem 0 0; overflow-x: auto; font-size: .82rem; line-height: 1.45; }
.comment { border-left: .2rem solid var(--wait); padding-left: .7rem; white-space: pre-wrap; }
.notes { padding-left: 1.2rem; } details { margin: .6rem 0; } summary { cursor: pointer; }
svg text { fill: var(--soft); font: 13px system-ui, sans-serif; } svg rect { fill: var(--good); }
"""


def page(title: str, body: str) -> str:
    """A whole HTML page; `body` is HTML, `title` is text."""
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style>"
        f"<main><h1>{html.escape(title)}</h1>{body}</main></html>\n"
    )


def bar(share: float) -> str:
    """A bar that is filled to this share."""
    share = min(max(share, 0), 1)
    return f"<div class=bar role=img aria-label='{share:.0%}'><i style='width:{share:.1%}'></i></div>"


def histogram(shares: Sequence[float]) -> str:
    """How many students have which tenth of the points, as a drawing with numbers."""
    counts = [0] * 10
    for share in shares:
        counts[min(int(share * 10 + 1e-9), 9)] += 1
    tallest = max(counts)
    parts = []
    for i, count in enumerate(counts):
        height = 110 * count / tallest
        x = 10 + i * 70
        parts.append(f"<rect x={x} y={130 - height:.1f} width=56 height={height:.1f} rx=3 />")
        if count:
            parts.append(f"<text x={x + 28} y={124 - height:.1f} text-anchor=middle>{count}</text>")
        parts.append(f"<text x={x + 28} y=150 text-anchor=middle>{i * 10}–{i * 10 + 10} %</text>")
    label = ", ".join(f"{count} with {i * 10} to {i * 10 + 10} %" for i, count in enumerate(counts) if count)
    return f"<svg viewBox='0 0 720 160' width='100%' role=img aria-label='Students: {label}'>{''.join(parts)}</svg>"


def slug_of(student: str) -> str:
    """A file name for a student, one for each."""
    plain = re.sub(r"[^A-Za-z0-9.@-]+", "_", student).strip("._") or "student"
    return plain if plain == student else f"{plain}-{hashlib.sha256(student.encode()).hexdigest()[:6]}"
