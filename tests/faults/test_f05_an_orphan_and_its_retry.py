"""5. An orphan and its retry both finish → one attempt publishes, the stale one changes nothing."""

from __future__ import annotations

import hashlib
import signal
import uuid
from pathlib import Path

import pytest

from autostack.builds import service
from autostack.deployments import jobs
from tests.builders import Agent, build, open_agent
from tests.faults.watching import ENDLESS, agents, attempts, building, wait_for


@pytest.mark.slow
def test_f05_an_orphan_that_wakes_up_after_its_retry_went_live_changes_nothing(stack, database, slow_repository):
    url, repository = slow_repository("the orphan's")
    deployment = stack.deploy(url, envVars=ENDLESS)
    orphans_build = building(stack, deployment)
    (orphan,) = agents(stack)
    orphan.send_signal(signal.SIGSTOP)
    orphans_build.send_signal(signal.SIGUSR2)
    repository.commit({"page.html": "the retry's", "seconds": "1"})
    ended = stack.ended(deployment)
    assert ended["status"] == "success"
    assert attempts(database, deployment) == ["lost", "built"]
    before = _everything_of(stack, database, deployment)
    orphan.send_signal(signal.SIGCONT)
    wait_for(lambda: not orphan.is_running() and not orphans_build.is_running())
    assert _everything_of(stack, database, deployment) == before
    assert stack.get_site(ended["url"]).text == "the retry's"
    assert [path.name for path in (stack.data_dir / "builds").iterdir()] == []


@pytest.mark.slow
def test_f05_an_orphan_that_wakes_up_while_its_retry_builds_is_stopped(stack, database, slow_repository):
    url, repository = slow_repository("the orphan's")
    deployment = stack.deploy(url, envVars=ENDLESS)
    orphans_build = building(stack, deployment)
    (orphan,) = agents(stack)
    orphan.send_signal(signal.SIGSTOP)
    # It has a site to offer.
    orphans_build.send_signal(signal.SIGUSR2)
    repository.commit({"page.html": "the retry's", "seconds": "5"})
    wait_for(lambda: len(agents(stack)) == 2)
    orphan.send_signal(signal.SIGCONT)
    wait_for(lambda: not orphan.is_running())
    ended = stack.ended(deployment)
    assert (ended["status"], attempts(database, deployment)) == ("success", ["lost", "built"])
    assert stack.get_site(ended["url"]).text == "the retry's"
    words = [line.partition("] ")[2] for line in ended["logs"]]
    since_the_retry = words[words.index("The build's worker stopped answering. Building again…") :]
    assert since_the_retry.count("left 50") == 1


def _everything_of(stack, database, deployment):
    """Return all that the database and the store have of a deployment, and of what its hosts show."""
    tables = {"deployments": "id", "build_attempts": "deployment_id", "deployment_stages": "deployment_id"}
    tables |= {"deployment_logs": "deployment_id", "site_hosts": "deployment_id"}
    rows = [
        database.execute(f"SELECT t::text FROM {table} t WHERE {key} = %s ORDER BY 1", [deployment["id"]]).fetchall()
        for table, key in tables.items()
    ]
    return rows, _contents(stack.data_dir / "store")


def _contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_f05_no_call_of_a_stale_attempt_is_taken_before_or_after_its_retry_finished(app, api, project):
    id = api.post("/api/deployments", {"projectId": project["id"]}).json["id"]
    stale = open_agent(app, id)
    assert stale is not None
    stale.fetch_order()
    stale.say("the orphan's words")
    stale.upload({"/index.html": b"the orphan's"})
    with app.app_context():
        service.lose(uuid.UUID(str(stale.attempt_id)), "silent")
    assert_nothing_is_taken(stale)
    build(app, id, {"/index.html": b"the retry's"})
    assert_nothing_is_taken(stale)
    with app.app_context():
        jobs.publish(id)
        # What the orphan's end would have asked for, had it been taken.
        jobs.publish(id)
    assert_nothing_is_taken(stale)
    shown = api.get(f"/api/deployments/{id}").json
    assert shown["status"] == "success"
    words = [line.partition("] ")[2] for line in shown["logs"]]
    assert [words.count("Building…"), words.count("too late")] == [1, 0]
    assert sum(word.startswith("Deployed to") for word in words) == 1


def assert_nothing_is_taken(stale: Agent) -> None:
    sha256 = hashlib.sha256(b"too late").hexdigest()
    files = {"files": [{"path": "/index.html", "size": 8, "sha256": sha256}]}
    answers = [
        stale.say("too late"),
        stale.call("POST", "/source", json={"commit": "0" * 40}),
        stale.call("POST", "/files", json=files),
        stale.call("PUT", f"/blobs/{sha256}", data=b"too late"),
        stale.call("PUT", "/cache/modules-1", data=b"too late"),
        stale.finish(),
        stale.finish("failed", "too late"),
    ]
    assert [(answer.status_code, answer.json["error"]["code"]) for answer in answers] == [(409, "ATTEMPT_ENDED")] * 7
