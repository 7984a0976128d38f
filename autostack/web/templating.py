"""What every template may use."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from flask import Flask
from markupsafe import Markup, escape

from autostack.web import navigation
from autostack.web.icons import Icons
from autostack.web.security import nonce
from autostack.web.times import duration, elapsed, exact, iso, month_day, relative
from autostack.web.user_agents import agent

PACKAGE = Path(__file__).parent.parent
CODE_SPAN = re.compile(r"`([^`]+)`")


def code_spans(text: str) -> Markup:
    """Return text for a page, with what stands in `backticks` as code."""
    return Markup(CODE_SPAN.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped before


def register(app: Flask, *, sends_mail: bool = False, providers: Sequence[object] = ()) -> None:
    """Add the filters and functions that templates share.

    `sends_mail`: whether links to confirm can arrive. `providers`: by whom one can sign in beside the password.
    """
    app.jinja_env.filters.update(
        agent=agent,
        code_spans=code_spans,
        duration=duration,
        elapsed=elapsed,
        exact=exact,
        iso=iso,
        month_day=month_day,
        relative=relative,
    )
    app.jinja_env.globals["icon"] = Icons(PACKAGE / "static" / "vendor" / "icons")
    app.jinja_env.globals["sends_mail"] = sends_mail
    app.jinja_env.globals["csp_nonce"] = nonce
    app.jinja_env.globals["providers"] = providers
    app.jinja_env.globals["sections"] = navigation.sections
    app.jinja_env.globals["footer_links"] = navigation.FOOTER
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True
