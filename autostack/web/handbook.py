"""The documentation as pages: the Markdown files of `docs/`, which `autostack/handbook` is a link to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict
from markupsafe import Markup
from mdit_py_plugins.anchors import anchors_plugin

from autostack.web.templating import PACKAGE

FOLDER = PACKAGE / "handbook"
# What each file tells, in the order to read them in.
CHAPTERS = {
    "getting-started": "From an empty machine to the first live site, and on to production",
    "serving": "Redirects, rewrites and headers, and which of them answers an address",
    "configuration": "Every setting, what it is for, and what it is by default",
    "isolation": "What a build can reach, what it cannot, and what the machine needs for that",
    "aws": "Builds on ECS, sites on S3 and CloudFront: from an AWS account to the first deployment, and its cost",
    "architecture": "The four programs, and one deployment’s way through them",
    "agent-api": "How a build agent talks to web",
}


@dataclass(frozen=True)
class Chapter:
    """One file as a page. `sections` has the anchor and the title of each of its parts."""

    name: str
    title: str
    body: Markup
    sections: tuple[tuple[str, str], ...]


@lru_cache(maxsize=len(CHAPTERS))
def chapter(name: str) -> Chapter:
    """Return one of CHAPTERS, rendered."""
    markdown = reader()
    tokens = markdown.parse((FOLDER / f"{name}.md").read_text(encoding="utf-8"))
    _lead_to_pages(tokens)
    body = Markup(markdown.renderer.render(tokens, markdown.options, {}))  # noqa: S704 - our own words, HTML in them escaped
    headings = [
        (heading.tag, str(heading.attrs["id"]), _text(inline))
        for heading, inline in pairwise(tokens)
        if heading.type == "heading_open" and "id" in heading.attrs
    ]
    title = next(text for tag, _, text in headings if tag == "h1")
    return Chapter(name, title, body, tuple((anchor, text) for tag, anchor, text in headings if tag == "h2"))


def contents() -> list[tuple[Chapter, str]]:
    """Return all chapters, each with what it tells."""
    return [(chapter(name), about) for name, about in CHAPTERS.items()]


def reader() -> MarkdownIt:
    """Return what makes HTML of Markdown, and text of HTML in it."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table").use(anchors_plugin, max_level=3)
    markdown.add_render_rule("table_open", _open_table)
    markdown.add_render_rule("table_close", _close_table)
    markdown.add_render_rule("fence", _fence)
    return markdown


def _lead_to_pages(tokens: Sequence[Token]) -> None:
    """Have links between the files lead from page to page."""
    for token in tokens:
        for child in token.children or ():
            address = urlsplit(str(child.attrs.get("href", "")))
            if child.type == "link_open" and not address.scheme and address.path.endswith(".md"):
                anchor = f"#{address.fragment}" if address.fragment else ""
                child.attrs["href"] = f"/docs/{address.path.removesuffix('.md')}{anchor}"


def _text(inline: Token) -> str:
    return "".join(child.content for child in inline.children or ())


def _open_table(self: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: Any) -> str:
    # Wider than a phone: it scrolls by itself, by the keyboard too.
    return '<div class="table-container panel flush" tabindex="0"><table class="table">'


def _close_table(self: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: Any) -> str:
    return "</table></div>"


def _fence(self: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: Any) -> str:
    return f'<pre tabindex="0"><code>{Markup.escape(tokens[index].content)}</code></pre>'
