"""`Idempotency-Key` on POST /api/deployments: asked for once or often, deployed once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select, update
from werkzeug.test import TestResponse

from autostack.accounts.models import User
from autostack.deployments import idempotency, schemas, service
from autostack.deployments.idempotency import KeyInUse
from autostack.deployments.models import Deployment, IdempotencyKey
from autostack.deployments.status import Trigger
from autostack.extensions import db
from autostack.projects.models import Project
from tests.people import Api, Person

KEY = "5f0c2a1e-8d3b-4f6a-9c7e-1b2d3e4f5a6b"


@pytest.fixture
def body(project: dict[str, Any]) -> dict[str, Any]:
    return {"projectId": project["id"]}


def deploy(api: Api, body: dict[str, Any], key: str = KEY) -> TestResponse:
    return api.client.post("/api/deployments", json=body, headers={**api.headers, "Idempotency-Key": key})


def deployments(app: Flask) -> int:
    with app.app_context():
        return db.session.scalar(select(func.count()).select_from(Deployment)) or 0


def keys(app: Flask) -> int:
    with app.app_context():
        return db.session.scalar(select(func.count()).select_from(IdempotencyKey)) or 0


def age(app: Flask, by: timedelta, **changes: Any) -> None:
    """Have all keys be older than they are."""
    with app.app_context():
        db.session.execute(update(IdempotencyKey).values(created_at=IdempotencyKey.created_at - by, **changes))
        db.session.commit()


def make(app: Flask, key: str, before: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Ask as Alice's request does; `before` happens between the claim and the deployment."""
    with app.app_context():
        alice, project = db.session.scalars(select(User)).one(), db.session.scalars(select(Project)).one()

        def deploy(claim: Any) -> Deployment:
            before()
            return service.request(alice, project, Trigger.API, claim)

        return idempotency.once(alice, key, "{}", deploy, lambda made: schemas.detail(made).as_json())


def test_the_same_request_gets_the_same_answer_and_deploys_once(app: Flask, api: Api, body: dict[str, Any]) -> None:
    first = deploy(api, body)
    api.post(f"/api/deployments/{first.json['id']}/cancel")
    again = deploy(api, body)
    assert (first.status_code, again.status_code) == (201, 201)
    assert (again.json, again.location) == (first.json, first.location)
    assert deployments(app) == 1


def test_who_lost_the_answer_to_the_last_allowed_request_still_gets_it(
    make_app: Callable[..., Flask], alice: Person, body: dict[str, Any]
) -> None:
    api = Api(make_app(rate_limit_deployments="1/hour"), alice.token)
    first = deploy(api, body)
    again = deploy(api, body)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json == first.json
    assert deploy(api, body, "another").status_code == 429


def test_another_key_or_none_deploys_again(app: Flask, api: Api, body: dict[str, Any]) -> None:
    ids = {deploy(api, body).json["id"], deploy(api, body, "another").json["id"]}
    ids |= {api.post("/api/deployments", body).json["id"] for _ in range(2)}
    assert (len(ids), deployments(app)) == (4, 4)


def test_a_key_belongs_to_one_body(app: Flask, api: Api, body: dict[str, Any]) -> None:
    deploy(api, body)
    refused = deploy(api, {**body, "branch": "next"})
    assert (refused.status_code, refused.json["error"]["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert deployments(app) == 1


def test_a_key_belongs_to_one_user(app: Flask, api: Api, strangers_api: Api, site: str) -> None:
    hers, his = (deploy(one, {"repository": site}) for one in (api, strangers_api))
    assert (hers.status_code, his.status_code) == (201, 201)
    assert hers.json["id"] != his.json["id"]


def test_a_request_that_failed_can_be_made_again(app: Flask, api: Api, body: dict[str, Any]) -> None:
    assert deploy(api, {"repository": "none-of-mine"}).status_code == 422
    assert keys(app) == 0
    assert deploy(api, body).status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 256, "two words", "\xe9"])
def test_a_key_that_is_none_is_refused(app: Flask, api: Api, body: dict[str, Any], key: str) -> None:
    refused = deploy(api, body, key)
    assert (refused.status_code, list(refused.json["error"]["details"])) == (422, ["Idempotency-Key"])
    assert deployments(app) == 0


def test_of_many_at_once_one_deploys_and_the_others_wait_or_hear_of_it(
    app: Flask, api: Api, body: dict[str, Any], alice: Person
) -> None:
    ready = threading.Barrier(8)

    def ask(_: int) -> TestResponse:
        ready.wait(timeout=60)
        return deploy(Api(app, alice.token), body)

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(8)))
    made = {answer.json["id"] for answer in answers if answer.status_code == 201}
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert (len(made), deployments(app)) == (1, 1)
    codes = {answer.json["error"]["code"] for answer in answers if answer.status_code == 409}
    assert codes <= {"IDEMPOTENCY_KEY_IN_USE"}
    assert deploy(api, body).json["id"] in made


def test_a_request_under_way_is_told_to_be(app: Flask, project: dict[str, Any]) -> None:
    def meanwhile() -> None:
        with pytest.raises(KeyInUse):
            make(app, KEY)

    assert make(app, KEY, meanwhile)["status"] == "queued"
    assert deployments(app) == 1


def test_one_whose_answer_was_lost_is_answered_with_its_deployment(app: Flask, api: Api, body: dict[str, Any]) -> None:
    first = deploy(api, body)
    age(app, timedelta(0), answer=None)
    assert deploy(api, body).json["id"] == first.json["id"]
    assert deployments(app) == 1


def test_a_claim_is_free_after_a_while_and_a_slow_maker_finds_it_gone(app: Flask, project: dict[str, Any]) -> None:
    def stall_past_the_limit() -> None:
        age(app, idempotency.ABANDONED + timedelta(seconds=1))
        made.append(make(app, KEY)["id"])

    made: list[str] = []
    with pytest.raises(KeyInUse):
        make(app, KEY, stall_past_the_limit)
    assert (len(made), deployments(app)) == (1, 1)


def test_after_a_day_a_key_is_forgotten(app: Flask, api: Api, body: dict[str, Any]) -> None:
    first = deploy(api, body)
    age(app, idempotency.KEPT + timedelta(seconds=1))
    again = deploy(api, body)
    assert again.json["id"] != first.json["id"]
    with app.app_context():
        idempotency.forget_old_keys()
    assert keys(app) == 1
    age(app, idempotency.KEPT + timedelta(seconds=1))
    with app.app_context():
        idempotency.forget_old_keys()
    assert keys(app) == 0


def test_no_body_can_be_guessed_from_what_is_kept(app: Flask, api: Api, body: dict[str, Any]) -> None:
    deploy(api, {**body, "envVars": {"TOKEN": "hunter2-in-a-body"}})
    with app.app_context():
        row = db.session.scalars(select(IdempotencyKey)).one()
        assert "hunter2-in-a-body" not in str(row.answer)
        assert len(row.fingerprint) == 64
