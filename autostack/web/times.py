"""Times and durations as people and the API read them."""

from __future__ import annotations

from datetime import UTC, datetime

MINUTE, HOUR, DAY = 60, 3600, 86_400


def iso(moment: datetime) -> str:
    """Return ISO 8601 in UTC with `Z`, to the second's thousandth: `2025-01-20T10:30:00.000Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def duration(seconds: float | None) -> str | None:
    """Return `42s`, `2m 15s` or `1h 3m`; None for None."""
    if seconds is None:
        return None
    whole = int(seconds)
    if whole < MINUTE:
        return f"{whole}s"
    if whole < HOUR:
        return f"{whole // MINUTE}m {whole % MINUTE}s"
    return f"{whole // HOUR}h {whole % HOUR // MINUTE}m"


def relative(moment: datetime, now: datetime | None = None) -> str:
    """Return how long ago `moment` was: `just now`, `5m ago`, `3h ago`, `2d ago`, else the date."""
    passed = ((now or datetime.now(UTC)) - moment).total_seconds()
    if passed < MINUTE:
        return "just now"
    if passed < HOUR:
        return f"{int(passed // MINUTE)}m ago"
    if passed < DAY:
        return f"{int(passed // HOUR)}h ago"
    if passed < 30 * DAY:
        return f"{int(passed // DAY)}d ago"
    return f"{moment:%b} {moment.day}, {moment.year}"


def elapsed(start: datetime, end: datetime | None = None) -> int:
    """Return the whole seconds from `start` to `end`, or to now; never less than zero."""
    return max(0, int(((end or datetime.now(UTC)) - start).total_seconds()))


def exact(moment: datetime) -> str:
    """Return the moment in full, for a tooltip: `Jan 20, 2025, 10:30:00 UTC`."""
    utc = moment.astimezone(UTC)
    return f"{utc:%b} {utc.day}, {utc.year}, {utc:%H:%M:%S} UTC"
