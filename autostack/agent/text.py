"""How sizes and times read in the log."""

from __future__ import annotations


def duration(milliseconds: float) -> str:
    """Return `320ms`, `3.2s`, `42s`, `10m 0s` or `1h 3m`."""
    seconds = milliseconds / 1000
    if seconds < 1:
        return f"{milliseconds:.0f}ms"
    if seconds < 10 and seconds != int(seconds):
        return f"{seconds:.1f}s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60}s"
    return f"{whole // 3600}h {whole % 3600 // 60}m"


def size(count: int) -> str:
    """Return a number of bytes as `512 B`, `1.5 kB`, `25 MB` or `5 GB` (powers of 1000)."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= factor:
            return f"{count / factor:.1f}".removesuffix(".0") + f" {unit}"
    return f"{count} B"
