"""The jobs of accounts."""

from __future__ import annotations

from autostack.accounts import mails


def send_mails() -> None:
    """Send the mails that are due."""
    mails.send_due()
