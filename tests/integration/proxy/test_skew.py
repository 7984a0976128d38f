"""A page that was opened before a deployment still gets its scripts, from the deployment that it is of."""

from __future__ import annotations

from dataclasses import replace

from autostack.sites import keys
from autostack.sites.routes import write_route
from tests.sites import publish

OLD, NEW = "/assets/app-4f9d1c2b.js", "/assets/app-77aa01ce.js"
SPA = {"/index.html": b"page"}


def test_a_missing_script_comes_from_what_the_host_showed_before(proxy, store):
    first = publish(store, "skew", {**SPA, OLD: b"old " * 500, "/plain.js": b"1"}, encodings=("br",))
    former = [first.deployment_id]
    publish(store, "skew", {**SPA, NEW: b"new"}, generation=2, project_id=first.project_id, former=former)
    old = proxy.get(OLD, host="skew.localhost")
    assert (old.status, old.body) == (200, b"old " * 500)
    assert old.headers["cache-control"] == "public, max-age=31536000, immutable"
    packed = proxy.get(OLD, host="skew.localhost", Accept_Encoding="br")
    assert packed.headers["content-encoding"] == "br"
    condition = proxy.get(OLD, host="skew.localhost", If_None_Match=old.headers["etag"])
    assert condition.status == 304
    assert proxy.get(NEW, host="skew.localhost").body == b"new"
    assert proxy.get("/plain.js", host="skew.localhost").status == 404, "its name does not say what is in it"
    assert proxy.get("/assets/app-00aa01ce.js", host="skew.localhost").status == 404


def test_no_other_host_is_lent_it(proxy, store):
    preview = publish(store, "lender-git-x", {**SPA, OLD: b"preview"}, kind="branch")
    publish(store, "lender", SPA, project_id=preview.project_id)
    assert proxy.get(OLD, host="lender-git-x.localhost").status == 200
    assert proxy.get(OLD, host="lender.localhost").status == 404


def test_a_deployment_that_was_deleted_lends_nothing_more(proxy, store):
    first = publish(store, "gone", {**SPA, OLD: b"old"})
    second = publish(store, "gone", SPA, generation=2, project_id=first.project_id, former=[first.deployment_id])
    assert proxy.get(OLD, host="gone.localhost").body == b"old"
    # Its files may go before the route says so.
    store.delete(keys.manifest(first.project_id, first.deployment_id))
    write_route(store, replace(second, generation=3, former=()))
    assert proxy.get(OLD, host="gone.localhost").status == 404


def test_a_former_deployment_whose_files_are_gone_is_passed_over(proxy, store):
    oldest = publish(store, "holes", {**SPA, OLD: b"oldest"})
    gone = publish(store, "holes", SPA, generation=2, project_id=oldest.project_id)
    store.delete(keys.manifest(gone.project_id, gone.deployment_id))
    former = [gone.deployment_id, oldest.deployment_id]
    publish(store, "holes", SPA, generation=3, project_id=oldest.project_id, former=former)
    assert proxy.get(OLD, host="holes.localhost").body == b"oldest"
