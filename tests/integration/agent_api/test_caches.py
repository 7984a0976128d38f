"""What builds keep for each other: by branch, and never from a branch to production."""

from __future__ import annotations

import os

from tests.builders import open_agent
from tests.integration.agent_api.conftest import SITE


def building(app, api, branch):
    """Return the agent of a new build of a branch."""
    body = {"repository": "Site", "branch": branch}
    opened = open_agent(app, api.post("/api/deployments", body).json["id"])
    opened.fetch_order()
    return opened


def test_a_cache_comes_back_as_it_was_saved(agent):
    assert agent.call("GET", "/cache/modules-abc").status_code == 404
    data = b"zst" * 1_000_000
    assert agent.call("PUT", "/cache/modules-abc", data=data).status_code == 204
    assert agent.call("GET", "/cache/modules-abc").data == data


def test_a_cache_is_not_sent_to_who_has_it(agent):
    saved = agent.call("PUT", "/cache/modules-abc", data=b"zst").headers["ETag"]
    again = agent.call("GET", "/cache/modules-abc", headers={"If-None-Match": f'"{"0" * 64}", {saved}'})
    assert (again.status_code, again.headers["ETag"], again.data) == (304, saved, b"")
    newer = agent.call("PUT", "/cache/modules-abc", data=b"zst").headers["ETag"]
    assert newer != saved
    assert agent.call("GET", "/cache/modules-abc", headers={"If-None-Match": saved}).data == b"zst"


def test_the_same_archive_of_another_branch_has_another_tag(app, api, project):
    tags = set()
    for branch in ("main", "next"):
        opened = building(app, api, branch)
        tags.add(opened.call("PUT", "/cache/modules-abc", data=b"zst").headers["ETag"])
    assert len(tags) == 2


def test_a_cache_may_be_saved_after_the_end_of_a_good_build(app, agent):
    agent.upload(SITE)
    agent.finish()
    assert agent.call("PUT", "/cache/modules-abc", data=b"zst").status_code == 204
    assert agent.call("GET", "/cache/modules-abc").status_code == 409


def test_a_cache_may_not_be_saved_after_a_failed_build(agent):
    agent.finish("failed", "no")
    assert agent.call("PUT", "/cache/modules-abc", data=b"zst").status_code == 409


def test_a_branch_reads_productions_cache_and_production_never_a_branchs(app, api, project):
    building(app, api, "next").call("PUT", "/cache/modules-abc", data=b"poison")
    main = building(app, api, "main")
    assert main.call("GET", "/cache/modules-abc").status_code == 404
    main.call("PUT", "/cache/downloads-npm", data=b"good")
    assert main.call("GET", "/cache/downloads-npm").data == b"good"


def test_the_likely_cache_was_saved_last_by_the_branch_or_else_by_production(app, api, project):
    def likely(agent):
        return agent.call("GET", "/cache").json

    branch, main = building(app, api, "next"), building(app, api, "main")
    assert likely(main) == {"likely": None}
    main.call("PUT", "/cache/modules-abc", data=b"zst")
    main.call("PUT", "/cache/downloads-npm", data=b"zst")
    assert likely(main) == likely(branch) == {"likely": "modules-abc"}
    for key in ("modules-b", "modules-c", "modules-b"):
        for saved in app.config["AUTOSTACK"].data_dir.rglob("*.tar.zst"):
            os.utime(saved, (0, 0))
        branch.call("PUT", f"/cache/{key}", data=b"zst")
    assert likely(branch) == {"likely": "modules-b"}
    assert likely(main) == {"likely": "modules-abc"}
    main.finish("failed", "no")
    assert main.call("GET", "/cache").status_code == 409


def test_how_large_a_cache_may_be_is_a_setting(make_app, deployment):
    agent = open_agent(make_app(max_cache_size_mb=1), deployment["id"])
    agent.fetch_order()
    assert agent.call("PUT", "/cache/modules-abc", data=b"x" * 1_000_001).status_code == 413
    assert agent.call("GET", "/cache/modules-abc").status_code == 404
    assert agent.call("PUT", "/cache/modules-abc", data=b"x" * 1_000_000).status_code == 204


def test_a_key_cannot_leave_its_folder(agent):
    assert agent.call("PUT", "/cache/..", data=b"x").status_code in {404, 405, 422}
    assert agent.call("PUT", "/cache/A_b", data=b"x").status_code == 422
