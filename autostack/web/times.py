"""Times and durations as people and the API read them."""

from __future__ import annotations

from datetime import UTC, date, datetime

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


def mean(seconds: float | None) -> str | None:
    """Return a mean duration as the spec writes it: `42s`, and from a minute on `2.4m`; None for None."""
    if seconds is None:
        return None
    return f"{seconds / MINUTE:.1f}m" if round(seconds) >= MINUTE else f"{seconds:.0f}s"


def signed(seconds: float | None) -> str | None:
    """Return a difference of durations: `-18s`, `+2m 15s`, `0s`; None for None."""
    if seconds is None:
        return None
    whole = round(seconds)
    return f"{'+' if whole > 0 else '-' if whole < 0 else ''}{duration(abs(whole))}"


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


def month_day(day: date) -> str:
    """Return a day of the last months: `Jan 1`."""
    return f"{day:%b} {day.day}"
