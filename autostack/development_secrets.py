"""The secrets of an installation whose operator set none: made once, and kept in its data folder."""

from __future__ import annotations

import json
import os
import secrets
from functools import lru_cache
from pathlib import Path


@lru_cache
def development_secrets(data_dir: Path) -> dict[str, str]:
    """Read the data folder's `secrets.json` (mode 0600), making it first if this is its first use."""
    from cryptography.fernet import Fernet

    path = data_dir / "secrets.json"
    if not path.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        made = {name: secrets.token_urlsafe(48) for name in ("secret_key", "jwt_secret", "refresh_token_secret")}
        made["encryption_keys"] = Fernet.generate_key().decode()
        draft = path.with_name(f".secrets-{os.getpid()}.json")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(made, indent=2))
        try:
            # Several processes start at once: the first to link its draft wins, all read the winner's.
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    loaded: dict[str, str] = json.loads(path.read_text())
    return loaded
