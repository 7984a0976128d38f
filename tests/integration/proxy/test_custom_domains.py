"""Sites at domains of their owners' own: a route each, named after the whole domain."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autostack.sites.routes import write_route
from tests.sites import awaited, publish, running_proxy


def test_a_domain_is_served_by_its_route(proxy, store):
    publish(store, "www.example.com", {"/index.html": b"mine"})
    for host in ("www.example.com", "WWW.Example.com:8080", "www.example.com."):
        assert proxy.get("/", host=host).body == b"mine"
    assert "x-robots-tag" not in proxy.get("/", host="www.example.com").headers
    assert proxy.get("/", host="example.com").status == 404


@pytest.mark.parametrize("host", ["nodots", "deep.under.localhost", "www.example.com.localhost"])
def test_what_is_no_domain_and_no_label_of_ours_has_no_route(proxy, store, host):
    publish(store, host, {"/index.html": b"never"})
    assert proxy.get("/", host=host).status == 404


def test_a_domain_that_redirects_sends_visitors_to_the_same_page_elsewhere(proxy, store):
    route = publish(store, "example.org", {"/index.html": b"never"})
    write_route(store, replace(route, generation=2, redirect_to="www.example.org"))
    answer = proxy.get("/a/%C3%BC?q=1&r=2", host="example.org")
    address = f"http://www.example.org:{proxy.port}"
    assert (answer.status, answer.headers["location"]) == (308, f"{address}/a/%C3%BC?q=1&r=2")
    assert proxy.get("//elsewhere.example/", host="example.org").headers["location"] == f"{address}//elsewhere.example/"


def ask(proxy, domain):
    return proxy.get(f"/.autostack/ask?domain={domain}", host="127.0.0.1").status


def test_certificates_are_for_hosts_that_show_something(proxy, store):
    route = publish(store, "shop.example.com", {"/index.html": b"shop"})
    assert ask(proxy, "shop.example.com") == 200
    assert ask(proxy, "SHOP.example.com.") == 200
    assert ask(proxy, "site.localhost") == 200
    for domain in ("other.example.com", "nobody.localhost", "a.site.localhost", "", "%00", "a%20b", "x" * 600):
        assert ask(proxy, domain) == 404
    write_route(store, replace(route, generation=2, removed=True))
    awaited(lambda: ask(proxy, "shop.example.com") == 404)


def test_made_up_names_keep_no_new_site_from_its_certificate(folder, environment, store, proxy):
    with running_proxy(folder, {**environment, "APP_URL": "https://deploy.example.com"}) as other:
        assert ask(other, "deploy.example.com") == 200
        assert {ask(other, f"n{number}.example.com") for number in range(130)} == {404}
        assert {ask(other, f"n{number}.localhost") for number in range(130)} == {404}
        for name, domain in (("new.example.com", "new.example.com"), ("new", "new.localhost")):
            publish(store, name, {"/index.html": b"new"})
            assert ask(other, domain) == 200
