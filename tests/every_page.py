"""The product's pages, for whoever looks at each of them: tests in Chromium, and `make screenshots`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from playwright.sync_api import Page

from tests.stack import PASSWORD

PUBLIC = {
    "landing": "/",
    "login": "/login",
    "signup": "/signup",
    "docs": "/docs",
    "getting started": "/docs/getting-started",
    "serving": "/docs/serving",
    "configuration": "/docs/configuration",
    "isolation": "/docs/isolation",
    "aws": "/docs/aws",
    "architecture": "/docs/architecture",
    "agent api": "/docs/agent-api",
    "api": "/docs/api",
    "pricing": "/pricing",
    "templates": "/templates",
    "pipelines": "/pipelines",
    "integrations": "/integrations",
    "monitoring": "/monitoring",
    "team": "/team",
    "terms": "/terms",
    "privacy": "/privacy",
    "status": "/status",
    "history": "/status/history",
    "forgotten": "/forgot-password",
    "reset": "/reset-password?token=secret",
    "verify": "/verify-email?token=secret",
}
# Of somebody who is an admin, and has deployed well and badly.
SIGNED_IN = {
    "dashboard": "/dashboard",
    "projects": "/projects",
    "project": "/projects/{project}",
    "settings": "/projects/{project}/settings",
    "project's deployments": "/projects/{project}/deployments",
    "traffic": "/projects/{project}/traffic",
    "environment": "/projects/{project}/environment",
    "domains": "/projects/{project}/domains",
    "access": "/projects/{project}/access",
    "explanation": "/projects/{project}/explain?address=%2F",
    "danger zone": "/projects/{project}/danger",
    "new project": "/projects/new",
    "new": "/deploy",
    "configure": "/deploy/{draft}/configure",
    "confirm": "/deploy/{draft}/confirm",
    "started": "/deploy/{started}/started",
    "deployments": "/deployments",
    "deployment": "/deployments/{good}",
    "failed": "/deployments/{bad}",
    "changes": "/deployments/{good}/changes",
    "search": "/search?q=settings",
    "frequency": "/analytics",
    "success": "/analytics/success",
    "durations": "/analytics/durations",
    "resources": "/analytics/resources",
    "profile": "/settings",
    "github": "/settings/github",
    "notifications": "/settings/notifications",
    "appearance": "/settings/appearance",
    "account": "/settings/account",
    "sessions": "/settings/sessions",
    "tokens": "/settings/tokens",
    "users": "/admin/users",
    "everybody's": "/admin/deployments",
}


def every_path(good: Mapping[str, Any], bad: Mapping[str, Any], draft: str, started: str) -> dict[str, str]:
    """Return the path of each page.

    `good` and `bad`: a deployment that succeeded and one that failed. `draft`: the id of one that is being prepared,
    `started`: of one that was.
    """
    ids = {"project": good["projectId"], "good": good["id"], "bad": bad["id"], "draft": draft, "started": started}
    return {name: path.format(**ids) for name, path in {**PUBLIC, **SIGNED_IN}.items()}


def stay(page: Page) -> None:
    """Keep the page of what was just started from leading on, as it does after two seconds, while it is looked at."""
    page.route("**/wizard.js*", lambda route: route.fulfill(body="", content_type="text/javascript"))


def sign_in(page: Page, email: str) -> None:
    """Sign in with the password of all tests."""
    page.goto("/login")
    page.locator("[name=email]").fill(email)
    page.locator("[name=password]").fill(PASSWORD)
    page.locator("main form button[type=submit]").click()
    page.wait_for_url("**/dashboard")
