"""Sites whose garbage is collected: how it comes to be, and what is there of them."""

from __future__ import annotations

import hashlib
import time
from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from autostack.deployments import jobs
from autostack.extensions import db, store
from autostack.sites import keys
from tests.builders import build, publish

PAGE, SHARED, OLD = b"<h1>page</h1>", b"shared()", b"old()"


def deploy(shop, api, project, files):
    """Deploy the files; return the deployment's id."""
    id = api.post("/api/deployments", {"projectId": project["id"]}).json["id"]
    build(shop, id, files)
    publish(shop, id)
    return id


def delete(shop, api, id):
    assert api.delete(f"/api/deployments/{id}").status_code == 204
    with shop.app_context():
        jobs.remove_planned()


def blobs(project_id):
    return {key.rpartition("/")[2] for key in store().names(keys.blobs(str(project_id)))}


def hashes(*contents):
    return {hashlib.sha256(content).hexdigest() for content in contents}


def wait_until_old(project_id):
    """Wait until everything of a project is older than GC_MIN_AGE."""
    while any(
        found.modified > datetime.now(UTC) - timedelta(seconds=1.1)
        for found in store().objects(keys.project(str(project_id)))
    ):
        time.sleep(0.1)


def let_leases_end():
    db.session.execute(text("UPDATE collections SET leased_until = now() - interval '1 second'"))
    db.session.commit()
