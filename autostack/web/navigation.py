"""The parts of the application that every signed-in page leads to."""

from __future__ import annotations

from dataclasses import dataclass

from flask import request


@dataclass(frozen=True)
class Section:
    """One part; `symbol` is its icon."""

    label: str
    path: str
    symbol: str

    @property
    def is_current(self) -> bool:
        """Whether the page that is asked for belongs to it: their paths begin alike."""
        return request.path.split("/")[1] == self.path.split("/")[1]


SECTIONS = (
    Section("Dashboard", "/dashboard", "layout-dashboard"),
    Section("Projects", "/projects", "folder-git-2"),
    Section("Deployments", "/deployments", "rocket"),
    Section("Analytics", "/analytics", "chart-column"),
    Section("Status", "/status", "activity"),
    Section("Settings", "/settings", "settings"),
)
ADMIN = Section("Admin", "/admin/users", "shield")
# Below the pages that anybody may read.
FOOTER = {
    "Product": (
        ("Pricing", "/pricing"),
        ("Templates", "/templates"),
        ("Pipelines", "/pipelines"),
        ("Monitoring", "/monitoring"),
        ("Integrations", "/integrations"),
        ("Team", "/team"),
        ("Status", "/status"),
    ),
    "Documentation": (
        ("Getting started", "/docs/getting-started"),
        ("Configuration", "/docs/configuration"),
        ("Architecture", "/docs/architecture"),
        ("API", "/docs/api"),
    ),
    "Account": (("Log in", "/login"), ("Sign up", "/signup"), ("Terms", "/terms"), ("Privacy", "/privacy")),
}


def sections(is_admin: bool) -> tuple[Section, ...]:
    """Return where the navigation leads somebody, in its order."""
    return (*SECTIONS, ADMIN) if is_admin else SECTIONS
