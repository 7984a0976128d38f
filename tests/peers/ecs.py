"""AWS ECS and CloudWatch Logs as far as builds need them: a real HTTP server on a free port that speaks their protocol.

A task that is run really starts the build agent: in a container, by the image's entry point, with what the request
overrides as its environment. Where this machine makes no container of ours (`tests/container.py` says when: not for an
ordinary user, nor of a checkout below /tmp) the agent is a process of the machine's, as a worker starts it. Faults come
true in their order: `refusals` of requests, by operation, and `fates` of tasks.

with running_ecs(folder) as ecs:
    settings = make_settings(**ecs.settings())      # with ecs.environment() in os.environ
    ecs.refuse("RunTask", error("ThrottlingException"))
"""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import uuid
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from autostack.local import child
from tests.container import ENTRY_POINT, HAS_CONTAINERS, container

CLUSTER, GROUP, CONTAINER, PREFIX = "builds", "/autostack/builds", "builder", "builds"
ARN = "arn:aws:ecs:us-east-1:000000000000:task"
# https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html
SIGNED = re.compile(r"AWS4-HMAC-SHA256 Credential=[^/]+/\d+/(?P<region>[a-z0-9-]+)/(ecs|logs)/aws4_request,")
# Where a container has its programs. Nothing else of ours is in its environment.
IMAGE = ("PATH", "LANG", "HOME", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS")


@dataclass(frozen=True)
class Refusal:
    """How a request ends. `does`: what was asked for happens all the same; without a status nothing is answered."""

    status: int | None
    body: Mapping[str, Any] = field(default_factory=dict)
    does: bool = False
    after_s: float = 0


def error(code: str, status: int = 400, message: str = "no", **more: Any) -> Refusal:
    return Refusal(status, {"__type": code, "message": message, **more})


def failure(reason: str) -> Refusal:
    """RunTask's answer where a task finds no place."""
    return Refusal(200, {"tasks": [], "failures": [{"arn": "", "reason": reason}]})


NOTHING = Refusal(200, {"tasks": [], "failures": []})
# The task starts; the answer does not arrive.
UNHEARD = Refusal(None, does=True)
# The same, to a client that waits.
LATE = Refusal(None, does=True, after_s=2)


@dataclass(frozen=True)
class Fate:
    """What becomes of a task. `starts`: its agent is run. `status`: where it stays if it is not."""

    starts: bool = False
    status: str = "STOPPED"
    stop_code: str | None = None
    stopped_reason: str | None = None
    is_missing: bool = False


RUNS = Fate(starts=True, status="RUNNING")
# It runs, and a test plays its agent.
PLAYED = Fate(status="RUNNING")
PENDING = Fate(status="PENDING")
MISSING = Fate(is_missing=True)


def not_started(reason: str) -> Fate:
    return Fate(stop_code="TaskFailedToStart", stopped_reason=reason)


@dataclass
class Task:
    """One task. `process` is its agent, where it has one."""

    arn: str
    request: dict[str, Any]
    fate: Fate
    process: subprocess.Popen[bytes] | None = None
    stop_code: str | None = None
    stopped_reason: str | None = None
    # ECS does not always learn of it.
    tells_exit_code: bool = True

    @property
    def id(self) -> str:
        return self.arn.rpartition("/")[2]

    @property
    def status(self) -> str:
        if self.stop_code:
            return "STOPPED"
        if self.process is None:
            return self.fate.status
        return "RUNNING" if self.process.poll() is None else "STOPPED"

    @property
    def environment(self) -> dict[str, str]:
        (container,) = self.request["overrides"]["containerOverrides"]
        return {pair["name"]: pair["value"] for pair in container["environment"]}

    def described(self) -> dict[str, Any]:
        container: dict[str, Any] = {"name": CONTAINER, "lastStatus": self.status}
        shown = {"taskArn": self.arn, "lastStatus": self.status, "startedBy": self.request["startedBy"]}
        if self.status == "STOPPED":
            shown["stopCode"] = self.stop_code or self.fate.stop_code or "EssentialContainerExited"
            shown["stoppedReason"] = self.stopped_reason or self.fate.stopped_reason or "Essential container exited"
            if self.process and self.tells_exit_code:
                code = self.process.poll()
                container["exitCode"] = code if code is None or code >= 0 else 128 - code
        return {**shown, "containers": [container]}


@dataclass
class EcsPeer:
    """What was asked of it, what it runs, and what is to go wrong."""

    url: str
    folder: Path
    runs: Callable[[Task], subprocess.Popen[bytes] | None]
    calls: Counter[str] = field(default_factory=Counter)
    tasks: dict[str, Task] = field(default_factory=dict)
    by_token: dict[str, Task] = field(default_factory=dict)
    refusals: dict[str, deque[Refusal]] = field(default_factory=lambda: defaultdict(deque))
    fates: deque[Fate] = field(default_factory=deque)
    stopped: list[tuple[str, str]] = field(default_factory=list)
    # Tasks that are not described; nor are those that are asked about with them.
    unmentionable: set[str] = field(default_factory=set)
    # The task definition's `awslogs-stream-prefix`, and the regions that requests were signed for.
    prefix: str = PREFIX
    regions: set[str] = field(default_factory=set)
    # Called with the operation before each answer.
    meanwhile: Callable[[str], object] = lambda operation: None
    # The largest number of tasks that one DescribeTasks asked about.
    most_described: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    leaves: threading.Event = field(default_factory=threading.Event)

    def refuse(self, operation: str, *refusals: Refusal) -> None:
        """Have the next requests of an operation end so."""
        self.refusals[operation].extend(refusals)

    def settings(self) -> dict[str, Any]:
        """Return the settings, by field name, under which builds run here."""
        return {name.lower(): value for name, value in self.environment().items() if not name.startswith("AWS_END")}

    def environment(self) -> dict[str, str]:
        return {
            "BUILD_EXECUTOR": "ecs",
            "ECS_CLUSTER": CLUSTER,
            "ECS_TASK_DEFINITION": "autostack-builder:1",
            "ECS_SUBNETS": "subnet-1",
            "ECS_SECURITY_GROUPS": "sg-1",
            "ECS_LOG_GROUP": GROUP,
            "ECS_RETRY_INTERVAL": "1",
            "AWS_ACCESS_KEY_ID": "test-key",
            "AWS_SECRET_ACCESS_KEY": "test-secret",
            "AWS_ENDPOINT_URL_ECS": self.url,
            "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS": self.url,
        }

    def interrupt(
        self, task: Task, stop_code: str = "SpotInterruption", reason: str = "Your Spot Task was interrupted."
    ) -> None:
        """Take a task's machine away."""
        task.stop_code, task.stopped_reason, task.tells_exit_code = stop_code, reason, False
        end(task)

    def forget(self, task: Task) -> None:
        """Know nothing of a task any more, as ECS does an hour after its end."""
        del self.tasks[task.arn]

    def last_words(self, task: Task, *lines: str) -> None:
        """Have a task written these lines."""
        (self.folder / f"{task.id}.log").write_text("\n".join(lines))

    def answer(self, operation: str, asked: dict[str, Any]) -> tuple[int | None, Mapping[str, Any]]:
        with self.lock:
            self.calls[operation] += 1
            refusal = self.refusals[operation].popleft() if self.refusals[operation] else Refusal(200, does=True)
            try:
                answered = OPERATIONS[operation](self, asked) if refusal.does else refusal.body
            except Refused as refused:
                (own,) = refused.args
                return own.status, own.body
        self.meanwhile(operation)
        self.leaves.wait(refusal.after_s)
        return refusal.status, answered


def _run_task(peer: EcsPeer, asked: dict[str, Any]) -> Mapping[str, Any]:
    assert len(json.dumps(asked["overrides"])) <= 8_192
    token = asked["clientToken"]
    known = peer.by_token.get(token)
    if known is None:
        fate = peer.fates.popleft() if peer.fates else RUNS
        known = Task(f"{ARN}/{asked['cluster']}/{uuid.uuid4().hex}", asked, fate)
        if fate.starts:
            known.process = peer.runs(known)
        peer.tasks[known.arn] = peer.by_token[token] = known
    elif known.request != asked:
        raise Refused(error("ConflictException", resourceIds=[known.arn]))
    return {"tasks": [{**known.described(), "lastStatus": "PROVISIONING"}], "failures": []}


class Refused(Exception):
    """ECS's own refusal, of what nobody should ask."""


def _describe_tasks(peer: EcsPeer, asked: dict[str, Any]) -> Mapping[str, Any]:
    assert len(asked["tasks"]) <= 100
    foreign = [arn for arn in asked["tasks"] if arn.split("/")[1] != asked["cluster"]]
    if foreign or peer.unmentionable.intersection(asked["tasks"]):
        raise Refused(error("InvalidParameterException", message="Identifier is for another cluster."))
    peer.most_described = max(peer.most_described, len(asked["tasks"]))
    found = [peer.tasks[arn] for arn in asked["tasks"] if arn in peer.tasks and not peer.tasks[arn].fate.is_missing]
    missing = set(asked["tasks"]) - {task.arn for task in found}
    failures = [{"arn": arn, "reason": "MISSING"} for arn in missing]
    return {"tasks": [task.described() for task in found], "failures": failures}


def _stop_task(peer: EcsPeer, asked: dict[str, Any]) -> Mapping[str, Any]:
    task = peer.tasks.get(asked["task"])
    assert len(asked.get("reason", "")) <= 255
    if asked["task"].split("/")[1] != asked["cluster"]:
        raise Refused(error("InvalidParameterException", message="Identifier is for another cluster."))
    if task is None:
        raise Refused(error("InvalidParameterException", message="The referenced task was not found."))
    peer.stopped.append((task.arn, asked.get("reason", "")))
    if task.status != "STOPPED":
        task.stop_code, task.stopped_reason = "UserInitiated", asked.get("reason")
        end(task)
    return {"task": task.described()}


def _list_tasks(peer: EcsPeer, asked: dict[str, Any]) -> Mapping[str, Any]:
    mine = [task for task in peer.tasks.values() if task.request["startedBy"] == asked["startedBy"]]
    has_ended = asked.get("desiredStatus") == "STOPPED"
    # As ECS may: a page without anything, and another.
    if mine and "nextToken" not in asked:
        return {"taskArns": [], "nextToken": "2"}
    return {"taskArns": [task.arn for task in mine if (task.status == "STOPPED") == has_ended]}


def _get_log_events(peer: EcsPeer, asked: dict[str, Any]) -> Mapping[str, Any]:
    assert asked["logGroupName"] == GROUP
    prefix, container, id = asked["logStreamName"].split("/")
    assert (prefix, container) == (peer.prefix, CONTAINER)
    log = peer.folder / f"{id}.log"
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return {"events": [{"timestamp": 0, "message": line} for line in lines[-asked["limit"] :]]}


OPERATIONS: dict[str, Callable[[EcsPeer, dict[str, Any]], Mapping[str, Any]]] = {
    "RunTask": _run_task,
    "DescribeTasks": _describe_tasks,
    "StopTask": _stop_task,
    "ListTasks": _list_tasks,
    "GetLogEvents": _get_log_events,
}


def end(task: Task) -> None:
    """Kill a task's agent and all that it started."""
    if task.process and task.process.poll() is None:
        child.end_group(task.process.pid, signal.SIGKILL)
        task.process.wait()


def _in_container(own_files: Path) -> list[str]:
    own_files.mkdir()
    return [*container(own_files), sys.executable, *ENTRY_POINT[1:]]


def _on_host(folder: Path, task: Task, slot: int) -> list[str]:
    command = [sys.executable, "-m", "autostack.agent", "--work-dir", str(folder / task.id)]
    return [*command, "--tools-dir", str(folder / "tools"), "--slot", str(slot)]


@contextmanager
def agent_runner(folder: Path) -> Iterator[Callable[[Task], subprocess.Popen[bytes]]]:
    """Yield what starts the agent of a task."""
    # The sandboxes' user ids: others than those that builders of this machine take.
    slots = itertools.count(100)

    def run(task: Task) -> subprocess.Popen[bytes]:
        image = {name: os.environ[name] for name in IMAGE if name in os.environ}
        command = _in_container(folder / task.id) if HAS_CONTAINERS else _on_host(folder, task, next(slots))
        with (folder / f"{task.id}.log").open("wb") as log:
            return child.start(command, env={**image, **task.environment}, cwd=folder, stdout=log, stderr=log)

    # A child dies with the thread that started it, and the threads of requests end.
    with ThreadPoolExecutor(1) as thread:
        yield lambda task: thread.submit(run, task).result()


@contextmanager
def running_ecs(folder: Path) -> Iterator[EcsPeer]:
    """Run it until the block ends; what its tasks left running ends with it."""
    with agent_runner(folder) as runs, serving(EcsPeer("", folder, runs)) as peer:
        try:
            yield peer
        finally:
            for task in peer.tasks.values():
                end(task)


@contextmanager
def serving(peer: EcsPeer) -> Iterator[EcsPeer]:
    """Answer requests until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            operation = self.headers["X-Amz-Target"].rpartition(".")[2]
            signed = SIGNED.match(self.headers.get("Authorization", ""))
            if signed is None:
                self._send(403, {"__type": "MissingAuthenticationTokenException", "message": "not signed"})
                return
            peer.regions.add(signed["region"])
            status, body = peer.answer(operation, asked)
            if status is None:
                self.close_connection = True
            else:
                self._send(status, body)

        def _send(self, status: int, body: Mapping[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    server = Server(("127.0.0.1", 0), Handler)
    peer.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield peer
    finally:
        peer.leaves.set()
        server.shutdown()
        thread.join()
        server.server_close()
