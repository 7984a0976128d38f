"""Row 50: `ext::`, `file://`, `--upload-pack=`, submodules to elsewhere, git hooks → refused or inert."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from autostack.agent import git
from tests.agents import make_site
from tests.git_server import git as run_git
from tests.git_server import make_repository, serve_repositories

URLS = [
    "ext::sh -c 'touch /tmp/pwned'",
    "file:///etc",
    "/etc",
    "../site.git",
    "--upload-pack=touch /tmp/pwned",
    "-oProxyCommand=touch /tmp/pwned",
    "ssh://git@github.com/a/b",
    "git@github.com:a/b.git",
    "git://github.com/a/b",
    "ftp://github.com/a/b",
    "https+ext::https://github.com/a/b",
    "http://github.com/a/b",
    "https://user:password@github.com/a/b",
    "https://github.com/a/b\nhttps://evil.example",
    "https://github.com/a/b --upload-pack=x",
    "https://-github.com/a/b",
    "https://github.com:99999/a/b",
    "https://github.com/",
    "https://github.com/a/b?x=`id`",
    "https://[::1/a",
    "",
    "https://gïthub.com/a/b",
    "https://github.com/" + "a" * 3000,
]
BRANCHES = ["-f", "--upload-pack=x", "a;b", "a`id`", "$(id)", "a b", "a..b", "a~1", "a^", "a:b", "x.lock", "/a", "a/"]


@pytest.mark.parametrize("url", URLS)
def test_f50_an_address_of_another_form_is_refused_before_any_program_sees_it(tmp_path: Path, url: str) -> None:
    with pytest.raises(git.InvalidUrl):
        git.ls_remote(url)


@pytest.mark.parametrize("branch", [*BRANCHES, "", "@", "a" * 300])
def test_f50_a_name_that_no_branch_has_is_refused(branch: str) -> None:
    with pytest.raises(git.InvalidBranch):
        git.check_branch(branch)


@pytest.mark.parametrize("branch", ["main", "feature/new-thing", "release-1.2", "dependabot/npm/x-1", "ümlaut"])
def test_f50_a_usual_branch_name_is_accepted(branch: str) -> None:
    assert git.check_branch(branch) == branch


@pytest.mark.parametrize("url", ["ext::sh -c id", "file:///etc", "--upload-pack=id"])
def test_f50_an_agent_refuses_such_an_order_too(tmp_path: Path, url: str) -> None:
    with make_site(tmp_path, {"index.html": "hi"}) as site:
        site.order(repository={"url": url})
        assert site.build() == 0
        assert (site.web.finished or {})["outcome"] == "failed"
        assert "repository" in (site.web.finished or {})["reason"]


def test_f50_submodules_are_not_fetched(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    make_repository(elsewhere / "sub.git", {"secret.html": "secret"})
    with serve_repositories(elsewhere) as other, make_site(tmp_path, {"index.html": "hi"}) as site:
        checkout = tmp_path / "checkout"
        subprocess.run(["git", "clone", "-q", str(site.repository.path), str(checkout)], check=True)
        (checkout / ".gitmodules").write_text(f'[submodule "sub"]\n\tpath = sub\n\turl = {other.url("sub.git")}\n')
        commit = run_git(checkout, "rev-parse", "HEAD")
        run_git(checkout, "update-index", "--add", "--cacheinfo", f"160000,{commit},sub")
        run_git(checkout, "add", ".gitmodules")
        run_git(checkout, "commit", "-q", "-m", "Add a submodule")
        run_git(checkout, "push", "-q", "origin", "HEAD:main")
        site.build()
        assert site.web.finished == {"outcome": "built", "reason": None}
        assert site.web.paths == ["/index.html"]
        assert other.requests == []


def test_f50_hooks_filters_and_configuration_of_the_repository_do_nothing(tmp_path: Path) -> None:
    files = {
        "index.html": "hi",
        ".gitattributes": "*.html filter=evil diff=evil\n",
        ".gitconfig": '[filter "evil"]\n\tsmudge = touch /build/ran\n',
        "hooks/post-checkout": "#!/bin/sh\ntouch /build/ran\n",
    }
    with make_site(tmp_path, files) as site:
        for hook in ("post-checkout", "post-upload-pack", "reference-transaction"):
            path = site.repository.path / "hooks" / hook
            path.write_text("#!/bin/sh\ntouch /tmp/ran-by-a-hook\n")
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        site.build()
        assert site.web.finished == {"outcome": "built", "reason": None}
        assert "/ran" not in site.web.paths


def test_f50_our_own_git_configuration_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".gitconfig").write_text('[url "https://evil.example/"]\n\tinsteadOf = http://127.0.0.1\n')
    monkeypatch.setenv("HOME", str(tmp_path))
    make_repository(tmp_path / "repositories" / "site.git", {"a": "b"})
    with serve_repositories(tmp_path / "repositories") as server:
        assert git.ls_remote(server.url("site.git"), hosts_allowed={server.host}).default_branch == "main"
