"""What the command palette finds: the user's own projects and deployments, the parts of the application, actions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autostack.accounts.models import User
from autostack.deployments import service as deployments
from autostack.deployments.models import Deployment
from autostack.projects import service as projects
from autostack.projects.models import Project
from autostack.web.navigation import sections

EACH_AT_MOST = 5
MAX_TEXT_CHARACTERS = 100
APPEARANCE = "/settings/appearance"


@dataclass(frozen=True)
class Command:
    """One thing to do: a path to go to, or one to post to, with the theme to have if that is it. `words` are found."""

    label: str
    symbol: str
    path: str | None = None
    post: str | None = None
    theme: str | None = None
    words: str = ""

    def matches(self, text: str) -> bool:
        told = f"{self.label} {self.words}".lower()
        return all(word in told for word in text.lower().split())


@dataclass(frozen=True)
class Found:
    """What a text finds, a few of each kind."""

    projects: Sequence[Project]
    deployments: Sequence[Deployment]
    commands: Sequence[Command]

    def __bool__(self) -> bool:
        return bool(self.projects or self.deployments or self.commands)


COMMANDS = (
    Command("New deployment", "plus", path="/deploy", words="deploy repository git"),
    Command("New project", "folder-git-2", path="/projects/new", words="add repository"),
    Command("Access tokens", "key-round", path="/settings/tokens", words="settings api ci"),
    Command("Sessions", "monitor", path="/settings/sessions", words="settings devices sign-ins"),
    Command("Documentation", "book-open", path="/docs", words="help guide"),
    Command("API", "terminal", path="/docs/api", words="documentation openapi curl"),
    Command("Light theme", "sun", post=APPEARANCE, theme="light", words="appearance"),
    Command("Dark theme", "moon", post=APPEARANCE, theme="dark", words="appearance"),
    Command("System theme", "monitor", post=APPEARANCE, theme="system", words="appearance light dark"),
    Command("Log out", "log-out", post="/logout", words="sign out leave"),
)


def find(user: User, text: str) -> Found:
    """Return what has `text`, the newest first; all commands and the newest projects for an empty one."""
    # PostgreSQL's text has no NUL.
    text = text.replace("\0", "").strip()[:MAX_TEXT_CHARACTERS]
    deployed = deployments.browse(user, text=text, limit=EACH_AT_MOST).items if text else []
    return Found(projects.find(user, text, EACH_AT_MOST), deployed, _commands(user, text))


def _commands(user: User, text: str) -> list[Command]:
    parts = [Command(part.label, part.symbol, path=part.path, words="go to") for part in sections(user.is_superuser)]
    return [command for command in (*parts, *COMMANDS) if command.matches(text)]
