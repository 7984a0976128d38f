"""AWS ECS and its logs, as far as builds need them. What botocore raises does not leave this module."""

from __future__ import annotations

import random
import re
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import botocore.exceptions
import botocore.parsers
import structlog
from botocore.config import Config

from autostack.errors import Unavailable
from autostack.settings import Settings

log = structlog.stdlib.get_logger(__name__)

# DescribeTasks takes so many.
TASKS_AT_ONCE = 100
CONNECTIONS = 16
# What botocore tries by itself. Not of starts: what came of each try decides what its answer means.
TRIES = 2
# A start that ECS has no time for, and one whose answer was lost, is asked for again after these, less up to a half.
PAUSES_S = (0.5, 1, 2, 4)
LAST_LINES = 20
MISSING = "MISSING"
INVALID = "InvalidParameterException"
# StopTask takes so many characters of one.
MAX_REASON = 255
NOT_FOUND = re.compile(r"task was not found|task not found", re.IGNORECASE)
# ECS says these of an account's quota or a zone's machines: time helps, and nothing else.
NO_CAPACITY = re.compile(r"capacity is (currently )?unavailable|reached the limit|limit ?exceeded", re.IGNORECASE)
THROTTLED = frozenset({"ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded"})
# What every build is asked for with: no other would go better.
OF_ALL = re.compile(r"task ?definition|cluster|subnet|security ?group|role|capacity ?provider|account", re.IGNORECASE)
# What was sent, and may have been heard. All else that botocore raises by itself comes before: keys, parameters.
LOST = (
    botocore.exceptions.HTTPClientError,
    botocore.exceptions.ConnectionError,
    botocore.exceptions.IncompleteReadError,
    botocore.parsers.ResponseParserError,
)
NO_ANSWER = (botocore.exceptions.BotoCoreError, botocore.parsers.ResponseParserError)

Task = Mapping[str, Any]


class EcsUnavailable(Unavailable):
    """ECS did not answer, or not as it should."""

    code = "ECS_UNAVAILABLE"


class EcsSilent(EcsUnavailable):
    """ECS was not reached, or did not answer in time: nor will it of others."""


@dataclass(frozen=True)
class Started:
    """The task that was started, now or when it was asked for before."""

    task: str


@dataclass(frozen=True)
class Refused:
    """Nothing was started. `is_capacity`: only time helps, and nobody is to blame. `is_own`: it is for this build."""

    reason: str
    is_capacity: bool
    is_own: bool = False


@dataclass(frozen=True)
class Unclear:
    """Nobody knows whether a task was started: to be asked again with the same token."""

    reason: str


@dataclass(frozen=True)
class Later:
    """Nothing was started: ECS takes no more requests at the moment, or was not even asked."""

    reason: str


@dataclass(frozen=True)
class Halted:
    """Nothing can be started at all, for no build's fault: credentials, permissions, names that are wrong."""

    reason: str


Answer = Started | Refused | Unclear | Later | Halted


class Ecs:
    """One client of ECS for the process; several threads may use it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def start(self, request: Mapping[str, Any]) -> Answer:
        """Ask for a task: again for as long as ECS takes no more requests, and once more if its answer was lost.

        It is the same task, by its client token. After a lost answer, what ECS refuses may have been started before.
        """
        lost: Unclear | None = None
        answer = self._start(request)
        for pause_s in PAUSES_S:
            if isinstance(answer, Unclear) and lost is None:
                lost = answer
            elif not isinstance(answer, Later):
                break
            time.sleep(pause_s * random.uniform(0.5, 1))  # noqa: S311 - a jitter
            answer = self._start(request)
        return answer if lost is None or isinstance(answer, Started) else lost

    def _start(self, request: Mapping[str, Any]) -> Answer:
        try:
            answer = self._starter.run_task(**request)
        except botocore.exceptions.ClientError as error:
            return read_error(error.response)
        except LOST as error:
            return Unclear(str(error))
        except botocore.exceptions.BotoCoreError as error:
            return Halted(str(error))
        return read_answer(answer)

    def find(self, started_by: uuid.UUID) -> str | None:
        """Return the task that was started for an attempt: one that runs, else one that has ended, as far as ECS knows.

        Raises EcsUnavailable.
        """
        for status in ("RUNNING", "STOPPED"):
            asked = {"startedBy": str(started_by), "desiredStatus": status}
            try:
                pages = self.client.get_paginator("list_tasks").paginate(cluster=self._settings.ecs_cluster, **asked)
                # A page may be empty, and another follow.
                task = next((str(arn) for page in pages for arn in page["taskArns"]), None)
            except botocore.exceptions.ClientError as error:
                raise EcsUnavailable(f"ECS did not answer: {error}") from error
            except NO_ANSWER as error:
                raise EcsSilent(f"ECS did not answer: {error}") from error
            if task is not None:
                return task
        return None

    def describe(self, tasks: Sequence[str]) -> dict[str, Task | None]:
        """Return what ECS knows of at most TASKS_AT_ONCE tasks: None of one that is missing.

        Nothing of one that ECS will not be asked about. Raises EcsUnavailable.
        """
        found: dict[str, Task | None] = {}
        by_cluster: dict[str | None, list[str]] = {}
        for task in tasks:
            by_cluster.setdefault(self._cluster_of(task), []).append(task)
        for cluster, part in by_cluster.items():
            found |= self._describe(cluster, part)
        return found

    def _describe(self, cluster: str | None, tasks: Sequence[str]) -> dict[str, Task | None]:
        try:
            answer = self.client.describe_tasks(cluster=cluster, tasks=list(tasks))
        except botocore.exceptions.ClientError as error:
            if _code(error) == "ClusterNotFoundException" and cluster != self._settings.ecs_cluster:
                return dict.fromkeys(tasks)
            if _code(error) != INVALID:
                raise EcsUnavailable(f"ECS did not answer: {error}") from error
            if len(tasks) == 1:
                log.error("ECS will not be asked about a task", task=tasks[0], error=str(error))
                return {}
            # One that it refuses must not keep it from telling of the others.
            half = len(tasks) // 2
            return self._describe(cluster, tasks[:half]) | self._describe(cluster, tasks[half:])
        except NO_ANSWER as error:
            raise EcsSilent(f"ECS did not answer: {error}") from error
        missing = (failure.get("arn") for failure in answer["failures"] if failure.get("reason") == MISSING)
        known = {task["taskArn"]: task for task in answer["tasks"]}
        return {**{arn: None for arn in missing if arn}, **known}

    def stop(self, task: str, reason: str) -> None:
        """Have a task end. One that ECS does not know has. Raises EcsUnavailable."""
        try:
            self.client.stop_task(cluster=self._cluster_of(task), task=task, reason=reason[:MAX_REASON])
        except botocore.exceptions.ClientError as error:
            own_cluster = self._cluster_of(task) == self._settings.ecs_cluster
            is_gone = _code(error) == "ClusterNotFoundException" and not own_cluster
            # It says the same of a task that it does not know and of a request that it does not take.
            if not (is_gone or (_code(error) == INVALID and NOT_FOUND.search(str(error)))):
                raise EcsUnavailable(f"ECS did not stop a task: {error}") from error
        except NO_ANSWER as error:
            raise EcsSilent(f"ECS did not answer: {error}") from error

    def last_lines(self, task: str) -> list[str]:
        """Return the last lines that a task wrote, none where CloudWatch has none, or does not say."""
        group = self._settings.ecs_log_group
        if group is None:
            return []
        stream = f"{self._settings.ecs_log_prefix}/{self._settings.ecs_container}/{task.rpartition('/')[2]}"
        asked = {"logGroupName": group, "logStreamName": stream, "limit": LAST_LINES, "startFromHead": False}
        try:
            events = self._logs.get_log_events(**asked)["events"]
        except (botocore.exceptions.ClientError, *NO_ANSWER) as error:
            log.warning("CloudWatch did not say a task's last lines", task=task, error=str(error))
            return []
        return [str(event["message"]) for event in events]

    def prepare(self) -> None:
        """Load what is slow to load, but for CloudWatch, which few builds need. Nothing is asked of ECS yet."""
        _ = self.client, self._starter

    @cached_property
    def client(self) -> Any:
        return self._make("ecs")

    @cached_property
    def _starter(self) -> Any:
        return self._make("ecs", tries=1)

    @cached_property
    def _logs(self) -> Any:
        return self._make("logs")

    def _cluster_of(self, task: str) -> str | None:
        """Return the cluster that a task's ARN names: the setting may have changed since it was started."""
        parts = task.rpartition(":")[2].split("/")
        return parts[1] if len(parts) == 3 else self._settings.ecs_cluster

    def _make(self, service: str, tries: int = TRIES) -> Any:
        # Loading it takes a good part of a second, which nobody who builds here needs to spend.
        import boto3

        secret = self._settings.aws_secret_access_key
        timeout_s = self._settings.ecs_timeout_s
        return boto3.client(
            service,
            region_name=self._settings.ecs_region or self._settings.s3_region,
            aws_access_key_id=self._settings.aws_access_key_id,
            aws_secret_access_key=secret.get_secret_value() if secret else None,
            config=Config(
                connect_timeout=timeout_s,
                read_timeout=timeout_s,
                max_pool_connections=CONNECTIONS,
                retries={"mode": "standard", "total_max_attempts": tries},
            ),
        )


@lru_cache(maxsize=1)
def ecs(settings: Settings) -> Ecs:
    """Return the process's client."""
    return Ecs(settings)


def _code(error: botocore.exceptions.ClientError) -> str:
    return str(error.response["Error"].get("Code", ""))


def read_answer(answer: Mapping[str, Any]) -> Answer:
    """Return what RunTask's answer means."""
    if answer.get("tasks"):
        return Started(str(answer["tasks"][0]["taskArn"]))
    if answer.get("failures"):
        failure = answer["failures"][0]
        reason = " ".join(str(failure[part]) for part in ("reason", "detail") if failure.get(part))
        return Refused(reason or "ECS gave no reason", bool(NO_CAPACITY.search(reason)))
    return Unclear("ECS answered with neither a task nor a failure")


def read_error(response: Mapping[str, Any]) -> Answer:
    """Return what RunTask's refusal means."""
    code, message = response["Error"].get("Code", ""), response["Error"].get("Message", "")
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
    reason = f"{code}: {message}"
    # The same token with another request: settings changed since it was asked first, and it had been heard.
    if code == "ConflictException" and response.get("resourceIds"):
        return Started(str(response["resourceIds"][0]))
    if code in THROTTLED:
        return Later(reason)
    if status >= 500 or code == "ConflictException":
        return Unclear(reason)
    if NO_CAPACITY.search(reason):
        return Refused(message, is_capacity=True)
    if code in ("ClientException", INVALID) and not OF_ALL.search(message):
        return Refused(message, is_capacity=False, is_own=True)
    return Halted(reason)
