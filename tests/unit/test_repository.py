"""What may be written as a repository, and which spellings are one."""

from __future__ import annotations

from pathlib import Path

import pytest

from autostack.errors import Invalid
from autostack.local import example_repository
from autostack.projects import repository
from autostack.settings import load_settings

SETTINGS = load_settings(repo_hosts_allowed="127.0.0.1:3000", example_repository="file:///srv/example.git")


@pytest.mark.parametrize(
    "spelling",
    [
        "https://github.com/Acme/Site",
        "https://github.com/acme/site.git",
        "https://github.com/acme/site/",
        "https://github.com/acme//site.git/",
        "https://GitHub.com:443/acme/site",
        "acme/site",
    ],
)
def test_spellings_of_one_repository_have_one_key(spelling: str) -> None:
    assert repository.parse(spelling, SETTINGS).key == "github.com/acme/site"


def test_owner_and_name_are_githubs() -> None:
    parsed = repository.parse("acme/site.js", SETTINGS)
    assert (parsed.url, parsed.name) == ("https://github.com/acme/site.js", "site.js")


def test_other_hosts_paths_and_ports_are_kept_apart() -> None:
    spellings = ["https://git.example/A/b", "https://git.example/a/b", "https://git.example:8443/a/b"]
    assert len({repository.parse(spelling, SETTINGS).key for spelling in spellings}) == 3


def test_plain_http_is_for_allowed_hosts_only() -> None:
    assert repository.parse("http://127.0.0.1:3000/a.git", SETTINGS).key == "127.0.0.1:3000/a"
    with pytest.raises(Invalid, match="https://"):
        repository.parse("http://127.0.0.1:3001/a.git", SETTINGS)


def test_one_folder_of_this_machine_may_be_cloned() -> None:
    assert repository.parse("file:///srv/example.git", SETTINGS).name == "example"
    with pytest.raises(Invalid):
        repository.parse("file:///srv/example.git/../other.git", SETTINGS)


@pytest.mark.parametrize("folder", ["my sites", "50% off", "caf\u00e9"])
def test_the_examples_address_is_that_of_its_folder_whatever_its_name(tmp_path: Path, folder: str) -> None:
    data_dir = tmp_path / folder
    data_dir.mkdir()
    example_repository.make(data_dir)
    settings = load_settings(example_repository=example_repository.address(data_dir))
    assert repository.local_path(settings) == f"{data_dir}/example.git"
    parsed = repository.parse(example_repository.address(data_dir), settings)
    assert repository.reach(parsed, None, settings) == "main"


@pytest.mark.parametrize(
    "reference",
    [
        "file:///etc",
        "ext::sh -c id",
        "https::ext::sh",
        "ssh://git@github.com/acme/site",
        "git@github.com:acme/site.git",
        "git://github.com/acme/site",
        "https://user:password@github.com/acme/site",
        "https://token@github.com/acme/site",
        "--upload-pack=touch /tmp/x",
        "-oProxyCommand=x/y",
        "https://github.com/acme/site\n--upload-pack=x",
        "https://github.com/acme/si te",
        "https://github.com/acme/../../etc",
        "https://github.com/",
        "https://github.com",
        "https:///acme/site",
        "https://git hub.com/acme/site",
        "https://github.com:99999/acme/site",
        "https://github.com/acme/site?x=1",
        "https://[::1/acme",
        "/srv/example",
        "../example/x",
        "a/b/c",
        "https://github.com/acme/" + "x" * 255,
        "acme/" + "x" * 101,
    ],
)
def test_what_is_no_https_address_is_refused_by_its_field(reference: str) -> None:
    with pytest.raises(Invalid) as refused:
        repository.parse(reference, SETTINGS)
    assert set(refused.value.details) == {"repository"}
