"""What is asked of ECS for one build: pure functions from an attempt and the settings.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
"""

from __future__ import annotations

import hashlib
import hmac
import uuid
from dataclasses import dataclass, field
from typing import Any

from autostack.agent.__main__ import API_URL_VARIABLE, ATTEMPT_VARIABLE, TOKEN_VARIABLE
from autostack.ecs_settings import DISK_GIB, TaskSize
from autostack.settings import MB, Settings

ON_DEMAND = "FARGATE"


@dataclass(frozen=True)
class Launch:
    """An attempt that is to begin. `last_site_bytes` is how large the project's last site was."""

    attempt_id: uuid.UUID
    deployment_id: uuid.UUID
    number: int
    last_site_bytes: int
    bootstrap_token: str = field(repr=False)


def run_task(launch: Launch, settings: Settings) -> dict[str, Any]:
    """Return what RunTask is asked. For the same attempt it is always the same, so that ECS knows a repetition.

    Whatever a project's variables are, they are not in it: ECS takes 8,192 characters of overrides, and shows them to
    everybody who may describe tasks. The agent fetches its order with a token that is good once.
    """
    size = size_of(launch.last_site_bytes, settings)
    environment = {
        API_URL_VARIABLE: settings.agents_reach_web_at,
        ATTEMPT_VARIABLE: str(launch.attempt_id),
        TOKEN_VARIABLE: launch.bootstrap_token,
    }
    # What was interrupted once should not be again.
    provider = settings.ecs_capacity_provider if launch.number == 1 else ON_DEMAND
    return {
        "cluster": settings.ecs_cluster,
        "taskDefinition": settings.ecs_task_definition,
        "count": 1,
        "clientToken": str(launch.attempt_id),
        "startedBy": str(launch.attempt_id),
        "capacityProviderStrategy": [{"capacityProvider": provider, "weight": 1}],
        "networkConfiguration": {"awsvpcConfiguration": _network(settings)},
        "overrides": {
            "cpu": str(size.cpu),
            "memory": str(size.memory_mib),
            **_disk(size),
            "containerOverrides": [
                {
                    "name": settings.ecs_container,
                    "environment": [{"name": name, "value": value} for name, value in environment.items()],
                }
            ],
        },
    }


def size_of(last_site_bytes: int, settings: Settings) -> TaskSize:
    """Return what a task gets: the size of the largest site that the project's last one reaches."""
    return max(size for size in settings.ecs_sizes if size.from_mb * MB <= last_site_bytes)


def bootstrap_token(attempt_id: uuid.UUID, settings: Settings) -> str:
    """Return the token for an attempt's agent. It is derived, and stored nowhere: who asks ECS again says the same."""
    key = settings.secret("secret_key").encode()
    return hmac.new(key, b"bootstrap of " + attempt_id.bytes, hashlib.sha256).hexdigest()


def _disk(size: TaskSize) -> dict[str, Any]:
    # What each task has need not be asked for, and cannot be: AWS takes 21 GiB and more.
    return {"ephemeralStorage": {"sizeInGiB": size.disk_gib}} if size.disk_gib > DISK_GIB else {}


def _network(settings: Settings) -> dict[str, Any]:
    return {
        "subnets": sorted(settings.ecs_subnets),
        "securityGroups": sorted(settings.ecs_security_groups),
        "assignPublicIp": "ENABLED" if settings.ecs_assign_public_ip else "DISABLED",
    }
