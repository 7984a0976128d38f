"""The jobs of GitHub."""

from __future__ import annotations

from autostack.github import revocations


def revoke_tokens() -> None:
    """Have GitHub take back the tokens that nobody here uses any more."""
    revocations.carry_out()
