"""15. Cancel races finish → one terminal state. A Hypothesis state machine on real PostgreSQL, Valkey and store.

It plays the owner, the agents, the publisher and the sweep: one after the other, and two of them at once.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from autostack.builds import service, sweep
from autostack.extensions import db, store
from autostack.projects import deleted
from autostack.sites.routes import read_route
from tests.builders import Agent, open_agent, publish
from tests.stack import FINAL

PICK = st.integers(0, 5)
NUMBERS = itertools.count()


class Deployments(RuleBasedStateMachine):
    """`ids` are the deployments that were asked for, `agents` every attempt's agent, the stale ones too."""

    def __init__(self, app, api, repository) -> None:
        super().__init__()
        self.app, self.api, self.repository = app, api, repository
        self.ids: list[str] = []
        self.agents: dict[str, list[Agent]] = {}
        self.ends: dict[str, str] = {}

    @initialize()
    def begin(self) -> None:
        made = self.api.post("/api/projects", {"name": f"machine-{next(NUMBERS)}", "repository": self.repository})
        assert made.status_code == 201, made.text
        self.project = made.json
        self.push()

    # What the owner does.

    def push(self, id=None) -> None:
        """Ask for a deployment; what still waits is superseded."""
        answer = self.api.post("/api/deployments", {"projectId": self.project["id"]})
        assert answer.status_code == 201, answer.text
        self._know(answer.json["id"])

    def redeploy(self, id) -> None:
        answer = self.api.post(f"/api/deployments/{id}/redeploy")
        assert answer.status_code in {201, 404}, answer.text
        if answer.status_code == 201:
            self._know(answer.json["id"])

    def cancel(self, id) -> None:
        answer = self.api.post(f"/api/deployments/{id}/cancel")
        assert answer.status_code in {200, 404, 409}, answer.text

    def promote(self, id) -> None:
        assert self.api.post(f"/api/deployments/{id}/promote").status_code in {200, 404, 409}

    def delete(self, id) -> None:
        assert self.api.delete(f"/api/deployments/{id}").status_code in {204, 404, 409}

    # What the machinery does.

    def build(self, id) -> None:
        """Go a step on with the build: open an attempt, or have the last one's agent list its files and end well."""
        opened = open_agent(self.app, id)
        if opened is not None:
            self.agents[id].append(opened)
            assert opened.ask_for_order().status_code in {200, 401, 409}
        elif self.agents[id]:
            self._finish(self.agents[id][-1], "built")

    def say(self, id) -> None:
        for agent in self.agents[id]:
            assert agent.say("a word").status_code in {200, 401, 409}

    def fail(self, id) -> None:
        if self.agents[id]:
            self._finish(self.agents[id][-1], "failed")

    def lose(self, id) -> None:
        if self.agents[id]:
            with self.app.app_context():
                service.lose(self.agents[id][-1].attempt_id, "Its worker was lost")

    def publish(self, id) -> None:
        publish(self.app, id)

    def sweep(self, id) -> None:
        with self.app.app_context():
            sweep.sweep()

    def take_away(self, id) -> None:
        """Have what is deleted taken from PostgreSQL."""
        with self.app.app_context():
            deleted.remove_some()

    DEEDS = (build, say, fail, lose, publish, cancel, promote, delete, sweep, take_away, push, redeploy)

    @rule(pick=PICK)
    def all_goes_well(self, pick) -> None:
        id = self._id(pick)
        for deed in (self.build, self.build, self.publish):
            deed(id)

    @rule(pick=PICK, deed=st.sampled_from((say, fail, lose, publish, cancel, delete)))
    def a_finished_build_meets(self, pick, deed) -> None:
        """Whatever is done as a build's end is published."""
        id = self._id(pick)
        self.build(id)
        self.build(id)
        self._at_once(id, Deployments.publish, deed)

    @rule(pick=PICK, deed=st.sampled_from(DEEDS))
    def one_does(self, pick, deed: Callable[[Deployments, str], None]) -> None:
        deed(self, self._id(pick))

    @rule(pick=PICK, deeds=st.tuples(st.sampled_from(DEEDS), st.sampled_from(DEEDS)))
    def two_do_at_once(self, pick, deeds) -> None:
        self._at_once(self._id(pick), *deeds)

    @precondition(lambda self: any(self.agents.values()))
    @rule(pick=PICK)
    def stale_agents_try_everything(self, pick) -> None:
        """Whatever the agent of an attempt that is not the current one does, nothing changes."""
        id = self._id(pick)
        current = self._scalar("SELECT attempt_id FROM deployments WHERE id = :id AND NOT status = ANY(:final)", id)
        before = self._rows_of(id)
        for agent in self.agents[id]:
            if agent.attempt_id != current:
                assert agent.say("too late").status_code in {401, 409}
                assert agent.call("POST", "/source", json={"framework": "Late"}).status_code in {401, 409}
                assert agent.call("POST", "/finish", json={"outcome": "failed"}).status_code in {204, 401, 409}
        assert self._rows_of(id) == before

    # What holds at all times.

    @invariant()
    def an_end_is_for_ever(self) -> None:
        now = {str(id): status for id, status in self._query("SELECT id, status FROM deployments")}
        for id, status in self.ends.items():
            assert now.get(id, status) == status
        self.ends |= {id: now[id] for id in self.ids if now.get(id) in FINAL}

    @invariant()
    def the_stages_say_how_it_ended(self) -> None:
        ends = "SELECT d.status, s.stage_name FROM deployments d JOIN deployment_stages s ON s.deployment_id = d.id"
        for status, stage in self._query(f"{ends} WHERE s.position = 3 AND d.status = ANY(:final)"):
            assert stage == status.capitalize()

    @invariant()
    def one_attempt_at_most_is_open(self) -> None:
        opened = "SELECT deployment_id FROM build_attempts WHERE ended_at IS NULL GROUP BY 1 HAVING count(*) > 1"
        assert self._query(opened) == []

    @invariant()
    def hosts_show_only_what_succeeded(self) -> None:
        shown = "SELECT h.label, d.status FROM site_hosts h JOIN deployments d ON d.id = h.deployment_id"
        assert self._query(f"{shown} WHERE d.status <> 'success'") == []

    @invariant()
    def visitors_get_what_postgresql_says(self) -> None:
        rows = self._query("SELECT label, generation, deployment_id FROM site_hosts WHERE published_generation > 0")
        with self.app.app_context():
            for label, generation, deployment_id in rows:
                route = read_route(store(), label)
                assert route.generation == generation
                assert (None if route.removed else uuid.UUID(route.deployment_id)) == deployment_id

    def teardown(self) -> None:
        """Everything can be ended, and what is deleted is taken away."""
        for id in self.ids:
            self.cancel(id)
            publish(self.app, id)
            self.take_away(id)
        left = {status for id, status in self._query("SELECT id, status FROM deployments") if str(id) in self.ids}
        assert left <= FINAL

    def _at_once(self, id, *deeds) -> None:
        with ThreadPoolExecutor(len(deeds)) as pool:
            for done in [pool.submit(deed, self, id) for deed in deeds]:
                done.result()

    def _know(self, id) -> None:
        self.ids.append(id)
        self.agents[id] = []

    def _id(self, pick) -> str:
        """Return one of the newest deployments: 0 is the newest."""
        return self.ids[max(-1 - pick, -len(self.ids))]

    def _finish(self, agent: Agent, outcome: str) -> None:
        files = {"files": [{"path": "/index.html", "size": 2, "sha256": HI_SHA256}]}
        if agent.call("POST", "/files", json=files).status_code == 200:
            agent.call("PUT", f"/blobs/{HI_SHA256}", data=b"hi")
        assert agent.finish(outcome, "It failed").status_code in {204, 401, 409}

    def _rows_of(self, id) -> list[object]:
        tables = {"deployments": "id", "build_attempts": "deployment_id", "deployment_logs": "deployment_id"}
        return [
            self._query(f"SELECT t::text FROM {table} t WHERE {key} = :id ORDER BY 1", id)
            for table, key in tables.items()
        ]

    def _scalar(self, statement, id) -> object:
        return next((row[0] for row in self._query(statement, id)), None)

    def _query(self, statement, id=None) -> list[object]:
        with self.app.app_context(), db.engine.connect() as connection:
            given = {name: value for name, value in {"id": id, "final": list(FINAL)}.items() if f":{name}" in statement}
            return connection.execute(text(statement), given).all()


HI_SHA256 = "8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4"


def play(app, api, repository, examples) -> None:
    run_state_machine_as_test(
        lambda: Deployments(app, api, repository),
        settings=settings(
            max_examples=examples,
            stateful_step_count=25,
            deadline=None,
            # Two that race do not do so alike again: there is nothing to shrink.
            phases=[Phase.generate],
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_f15_whatever_races_a_deployment_has_one_end(app, api, site):
    play(app, api, site, examples=6)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_f15_whatever_races_a_deployment_has_one_end_however_often(app, api, site):
    play(app, api, site, examples=300)
