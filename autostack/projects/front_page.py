"""What a live site's front page says of itself: its icons, its picture, its colour, its words. Read from the store, as
our pages ask no other host."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from html.parser import HTMLParser
from urllib.parse import unquote, urljoin, urlsplit

from autostack.extensions import store
from autostack.sites import keys
from autostack.sites.manifest import Manifest

# Whatever the site's own address is: nobody has this one.
HERE = "https://site.invalid/"
MAX_PAGE_BYTES = 500_000
# A page can name thousands, each of which would be read.
MAX_NAMED = 5
MAX_WORDS_CHARACTERS = 200
# Between what comes before these and what comes after, a reader sees a space.
BREAKS = ("br", "div", "li", "p")
PICTURES = ("og:image", "twitter:image")
DESCRIPTIONS = ("description", "og:description")


class FrontPage(HTMLParser):
    """A front page, as far as it can be read."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self._icons: list[str] = []
        self._named: dict[str, str] = {}
        self._words: dict[str, str] = {}
        self._within: str | None = None
        # What HTMLParser cannot read it says by an AssertionError; what came before stands.
        with contextlib.suppress(AssertionError):
            self.feed(page)
            self.close()

    @property
    def icons(self) -> list[str]:
        """The paths of its icons. Those of other hosts are none."""
        return _own(self._icons)

    @property
    def pictures(self) -> list[str]:
        """The paths of the pictures that stand for it where somebody links to it. Those of other hosts are none."""
        return _own(self._named[name] for name in PICTURES if name in self._named)

    @property
    def title(self) -> str:
        return _tidy(self._words.get("title", ""))

    @property
    def heading(self) -> str:
        return _tidy(self._words.get("h1", ""))

    @property
    def description(self) -> str:
        return next((_tidy(self._named[name]) for name in DESCRIPTIONS if name in self._named), "")

    @property
    def colour(self) -> str:
        """What it asks browsers to colour their frame with: not checked, and empty where it asks for nothing."""
        return _tidy(self._named.get("theme-color", ""))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "link" and "icon" in given.get("rel", "").lower().split() and given.get("href"):
            self._icons.append(given["href"])
        elif tag == "meta" and given.get("content"):
            self._named.setdefault((given.get("property") or given.get("name") or "").lower(), given["content"])
        elif tag in ("title", "h1") and tag not in self._words:
            self._within, self._words[tag] = tag, ""
        elif tag in BREAKS:
            self.handle_data(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._within:
            self._within = None

    def handle_data(self, data: str) -> None:
        if self._within and len(self._words[self._within]) < MAX_WORDS_CHARACTERS:
            self._words[self._within] += data[:MAX_WORDS_CHARACTERS]


class LiveSite:
    """The files of a deployment that a project shows. Raises what the store does."""

    def __init__(self, project_id: str, deployment_id: str) -> None:
        self._project_id = project_id
        self._manifest = Manifest.from_json(store().get(keys.manifest(project_id, deployment_id)))

    def front(self) -> FrontPage:
        """Return its front page; an empty one where it has none, or one too large to be read."""
        return FrontPage((self.read("/index.html", MAX_PAGE_BYTES) or b"").decode(errors="replace"))

    def read(self, path: str, limit: int) -> bytes | None:
        """Return a file; None where there is none of at most so many bytes."""
        file = self._manifest.files.get(path)
        if file is None or file.size > limit:
            return None
        content = file.identity
        key = keys.blob(self._project_id, content.stored_as)
        return store().get(key) if content.start is None else store().get_part(key, content.start, content.size)


def _tidy(words: str) -> str:
    """Return words in one line, without what XML has no character for."""
    line = " ".join(words[:MAX_WORDS_CHARACTERS].split())
    return "".join(character for character in line if character.isprintable())


def _own(links: Iterable[str]) -> list[str]:
    found = []
    for link in links:
        with contextlib.suppress(ValueError):
            parts = urlsplit(urljoin(HERE, link))
            if f"{parts.scheme}://{parts.netloc}/" == HERE:
                found.append(unquote(parts.path))
    return list(dict.fromkeys(found))[:MAX_NAMED]
