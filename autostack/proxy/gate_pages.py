"""The page that asks visitors for a site's password: one file, without scripts or anything from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from html import escape

from autostack.proxy.messages import UNLOCK_PATH
from autostack.proxy.pages import STYLE

FORM_STYLE = (
    STYLE
    + """
main{width:100%;max-width:22rem}
form{display:grid;gap:.75rem;margin:1.5rem 0 1rem;text-align:left}
label{font-size:.875rem;font-weight:500}
input,button{width:100%;min-height:2.75rem;padding:.5rem .75rem;border-radius:.5rem;font:inherit}
input{border:1px solid var(--soft);background:transparent;color:inherit}
button{border:0;background:var(--ink);color:var(--ground);font-weight:500;cursor:pointer}
:focus-visible{outline:2px solid #3b82f6;outline-offset:2px}
p.wrong{color:var(--wrong)}
a{color:inherit}
.owner{font-size:.875rem}
:root{--wrong:#b91c1c}
@media(prefers-color-scheme:dark){:root{--wrong:#fca5a5}}"""
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(FORM_STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def password_page(path: str, owners_way: str, problem: str | None) -> bytes:
    """Return the form that leads on to `path`; `owners_way` is where an owner gets in without the password."""
    wrong = f'<p class="wrong" id="wrong" role="alert">{escape(problem)}</p>' if problem else ""
    described = ' aria-invalid="true" aria-describedby="wrong"' if problem else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Password needed</title>\n<style>{FORM_STYLE}</style></head>\n"
        "<body><main><h1>Password needed</h1><p>This site is for those who know its password.</p>"
        f'<form method="post" action="{UNLOCK_PATH.decode()}"><input type="hidden" name="next" value="{escape(path)}">'
        f'<label for="password">Password</label>{wrong}'
        '<input id="password" name="password" type="password" required autofocus maxlength="72"'
        f' autocomplete="current-password"{described}><button type="submit">Continue</button></form>'
        f'<p class="owner"><a href="{escape(owners_way)}">Is it your site? Come in without it</a></p>'
        "</main></body>\n</html>\n"
    ).encode()
