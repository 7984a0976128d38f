"""Programs by the names that people know them by."""

from __future__ import annotations

# Most claim to be others as well: the first that fits is the one.
BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


def agent(user_agent: str | None) -> str:
    """Return `Firefox on Linux` for a browser's User-Agent, a program's own name for another's."""
    given = (user_agent or "").strip()
    browser = next((name for sign, name in BROWSERS if sign in given), None)
    system = next((name for sign, name in SYSTEMS if sign in given), None)
    if browser:
        return f"{browser} on {system}" if system else browser
    return given.partition(" ")[0].partition("/")[0][:40] or "Unknown program"
