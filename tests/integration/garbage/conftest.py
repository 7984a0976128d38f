"""What the tests of garbage share: the application on each kind of store, and a project in it."""

from __future__ import annotations

import uuid

import pytest

from tests.s3 import s3_settings


@pytest.fixture(params=["folder", "s3"])
def shop(request, app, make_app):
    """The application, on each kind of store. Everything in it is old enough to be garbage after a moment."""
    where = {}
    if request.param == "s3":
        s3 = s3_settings(request.getfixturevalue("s3"), prefix=f"garbage/{uuid.uuid4()}")
        names = ("storage_url", "s3_endpoint_url", "s3_region", "aws_access_key_id", "aws_secret_access_key")
        where = {name: getattr(s3, name) for name in names}
    return make_app(gc_min_age_s=1, **where)


@pytest.fixture
def project_id(project):
    return uuid.UUID(project["id"])
