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
from autostack.builds import models as _build_models
from autostack.deployments.models import Deployment, DeploymentStage
from autostack.deployments.status import StageStatus, Status
from autostack.errors import ConfigurationError
from autostack.projects.models import Project
from autostack.static import vendor
from autostack.status import models as _status_models
from autostack.web import templating

del _build_models, _status_models
configure_mappers()

TEMPLATES = sorted((templating.PACKAGE / "templates").rglob("*.html"))
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
        "can_cancel": not deployment.state.is_final,
        "can_promote": False,
        "is_live": False,
    }
    return page("deployments/detail.html", deployment.user, deployment=deployment, **{**given, **context})


def every_page(alice: User, project: Project) -> dict[str, str]:
    """Each page, with hostile words wherever a user's words go."""
    done, queued = a_deployment(project), a_deployment(project, Status.QUEUED)
    form = {"name": HOSTILE, "email": HOSTILE, "repository": HOSTILE, "envVars": HOSTILE, "projectId": project.id}
    errors = {"form": HOSTILE, "name": HOSTILE, "email": HOSTILE, "repository": HOSTILE, "projectId": HOSTILE}
    filled = {"form": form, "errors": errors}
    urls = {project.id: "http://site.localhost:8080"}
    production = {"production_url": urls[project.id], "live_deployment": done}
    shown = {"deployments": [done, queued], "addresses": {done.id: urls[project.id]}, "live": {done.id}}
    filters = {"search": HOSTILE, "status": "all"}
    pagination = {"page": 2, "pages": 3, "total": 25}
    problem = {"status": 404, "title": "Not Found", "message": HOSTILE, "details": {HOSTILE: HOSTILE}}
    return {
        "login": page("accounts/login.html", alice, **filled),
        "signup": page("accounts/signup.html", alice, **filled),
        "projects": page("projects/list.html", alice, projects=[project], urls=urls, latest={project.id: done}),
        "new project": page("projects/new.html", alice, **filled),
        "project": page("projects/detail.html", alice, project=project, **shown, **production),
        "settings": page("projects/settings.html", alice, project=project, env_names=[HOSTILE], **filled),
        "deployments": page("deployments/list.html", alice, pagination=pagination, filters=filters, **shown),
        "new deployment": page("deployments/new.html", alice, projects=[project], **filled),
        "deployment": detail(done, can_promote=True),
        "queued deployment": detail(queued),
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


def test_a_row_asks_for_itself_again_only_while_in_progress(app: Flask, project: Project) -> None:
    for status in Status:
        deployment = a_deployment(project, status)
        row = render_template("deployments/_row.html", deployment=deployment, addresses={}, live=set())
        assert ("every 3s" in row) is not status.is_final


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


def test_a_log_that_begins_in_the_middle_says_so_and_offers_the_whole(app: Flask, project: Project) -> None:
    line = {"time": "[00:15]", "level": "info", "html": "x"}
    cut = '<p class="log-cut">'

    assert cut in detail(a_deployment(project), log_lines=[{**line, "seq": 501}]).split("<noscript>")[0]
    assert cut not in detail(a_deployment(project), log_lines=[{**line, "seq": 1}]).split("<noscript>")[0]


def test_the_theme_is_in_the_first_byte_of_the_page(app: Flask, alice: User) -> None:
    context = {"projects": [], "urls": {}, "latest": {}}
    assert '<html lang="en" data-theme="dark">' in page("projects/list.html", alice, **context)

    with app.test_request_context("/", headers={"Cookie": "theme=light"}):
        assert '<html lang="en" data-theme="light">' in page("projects/list.html", alice, **context)
    with app.test_request_context("/", headers={"Cookie": 'theme="><script>'}):
        assert '<html lang="en" data-theme="dark">' in page("projects/list.html", alice, **context)


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
    sources = "".join(template.read_text() for template in TEMPLATES)
    named = set(re.findall(r'filename="vendor/([^"]+)"', sources)) | {
        f"icons/{name}.svg" for name in vendor.ICONS if f'"{name}"' in sources
    }

    assert {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.*")} == named


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
