"""Host labels: always valid, and never another kind's."""

from __future__ import annotations

import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autostack.sites import hosts, keys

LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")

words = st.sampled_from(["git", "pr", "my", "a", "12345678", "deadbeef", "x" * 30, "www", "7", "Ä", "/", "_", ".", " "])
names = st.text(max_size=80) | st.lists(words, max_size=8).map("-".join)
branches = st.text(min_size=1, max_size=80) | st.lists(words, min_size=1, max_size=8).map("/".join)
numbers = st.integers(1, hosts.MAX_PULL_REQUEST)
uuids = st.uuids().map(str)


def free(label: str) -> bool:
    return False


projects = names.map(lambda name: hosts.production_label(name, free))


@pytest.mark.parametrize(
    "name, label",
    [
        ("blog", "blog"),
        ("My App", "my-app"),
        ("  Übergröße!  ", "ubergrosse"),
        ("日本語", "site"),
        ("a" * 80, "a" * 40),
        ("pr-5", "pr-5"),
        ("gitea", "gitea"),
        ("digit-sum", "digit-sum"),
    ],
)
def test_a_free_name_is_the_label(name, label):
    assert hosts.production_label(name, free) == label


@pytest.mark.parametrize("name", ["www", "API", "status", "my-git-tool", "my-git", "x-pr-7", "x-pr", "shop-deadbeef"])
def test_a_reserved_name_or_one_that_looks_like_anothers_gets_a_suffix(name):
    label = hosts.production_label(name, free)
    assert re.fullmatch(r".+-[0-9a-f]{6}", label)
    assert not hosts.looks_like_anothers(label)


def test_a_taken_name_gets_a_suffix_that_is_free():
    taken: set[str] = set()
    for _ in range(50):
        label = hosts.production_label("blog", taken.__contains__)
        assert label not in taken
        taken.add(label)


@pytest.mark.parametrize(
    "branch, label",
    [
        ("main", "blog-git-main"),
        ("a-b", "blog-git-a-b"),
        ("a/b", "blog-git-a-b-c14cdd"),
        ("A", "blog-git-a-559aea"),
        ("日本", "blog-git-cf2abf"),
    ],
)
def test_a_branch_whose_slug_lost_information_gets_a_hash(branch, label):
    assert hosts.branch_label("blog", branch) == label


def test_a_long_branch_is_cut_and_gets_a_hash():
    label = hosts.branch_label("p" * 40, "feature-with-a-very-long-name-indeed")
    assert re.fullmatch("p{40}-git-feature-wit-[0-9a-f]{6}", label)


@pytest.mark.parametrize("number", [0, -1, 2**31])
def test_no_forge_gives_such_a_pull_request_number(number):
    with pytest.raises(ValueError, match="pull request"):
        hosts.pr_label("blog", number)


@given(names, branches, numbers, uuids)
def test_every_label_is_a_valid_dns_label(name, branch, number, deployment_id):
    project = hosts.production_label(name, free)
    for label in (
        project,
        hosts.deployment_label(project, deployment_id),
        hosts.branch_label(project, branch),
        hosts.pr_label(project, number),
    ):
        assert LABEL.fullmatch(label)
        assert "--" not in label
        assert keys.route(label)


@given(projects, projects, branches, branches, numbers, uuids)
def test_no_label_is_another_kinds_or_another_projects(project, other, branch, other_branch, number, deployment_id):
    mine = {
        "production": project,
        "deployment": hosts.deployment_label(project, deployment_id),
        "branch": hosts.branch_label(project, branch),
        "pr": hosts.pr_label(project, number),
    }
    assert len(set(mine.values())) == 4
    if project != other:
        theirs = {
            other,
            hosts.deployment_label(other, deployment_id),
            hosts.branch_label(other, other_branch),
            hosts.pr_label(other, number),
        }
        assert theirs.isdisjoint(mine.values())


@given(branches, branches)
def test_two_branches_never_share_a_label_by_their_slugs(one, other):
    if one != other and hosts.slug(one) == hosts.slug(other):
        assert hosts.branch_label("blog", one) != hosts.branch_label("blog", other)


def test_a_branch_named_like_a_deployment_belongs_to_its_own_project():
    # `my` has a branch `deadbeef`; a project named `my-git` must not get it by way of a deployment's id.
    imitator = hosts.production_label("my-git", free)
    deployment_id = str(uuid.UUID("deadbeef-0000-4000-8000-000000000000"))
    assert hosts.deployment_label(imitator, deployment_id) != hosts.branch_label("my", "deadbeef")
