"""Markup from text: elements, tables, lists, and how they look in a document that fetches nothing and runs no script.

Text becomes markup in `tag` and `join` alone, which escape what is not markup yet: file names and error messages come
from outside. What a page says is not known here.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""For the browser: nothing is fetched and no script runs, whatever the texts came with."""
VOID = {"img", "meta"}  # elements that have no end

STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #1b1f24; --line: #d5dae0; --soft: #59636e; --pass: #0b6b3a;
  --fail: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --back: #14171a; --text: #e4e8ec; --line: #3a4149; --soft: #a1acb8;
  --pass: #5fd39a; --fail: #ff8f85; } }
body { background: var(--back); color: var(--text); font: 15px/1.45 system-ui, sans-serif; margin: 2em auto;
  max-width: 1280px; padding: 0 1.5em; }
h1 { border: 2px solid; border-radius: 8px; font-size: 1.35em; padding: .7em .9em; }
h2 { border-bottom: 1px solid var(--line); font-size: 1.15em; margin-top: 2em; padding-bottom: .2em; }
h3 { font-size: 1em; margin: 1.2em 0 .4em; } h2, h3 { break-after: avoid; }
.pass { color: var(--pass); } .fail { color: var(--fail); } td .pass, td .fail { font-weight: 700; }
small { color: var(--soft); display: block; }
.wide { overflow-x: auto; } .whole { white-space: nowrap; }
table { border-collapse: collapse; font-size: .9em; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .35em .6em; text-align: left; vertical-align: top; }
th { color: var(--soft); font-weight: 600; }
td ul { margin: .2em 0; padding-left: 1.1em; min-width: 12em; }
dl { display: grid; gap: .25em 1.2em; grid-template-columns: max-content 1fr; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
figure { break-inside: avoid; margin: 1em 0; } figcaption { color: var(--soft); margin-bottom: .3em; }
svg { display: block; height: auto; max-width: 100%; }
.pairs { display: grid; gap: .8em; grid-template-columns: repeat(auto-fill, minmax(390px, 1fr)); }
.pairs figure { margin: 0; } .pairs img { max-width: 49%; }
@media print { :root { --back: #fff; --text: #000; --soft: #444; --line: #bbb; --pass: #0b6b3a; --fail: #b3261e;
  color-scheme: light; } body { font-size: 10px; margin: 0; max-width: none; padding: 0; } .wide { overflow: visible; }
  th, td { padding: .2em .35em; } tr { break-inside: avoid; } * { print-color-adjust: exact; } }
"""


class Html(str):
    """Markup that is finished. Any other text is escaped before it becomes part of some."""

    __slots__ = ()


def tag(name: str, /, *inside: str, **attributes: str) -> Html:
    """An element with what is inside it; an attribute that Python has a word for ends in an underscore."""
    marks = "".join(f' {key.rstrip("_")}="{html.escape(value)}"' for key, value in attributes.items())
    return Html(f"<{name}{marks}>" + ("" if name in VOID else f"{join(*inside)}</{name}>"))


def join(*parts: str) -> Html:
    """One after the other, without anything between them."""
    return Html("".join(part if isinstance(part, Html) else html.escape(part) for part in parts))


def cells(texts: Iterable[str]) -> list[Html]:
    """A cell of a table for each text."""
    return [tag("td", text) for text in texts]


def table(head: Sequence[str], lines: Sequence[Html]) -> Html:
    """A table of finished lines, each a `tr`, which scrolls by itself where it is wider than the page."""
    top = tag("thead", tag("tr", *(tag("th", name, scope="col") for name in head)))
    return tag("div", tag("table", top, tag("tbody", *lines)), class_="wide")


def terms(meanings: Mapping[str, str]) -> Html:
    """Names, and beside each what it is."""
    return tag("dl", *(part for name, text in meanings.items() for part in (tag("dt", name), tag("dd", text))))


def points(texts: Sequence[str]) -> Html:
    """A list with a dot before each text, and nothing at all where there is none."""
    return tag("ul", *(tag("li", text) for text in texts)) if texts else Html()


def figure(says: str, picture: Html) -> Html:
    """A picture, and what it says above it."""
    return tag("figure", tag("figcaption", says), picture)


def section(title: str, parts: Iterable[Html]) -> list[Html]:
    """The parts under their title, and nothing where there are none."""
    there = [part for part in parts if part]
    return [tag("h2", title), *there] if there else []


def document(title: str, *body: Html) -> str:
    """A whole HTML file in English."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", content=POLICY, **{"http-equiv": "Content-Security-Policy"}),
        tag("title", title),
        tag("style", Html(STYLE)),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, tag('body', *body), lang='en')}\n"
