"""The second net under what is logged: examples are in `tests/integration/test_request_log.py`."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from autostack.logs import HIDDEN, SECRETS, hide_secrets

PIECES = [
    "?token=", "&TICKET=", "&x-amz-signature=", "://", "user:", "@", "Bearer ", "BASIC ", "eyJ", "EYJ", ".", "ast_",
    "ghp_", "GHO_", "github_pat_", "0123456789abcdef0123", " ", "/", '"', "\\", "request", "é", "ſ",
]  # fmt: skip


@example("github_pat_0123456789abcdef0123")
@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_no_secret_is_overlooked_for_the_sake_of_speed(line: str) -> None:
    assert hide_secrets(None, "", line) == SECRETS.sub(lambda match: f"{match['before'] or ''}{HIDDEN}", line)
