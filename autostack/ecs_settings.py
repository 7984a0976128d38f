"""The settings of builds on AWS ECS. `autostack.settings` reads them with all others."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode

SIZE = re.compile(r"(?:(\d{1,6})=)?(\d{3,5})/(\d{3,6})(?:/(\d{2,3}))?")
# The GiB of disk that each task on Fargate has, and the most that one can have.
DISK_GIB, MAX_DISK_GIB = 20, 200
# The MiB of memory that Fargate has for so many CPU units:
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html
FARGATE = {
    256: (512, 1024, 2048),
    512: range(1024, 4096 + 1, 1024),
    1024: range(2048, 8192 + 1, 1024),
    2048: range(4096, 16_384 + 1, 1024),
    4096: range(8192, 30_720 + 1, 1024),
    8192: range(16_384, 61_440 + 1, 4096),
    16_384: range(32_768, 122_880 + 1, 8192),
}


@dataclass(frozen=True, order=True)
class TaskSize:
    """What a task gets, from so many MB of the project's last site on. `cpu` is in 1/1024 of a vCPU."""

    from_mb: int
    cpu: int
    memory_mib: int
    disk_gib: int = DISK_GIB

    @property
    def is_offered(self) -> bool:
        """Whether Fargate has that."""
        return self.memory_mib in FARGATE.get(self.cpu, ()) and DISK_GIB <= self.disk_gib <= MAX_DISK_GIB


def read_sizes(text: str) -> tuple[TaskSize, ...]:
    """Return the sizes that `1024/4096 250=2048/8192/50` names, smallest site first. Raises ValueError."""
    matches = [SIZE.fullmatch(word) for word in re.split(r"[\s,]+", text.strip())]
    sizes = sorted(TaskSize(int(m[1] or 0), int(m[2]), int(m[3]), int(m[4] or DISK_GIB)) for m in matches if m)
    if len(sizes) != len(matches) or sizes[0].from_mb or not all(size.is_offered for size in sizes):
        what = f"CPU units and MiB that Fargate has together, and {DISK_GIB} to {MAX_DISK_GIB} GiB of disk"
        raise ValueError(f"must be sizes such as 1024/4096 250=2048/8192/50: {what}, from so many MB of site on")
    return tuple(sizes)


class EcsSettings(BaseSettings):
    """Where builds run on ECS, and as what."""

    build_executor: Literal["local", "ecs"] = Field("local", alias="BUILD_EXECUTOR")
    max_concurrent_builds: int = Field(50, alias="MAX_CONCURRENT_BUILDS", ge=1)
    max_concurrent_builds_per_user: int = Field(10, alias="MAX_CONCURRENT_BUILDS_PER_USER", ge=1)

    ecs_cluster: str | None = Field(None, alias="ECS_CLUSTER")
    ecs_task_definition: str | None = Field(None, alias="ECS_TASK_DEFINITION")
    ecs_container: str = Field("builder", alias="ECS_CONTAINER")
    ecs_subnets: Annotated[frozenset[str], NoDecode] = Field(frozenset(), alias="ECS_SUBNETS")
    ecs_security_groups: Annotated[frozenset[str], NoDecode] = Field(frozenset(), alias="ECS_SECURITY_GROUPS")
    ecs_assign_public_ip: bool = Field(True, alias="ECS_ASSIGN_PUBLIC_IP")
    ecs_capacity_provider: Literal["FARGATE", "FARGATE_SPOT"] = Field("FARGATE", alias="ECS_CAPACITY_PROVIDER")
    ecs_sizes: Annotated[tuple[TaskSize, ...], NoDecode] = Field(
        (TaskSize(0, 1024, 4096), TaskSize(250, 2048, 8192)), alias="ECS_SIZES"
    )
    ecs_region: str | None = Field(None, alias="ECS_REGION")
    ecs_log_group: str | None = Field(None, alias="ECS_LOG_GROUP")
    ecs_log_prefix: str = Field("builds", alias="ECS_LOG_PREFIX")
    ecs_timeout_s: int = Field(10, alias="ECS_TIMEOUT", ge=1)
    ecs_start_timeout_s: int = Field(600, alias="ECS_START_TIMEOUT", ge=1)
    ecs_start_attempts: int = Field(6, alias="ECS_START_ATTEMPTS", ge=1, le=20)
    ecs_retry_interval_s: int = Field(15, alias="ECS_RETRY_INTERVAL", ge=1)

    @field_validator("ecs_sizes", mode="before")
    @classmethod
    def _read_sizes(cls, value: Any) -> Any:
        return read_sizes(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _ecs_needs_its_names(self) -> Self:
        required = ("ecs_cluster", "ecs_task_definition", "ecs_subnets", "ecs_security_groups")
        missing = [name.upper() for name in required if not getattr(self, name)]
        if self.build_executor == "ecs" and missing:
            raise ValueError(f"{', '.join(missing)} must be set where BUILD_EXECUTOR is ecs")
        return self

    @property
    def builds_on_ecs(self) -> bool:
        return self.build_executor == "ecs"
