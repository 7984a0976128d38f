"""CloudFront is told what to forget once a host shows another deployment: what changed, once, until it was taken."""

from __future__ import annotations

from typing import Any

import pytest
from rq import Queue
from sqlalchemy import text

from autostack.deployments import cdn, jobs
from autostack.deployments.cdn import CdnUnavailable
from autostack.extensions import db, redis, store
from autostack.sites import keys
from autostack.sites.cdn import EVERYTHING
from tests.builders import build, publish
from tests.peers.cloudfront import running_cloudfront
from tests.people import Api
from tests.sites import publish as put_live
from tests.sites import running_proxy

SETTINGS = {
    "cloudfront_distribution_id": "E2ABCDEF",
    "aws_access_key_id": "key",
    "aws_secret_access_key": "secret",
    "cdn_max_paths": 5,
}


@pytest.fixture(scope="module")
def running():
    with running_cloudfront() as peer:
        yield peer


@pytest.fixture
def cloudfront(running, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDFRONT", running.url)
    running.by_reference.clear()
    running.faults.clear()
    return running


@pytest.fixture
def cdn_app(make_app, cloudfront):
    return make_app(**SETTINGS)


@pytest.fixture
def deploy(cdn_app, alice, project):
    """Deploy Alice's project, or another of hers, with these files; return the deployment's id."""
    api = Api(cdn_app, alice.token)

    def deploy(into: dict[str, Any] = project, /, **files: bytes) -> str:
        id = api.post("/api/deployments", {"projectId": into["id"]}).json["id"]
        build(cdn_app, id, {f"/{name}.html": content for name, content in files.items()})
        publish(cdn_app, id)
        return id

    return deploy


@pytest.fixture
def work_off(cdn_app):
    """Do what the queue was told of CloudFront; return how many jobs those were."""

    def work_off() -> int:
        with cdn_app.app_context():
            waiting = [job for job in Queue("control", connection=redis()).get_jobs() if job.func_name == cdn.JOB]
            for job in waiting:
                job.func(*job.args)
                job.delete()
            return len(waiting)

    return work_off


@pytest.fixture
def pass_pause(cdn_app):
    """Have the time pass for which CloudFront is left alone after a refusal."""

    def pass_pause() -> None:
        with cdn_app.app_context():
            db.session.execute(text("UPDATE site_hosts SET cdn_held_until = now() WHERE cdn_held_until IS NOT NULL"))
            db.session.commit()

    return pass_pause


def test_the_first_deployment_has_nothing_forgotten(cloudfront, deploy, work_off):
    deploy(index=b"1")
    assert work_off() == 1
    assert cloudfront.invalidations == []


def test_only_what_changed_is_forgotten_and_once(cdn_app, cloudfront, deploy, work_off):
    deploy(index=b"1", about=b"1")
    work_off()
    deploy(index=b"1", about=b"2")
    work_off()
    assert cloudfront.invalidations == [["/about", "/about.html"]]
    assert cloudfront.distributions == {"E2ABCDEF"}
    with cdn_app.app_context():
        jobs.invalidate_cdn()
        cdn.tell_queue()
    assert work_off() == 0
    assert len(cloudfront.invalidations) == 1


def test_too_many_changes_have_everything_forgotten(cloudfront, deploy, work_off):
    deploy(index=b"1")
    work_off()
    deploy(index=b"2", a=b"1", b=b"1")
    work_off()
    assert cloudfront.invalidations == [[EVERYTHING]]


def test_small_changes_of_many_hosts_are_no_large_one(api, site, cloudfront, deploy, work_off):
    other = api.post("/api/projects", {"name": "Other", "repository": site}).json
    for content in (b"1", b"2"):
        deploy(index=content, a=content)
        deploy(other, b=content, c=content)
        if content == b"1":
            work_off()
    work_off()
    assert cloudfront.invalidations == [["/", "/a", "/a.html", "/b", "/b.html", "/c", "/c.html", "/index.html"]]


def test_what_is_too_much_for_one_invalidation_comes_in_several(cloudfront, deploy, work_off, monkeypatch):
    monkeypatch.setattr(cdn, "PATHS_AT_ONCE", 3)
    deploy(index=b"1", about=b"1")
    work_off()
    deploy(index=b"2", about=b"2")
    work_off()
    assert cloudfront.invalidations == [["/", "/about", "/about.html"], ["/index.html"]]


def test_a_roll_back_has_what_it_changes_forgotten(cdn_app, alice, cloudfront, deploy, work_off):
    first = deploy(index=b"1", about=b"1")
    deploy(index=b"2", about=b"1")
    work_off()
    cloudfront.by_reference.clear()
    assert Api(cdn_app, alice.token).post(f"/api/deployments/{first}/promote").status_code == 200
    work_off()
    assert cloudfront.invalidations == [["/", "/index.html"]]


def test_what_cloudfront_does_not_take_is_told_again_with_what_came_meanwhile(
    cdn_app, cloudfront, deploy, work_off, pass_pause
):
    deploy(index=b"1", about=b"1")
    work_off()
    deploy(index=b"2", about=b"1")
    cloudfront.faults[:] = [400]
    with pytest.raises(CdnUnavailable, match="TooManyInvalidationsInProgress"):
        work_off()
    with cdn_app.app_context():
        redis().flushall()
    deploy(index=b"2", about=b"2")
    pass_pause()
    with cdn_app.app_context():
        redis().flushall()
        cdn.tell_queue()
    assert work_off() == 1
    assert cloudfront.invalidations == [["/", "/about", "/about.html", "/index.html"]]


def test_a_cloudfront_that_has_too_much_to_do_is_left_alone_for_a_while(
    cdn_app, api, site, cloudfront, deploy, work_off, pass_pause
):
    other = api.post("/api/projects", {"name": "Other", "repository": site}).json
    for content in (b"1", b"2"):
        deploy(index=content)
        deploy(other, index=content)
        if content == b"1":
            work_off()
    cloudfront.faults[:] = [400, 400]
    pauses = []
    for _ in range(2):
        with pytest.raises(CdnUnavailable):
            work_off()
        with cdn_app.app_context():
            pauses.append(db.session.scalar(text("SELECT max(cdn_held_until - updated_at) FROM site_hosts")))
            redis().flushall()
        deploy(other, index=b"3")
        assert work_off() == 0
        with cdn_app.app_context():
            # One that was queued before.
            jobs.invalidate_cdn()
        assert cloudfront.invalidations == [], "nor of another host"
        pass_pause()
        with cdn_app.app_context():
            cdn.tell_queue()
    assert [pause.total_seconds() for pause in pauses] == [30, 60]
    assert work_off() == 1
    assert cloudfront.invalidations == [["/", "/index.html"]]
    with cdn_app.app_context():
        assert db.session.scalar(text("SELECT count(*) FROM site_hosts WHERE cdn_refusals > 0")) == 0


def test_whoever_tells_of_more_asks_for_no_second_job(cdn_app, cloudfront, deploy, work_off):
    deploy(index=b"1")
    deploy(index=b"2")
    with cdn_app.app_context():
        cdn.tell_queue()
    assert work_off() == 1


def test_a_cloudfront_that_fails_is_asked_once_by_each_job(cloudfront, deploy, work_off):
    deploy(index=b"1")
    work_off()
    deploy(index=b"2")
    cloudfront.faults[:] = [500, 500]
    with pytest.raises(CdnUnavailable):
        work_off()
    assert cloudfront.faults == [500], "the sweep has it tried again; a worker has better to do than to wait"


def test_what_can_not_be_compared_any_more_is_forgotten_as_a_whole(cdn_app, project, cloudfront, deploy, work_off):
    first = deploy(index=b"1")
    work_off()
    with cdn_app.app_context():
        store().delete(keys.manifest(project["id"], first))
    deploy(index=b"2")
    work_off()
    assert cloudfront.invalidations == [[EVERYTHING]]


def test_a_deleted_project_is_forgotten_as_a_whole(cdn_app, alice, project, cloudfront, deploy, work_off):
    deploy(index=b"1")
    work_off()
    assert Api(cdn_app, alice.token).delete(f"/api/projects/{project['id']}").status_code == 204
    with cdn_app.app_context():
        jobs.remove_planned()
    work_off()
    assert cloudfront.invalidations == [[EVERYTHING]]


def test_a_route_that_visitors_do_not_get_yet_is_told_later(cdn_app, cloudfront, deploy, work_off):
    deploy(index=b"1")
    work_off()
    deploy(index=b"2")
    with cdn_app.app_context():
        db.session.execute(text("UPDATE site_hosts SET generation = generation + 1"))
        db.session.commit()
    work_off()
    assert cloudfront.invalidations == []


def test_without_a_distribution_nobody_is_told(app, api, project, cloudfront):
    id = api.post("/api/deployments", {"projectId": project["id"]}).json["id"]
    build(app, id, {"/index.html": b"1"})
    publish(app, id)
    with app.app_context():
        assert cdn.JOB not in {job.func_name for job in Queue("control", connection=redis()).get_jobs()}


def test_the_proxy_tells_a_cdn_how_long_to_keep_a_page(tmp_path, app, make_settings):
    with app.app_context():
        put_live(store(), "site", {"/index.html": b"home", "/assets/app-4f2a91c3.js": b"1"})
        put_live(store(), "site-12345678", {"/index.html": b"home"}, kind="deployment")
    settings = {
        "STORAGE_URL": make_settings().object_store_url,
        "CDN_URL": "https://cdn.example.com",
        "CDN_MAX_AGE": 60,
    }
    with running_proxy(tmp_path, settings) as proxy:
        page = proxy.get("/")
        assert page.headers["cache-control"] == "public, max-age=0, s-maxage=60, must-revalidate"
        assert page.headers["cdn-cache-control"] == "public, max-age=60"
        again = proxy.get("/", If_None_Match=page.headers["etag"])
        assert (again.status, again.headers["cdn-cache-control"]) == (304, "public, max-age=60")
        for path, host in (
            ("/some/where", "site.localhost"),
            ("/nothing.js", "site.localhost"),
            ("/assets/app-4f2a91c3.js", "site.localhost"),
            ("/", "site-12345678.localhost"),
        ):
            assert "cdn-cache-control" not in proxy.get(path, host=host).headers
