"""What answers an address, in words."""

from __future__ import annotations

import uuid

import pytest

from autostack.errors import Invalid
from autostack.proxy.explain import NoSuchSite, explain
from autostack.proxy.formers import MANY_AT_ONCE
from autostack.settings import Settings, load_settings
from autostack.sites.routes import Protection, Route, write_route
from autostack.sites.rules.compile import compile_rules
from autostack.sites.store import Store, open_store
from tests.sites import publish

REDIRECTS = """
/old/*   /new/:splat
/home    /de 302! Language=de
/api/*   https://api.example.com/:splat 200
/gone    /nothing 410
/*       /index.html 200
"""
FILES = {"/index.html": b"app", "/about.html": b"about", "/404.html": b"not here"}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return load_settings(storage_url=f"file://{tmp_path_factory.mktemp('explain')}/store", country_header="X-Country")


@pytest.fixture(scope="module")
def store(settings: Settings) -> Store:
    store = open_store(settings)
    compiled = compile_rules({"_redirects": REDIRECTS, "_headers": "/about\n  X-A: b\n  ! Referrer-Policy"})
    former = publish(store, "ruled", {"/assets/app.0a1b2c3d.js": b"then"})
    live = publish(store, "ruled", FILES, rules=compiled.rules, generation=2, project_id=former.project_id)
    id = former.deployment_id
    write_route(store, Route("ruled", 3, live.project_id, live.deployment_id, former=(id,)))
    publish(store, "plain", {"/index.html": b"app"})
    owned = publish(store, "example.org", {"/index.html": b"app"})
    id, protection = owned.deployment_id, Protection("$2b$04$" + "a" * 53, "key-of-it")
    write_route(store, Route("example.org", 2, owned.project_id, id, protection=protection))
    write_route(store, Route("www.example.org", 1, owned.project_id, id, redirect_to="plain"))
    publish(store, "bare", {"/a.txt": b"a"})
    removed = publish(store, "removed", {"/a.txt": b"a"})
    write_route(store, Route("removed", 2, removed.project_id, removed.deployment_id, removed=True))
    return store


@pytest.mark.parametrize(
    "address, status, title, text",
    [
        ("ruled.localhost/about", 200, "Files", "/about.html is the file at this address."),
        (
            "http://ruled.localhost:8080/about.html?a=1",
            308,
            "Files",
            "The page has one address: this one leads to /about?a=1",
        ),
        (
            "ruled.localhost/old/x?a=1",
            301,
            "Rules after files",
            "_redirects:2 (/old/* /new/:splat) leads to /new/x?a=1",
        ),
        ("ruled.localhost/api/x", None, "Rules after files", "passes the request on to https://api.example.com/x."),
        ("ruled.localhost/gone", 410, "Rules after files", "answers with /404.html and 410."),
        ("ruled.localhost/users/7", 200, "Rules after files", "answers with /index.html and 200."),
        ("ruled.localhost/a.js", 404, "Nothing found", "/404.html is the nearest page for what is not found"),
        ("ruled.localhost/assets/app.0a1b2c3d.js", 200, "Former deployments", "lends its file"),
        ("plain.localhost/users/7", 200, "Nothing found", "/index.html answers for every page that is not there"),
        ("bare.localhost/", 404, "Nothing found", "the platform’s own page, with 404."),
        ("plain.localhost/.autostack/x", None, "Host", "the platform’s"),
        ("plain.localhost/%00", 400, "Files", "no meaning"),
        ("www.example.org/a?b=c", 308, "Host", "sends every visitor on to http://plain.localhost:8080/a?b=c."),
        ("example.org/x", 200, "Nothing found", "/index.html"),
        ("plain.localhost/ü b", 200, "Nothing found", "/index.html"),
    ],
)
def test_the_last_step_is_what_answers(settings, store, address, status, title, text):
    found = explain(store, settings, address)
    assert found.status == status
    assert found.answer.title == title
    assert text in found.answer.text


def test_a_password_is_the_first_thing_that_is_asked_for(settings, store):
    first = explain(store, settings, "example.org/x").steps[0]
    assert first.title == "Host"
    assert "password" in first.text


def test_what_the_browser_says_counts(settings, store):
    found = explain(store, settings, "ruled.localhost/home", {"Accept-Language": "de-AT"})
    assert (found.status, found.answer.title) == (302, "Rules before files")
    assert explain(store, settings, "ruled.localhost/home").status == 200


def test_each_step_says_why_it_does_not_answer(settings, store):
    steps = [
        (step.title, step.text) for step in explain(store, settings, "ruled.localhost/assets/gone.0a1b2c3d.js").steps
    ]
    assert steps[:3] == [
        ("Rules before files", "None of 1 matches."),
        ("Files", "The deployment has no file at this address."),
        ("Former deployments", "None of the 1 that were live here before has it."),
    ]
    assert steps[3] == (
        "Rules after files",
        "_redirects:6 (/* /index.html 200) stands back: a page never answers for a missing script, image or the like.",
    )
    assert explain(store, settings, "plain.localhost/").steps[0].text == "There are none."


def test_the_headers_of_the_owners_rules_are_named_with_their_lines(settings, store):
    headers = explain(store, settings, "ruled.localhost/about").headers
    assert headers == [("_headers:1", "Referrer-Policy is taken away"), ("_headers:1", "X-A: b")]
    assert explain(store, settings, "ruled.localhost/users").headers == []


def test_of_many_former_deployments_the_newest_that_has_the_file_is_named(settings, store):
    script = "/assets/app.0a1b2c3d.js"
    oldest = publish(store, "often", {script: b"then"})
    newer = publish(store, "often", {script: b"then"}, generation=2, project_id=oldest.project_id)
    gone = [str(uuid.uuid4()) for _ in range(2 * MANY_AT_ONCE)]
    former = (*gone, newer.deployment_id, oldest.deployment_id)
    publish(store, "often", FILES, generation=3, project_id=oldest.project_id, former=former)
    answer = explain(store, settings, f"often.localhost{script}").answer
    assert answer.title == "Former deployments"
    assert newer.deployment_id in answer.text


@pytest.mark.parametrize("address", ["", "https://", "http://[/", "a b", "//", f"a.localhost/{'x' * 9000}", "../etc"])
def test_what_is_no_address_is_said(settings, store, address):
    with pytest.raises(Invalid):
        explain(store, settings, address)


@pytest.mark.parametrize("address", ["nobody.localhost/", "removed.localhost/", "example.com"])
def test_what_is_no_site_is_said(settings, store, address):
    with pytest.raises(NoSuchSite):
        explain(store, settings, address)
