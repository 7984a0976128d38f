"""Whose garbage is collected when: turns, the sweep, and the operator."""

from __future__ import annotations

import contextlib
import os
import uuid
from datetime import UTC, datetime, timedelta

from click.testing import CliRunner
from rq import Queue
from sqlalchemy import text

from autostack.builds import sweep
from autostack.cli import main
from autostack.deployments import garbage, jobs, ownerless
from autostack.extensions import db, redis, store
from autostack.sites import keys
from autostack.sites.errors import StoreUnavailable
from autostack.sites.store import Store
from tests.garbage import PAGE, blobs, deploy, hashes, wait_until_old

LATER = timedelta(days=2)


def test_a_collection_goes_on_where_its_turn_ended(shop, api, project, project_id):
    deploy(shop, api, project, {"/index.html": PAGE})
    with shop.app_context():
        for number in range(1_200):
            store().put_stream(keys.blob(str(project_id), f"{number:064x}"), [b"x"])
        wait_until_old(project_id)
        assert garbage.collect(project_id, turn_s=0) is False
        assert 0 < len(blobs(project_id)) < 1_201
        assert garbage.collect(project_id) is True
        assert blobs(project_id) == hashes(PAGE)
        row = db.session.execute(text("SELECT objects, cursor FROM collections")).one()
        # With the list of the build that ended.
        assert tuple(row) == (1_201, "")


def asked_for():
    """Return the jobs that tidy up."""
    return [job for job in Queue("control", connection=redis()).get_jobs() if job.func_name == garbage.JOB]


def test_the_sweep_has_each_project_tidied_up_once_in_a_while(app, api, project, project_id):
    with app.app_context():
        sweep.tidy_up()
        (job,) = asked_for()
        job.func(*job.args)
        redis().flushall()
        sweep.tidy_up()
        assert asked_for() == []
        db.session.execute(text("UPDATE collections SET ended_at = now() - interval '2 days'"))
        db.session.commit()
        sweep.tidy_up()
        assert len(asked_for()) == 1


def test_a_project_that_cannot_be_tidied_up_keeps_no_other_from_it(shop, app, api, site, project_id, monkeypatch):
    other = uuid.UUID(api.post("/api/projects", {"name": "Other", "repository": site}).json["id"])
    real = Store.next_objects

    def refused_to_one(self, prefix, *arguments):
        if str(project_id) in prefix:
            raise StoreUnavailable("this prefix is not yours")
        return real(self, prefix, *arguments)

    monkeypatch.setattr(Store, "next_objects", refused_to_one)
    with shop.app_context():
        tried = [garbage.next_due()]
        while tried[-1] is not None:
            with contextlib.suppress(StoreUnavailable):
                jobs.tidy_up()
            # Whatever came of it, a worker looks for the next.
            assert len(asked_for()) == 1
            tried.append(garbage.next_due())
        assert len(tried) == 3
        assert db.session.scalars(text("SELECT project_id FROM collections")).all() == [other]
        redis().delete(garbage.PUT_OFF)
        assert garbage.next_due() == project_id


def test_folders_of_projects_that_nobody_knows_go_when_an_operator_says_so(shop, api, project, project_id, monkeypatch):
    monkeypatch.setattr("autostack.cli._application", lambda data_dir: shop.app_context())
    gone = str(uuid.uuid4())
    with shop.app_context():
        # Of earlier tests' projects, too, only the folders are left.
        store().delete_prefix("projects")
    deploy(shop, api, project, {"/index.html": PAGE})
    with shop.app_context():
        store().put(keys.cache(gone, "modules-1"), b"late")
        store().put("projects/lost+found/what", b"?")
        wait_until_old(gone)
        wait_until_old(project_id)
        before = {key for key in store().names("projects") if gone not in key and "attempts" not in key}
    said = CliRunner().invoke(main, ["gc", "--dry-run"]).output
    assert "\nWould remove 4 bytes in 1 files of 1 projects nobody knows.\n" in said
    with shop.app_context():
        assert store().get(keys.cache(gone, "modules-1")) == b"late"
    assert "\nA worker removes 4 bytes in 1 files of 1 projects" in CliRunner().invoke(main, ["gc"]).output
    with shop.app_context():
        jobs.remove_planned()
        assert set(store().names("projects")) == before


def test_a_young_folder_stays_though_nobody_knows_its_project(app):
    with app.app_context():
        store().put(keys.cache(str(uuid.uuid4()), "modules-1"), b"a project's first")
        assert ownerless.find() == {}


def test_an_operator_sees_first_what_would_be_deleted(app, api, project, project_id, monkeypatch):
    monkeypatch.setattr("autostack.cli._application", lambda data_dir: app.app_context())
    long_ago = (datetime.now(UTC) - LATER).timestamp()
    with app.app_context():
        paths = [store()._root / keys.blob(str(project_id), digit * 64) for digit in "ab"]
        for path in paths:
            store().put(str(path.relative_to(store()._root)), b"nobody")
            os.utime(path, (long_ago, long_ago))
    dry = CliRunner().invoke(main, ["gc", "--dry-run"])
    assert dry.output == "Would free 12 bytes in 2 files, from 1 of 1 projects.\n"
    assert all(path.exists() for path in paths)
    done = CliRunner().invoke(main, ["gc"])
    assert done.output == "Freed 12 bytes in 2 files, from 1 of 1 projects.\n"
    assert not any(path.exists() for path in paths)
