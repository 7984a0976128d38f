"""42. A hostname is deleted and taken again by someone else → no old content, of any age, from any cache."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest

from autostack.settings import load_settings
from autostack.sites.routes import write_route
from autostack.sites.store import open_store
from tests.s3 import s3_settings
from tests.sites import publish, running_proxy

HOST = {"host": "taken.localhost"}
SCRIPT = "/assets/app-4f9d1c2b.js"
OLD = {"/index.html": b"old", "/only-old.html": b"secret", SCRIPT: b"old script"}
NEW = {"/index.html": b"new"}


@pytest.fixture(params=["folder", "s3"])
def settings(request, tmp_path):
    if request.param == "folder":
        return load_settings(storage_url=f"file://{tmp_path}/store")
    return s3_settings(request.getfixturevalue("s3"), prefix=f"tests/{uuid.uuid4()}")


@pytest.fixture
def environment(settings):
    secret = settings.aws_secret_access_key
    keys = {"AWS_ACCESS_KEY_ID": settings.aws_access_key_id or "", "AWS_SECRET_ACCESS_KEY": ""}
    return {
        "STORAGE_URL": settings.storage_url,
        "S3_ENDPOINT_URL": settings.s3_endpoint_url or "",
        **keys,
        **({"AWS_SECRET_ACCESS_KEY": secret.get_secret_value()} if secret else {}),
    }


def test_f42_the_next_owner_of_a_name_shows_nothing_of_the_last_one(settings, environment, tmp_path):
    store = open_store(settings)
    with running_proxy(tmp_path, environment) as proxy:
        first = publish(store, "taken", OLD)
        second = publish(store, "taken", OLD, generation=2, project_id=first.project_id, former=[first.deployment_id])
        for path in ("/", "/only-old", SCRIPT):
            assert proxy.get(path, **HOST).status == 200
        validator = proxy.get("/", **HOST).headers["etag"]

        write_route(store, replace(second, generation=3, removed=True, former=()))
        for path in ("/", "/only-old", SCRIPT):
            assert proxy.get(path, **HOST).status == 404
        assert proxy.get("/", If_None_Match=validator, **HOST).status == 404

        publish(store, "taken", NEW, generation=4)
        assert proxy.get("/", If_None_Match=validator, **HOST).body == b"new"
        for path in ("/only-old", SCRIPT):
            assert proxy.get(path, Accept="*/*", **HOST).body not in OLD.values()
        assert proxy.get(SCRIPT, **HOST).status == 404

    # Nor does a proxy that starts anew, with what the one before it kept on its disk.
    with running_proxy(tmp_path, environment) as proxy:
        assert proxy.get("/", **HOST).body == b"new"
        assert proxy.get(SCRIPT, **HOST).status == 404
