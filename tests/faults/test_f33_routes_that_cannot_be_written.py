"""33, when it lasts: a store that takes no route any more ends the deployment, and the old site stays."""

from __future__ import annotations

import fcntl
import shutil
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from sqlalchemy import text, update

from autostack.builds import sweep
from autostack.deployments import hosts, publishing
from autostack.extensions import db, redis, settings, store
from autostack.projects.models import SiteHost
from autostack.sites import keys
from autostack.sites.errors import StoreUnavailable
from autostack.sites.folder import LOCK
from autostack.sites.routes import RouteInvalid, read_route
from tests.builders import build, publish
from tests.faults.watching import wait_for

SITE = {"/index.html": b"<h1>hi</h1>"}


@contextmanager
def unwritable(label) -> Iterator[None]:
    """Have the store refuse one route: where its file would be, there is a folder."""
    path = settings().data_dir / "store" / keys.route(label)
    path.unlink(missing_ok=True)
    path.mkdir(parents=True)
    (path / "in-the-way").touch()
    try:
        yield
    finally:
        shutil.rmtree(path)


def ask(api, project):
    return api.post("/api/deployments", {"projectId": project["id"]}).json["id"]


def sweep_once():
    """Look for what is built and not live, a while after its end, with the queue worked off before."""
    db.session.execute(text("UPDATE build_attempts SET ended_at = ended_at - interval '1 minute'"))
    db.session.commit()
    redis().flushall()
    sweep.publish_built()


def test_f33_a_site_that_cannot_be_put_live_fails_and_leaves_the_one_before(make_app, api, project):
    app = make_app(publish_timeout_s=30, sweep_interval_s=15)
    first = ask(api, project)
    build(app, first, SITE)
    publish(app, first)
    second = ask(api, project)
    build(app, second, {"/index.html": b"new"})
    with app.app_context():
        with unwritable("site"):
            for _ in range(3):
                with pytest.raises(StoreUnavailable):
                    publish(app, second)
                assert api.get(f"/api/deployments/{second}").json["status"] == "deploying"
                sweep_once()
            shown = api.get(f"/api/deployments/{second}").json
            assert shown["status"] == "failed"
            assert shown["reason"].startswith("The site could not be put live: Could not read or write site.json")
            assert api.get(f"/api/deployments/{first}").json["isLive"] is True
        sweep.write_routes()
        assert hosts.unwritten() == []
        assert read_route(store(), "site").deployment_id == first
        assert read_route(store(), "site-git-main").deployment_id == first
        assert read_route(store(), f"site-{second[:8]}").removed
    assert api.delete(f"/api/deployments/{second}").status_code == 204


def test_f33_what_visitors_still_see_is_not_deleted_until_its_successor_is_live(app, api, project):
    first = ask(api, project)
    build(app, first, SITE)
    publish(app, first)
    second = ask(api, project)
    build(app, second, {"/index.html": b"new"})
    with app.app_context():
        with unwritable("site"):
            with pytest.raises(StoreUnavailable):
                publish(app, second)
            refused = api.delete(f"/api/deployments/{first}")
            assert (refused.status_code, refused.json["error"]["code"]) == (409, "DEPLOYMENT_LIVE")
            publishing.give_up(uuid.UUID(second))
        sweep.write_routes()
        assert read_route(store(), "site").deployment_id == first
    third = ask(api, project)
    build(app, third, {"/index.html": b"newer"})
    publish(app, third)
    with app.app_context():
        # As long as its route is behind, though nothing will be handed back.
        db.session.execute(text("UPDATE site_hosts SET generation = generation + 1 WHERE label = 'site'"))
        db.session.commit()
        assert api.delete(f"/api/deployments/{first}").status_code == 409
        sweep.write_routes()
    assert api.delete(f"/api/deployments/{first}").status_code == 204


def test_f33_a_first_site_that_cannot_be_put_live_leaves_none(make_app, api, project):
    app = make_app(publish_timeout_s=1)
    id = ask(api, project)
    build(app, id, SITE)
    with app.app_context():
        with unwritable("site"):
            with pytest.raises(StoreUnavailable):
                publish(app, id)
            sweep_once()
            sweep_once()
        sweep.write_routes()
        assert read_route(store(), "site").removed
    assert api.get(f"/api/deployments/{id}").json["status"] == "failed"


def test_f33_a_store_that_is_away_for_a_while_only_delays_the_site(app, api, project):
    id = ask(api, project)
    build(app, id, SITE)
    with app.app_context(), unwritable("site"), pytest.raises(StoreUnavailable):
        publish(app, id)
    publish(app, id)
    shown = api.get(f"/api/deployments/{id}").json
    assert (shown["status"], shown["isLive"], shown["reason"]) == ("success", True, None)


def test_f33_a_route_that_cannot_be_written_keeps_no_other_back(app, api, project):
    id = ask(api, project)
    build(app, id, SITE)
    publish(app, id)
    with app.app_context():
        db.session.execute(update(SiteHost).values(generation=SiteHost.generation + 1))
        db.session.commit()
        with unwritable("site"), pytest.raises(StoreUnavailable):
            hosts.write(hosts.unwritten())
        assert hosts.unwritten() == ["site"]


def test_f33_a_damaged_route_fails_the_site_and_says_so(make_app, api, project):
    app = make_app(publish_timeout_s=1)
    id = ask(api, project)
    build(app, id, SITE)
    with app.app_context():
        store().put(keys.route("site"), b"{")
        with pytest.raises(RouteInvalid):
            publish(app, id)
        sweep_once()
        sweep_once()
    assert api.get(f"/api/deployments/{id}").json["status"] == "failed"


def test_f33_a_store_that_stalls_holds_no_connection_and_no_lock_of_postgresqls(app, api, project):
    id = ask(api, project)
    build(app, id, SITE)
    with app.app_context(), ThreadPoolExecutor(1) as pool:
        folder = settings().data_dir / "store" / "routes"
        folder.mkdir(exist_ok=True)
        with (folder / LOCK).open("w") as stall:
            fcntl.flock(stall, fcntl.LOCK_EX)
            published = pool.submit(publish, app, id)
            wait_for(lambda: hosts_are_switched(id))
            wait_for(lambda: db.engine.pool.checkedout() == 0)
            assert not published.done()
        published.result(60)
    assert api.get(f"/api/deployments/{id}").json["status"] == "success"


def hosts_are_switched(id):
    switched = str(hosts.live_on("site")) == id
    db.session.rollback()
    return switched
