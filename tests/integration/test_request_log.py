"""What is logged of requests: by JSON lines, found by their request's id, with nothing secret in them."""

from __future__ import annotations

import re

import pytest
import structlog

from autostack.deployments import service as deployments
from tests.log_lines import recorded
from tests.people import PASSWORD, Api, make_person

ID = re.compile(r"[0-9a-f]{32}")


@pytest.fixture
def log_lines(app, make_settings):
    with recorded(make_settings(log_format="json", log_level="debug")) as lines:
        yield lines


@pytest.fixture
def broken_list(monkeypatch):
    def fail(*_, **__):
        password = "hunter2 in a variable"
        raise RuntimeError(f"no list {len(password)}")

    monkeypatch.setattr(deployments, "search", fail)


def test_a_request_is_one_line_with_its_route_user_status_and_duration(log_lines, api, alice):
    log_lines.read()
    answered = api.get("/api/deployments?search=private")
    [line] = log_lines.of("request")
    assert line["request_id"] == answered.headers["X-Request-ID"]
    assert ID.fullmatch(line["request_id"])
    facts = {name: line[name] for name in ("method", "path", "route", "status", "user_id", "address", "level")}
    assert facts == {
        "method": "GET",
        "path": "/api/deployments",
        "route": "/api/deployments",
        "status": 200,
        "user_id": str(alice.id),
        "address": "127.0.0.1",
        "level": "info",
    }
    assert line["duration_ms"] > 0
    assert line["timestamp"].endswith("Z")


def test_the_route_is_what_requests_have_in_common(log_lines, api, project):
    log_lines.read()
    api.get(f"/api/projects/{project['id']}")
    assert log_lines.of("request")[0]["route"] == "/api/projects/<uuid:id>"


@pytest.mark.parametrize("given", ["trace-0af7651916cd43dd", "a.b_c-1234"])
def test_a_callers_request_id_is_kept(log_lines, client, given):
    answered = client.get("/login", headers={"X-Request-ID": given})
    assert answered.headers["X-Request-ID"] == given
    assert log_lines.of("request")[0]["request_id"] == given


@pytest.mark.parametrize(
    "given", ["short", "x" * 200, 'quote"quote"', "two words!", "<script>alert(1)", "-dash-first-", ""]
)
def test_one_that_could_be_misread_is_not(client, given):
    answered = client.get("/login", headers={"X-Request-ID": given})
    assert ID.fullmatch(answered.headers["X-Request-ID"])


def test_two_requests_have_two_ids_and_what_is_known_of_one_is_not_said_of_the_next(log_lines, api, client):
    log_lines.read()
    assert api.get("/api/projects").headers["X-Request-ID"] != client.get("/login").headers["X-Request-ID"]
    hers, nobodys = log_lines.of("request")
    assert "user_id" in hers
    assert "user_id" not in nobodys


@pytest.mark.parametrize(
    ("path", "status"), [("/nowhere", 404), ("/api/nowhere", 404), ("/api/projects", 401), ("/projects", 302)]
)
def test_every_answer_has_the_id_also_one_that_refuses(client, path, status):
    answered = client.get(path)
    assert (answered.status_code, bool(answered.headers["X-Request-ID"])) == (status, True)


def test_a_path_cannot_add_a_line(log_lines, client):
    client.get('/no%0A{"event":"forged"}/' + "x" * 500)
    [line] = log_lines.of("request")
    assert line["path"].startswith("/no%0A%7B")
    assert len(line["path"]) == 200


def test_an_unhandled_error_is_logged_with_its_trace_and_id_but_no_variables(log_lines, api, broken_list):
    answered = api.get("/api/deployments")
    assert answered.status_code == 500
    assert "no list" not in answered.text
    [line] = log_lines.of("unhandled error")
    assert line["request_id"] == answered.headers["X-Request-ID"]
    assert "Traceback (most recent call last)" in line["exception"]
    assert "RuntimeError: no list 21" in line["exception"]
    assert line["level"] == "error"


def test_attempts_to_authenticate_are_logged_with_address_and_account(log_lines, client, alice):
    given = {"email": alice.email, "password": PASSWORD}
    assert client.post("/api/auth/login", json=given).status_code == 200
    [line] = log_lines.of("logged in")
    assert (line["user_id"], line["address"]) == (str(alice.id), "127.0.0.1")
    assert client.post("/api/auth/login", json={**given, "password": "wrong password"}).status_code == 401
    [line] = log_lines.of("log-in refused")
    assert (line["user_id"], line["level"]) == (str(alice.id), "warning")
    assert client.post("/api/auth/login", json={**given, "email": "who@example.com"}).status_code == 401
    assert log_lines.of("log-in refused")[0]["user_id"] is None


def test_a_deployments_life_is_logged_once_it_is_committed(log_lines, app, api, project):
    log_lines.read()
    made = api.post("/api/deployments", {"projectId": project["id"]}).json
    [requested] = log_lines.of("deployment requested")
    assert (requested["deployment_id"], requested["trigger"]) == (made["id"], "api")
    api.post(f"/api/deployments/{made['id']}/cancel")
    [moved] = log_lines.of("deployment moved")
    assert (moved["deployment_id"], moved["status"]) == (made["id"], "cancelled")
    assert "user_id" in moved
    assert api.post(f"/api/deployments/{made['id']}/cancel").status_code == 409
    assert log_lines.of("deployment moved") == []


def test_nothing_secret_is_logged_of_a_whole_visit(log_lines, app, client, site):
    dora = make_person(app, "Dora", "dora@example.com")
    signed_in = client.post("/api/auth/login", json={"email": dora.email, "password": PASSWORD}).json
    api = Api(app, signed_in["token"])
    api.post("/api/projects", {"name": "secretive", "repository": site, "envVars": "KEY=planted-variable"})
    client.post("/api/auth/refresh", json={"refreshToken": signed_in["refreshToken"]})
    client.get("/reset-password?token=planted-in-a-query")
    client.get("/api/deployments", headers={"Authorization": "Bearer planted-in-a-header"})
    written = log_lines.read()
    assert '"event": "request"' in written
    secrets = {PASSWORD, signed_in["token"], signed_in["refreshToken"], "planted"}
    assert [secret for secret in secrets if secret in written] == []


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("GET /socket?after=1&token=abc.def HTTP/1.1", "GET /socket?after=1&token=[hidden] HTTP/1.1"),
        ("postgresql://me:hunter2@db/x", "postgresql://me:[hidden]@db/x"),
        ("https://x-access-token:ghs_abc@github.com/a/b", "https://x-access-token:[hidden]@github.com/a/b"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer [hidden]"),
        ("eyJhbGciOi.eyJ1c2Vy.c2ln was refused", "[hidden] was refused"),
        ("https://s3/x?X-Amz-Signature=0f0f&partNumber=1", "https://s3/x?X-Amz-Signature=[hidden]&partNumber=1"),
        ("ast_kRk0cXbW3xqkRk0cXbW3xq and ghs_0123456789abcdef0123", "[hidden] and [hidden]"),
        ("http://localhost:8000/deployments", "http://localhost:8000/deployments"),
        ("alice@example.com has 3 basics", "alice@example.com has 3 basics"),
    ],
)
def test_a_secret_that_a_library_quotes_is_hidden(log_lines, said, written):
    structlog.stdlib.get_logger("library").warning("quoted", text=said)
    assert log_lines.of("quoted")[0]["text"] == written


def test_a_developers_console_is_readable(app, client, make_settings):
    with recorded(make_settings()) as lines:
        client.get("/login")
        [line] = lines.read().splitlines()
    assert re.search(r"\[info +\] request +", line)
    assert "route=/login" in line
    assert "status=200" in line
