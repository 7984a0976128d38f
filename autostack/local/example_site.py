"""Deploy the example as a user would: an account, a project and a deployment, by the JSON API."""

from __future__ import annotations

import json
import os
import secrets
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2

from autostack.errors import AutostackError, ConfigurationError
from autostack.local import example_repository
from autostack.settings import Settings

NAME = "hello-autostack"
EMAIL = "demo@example.com"
FILE = "example.json"
HTTP_TIMEOUT_S = 30
# Beside the build's own time: clone, queue and publish.
MARGIN_S = 60
# Often at first, as it takes seconds; then seldom enough for the limit on API requests.
FAST_POLLS_S, FAST_INTERVAL_S, INTERVAL_S = 10.0, 0.3, 1.0


class ExampleFailed(AutostackError):
    """The example could not be deployed; everything else may well work."""


@dataclass(frozen=True)
class Example:
    """The account made for this installation, and under which host label its site is live, if it is."""

    email: str
    password: str
    label: str | None = None


@dataclass(frozen=True)
class Deployed:
    """Where the example is live, and how many seconds it took; None when that was at an earlier start."""

    url: str
    duration_s: float | None


def read(data_dir: Path) -> Example | None:
    """Return what is known of the data folder's example, None if it never had one. Raises ConfigurationError."""
    path = data_dir / FILE
    try:
        return Example(**json.loads(path.read_text())) if path.exists() else None
    except (ValueError, TypeError):
        raise ConfigurationError(f"{path} cannot be read: delete it, and the account {EMAIL}.") from None


def read_or_make(data_dir: Path) -> Example:
    """Return the data folder's example, with a new password kept there (mode 0600) if it never had one."""
    known = read(data_dir)
    if known is not None:
        return known
    made = Example(EMAIL, secrets.token_urlsafe(12))
    _save(data_dir, made)
    return made


def deploy(settings: Settings, example: Example) -> Deployed:
    """Return where the example is live, deploying it first unless it is already. Raises ExampleFailed."""
    if example.label is not None and _answers(settings, example.label):
        return Deployed(settings.site_url(example.label), None)
    try:
        # By the address that web listens on; APP_URL is how browsers reach it.
        base_url = f"http://127.0.0.1:{settings.port}"
        with httpx2.Client(base_url=base_url, timeout=HTTP_TIMEOUT_S, trust_env=False) as client:
            deployed = _deploy(client, example, settings.data_dir, settings.build_timeout_ms / 1000 + MARGIN_S)
    except (httpx2.HTTPError, KeyError, ValueError) as error:
        raise ExampleFailed(f"the API did not answer as expected ({type(error).__name__}: {error})") from None
    host = urlsplit(deployed.url).hostname or ""
    _save(settings.data_dir, replace(example, label=host.removesuffix(f".{settings.sites_domain}")))
    return deployed


def _deploy(client: httpx2.Client, example: Example, data_dir: Path, timeout_s: float) -> Deployed:
    token = _sign_in(client, example)["token"]
    client.headers["Authorization"] = f"Bearer {token}"
    project_id = _project_id(client, example_repository.address(data_dir))
    started_at = time.monotonic()
    deployment = _call(client, "POST", "/api/deployments", {"projectId": project_id})
    url = _wait(client, deployment["id"], started_at, timeout_s)
    return Deployed(url, time.monotonic() - started_at)


def _sign_in(client: httpx2.Client, example: Example) -> dict[str, Any]:
    account = {"email": example.email, "password": example.password}
    answer = client.post("/api/auth/signup", json={**account, "name": "Demo"})
    if answer.status_code == httpx2.codes.CONFLICT:
        return _call(client, "POST", "/api/auth/login", account)
    return _read(answer)


def _project_id(client: httpx2.Client, repository: str) -> str:
    for project in _call(client, "GET", "/api/projects")["projects"]:
        if project["name"] == NAME:
            return str(project["id"])
    wanted = {"name": NAME, "repository": repository, "branch": example_repository.BRANCH}
    return str(_call(client, "POST", "/api/projects", wanted)["id"])


def _wait(client: httpx2.Client, deployment_id: str, started_at: float, timeout_s: float) -> str:
    while (elapsed_s := time.monotonic() - started_at) < timeout_s:
        deployment = _call(client, "GET", f"/api/deployments/{deployment_id}")
        if deployment["status"] == "success":
            return str(deployment["url"])
        if deployment["status"] in ("failed", "cancelled"):
            raise ExampleFailed(_reason(deployment))
        time.sleep(FAST_INTERVAL_S if elapsed_s < FAST_POLLS_S else INTERVAL_S)
    raise ExampleFailed(f"it is still not live after {timeout_s:g} s")


def _reason(deployment: dict[str, Any]) -> str:
    logs = deployment.get("logs") or [""]
    return str(deployment.get("reason") or logs[-1] or f"the deployment is {deployment['status']}")


def _call(client: httpx2.Client, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    return _read(client.request(method, path, json=body))


def _read(answer: httpx2.Response) -> dict[str, Any]:
    """Return an answer's JSON object. Raises ExampleFailed with the API's own message."""
    body: dict[str, Any] = answer.json()
    if answer.is_error:
        message = body.get("error", {}).get("message", "no message")
        raise ExampleFailed(f"{answer.request.url.path} answered {answer.status_code}: {message}")
    return body


def _answers(settings: Settings, label: str) -> bool:
    # Names under localhost resolve in browsers, not everywhere else: hence the address with a Host header.
    host = urlsplit(settings.site_url(label)).netloc
    url = f"http://127.0.0.1:{settings.proxy_port}/"
    try:
        return httpx2.get(url, headers={"Host": host}, timeout=HTTP_TIMEOUT_S, trust_env=False).is_success
    except httpx2.HTTPError:
        return False


def _save(data_dir: Path, example: Example) -> None:
    path = data_dir / FILE
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(asdict(example), file, indent=2)
    draft.replace(path)
