"""What is watched, and how it can be."""

from __future__ import annotations

from enum import StrEnum


class Service(StrEnum):
    """The services that the status page shows, by the names that it shows them under."""

    API_GATEWAY = "API Gateway"
    DATABASE = "Database"
    CDN = "CDN"
    BUILD_SERVICE = "Build Service"


class Health(StrEnum):
    """How a service, or all of them together, is doing. Unknown is what nobody has looked at lately."""

    OPERATIONAL = "operational"
    DEGRADED = "degraded"
    DOWN = "down"
    UNKNOWN = "unknown"

    @classmethod
    def _missing_(cls, value: object) -> Health:
        # A word of a newer version's: the page must stay up while versions change.
        return cls.UNKNOWN

    @property
    def is_trouble(self) -> bool:
        return self in {Health.DEGRADED, Health.DOWN}


def overall(services: list[Health], has_open_incident: bool) -> Health:
    """Return how the platform is doing: degraded by any trouble, known only where every service is."""
    if has_open_incident or any(health.is_trouble for health in services):
        return Health.DEGRADED
    return Health.OPERATIONAL if set(services) == {Health.OPERATIONAL} else Health.UNKNOWN
