"""What a file is, told from its name: its content type, and whether its name carries a hash of its content."""

from __future__ import annotations

import mimetypes
import re

TEXT = "; charset=utf-8"
# The web's own types stand here, so that a machine's /etc/mime.types cannot change what a site answers.
TYPES = {
    ".html": "text/html" + TEXT,
    ".htm": "text/html" + TEXT,
    ".xhtml": "application/xhtml+xml" + TEXT,
    ".css": "text/css" + TEXT,
    ".js": "text/javascript" + TEXT,
    ".mjs": "text/javascript" + TEXT,
    ".cjs": "text/javascript" + TEXT,
    ".json": "application/json" + TEXT,
    ".map": "application/json" + TEXT,
    ".jsonld": "application/ld+json" + TEXT,
    ".webmanifest": "application/manifest+json" + TEXT,
    ".geojson": "application/geo+json" + TEXT,
    ".xml": "application/xml" + TEXT,
    ".rss": "application/rss+xml" + TEXT,
    ".atom": "application/atom+xml" + TEXT,
    ".txt": "text/plain" + TEXT,
    ".md": "text/markdown" + TEXT,
    ".csv": "text/csv" + TEXT,
    ".ics": "text/calendar" + TEXT,
    ".vtt": "text/vtt" + TEXT,
    ".yaml": "application/yaml" + TEXT,
    ".yml": "application/yaml" + TEXT,
    ".toml": "application/toml" + TEXT,
    ".svg": "image/svg+xml" + TEXT,
    ".png": "image/png",
    ".apng": "image/apng",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".ico": "image/vnd.microsoft.icon",
    ".bmp": "image/bmp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".ttf": "font/ttf",
    ".otf": "font/otf",
    ".eot": "application/vnd.ms-fontobject",
    ".mp3": "audio/mpeg",
    ".m4a": "audio/mp4",
    ".ogg": "audio/ogg",
    ".oga": "audio/ogg",
    ".opus": "audio/ogg",
    ".wav": "audio/wav",
    ".flac": "audio/flac",
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".webm": "video/webm",
    ".ogv": "video/ogg",
    ".mov": "video/quicktime",
    ".m3u8": "application/vnd.apple.mpegurl",
    ".wasm": "application/wasm",
    ".pdf": "application/pdf",
    ".zip": "application/zip",
    ".gz": "application/gzip",
    ".tar": "application/x-tar",
    ".glb": "model/gltf-binary",
    ".gltf": "model/gltf+json" + TEXT,
    ".bin": "application/octet-stream",
}
UNKNOWN = "application/octet-stream"
# Python's own table, without the machine's files.
_STANDARD = mimetypes.MimeTypes()

PAGE_SUFFIXES = frozenset({"", ".html", ".htm", ".xhtml"})

# Folders that only bundlers fill: Vite, Astro, Nuxt, SvelteKit, Next.js, Create React App, Parcel.
BUNDLER_FOLDERS = frozenset({"assets", "_astro", "_nuxt", "_app", "_next", "immutable", "static", "chunks", "build"})
HEX_HASH = re.compile(r"(?:^|[._-])(?=[0-9a-f]*[0-9])(?=[0-9a-f]*[a-f])[0-9a-f]{8,64}(?:\.\w+)+$")
BASE64_HASH = re.compile(r"(?:^|[._-])([A-Za-z0-9_-]{8})(?:\.\w+)+$")
# Where one thing ends and another begins in a name: `DarkMode2` has three humps, random letters have more.
HUMP = re.compile(r"[A-Z]?[a-z]+|[A-Z]|[0-9]+|[_-]")
RANDOM_HUMPS = 4


def content_type(path: str) -> str:
    """Return the Content-Type of a file by its name, with a charset for text."""
    suffix = _suffix(path)
    if known := TYPES.get(suffix):
        return known
    guessed, encoding = _STANDARD.guess_type(f"file{suffix}")
    if guessed is None or encoding is not None:
        return UNKNOWN
    return guessed + TEXT if guessed.startswith("text/") else guessed


def is_asset(path: str) -> bool:
    """Tell whether a path asks for a script, image or other part of a page, by an extension that the web knows."""
    suffix = _suffix(path)
    return suffix not in PAGE_SUFFIXES and (suffix in TYPES or content_type(path) != UNKNOWN)


def _suffix(path: str) -> str:
    """Return a name's last extension in lower case, with its dot: pathlib's, which takes ten times as long."""
    name = path.rstrip("/").rpartition("/")[2]
    dot = name.rfind(".")
    return name[dot:].lower() if 0 < dot < len(name) - 1 else ""


def is_content_hashed(path: str) -> bool:
    """Tell whether a file's name holds a hash of its content, so that its content can never change.

    A name wrongly taken for one would be cached for a year, so doubtful ones count as not hashed: hexadecimal hashes
    need digits and letters, base64 ones (Vite's eight characters) a bundler's folder and a random look.
    """
    if not is_asset(path):
        return False
    *folders, name = path.split("/")
    if HEX_HASH.search(name):
        return True
    token = BASE64_HASH.search(name)
    return token is not None and not BUNDLER_FOLDERS.isdisjoint(folders) and _looks_random(token[1])


def _looks_random(token: str) -> bool:
    is_mixed = token != token.lower() and token != token.upper()
    return is_mixed and len(HUMP.findall(token)) >= RANDOM_HUMPS
