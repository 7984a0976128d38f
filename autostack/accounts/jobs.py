"""The jobs of accounts."""

from __future__ import annotations

from autostack.accounts import deletions, mails


def send_mails() -> None:
    """Send the mails that are due."""
    mails.send_due()


def delete_closed_accounts() -> None:
    """Delete the accounts whose owners asked for it, with everything that is theirs."""
    deletions.delete_closed()
