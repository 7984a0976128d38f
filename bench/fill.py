"""Very many deployments, written by COPY."""

from __future__ import annotations

import itertools
import random
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

YEAR = timedelta(days=365)
PER_PROJECT = 100
# Each hundredth deployment has stages, a host and a log. The first owner's are among them.
SAMPLE = 100
LOG_LINES = 50
STATUSES, WEIGHTS = ("success", "failed", "cancelled"), (90, 7, 3)
STAGES = ("Queued", "Building", "Deploying", "Success")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SNAPSHOT = '{"repository": "https://git.example.com/bench/site", "branch": "main", "buildCommand": "npm run build"}'
DETECTED = '{"framework": "vite", "packageManager": "npm"}'
COLUMNS = {
    "projects": "id user_id name label repository repository_key",
    "deployments": "id project_id user_id status branch commit_hash commit_message author build_duration started_at "
    "completed_at created_at trigger snapshot detected label file_count total_bytes",
    "site_hosts": "label project_id deployment_id kind",
    "deployment_stages": "deployment_id position stage_name status started_at completed_at",
    "deployment_logs": "deployment_id seq timestamp log_level message",
}

Row = tuple[Any, ...]


@dataclass
class _Plan:
    """Whose the deployments are: they take turns, each with as many projects as they need."""

    owners: list[uuid.UUID]
    rows: int
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    sampled: list[tuple[uuid.UUID, uuid.UUID, str, datetime]] = field(default_factory=list)
    projects: list[list[uuid.UUID]] = field(default_factory=list)

    def projects_rows(self) -> Iterator[Row]:
        each = max(1, self.rows // len(self.owners) // PER_PROJECT)
        for owner in self.owners:
            ids = [uuid.uuid4() for _ in range(each)]
            self.projects.append(ids)
            for number, id in enumerate(ids):
                address = f"https://git.example.com/bench/{id.hex}"
                yield id, owner, name_of_project(number), f"p-{id.hex}", address, address

    def deployment_rows(self) -> Iterator[Row]:
        now = datetime.now(UTC)
        for number in range(self.rows):
            at = now - YEAR * (self.rows - number) / self.rows
            turn, of_owner = number % len(self.owners), number // len(self.owners)
            project = self.projects[turn][of_owner % len(self.projects[turn])]
            id, took_s = uuid.uuid4(), self.chance.randint(20, 240)
            [status] = self.chance.choices(STATUSES, WEIGHTS)
            if number % SAMPLE == 0:
                self.sampled.append((id, project, status, at))
            facts = ("main", COMMIT, "Say hello", "Bench", took_s, at, at + timedelta(seconds=took_s), at, "push")
            files = (SNAPSHOT, DETECTED, f"d-{id.hex}", 12, 48_213)
            yield id, project, self.owners[turn], status, *facts, *files

    def host_rows(self) -> Iterator[Row]:
        for id, project, status, _ in self.sampled:
            if status == "success":
                yield f"d-{id.hex}", project, id, "deployment"

    def stage_rows(self) -> Iterator[Row]:
        for (id, _, _, at), (position, name) in itertools.product(self.sampled, enumerate(STAGES)):
            yield id, position, name, "completed", at, at

    def log_rows(self) -> Iterator[Row]:
        for (id, _, _, at), seq in itertools.product(self.sampled, range(1, LOG_LINES + 1)):
            yield id, seq, at, "info", f"[00:{seq:02}] transforming module {seq} of {LOG_LINES}"


def name_of_project(number: int) -> str:
    """Return the name of an owner's project; no project's name is part of another's."""
    return f"project-{number:06}"


def fill(connection: psycopg.Connection[Any], owners: Iterable[uuid.UUID], rows: int) -> None:
    """Write `rows` deployments of the last year, each owner's in turn, and let PostgreSQL look at what it has."""
    plan = _Plan(list(owners), rows)
    _copy(connection, "projects", plan.projects_rows())
    _copy(connection, "deployments", plan.deployment_rows())
    _copy(connection, "site_hosts", plan.host_rows())
    _copy(connection, "deployment_stages", plan.stage_rows())
    _copy(connection, "deployment_logs", plan.log_rows())
    connection.commit()
    connection.autocommit = True
    # What autovacuum does in a database that is in use.
    connection.execute("VACUUM ANALYZE")


def _copy(connection: psycopg.Connection[Any], table: str, rows: Iterable[Row]) -> None:
    columns = ", ".join(COLUMNS[table].split())
    with connection.cursor() as cursor, cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
