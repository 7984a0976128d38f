"""Secrets at rest: what is stored encrypted is Fernet text under the first of ENCRYPTION_KEYS; any of them reads it."""

from __future__ import annotations

import json

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from autostack.errors import ConfigurationError
from autostack.settings import Settings


class Cipher:
    """Encrypts text for storage. Several keys, separated by commas, let an operator rotate them: new ones go first."""

    def __init__(self, keys: str) -> None:
        try:
            fernets = [Fernet(key.strip()) for key in keys.split(",") if key.strip()]
            self._fernet, self._first = MultiFernet(fernets), MultiFernet(fernets[:1])
        except ValueError:
            raise ConfigurationError("ENCRYPTION_KEYS must be Fernet keys, separated by commas") from None

    @classmethod
    def of(cls, settings: Settings) -> Cipher:
        return cls(settings.secret("encryption_keys"))

    def encrypt(self, text: str) -> str:
        return self._fernet.encrypt(text.encode()).decode()

    def decrypt(self, stored: str) -> str:
        """Raises `cryptography.fernet.InvalidToken` if no key fits: a wrong key is the operator's to mend."""
        return self._fernet.decrypt(stored.encode()).decode()

    def is_current(self, stored: str) -> bool:
        """Tell whether the first key is the one that this was encrypted with."""
        try:
            self._first.decrypt(stored.encode())
        except InvalidToken:
            return False
        return True

    def rotate(self, stored: str) -> str:
        """Return the same secret under the first key. Raises `cryptography.fernet.InvalidToken` if no key fits."""
        return self._fernet.rotate(stored.encode()).decode()

    def encrypt_mapping(self, values: dict[str, str]) -> str | None:
        """Return names and values as one stored text, or None for none."""
        return self.encrypt(json.dumps(values)) if values else None

    def decrypt_mapping(self, stored: str | None) -> dict[str, str]:
        """The reverse of `encrypt_mapping`."""
        loaded: dict[str, str] = json.loads(self.decrypt(stored)) if stored else {}
        return loaded
