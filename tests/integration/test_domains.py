"""Domains of one's own: whose they are is shown in DNS, and found out again and again."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select, update

from autostack.builds import sweep
from autostack.deployments import hosts, publishing
from autostack.deployments.models import Deployment
from autostack.domains import jobs, service
from autostack.domains.models import Domain
from autostack.domains.status import Finding
from autostack.extensions import db, store
from autostack.projects.models import SiteHost
from autostack.queue import CONTROL, waiting
from autostack.sites.errors import StoreUnavailable
from autostack.sites.routes import Route, read_route
from tests.builders import build, publish
from tests.domains import SITE_ADDRESS, add, check, lead_here, serve, show_ownership
from tests.peers.dns_server import DnsServer
from tests.people import Api

NAME = "www.example.com"


def deploy(app: Flask, api: Api, project: dict[str, Any], page: str = "hi") -> str:
    """Deploy a page to a project's production; return the deployment's id."""
    id = str(api.post("/api/deployments", {"projectId": project["id"]}).json["id"])
    build(app, id, {"/index.html": page.encode()})
    publish(app, id)
    return id


def route_of(app: Flask, host: str) -> Route | None:
    with app.app_context():
        return read_route(store(), host)


def change(app: Flask, **values: Any) -> None:
    with app.app_context():
        db.session.execute(update(Domain).values(**values))
        db.session.commit()


def error_of(answered: Any) -> tuple[int, str]:
    return answered.status_code, answered.json["error"]["code"]


@pytest.fixture
def others_project(strangers_api: Api, site: str) -> dict[str, Any]:
    """Charlie's project of the same repository."""
    return strangers_api.post("/api/projects", {"name": "Other", "repository": site}).json


def test_a_domain_tells_which_records_to_make(api: Api, project: dict[str, Any]) -> None:
    domain = add(api, project, "https://WWW.Example.com/about")
    ownership, alias = domain["records"]
    assert (domain["name"], domain["status"], domain["problem"]) == (NAME, "pending", None)
    assert (ownership["type"], ownership["name"]) == ("TXT", "_autostack.example.com")
    assert ownership["value"].startswith("autostack-verification=")
    assert alias == {"type": "CNAME", "name": NAME, "value": "site.localhost"}
    assert api.get(f"/api/domains/{domain['id']}").json == domain
    assert api.get(f"/api/projects/{project['id']}/domains").json == {"domains": [domain]}


def test_it_is_served_once_it_is_shown_to_be_its_owners(
    app: Flask, api: Api, project: dict[str, Any], dns: DnsServer
) -> None:
    deployed, domain = deploy(app, api, project), add(api, project, NAME)
    missing = check(api, domain)
    assert (missing["status"], missing["problem"][:13]) == ("pending", "No TXT record")
    assert route_of(app, NAME) is None
    show_ownership(dns, domain)
    verified = check(api, domain)
    assert (verified["status"], "no address yet" in verified["problem"]) == ("verified", True)
    route = route_of(app, NAME)
    assert route is not None
    assert (route.deployment_id, route.kind, route.removed) == (deployed, "production", False)
    lead_here(dns, domain)
    assert check(api, domain)["status"] == "active"
    assert route_of(app, NAME) == route, "nothing that a visitor could notice has changed"


def test_it_shows_what_production_does(app: Flask, api: Api, project: dict[str, Any], dns: DnsServer) -> None:
    first = deploy(app, api, project, "1")
    serve(api, dns, project, NAME)
    second = deploy(app, api, project, "2")
    assert route_of(app, NAME).deployment_id == second  # type: ignore[union-attr]
    api.post(f"/api/deployments/{first}/promote")
    assert route_of(app, NAME).deployment_id == first  # type: ignore[union-attr]


def test_one_that_is_verified_while_something_goes_live_shows_what_was_there_before_if_that_fails(
    app: Flask, api: Api, project: dict[str, Any], dns: DnsServer
) -> None:
    first = deploy(app, api, project, "1")
    second = str(api.post("/api/deployments", {"projectId": project["id"]}).json["id"])
    build(app, second, {"/index.html": b"2"})
    with app.app_context():
        hosts.switch_for(db.session.get_one(Deployment, uuid.UUID(second)))
        db.session.commit()
    serve(api, dns, project, NAME)
    with app.app_context():
        publishing.give_up(uuid.UUID(second))
        hosts.write_all()
    assert route_of(app, NAME).deployment_id == first  # type: ignore[union-attr]


def test_one_that_shows_something_else_than_production_follows_it_with_the_next_look(
    app: Flask, api: Api, project: dict[str, Any], dns: DnsServer
) -> None:
    deployed = deploy(app, api, project)
    domain = serve(api, dns, project, NAME)
    with app.app_context():
        db.session.execute(update(SiteHost).where(SiteHost.label == NAME).values(deployment_id=None))
        db.session.commit()
    check(api, domain)
    assert route_of(app, NAME).deployment_id == deployed  # type: ignore[union-attr]


def test_a_domain_that_leads_elsewhere_says_where(api: Api, project: dict[str, Any], dns: DnsServer) -> None:
    domain = add(api, project, NAME)
    show_ownership(dns, domain)
    dns.put(NAME, "A", SITE_ADDRESS, "203.0.113.7")
    dns.put("site.localhost", "A", SITE_ADDRESS)
    found = check(api, domain)
    assert (found["status"], found["problem"]) == ("verified", "The domain leads to 203.0.113.7 instead.")


def test_a_registered_domain_leads_here_by_the_same_addresses(api, project, dns):
    domain = add(api, project, "example.com")
    assert [record["type"] for record in domain["records"]] == ["TXT", "ALIAS"]
    show_ownership(dns, domain)
    lead_here(dns, domain)
    assert check(api, domain)["status"] == "active"


def test_one_record_shows_the_ownership_of_a_name_and_its_www(app, api, project, dns):
    deploy(app, api, project)
    domain = add(api, project, "example.com", withWww=True)
    www = api.get(f"/api/projects/{project['id']}/domains").json["domains"][1]
    assert (www["name"], www["redirectTo"]) == (NAME, "example.com")
    assert www["records"][0] == domain["records"][0]
    show_ownership(dns, domain)
    assert check(api, www)["status"] == "verified"
    assert route_of(app, NAME).redirect_to is None, "nothing is served there yet"  # type: ignore[union-attr]
    check(api, domain)
    assert route_of(app, NAME).redirect_to == "example.com"  # type: ignore[union-attr]


def test_a_redirect_can_be_turned_round_and_ends_with_its_target(app, api, project, dns):
    deploy(app, api, project)
    apex, www = serve(api, dns, project, "example.com"), serve(api, dns, project, NAME)
    turned = api.patch(f"/api/domains/{apex['id']}", {"redirectTo": NAME})
    assert (turned.json["redirectTo"], route_of(app, "example.com").redirect_to) == (NAME, NAME)
    for target in ("example.com", NAME, "elsewhere.example.com"):
        refused = api.patch(f"/api/domains/{www['id']}", {"redirectTo": target})
        assert (error_of(refused), list(refused.json["error"]["details"])) == (
            (422, "VALIDATION_ERROR"),
            ["redirectTo"],
        )
    assert api.delete(f"/api/domains/{www['id']}").status_code == 204
    assert route_of(app, "example.com").redirect_to is None
    assert route_of(app, NAME).removed


def test_a_removed_domain_shows_nothing(app, api, project, dns):
    deploy(app, api, project)
    domain = serve(api, dns, project, NAME)
    assert api.delete(f"/api/domains/{domain['id']}").status_code == 204
    assert route_of(app, NAME).removed
    assert error_of(api.get(f"/api/domains/{domain['id']}")) == (404, "DOMAIN_NOT_FOUND")
    assert api.get(f"/api/projects/{project['id']}/domains").json == {"domains": []}


def test_a_domain_that_is_served_for_somebody_else_is_refused(app, api, strangers_api, project, others_project, dns):
    waiting_too = add(strangers_api, others_project, NAME)
    domain = serve(api, dns, project, NAME)
    show_ownership(dns, domain, waiting_too)
    found = check(strangers_api, waiting_too)
    assert (found["status"], "Another project" in found["problem"]) == ("pending", True)
    assert check(api, domain)["status"] == "active"
    assert route_of(app, NAME).project_id == project["id"]
    api.delete(f"/api/domains/{domain['id']}")
    assert check(strangers_api, waiting_too)["status"] == "active"
    freed = route_of(app, NAME)
    assert (freed.project_id, freed.removed) == (others_project["id"], True), "nothing old is shown"


@pytest.mark.parametrize("is_known_to_fail", [False, True])
def test_a_new_owner_has_a_domain_as_soon_as_the_record_is_theirs(
    app, api, strangers_api, project, others_project, dns, is_known_to_fail
):
    deploy(app, api, project, "the old owner's")
    new = deploy(app, strangers_api, others_project, "the new owner's")
    former, domain = serve(api, dns, project, NAME), add(strangers_api, others_project, NAME)
    show_ownership(dns, domain)
    lead_here(dns, domain)
    if is_known_to_fail:
        assert check(api, former)["status"] == "failing"
    assert check(strangers_api, domain)["status"] == "active"
    route = route_of(app, NAME)
    assert (route.project_id, route.deployment_id) == (others_project["id"], new)
    lost = check(api, former)
    assert (lost["status"], lost["problem"][:13]) == ("pending", "No TXT record")


def test_who_only_says_that_a_domain_is_theirs_keeps_nobody_from_it(api, strangers_api, project, others_project, dns):
    squatted = add(strangers_api, others_project, NAME)
    assert serve(api, dns, project, NAME)["status"] == "active"
    assert check(strangers_api, squatted)["status"] == "pending", "the record has another token"


@pytest.mark.parametrize("name", ["", "site.localhost", "x" * 301])
def test_what_can_be_no_sites_domain_is_refused_at_its_field(api: Api, project: dict[str, Any], name: str) -> None:
    refused = api.post(f"/api/projects/{project['id']}/domains", {"name": name})
    assert (error_of(refused), list(refused.json["error"]["details"])) == ((422, "VALIDATION_ERROR"), ["name"])


def test_a_project_has_each_domain_once_and_not_too_many(make_app, alice, project):
    api = Api(make_app(max_domains=2), alice.token)
    add(api, project, NAME)
    again = api.post(f"/api/projects/{project['id']}/domains", {"name": NAME})
    assert error_of(again) == (409, "DOMAIN_TAKEN")
    for name, too_many in (("example.net", {"withWww": True}), ("example.net", {}), ("example.org", {})):
        answered = api.post(f"/api/projects/{project['id']}/domains", {"name": name, **too_many})
        expected = (201, None) if (name, too_many) == ("example.net", {}) else (409, "TOO_MANY_DOMAINS")
        assert (answered.status_code, answered.json.get("error", {}).get("code")) == expected


@pytest.mark.parametrize("trouble", ["broken", "silent"])
def test_a_dns_that_does_not_answer_changes_nothing(app, api, project, dns, trouble, monkeypatch):
    deploy(app, api, project)
    domain = serve(api, dns, project, NAME)
    if trouble == "broken":
        dns.broken.update({"_autostack.example.com", f"_autostack.{NAME}"})
    else:
        dns.is_silent = True
        hurried = app.config["AUTOSTACK"].model_copy(update={"dns_timeout_s": 1})
        monkeypatch.setitem(app.config, "AUTOSTACK", hurried)
    found = check(api, domain)
    assert (found["status"], found["problem"]) == ("active", "DNS did not answer. It is asked again soon.")


def test_a_domain_that_is_not_shown_to_be_its_owners_any_more_is_served_for_a_while(app, api, project, dns):
    deploy(app, api, project)
    domain = serve(api, dns, project, NAME)
    dns.put("_autostack.example.com", "TXT")
    assert check(api, domain)["status"] == "failing"
    assert not route_of(app, NAME).removed
    change(app, failing_since=func.now() - timedelta(days=2))
    assert check(api, domain)["status"] == "failing"
    change(app, failing_since=func.now() - timedelta(days=4))
    assert check(api, domain)["status"] == "pending"
    assert route_of(app, NAME).removed
    show_ownership(dns, domain)
    assert check(api, domain)["status"] == "active"
    assert not route_of(app, NAME).removed


def test_for_how_long_a_domain_that_fails_is_served_is_a_setting(make_app, app, alice, api, project, dns):
    deploy(app, api, project)
    domain = serve(api, dns, project, NAME)
    strict = Api(make_app(domain_grace_s="1d", dns_servers=dns.address), alice.token)
    dns.put("_autostack.example.com", "TXT")
    assert check(strict, domain)["status"] == "failing"
    change(app, failing_since=func.now() - timedelta(hours=23))
    assert check(strict, domain)["status"] == "failing"
    assert not route_of(app, NAME).removed
    change(app, failing_since=func.now() - timedelta(hours=25))
    assert check(strict, domain)["status"] == "pending"
    assert route_of(app, NAME).removed


def test_how_often_dns_is_asked_is_a_setting_and_oftener_of_a_domain_that_is_new(make_app, app, alice, project, dns):
    def asked_again_after_s():
        with app.app_context():
            row = db.session.scalar(select(Domain))
            return (row.next_check_at - row.checked_at).total_seconds()

    seldom, often = (
        Api(make_app(domain_check_interval_s=seconds, dns_servers=dns.address), alice.token) for seconds in (7_200, 20)
    )
    domain = add(seldom, project, NAME)
    for api, seconds in ((seldom, service.EAGER_INTERVAL_S), (often, 20)):
        assert check(api, domain)["status"] == "pending"
        assert asked_again_after_s() == seconds
    show_ownership(dns, domain)
    lead_here(dns, domain)
    for api, seconds in ((seldom, 7_200), (often, 20)):
        assert check(api, domain)["status"] == "active"
        assert asked_again_after_s() == seconds


def test_the_sweep_has_dns_asked_again(app: Flask, api: Api, project: dict[str, Any], dns: DnsServer) -> None:
    deploy(app, api, project)
    domain = add(api, project, NAME)
    show_ownership(dns, domain)
    lead_here(dns, domain)
    with app.app_context():
        sweep.check_domains()
        assert "check_due" in (waiting(CONTROL) or ())
        jobs.check_due()
        sweep_finds_nothing_to_do = not db.session.query(Domain).filter(Domain.next_check_at <= func.now()).count()
    assert sweep_finds_nothing_to_do
    assert api.get(f"/api/domains/{domain['id']}").json["status"] == "active"


def test_a_finding_that_cannot_be_noted_keeps_no_other_back(
    app: Flask, api: Api, project: dict[str, Any], dns: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(app, api, project)
    refused, other = (add(api, project, name) for name in (NAME, "www." + NAME))
    for domain in (refused, other):
        show_ownership(dns, domain)
        lead_here(dns, domain)
    note = service.note

    def refuse_one(id: uuid.UUID, finding: Finding) -> Domain:
        if str(id) == refused["id"]:
            raise StoreUnavailable("away")
        return note(id, finding)

    monkeypatch.setattr(service, "note", refuse_one)
    with app.app_context():
        jobs.check_due()
    assert api.get(f"/api/domains/{other['id']}").json["status"] == "active"


def test_the_domains_of_a_deleted_project_show_nothing_and_are_free(
    app, api, strangers_api, project, others_project, dns
):
    deploy(app, api, project)
    serve(api, dns, project, NAME)
    assert api.delete(f"/api/projects/{project['id']}").status_code == 204
    with app.app_context():
        hosts.write_all()
    assert route_of(app, NAME).removed
    assert serve(strangers_api, dns, others_project, NAME)["status"] == "active"


def test_addresses_that_are_configured_are_named_and_compared(make_app: Callable[..., Flask], alice, site, dns):
    given = {"sites_addresses": f"{SITE_ADDRESS} 2001:db8::1", "dns_servers": dns.address}
    api = Api(make_app(repo_hosts_allowed=frozenset({"127.0.0.1"}), **given), alice.token)
    project = api.post("/api/projects", {"name": "Site", "repository": site}).json
    domain = add(api, project, "example.com")
    assert [(record["type"], record["value"]) for record in domain["records"][1:]] == [
        ("A", SITE_ADDRESS),
        ("AAAA", "2001:db8::1"),
    ]
    show_ownership(dns, domain)
    lead_here(dns, domain)
    assert check(api, domain)["status"] == "active"
