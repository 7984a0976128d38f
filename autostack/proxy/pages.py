"""The platform's own pages, for what no site answers: each is one file, without scripts or anything from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from functools import cache

WORDS = {
    400: ("Bad request", "The address or the request is not well formed."),
    402: ("Paused", "This site has used up its traffic for this month."),
    404: ("Nothing here", "There is no page at this address. It may have moved, or the site is not deployed yet."),
    405: ("Method not allowed", "This site answers GET and HEAD only."),
    408: ("Too slow", "The request took too long to arrive."),
    410: ("Gone", "The page that was at this address has been taken away for good."),
    413: ("Too large", "The form is longer than this server reads."),
    414: ("Address too long", "The address is longer than this server reads."),
    416: ("No such part", "The file is shorter than the part that was asked for."),
    417: ("Expectation not met", "This server does not know what the request expects of it."),
    429: ("Too much at once", "This site has used up its traffic for this month, and is answered slowly."),
    431: ("Headers too large", "The request's headers are larger than this server reads."),
    500: ("Too many rules", "This site has more rules for this address than can be looked through for each visitor."),
    502: ("No answer", "The server behind this address cannot be reached."),
    503: ("Back in a moment", "The site cannot be read just now. Please try again shortly."),
    504: ("No answer in time", "The server behind this address takes too long to answer."),
    505: ("Version not supported", "This server speaks HTTP/1.0 and HTTP/1.1."),
    508: ("In a circle", "This address leads back to itself by way of another."),
}

STYLE = """
:root{color-scheme:light dark;--ground:#fafafa;--ink:#18181b;--soft:#71717a;--line:#e4e4e7}
@media(prefers-color-scheme:dark){:root{--ground:#0c0c0e;--ink:#fafafa;--soft:#a1a1aa;--line:#27272a}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:2rem;background:var(--ground);color:var(--ink);
font:16px/1.6 system-ui,sans-serif}
main{max-width:28rem;text-align:center}
p.code{display:inline-block;margin:0 0 1.5rem;padding:.15rem .8rem;border:1px solid var(--line);border-radius:99px;
color:var(--soft);font:500 .85rem ui-monospace,monospace}
h1{margin:0 0 .5rem;font-size:1.75rem;line-height:1.25;letter-spacing:-.02em}
p{margin:0;color:var(--soft);text-wrap:balance}
""".strip()
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; frame-ancestors 'none'"


@cache
def error_page(status: int) -> bytes:
    """Return the page for one of the statuses in WORDS."""
    title, text = WORDS[status]
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title>\n<style>{STYLE}</style></head>\n"
        f'<body><main><p class="code">{status}</p><h1>{title}</h1><p>{text}</p></main></body>\n</html>\n'
    ).encode()
