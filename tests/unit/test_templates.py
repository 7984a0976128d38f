"""Templates on their own: what the macros draw, what they escape, and what a strict Content-Security-Policy allows."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, flash, render_template
from flask_wtf.csrf import CSRFProtect
from sqlalchemy.orm import configure_mappers

from autostack.accounts.models import User, UserPreferences
from autostack.analytics.service import Stats
from autostack.builds import models as _build_models
from autostack.dashboard.schemas import StatsOut
from autostack.deployments.models import Deployment, DeploymentDraft, DeploymentStage
from autostack.deployments.status import StageStatus, Status
from autostack.domains.models import Domain
from autostack.domains.names import Record
from autostack.errors import ConfigurationError
from autostack.paging import Page
from autostack.projects.models import Project
from autostack.static import vendor
from autostack.status import models as _status_models
from autostack.web import templating

del _build_models, _status_models
configure_mappers()

TEMPLATES = sorted((templating.PACKAGE / "templates").rglob("*.html"))
NOW = datetime.now(UTC)
STATS = StatsOut.of(Stats(24, 3, 8, 1, 96.0, -2.0, 144.0, -18.0))
HOSTILE = "\"'><script>alert(1)</script>"
# Text, and the ground that it stands on.
READABLE = 4.5


@pytest.fixture
def app() -> Iterator[Flask]:
    """An application that can render every template, without any feature's routes."""
    app = Flask("autostack", root_path=str(templating.PACKAGE))
    app.secret_key = "only for the CSRF tokens of this test"
    CSRFProtect(app)
    templating.register(app)
    app.url_build_error_handlers.append(lambda error, endpoint, values: f"/{endpoint}/{values.get('id', '')}")
    with app.test_request_context("/"):
        yield app


@pytest.fixture
def alice() -> User:
    return User(name=HOSTILE, email="alice@example.com", is_active=True, preferences=UserPreferences(theme="dark"))


@pytest.fixture
def project(alice: User) -> Project:
    return Project(
        id=uuid.uuid4(),
        name=HOSTILE,
        label="site",
        repository=f"https://git.example.com/{HOSTILE}",
        branch=HOSTILE,
        auto_promote=False,
        user=alice,
    )


def a_deployment(project: Project, status: Status = Status.SUCCESS) -> Deployment:
    now = datetime.now(UTC)
    return Deployment(
        id=uuid.uuid4(),
        sequence=2,
        project=project,
        project_id=project.id,
        user=project.user,
        status=status,
        branch=HOSTILE,
        commit_hash="a7f8c9d" + "0" * 33,
        commit_message=HOSTILE,
        author=HOSTILE,
        reason=HOSTILE,
        created_at=now - timedelta(minutes=5),
        started_at=now - timedelta(seconds=75),
        completed_at=now if status.is_final else None,
    )


def page(name: str, user: User, **context: Any) -> str:
    return render_template(name, current_user=user, **context)


def detail(deployment: Deployment, **context: Any) -> str:
    given = {
        "url": "http://site.localhost:8080",
        "immutable_url": "http://site-a7f8c9d0.localhost:8080",
        "stages": [],
        "log_lines": [],
        "newest_line": 501,
        "can_cancel": not deployment.state.is_final,
        "can_promote": False,
        "is_live": False,
    }
    return page("deployments/detail.html", deployment.user, deployment=deployment, **{**given, **context})


def a_draft(project: Project) -> dict[str, Any]:
    """What the wizard's pages show of one, with hostile words from a repository and its owner."""
    draft = DeploymentDraft(
        id=uuid.uuid4(), repository=project.repository, default_branch=HOSTILE, branches=[HOSTILE], form={}
    )
    detected = {"title": HOSTILE, "install_command": HOSTILE, "build_command": HOSTILE, "output_dir": HOSTILE}
    rows = [{"id": HOSTILE, "name": HOSTILE, "preview": HOSTILE}]
    return {"draft": draft, "rows": rows, "detected": detected}


def a_domain(project: Project) -> dict[str, Any]:
    """What the page of domains shows of two, with hostile words wherever there are any of somebody's."""
    other = Domain(id=uuid.uuid4(), project=project, name="example.com", status="active", checked_at=NOW)
    domain = Domain(id=uuid.uuid4(), project=project, name=HOSTILE, status="pending", problem=HOSTILE)
    domain.redirect_to = other
    entries = [
        {"domain": each, "records": [Record("TXT", HOSTILE, HOSTILE), Record("ALIAS", HOSTILE, HOSTILE)], "url": "/"}
        for each in (domain, other)
    ]
    return {"domains": entries, "shown": str, "targets": ["example.com", "example.net"]}


def every_page(alice: User, project: Project) -> dict[str, str]:
    """Each page, with hostile words wherever a user's words go."""
    done, queued = a_deployment(project), a_deployment(project, Status.QUEUED)
    form = {"name": HOSTILE, "email": HOSTILE, "repository": HOSTILE, "envVars": HOSTILE, "projectId": project.id}
    errors = {"form": HOSTILE, "name": HOSTILE, "email": HOSTILE, "repository": HOSTILE, "projectId": HOSTILE}
    filled = {"form": form, "errors": errors}
    urls = {project.id: "http://site.localhost:8080"}
    production = {"production_url": urls[project.id], "live_deployment": done}
    shown = {"deployments": [done, queued], "addresses": {done.id: urls[project.id]}, "live": {project.id: 1}}
    neighbours = {"newer": 30, "older": 21, "version": "1", "here": {}}
    filters = {"search": HOSTILE, "status": "all"}
    listed = {"latest": {project.id: done}, "live": {project.id: done.id}, "filters": filters}
    listed |= {"pagination": Page([], 1, 2, 30).numbers()}
    stored = {"names": [HOSTILE], "revealed": {HOSTILE: HOSTILE}}
    address = {"url": urls[project.id], "branch": HOSTILE, "deployment": done}
    problem = {"status": 404, "title": "Not Found", "message": HOSTILE, "details": {HOSTILE: HOSTILE}}
    return {
        "login": page("accounts/login.html", alice, **filled),
        "signup": page("accounts/signup.html", alice, **filled),
        "projects": page("projects/list.html", alice, projects=[project], urls=urls, **listed),
        "new project": page("projects/new.html", alice, **filled),
        "project": page("projects/detail.html", alice, project=project, **shown, **production),
        "settings": page(
            "projects/settings.html", alice, project=project, shown={"name": project.name}, **production, **filled
        ),
        "environment": page("projects/environment.html", alice, project=project, **stored, **production, **filled),
        "domains": page(
            "projects/domains.html",
            alice,
            project=project,
            addresses=[address],
            **a_domain(project),
            **production,
            **filled,
        ),
        "access": page("projects/access.html", alice, project=project, pending=2, **production, **filled),
        "danger zone": page("projects/danger.html", alice, project=project, **production, **filled),
        "project's deployments": page(
            "projects/deployments.html", alice, project=project, **neighbours, kept={}, **shown, **production
        ),
        "dashboard": page("dashboard/index.html", alice, has_projects=True, connection=None, stats=STATS, **shown),
        "deployments": page("deployments/list.html", alice, **neighbours, filters=filters, **shown),
        "new deployment": page("wizard/repository.html", alice, projects=[project], draft=None, **filled),
        "configuration": page("wizard/configure.html", alice, **a_draft(project), **filled),
        "confirmation": page("wizard/confirm.html", alice, **a_draft(project), given=form, project=project),
        "deployment": detail(done, can_promote=True),
        "queued deployment": detail(queued),
        "profile": page("settings/profile.html", alice, limit_mb=5, **filled),
        "account": page("settings/account.html", alice, linked=set(), **filled),
        "github": page("settings/github.html", alice, connection={"github_username": HOSTILE, "connected_at": NOW}),
        "notifications": page("settings/notifications.html", alice, preferences=alice.preferences, sends_mail=True),
        "appearance": page("settings/appearance.html", alice, preferences=alice.preferences),
        "error": render_template("errors/page.html", **problem),
        "problem": render_template("errors/_problem.html", **problem),
    }


@pytest.mark.parametrize("status", Status)
def test_a_status_is_an_icon_a_word_and_a_colour(app: Flask, status: Status) -> None:
    badge = app.jinja_env.get_template("components/status.html").module.status_badge(status)

    assert "<svg" in badge
    assert status.value.capitalize() in badge
    assert f'data-status="{status.value}"' in badge


@pytest.mark.parametrize("status", StageStatus)
def test_every_stage_has_an_icon(app: Flask, status: StageStatus) -> None:
    assert "<svg" in app.jinja_env.get_template("components/status.html").module.stage_icon(status)


def test_hostile_names_are_text_on_every_page(app: Flask, alice: User, project: Project) -> None:
    for name, html in every_page(alice, project).items():
        assert "<script>alert" not in html, name
        assert "&lt;script&gt;alert" in html, name


def test_what_was_typed_comes_back_with_what_is_wrong_but_no_password(app: Flask, alice: User) -> None:
    form = {"email": "alice@", "password": "hunter2 hunter2"}
    html = page("accounts/signup.html", alice, form=form, errors={"email": "is not an e-mail address"})

    assert 'value="alice@"' in html
    assert 'aria-describedby="email-error"' in html
    assert "is not an e-mail address" in html
    assert "hunter2" not in html


def test_every_form_that_posts_carries_the_csrf_token(app: Flask, alice: User, project: Project) -> None:
    for name, html in every_page(alice, project).items():
        forms = re.findall(r'<form[^>]*method="post".*?</form>', html, re.DOTALL)
        assert all('name="csrf_token"' in form for form in forms), name


def test_no_two_elements_of_a_page_share_an_id(app: Flask, alice: User, project: Project) -> None:
    for name, html in every_page(alice, project).items():
        ids = re.findall(r'\sid="([^"]+)"', html)
        assert sorted(ids) == sorted(set(ids)), name


def test_a_table_asks_for_itself_again_by_itself_only_while_something_runs(app: Flask, project: Project) -> None:
    for status in Status:
        deployments = [a_deployment(project), a_deployment(project, status)]
        table = render_template("deployments/_table.html", deployments=deployments, addresses={}, live={})
        assert table.count("hx-get") == 1
        assert ("every 3s" in table) is not status.is_final


@pytest.mark.parametrize(("live", "offered"), [(None, "Promote"), (1, "Promote"), (3, "Roll back to this")])
def test_going_back_to_what_is_older_than_production_is_called_so(
    app: Flask, project: Project, live: int | None, offered: str
) -> None:
    shown = {project.id: live} if live else {}
    row = render_template("deployments/_row.html", deployment=a_deployment(project), addresses={}, live=shown)
    assert {"Promote", "Roll back to this"} & set(re.findall(r"<span>([^<]+)</span>", row)) == {offered}


def test_what_production_shows_is_marked_and_can_be_neither_promoted_nor_deleted(app: Flask, project: Project) -> None:
    deployment = a_deployment(project)
    row = render_template("deployments/_row.html", deployment=deployment, addresses={}, live={project.id: 2})
    assert "live-mark" in row
    assert "/promote" not in row
    assert "/delete" not in row


def test_a_stage_that_has_not_ended_ticks(app: Flask) -> None:
    start = datetime.now(UTC) - timedelta(seconds=90)
    running = DeploymentStage(stage_name="Building", status=StageStatus.IN_PROGRESS, started_at=start)
    waiting = DeploymentStage(stage_name="Deploying", status=StageStatus.PENDING)
    html = render_template("deployments/_stages.html", stages=[running, waiting])

    assert re.search(r'data-elapsed="9\d">1m 3\ds<', html)
    assert html.count("data-elapsed") == 1


def test_a_log_line_keeps_the_servers_colours_and_links_to_itself(app: Flask) -> None:
    line = {"seq": 120, "time": "[00:15]", "level": "error", "html": '<span class="ansi-31">&lt;b&gt;</span>'}
    html = render_template("deployments/_log_lines.html", log_lines=[line])

    assert 'id="L120"' in html
    assert 'href="#L120"' in html
    assert '<span class="ansi-31">&lt;b&gt;</span>' in html


@pytest.mark.parametrize(("seq", "earlier", "later"), [(501, True, False), (1, False, True), (250, True, True)])
def test_a_log_that_is_not_shown_whole_leads_to_the_rest(
    app: Flask, project: Project, seq: int, earlier: bool, later: bool
) -> None:
    line = {"seq": seq, "time": "[00:15]", "level": "info", "html": "x"}
    html = detail(a_deployment(project), log_lines=[line], newest_line=501)
    for name, offered in (("earlier", earlier), ("later", later)):
        [shown] = re.findall(rf'<p class="log-more"([^>]*)><a [^>]*data-log-{name}>', html)
        assert ("hidden" not in shown) is offered


def test_the_theme_is_in_the_first_byte_of_the_page(app: Flask, alice: User) -> None:
    context = {
        "projects": [],
        "urls": {},
        "latest": {},
        "live": {},
        "filters": {},
        "pagination": Page([], 1, 1, 0).numbers(),
    }
    assert '<html lang="en" data-theme="dark">' in page("projects/list.html", alice, **context)

    with app.test_request_context("/", headers={"Cookie": "theme=light"}):
        assert '<html lang="en" data-theme="dark">' in page("projects/list.html", alice, **context)
        assert '<html lang="en" data-theme="light">' in page("accounts/login.html", alice, form={}, errors={})
    with app.test_request_context("/", headers={"Cookie": 'theme="><script>'}):
        assert '<html lang="en" data-theme="system">' in page("accounts/login.html", alice, form={}, errors={})


def test_flashed_messages_are_announced(app: Flask, alice: User) -> None:
    flash("Project <deleted>.", "success")
    html = page("accounts/login.html", alice, form={}, errors={})

    assert 'role="status"' in html
    assert 'data-tone="success"' in html
    assert "Project &lt;deleted&gt;." in html


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_templates_hold_nothing_that_a_strict_policy_forbids(template: Path) -> None:
    source = template.read_text()

    assert not re.search(r"<style|\sstyle\s*=|javascript:|[\"']js:", source)
    assert not re.search(r"\son[a-z]+\s*=|hx-on", source)
    assert not re.search(r"<script(?![^>]*\ssrc=)", source)
    assert not re.search(r"hx-trigger=\"[^\"]*\[", source), "an event filter needs eval"
    assert not re.search(r"(src|href)=\"https?:", source), "nothing is loaded from another host"


def test_the_vendored_files_are_those_that_templates_name(tmp_path: Path) -> None:
    vendor.main(tmp_path)
    # The navigation and the command palette name theirs in Python.
    sources = "".join(file.read_text() for file in (*TEMPLATES, *(templating.PACKAGE / "web").glob("*.py")))
    named = set(re.findall(r'filename="vendor/([^"]+)"', sources)) | {
        f"icons/{name}.svg" for name in vendor.ICONS if f'"{name}"' in sources
    }

    assert {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.*")} == named


def test_no_vendored_style_is_for_whatever_stands_beside_something(tmp_path: Path) -> None:
    vendor.main(tmp_path)
    assert re.findall(r"[^{}]*[+~] ?\*\s*[,{]", (tmp_path / vendor.STYLES).read_text()) == []


def test_an_icon_that_is_not_vendored_says_what_to_do(app: Flask) -> None:
    with pytest.raises(ConfigurationError, match="make install"):
        app.jinja_env.globals["icon"]("no-such-icon")


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, contrast ratio."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def colours(stylesheet: str, pattern: str) -> dict[str, tuple[str, str]]:
    """Return name → (light, dark) of what `pattern` finds before a light-dark()."""
    css = (templating.PACKAGE / "static" / stylesheet).read_text()
    return {
        name: (light, dark)
        for name, light, dark in re.findall(pattern + r"light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)", css)
    }


def test_statuses_can_be_read_in_both_themes() -> None:
    tokens = colours("app.css", r"--([a-z-]+): ")
    for name in ("neutral", "amber", "blue", "green", "red"):
        for text, ground in zip(tokens[name], tokens[f"{name}-ground"], strict=True):
            assert contrast(text, ground) >= READABLE, name


def test_words_can_be_read_in_both_themes() -> None:
    tokens = colours("app.css", r"--([a-z-]+): ")
    for text in ("foreground", "muted-foreground", "link", "destructive"):
        for ground in ("background", "card", "muted"):
            for one, other in zip(tokens[text], tokens[ground], strict=True):
                assert contrast(one, other) >= READABLE, (text, ground)


def test_a_builds_colours_can_be_read_in_both_themes() -> None:
    [grounds] = colours("log.css", r"\.log-(body) \{[^}]*background: ").values()
    foregrounds = colours("log.css", r"\.ansi-([39]\d) \{ color: ")

    assert set(foregrounds) == {str(code) for code in (*range(30, 38), *range(90, 98))}
    for code, pair in foregrounds.items():
        for text, ground in zip(pair, grounds, strict=True):
            assert contrast(text, ground) >= READABLE, code
