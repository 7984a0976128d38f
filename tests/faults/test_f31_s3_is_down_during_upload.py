"""31. S3 down during upload → retried; the old site stays live. The store's half."""

from __future__ import annotations

import threading
import uuid

import pytest

from autostack.sites.errors import StoreUnavailable
from autostack.sites.store import PART_BYTES, open_store
from tests.chaos import Chaos
from tests.s3 import S3Server, s3_settings
from tests.sites import publish, running_proxy


def test_f31_an_upload_goes_on_when_s3_is_back(s3: S3Server):
    large = b"x" * (3 * PART_BYTES)
    with Chaos(s3.port) as chaos:
        store = open_store(s3_settings(s3.through(chaos.port), prefix=f"tests/{uuid.uuid4()}"))
        store.put("before", b"there")
        chaos.refuse()
        threading.Timer(1.0, chaos.heal).start()
        store.put("small", b"small")
        chaos.refuse()
        threading.Timer(1.0, chaos.heal).start()
        store.put_stream("large", [large])
        assert store.get("small") == b"small"
        assert store.get("large") == large


def test_f31_the_old_site_stays_live_when_s3_does_not_come_back(s3: S3Server, tmp_path):
    settings = s3_settings(s3, prefix=f"tests/{uuid.uuid4()}")
    environment = {
        "STORAGE_URL": settings.storage_url,
        "S3_ENDPOINT_URL": s3.endpoint_url,
        "AWS_ACCESS_KEY_ID": s3.access_key_id,
        "AWS_SECRET_ACCESS_KEY": s3.secret_access_key,
    }
    old = publish(open_store(settings), "site", {"/index.html": b"old"}, generation=1)
    with Chaos(s3.port) as chaos, running_proxy(tmp_path, environment) as proxy:
        through = settings.model_copy(update={"s3_endpoint_url": f"http://127.0.0.1:{chaos.port}"})
        publisher = open_store(through, patience_s=0.5)
        chaos.refuse()
        with pytest.raises(StoreUnavailable):
            publish(publisher, "site", {"/index.html": b"new"}, generation=2, project_id=old.project_id)
        assert proxy.get("/").body == b"old"
        chaos.heal()
        publish(open_store(through), "site", {"/index.html": b"new"}, generation=2, project_id=old.project_id)
        assert proxy.get("/").body == b"new"
