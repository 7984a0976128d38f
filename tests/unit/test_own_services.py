"""What Autostack stands on, as builds are told that they may not."""

from __future__ import annotations

import pytest

from autostack.agent.egress.policy import Policy
from autostack.builds.own_services import own_services
from autostack.settings import load_settings


@pytest.mark.parametrize(
    ("given", "services"),
    [
        ({"DATABASE_URL": "postgres://u:p@db.example.com/app"}, ["db.example.com:5432"]),
        ({"DATABASE_URL": "postgresql://u:p@[fd00::5]:6543/app"}, ["[fd00::5]:6543"]),
        ({"DATABASE_URL": "postgresql:///app?host=/run/postgresql"}, []),
        (
            {"DATABASE_URL": "postgresql:///app?host=a.example:5433&host=b.example"},
            ["a.example:5433", "b.example:5432"],
        ),
        ({"REDIS_URL": "rediss://:p@Cache.example.com"}, ["cache.example.com:6379"]),
        ({"REDIS_URL": "unix:///run/valkey.sock"}, []),
        ({"S3_ENDPOINT_URL": "http://minio.internal:9000"}, ["minio.internal:9000"]),
        ({"S3_ENDPOINT_URL": "https://s3.example.com"}, ["s3.example.com:443"]),
    ],
)
def test_the_services_are_those_of_the_settings(given: dict[str, str], services: list[str]) -> None:
    elsewhere = {"DATABASE_URL": "postgresql:///app", "REDIS_URL": "unix:///run/valkey.sock"}
    found = own_services(load_settings(**{**elsewhere, **given}))
    assert found == services
    # As the way out of a sandbox reads them.
    Policy.parse({"public": True, "allowed": [], "pins": {}, "ports": [443], "refused": found})
