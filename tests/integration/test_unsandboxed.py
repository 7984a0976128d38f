"""Builds where no sandbox starts: refused with what to do, unless the operator has them run all the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from autostack.agent import unsandboxed
from autostack.agent.contained import MARK
from autostack.agent.errors import BuildFailed, InfrastructureError
from autostack.agent.host import Host
from autostack.agent.unsandboxed import OpenWorkspace, warning_of, without_isolation
from tests.agents import Site, make_site
from tests.container import ContainedSite, needs_root
from tests.integration.test_embedded_services import as_root

pytestmark = needs_root


class ClosedMachine(ContainedSite):
    """A site whose agent is root of a machine that mounts nothing, and is there for all builds."""

    def command(self) -> list[str]:
        argv = super().command()
        mark = argv.index(str(MARK))
        return [*argv[: mark - 2], *argv[mark + 1 :]]


@contextmanager
def closed_machine(folder: Path, command: str, **order: Any) -> Iterator[Site]:
    settings = {"buildCommand": command, "outputDir": "."}
    with make_site(folder, {"index.html": "hi"}, settings=settings, **order) as site:
        yield ClosedMachine(**vars(site))


def test_where_no_sandbox_starts_builds_are_refused_with_what_to_do(tmp_path: Path) -> None:
    with closed_machine(tmp_path, "true") as site:
        site.build()
        assert site.web.finished is not None
        assert site.web.finished["outcome"] == "failed"
        reason = str(site.web.finished["reason"])
        assert reason.startswith("Builds are refused, as this machine cannot isolate them ("), reason
        assert reason.endswith("): docs/isolation.md says what it takes")


def test_where_the_operator_says_so_they_run_as_another_user_and_the_log_says_it_loudly(tmp_path: Path) -> None:
    command = (
        "id -u > index.html; cat /etc/shadow >> index.html; grep -E 'NoNew|CapB' /proc/self/status >> index.html; :"
    )
    with closed_machine(tmp_path, command) as site:
        site.options = ("--allow-unsandboxed",)
        site.build()
        assert site.web.finished == {"outcome": "built", "reason": None}, site.web.log
        page = site.web.content("/index.html").decode().split()
        assert page == ["64000", "CapBnd:", "0000000000000000", "NoNewPrivs:", "1"]
        assert [text for text in site.web.texts if text.startswith("THIS BUILD IS NOT ISOLATED: ")], site.web.log


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(unsandboxed, "LOCK", tmp_path / "run" / "lock")
    monkeypatch.setattr(OpenWorkspace, "source", property(lambda _: tmp_path / "build"))
    monkeypatch.setattr(OpenWorkspace, "home", property(lambda _: tmp_path / "home"))
    monkeypatch.setattr(unsandboxed, "TMP", tmp_path / "build-tmp")
    return tmp_path


def never() -> None:
    raise AssertionError("nobody else builds")


def test_builds_take_turns_and_who_waits_may_be_stopped(places: Path) -> None:
    first, second = OpenWorkspace(places / "1"), OpenWorkspace(places / "2")
    first.take_turn(never, never)  # type: ignore[arg-type]
    first.make(64_000, as_root=True)
    waited: list[str] = []
    with pytest.raises(BuildFailed, match="stopped"):
        second.take_turn(lambda: "It was stopped", lambda: waited.append("waits"))
    assert waited == ["waits"]
    # The other's folders are not its to remove.
    second.remove()
    assert first.source.is_dir()
    first.turn.pop().close()
    second.take_turn(lambda: None, never)


@as_root
def test_a_folder_that_is_no_builds_is_left_alone(places: Path) -> None:
    workspace = OpenWorkspace(places / "1")
    workspace.take_turn(lambda: None, never)
    workspace.home.mkdir()
    (workspace.home / "letters").write_text("dear")
    with pytest.raises(InfrastructureError, match="is no build's"):
        workspace.make(64_000, as_root=True)
    assert (workspace.home / "letters").read_text() == "dear"


def test_an_ordinary_users_builds_stay_refused(tmp_path: Path) -> None:
    ordinary = Host(bwrap="/nowhere/bwrap", is_root=False)
    assert without_isolation(ordinary, tmp_path / "trial") == ordinary
    assert warning_of(ordinary) is None
