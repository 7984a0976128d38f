"""The order for one build, as web sends it (`docs/agent-api.md`, "The order")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from autostack.agent.errors import InfrastructureError

Part = TypeVar("Part")
WEB_PORTS = (80, 443)


@dataclass(frozen=True)
class Credential:
    """What the clone says to the Git server. It is in no representation, so in no traceback."""

    username: str
    password: str

    def __repr__(self) -> str:
        return "Credential(…)"


@dataclass(frozen=True)
class RepositoryOrder:
    """What to clone. `commit` wins over `branch`; neither means the default branch."""

    url: str
    branch: str | None = None
    commit: str | None = None
    credential: Credential | None = None
    hosts_allowed: frozenset[str] = frozenset()
    local_path: str | None = None


@dataclass(frozen=True)
class BuildSettings:
    """The owner's settings: None is detected, an empty command means none."""

    root_dir: str | None = None
    install_command: str | None = None
    build_command: str | None = None
    output_dir: str | None = None
    node_version: str | None = None


@dataclass(frozen=True)
class Limits:
    """What one build may use."""

    timeout_ms: int
    max_build_bytes: int
    max_files: int
    max_file_bytes: int
    max_log_bytes: int
    max_line_bytes: int
    max_processes: int
    max_memory_bytes: int
    max_disk_bytes: int
    max_cache_bytes: int
    max_mirrors_bytes: int


@dataclass(frozen=True)
class Order:
    """Everything that an agent is told. `token` is the working token."""

    token: str
    attempt_id: str
    project_id: str
    repository: RepositoryOrder
    settings: BuildSettings
    env: Mapping[str, str]
    egress_allowed: tuple[str, ...]
    egress_ports: tuple[int, ...]
    egress_refused: tuple[str, ...]
    limits: Limits
    heartbeat_interval_ms: int
    elapsed_ms: int

    def __repr__(self) -> str:
        return f"Order({self.attempt_id})"

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Order:
        """Read web's answer. Unknown keys are ignored, so that web may be newer. Raises InfrastructureError."""
        try:
            return cls(
                token=body["token"],
                attempt_id=body["attemptId"],
                project_id=body["projectId"],
                repository=_repository(body["repository"]),
                settings=_part(BuildSettings, body["settings"]),
                env=dict(body["env"]),
                egress_allowed=tuple(body.get("egressAllowed") or ()),
                egress_ports=tuple(body.get("egressPorts") or WEB_PORTS),
                egress_refused=tuple(body.get("egressRefused") or ()),
                limits=_part(Limits, body["limits"]),
                heartbeat_interval_ms=int(body["heartbeatIntervalMs"]),
                elapsed_ms=int(body["elapsedMs"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InfrastructureError(f"web sent an order that cannot be read: {error!r}") from None


def _repository(body: Mapping[str, Any]) -> RepositoryOrder:
    credential = body.get("credential")
    return RepositoryOrder(
        url=body["url"],
        branch=body.get("branch"),
        commit=body.get("commit"),
        credential=_part(Credential, credential) if credential else None,
        hosts_allowed=frozenset(body.get("hostsAllowed") or ()),
        local_path=body.get("localPath"),
    )


def _part(kind: type[Part], body: Mapping[str, Any]) -> Part:
    """Make a dataclass from an object whose keys are the camelCase names of its fields."""
    names = {_camel(field.name): field.name for field in fields(kind)}  # type: ignore[arg-type]
    return kind(**{names[key]: value for key, value in body.items() if key in names})


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
