"""What a personal access token may do. Each scope holds the ones before it."""

from __future__ import annotations

from enum import StrEnum


class Scope(StrEnum):
    """`read` looks, `deploy` changes projects and deployments too, `admin` the account itself."""

    READ = "read"
    DEPLOY = "deploy"
    ADMIN = "admin"

    def covers(self, needed: Scope) -> bool:
        """Tell whether this scope is enough where `needed` is asked for."""
        order = list(Scope)
        return order.index(self) >= order.index(needed)
