"""Who calls the API with a token. Most answers take no more than the caller's id, so the rows are left unread."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from autostack.accounts.models import PersonalAccessToken, Session, User
from autostack.accounts.scopes import Scope
from autostack.database import known


@dataclass(frozen=True)
class Caller:
    """A user with an account that is open, as Flask-Login takes one, and the live sign-in that they call with."""

    id: uuid.UUID
    sign_in_id: uuid.UUID
    scope: Scope
    is_token: bool

    is_authenticated = True

    @property
    def user(self) -> User:
        """The user's row: what it holds is read when it is asked for."""
        return known(User, id=self.id, is_active=True)

    @property
    def sign_in(self) -> Session | PersonalAccessToken:
        """The row of the session, or of the personal access token: read as the user's is."""
        facts = {"id": self.sign_in_id, "user_id": self.id, "user": self.user}
        return known(PersonalAccessToken, **facts) if self.is_token else known(Session, **facts)

    def __getattr__(self, name: str) -> Any:
        # Pages below /api/ show whoever is signed in.
        return getattr(self.user, name)
