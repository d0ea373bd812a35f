"""A page as a browser would take it apart, for tests: tags, tables, figures and scripts, read by `html.parser`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any


@dataclass
class ReadTable:
    caption: str = ""
    headers: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)


class ReadPage(HTMLParser):
    """A page that was read.

    Attributes:
        tags: name and attributes of each, in order.
        tables: all of them.
        text: what a reader sees, without scripts and styles.
        scripts: attributes and content of each.
        style: the style sheet.
    """

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.tables: list[ReadTable] = []
        self.scripts: list[tuple[dict[str, str], str]] = []
        self.text = self.style = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in ("meta", "br"):
            self._open.append(tag)
        if tag == "table":
            self.tables.append(ReadTable())
        elif tag == "tr":
            self.tables[-1].rows.append([])
        elif tag in ("td", "th"):
            self.tables[-1].rows[-1].append("")
        elif tag == "script":
            self.scripts.append((self.tags[-1][1], ""))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> closes something else"
        if tag == "thead":
            self.tables[-1].headers = self.tables[-1].rows.pop()

    def handle_data(self, data: str) -> None:
        if "script" in self._open:
            attributes, text = self.scripts[-1]
            self.scripts[-1] = (attributes, text + data)
        elif "style" in self._open:
            self.style += data
        else:
            self.text += data
            if "caption" in self._open:
                self.tables[-1].caption += data
            elif "td" in self._open or "th" in self._open:
                self.tables[-1].rows[-1][-1] += data

    def attributes(self, tag: str) -> list[dict[str, str]]:
        """Of each tag of a name."""
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def plots(self) -> list[dict[str, Any]]:
        """The figures' data: traces, layout and narrow layout."""
        return [json.loads(text) for attributes, text in self.scripts if "data-plot" in attributes]

    @property
    def program(self) -> list[str]:
        """The scripts that a browser runs."""
        return [text for attributes, text in self.scripts if not attributes]

    def table(self, start: str) -> ReadTable:
        """The table whose caption starts with a text."""
        return next(table for table in self.tables if table.caption.startswith(start))


def strings(value: Any) -> Iterator[str]:
    """All texts of plain data."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from strings(item)


def check_page(html: str) -> ReadPage:
    """Read a page, and check what holds for all pages: inert, without network, with words and numbers for figures."""
    page = ReadPage(html)
    assert page.attributes("html")[0]["lang"] == "en"
    for tag, attributes in page.tags:
        assert tag not in ("img", "iframe", "object", "embed", "link", "base", "form"), tag
        assert not any(name.startswith("on") or name in ("src", "srcset", "action") for name in attributes)
        assert attributes.get("href", "#").startswith("#"), attributes
    assert not re.search(r"url\(|@import", page.style)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for link in page.attributes("a"):
        assert link["href"].removeprefix("#") in ids
    assert len(page.attributes("h1")) == 1
    assert len(page.attributes("figure")) == len(page.plots) == len(page.attributes("details"))
    for attributes in page.attributes("div"):
        if "plot" in attributes.get("class", ""):
            assert attributes["role"] == "img"
            assert len(attributes["aria-label"]) > 40
    for plot in page.plots:
        for text in strings(plot):
            assert not re.search(r"<(?!br>)", text), text
    for table in page.tables:
        assert table.caption
        assert table.rows
        assert all(len(row) == len(table.headers) for row in table.rows)
    return page
