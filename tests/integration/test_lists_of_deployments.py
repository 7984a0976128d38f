"""Lists of deployments: the pages go on from row to row, the API counts pages."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from sqlalchemy import delete

from autostack.admin import service as admin
from autostack.deployments.models import Deployment
from autostack.deployments.status import Status
from autostack.extensions import db
from tests.deployments import a_deployment, a_project
from tests.people import Api, Browser, make_person

LINK = re.compile(r' href="([^"]*[?;](before|after)=[^"]*)"')


@pytest.fixture
def made(app, alice, charlie):
    """Alice's 25 deployments, oldest first: every fifth of `shop`, which failed, the rest of `blog`. Charlie's one."""
    with app.app_context():
        blog, shop = a_project(alice, "blog"), a_project(alice, "shop", "https://git.example.com/Store/front_end")
        now = datetime.now(UTC)
        ids = [
            str(a_deployment(alice, *((shop, now, Status.FAILED) if number % 5 == 0 else (blog, now))))
            for number in range(25)
        ]
        a_deployment(charlie, a_project(charlie, "blog"), now)
    return ids


@pytest.fixture
def read(app, browser):
    """Read a page; return the ids on it and where its links lead."""

    def read(url, with_browser=None):
        page = (with_browser or browser).get(url)
        assert page.status_code == 200
        links = {name: href.replace("&amp;", "&") for href, name in LINK.findall(page.text)}
        return re.findall(r'href="/deployments/([0-9a-f-]{36})"', page.text), links

    return read


def unique(ids):
    return list(dict.fromkeys(ids))


def test_older_leads_through_all_and_newer_back_again(read, made):
    seen, url, pages = [], "/deployments", []
    while url:
        ids, links = read(url)
        pages.append(unique(ids))
        seen += unique(ids)
        last, url = links, links.get("before")
    assert seen == made[::-1]
    assert [len(page) for page in pages] == [10, 10, 5]
    second, links = read(last["after"])
    assert unique(second) == pages[1]
    first, links = read(links["after"])
    assert unique(first) == pages[0]
    assert set(links) == {"before"}


def test_the_filters_are_kept_on_the_way(read, made):
    ids, links = read("/deployments?search=STORE&status=failed&limit=2")
    assert unique(ids) == [made[20], made[15]]
    assert {"search=STORE", "status=failed"} <= set(re.split(r"[?&]", links["before"]))
    ids, links = read(f"{links['before']}&limit=2")
    assert unique(ids) == [made[10], made[5]]
    assert unique(read("/deployments?search=store&status=success")[0]) == []


def test_what_is_deployed_meanwhile_moves_nothing_to_the_next_page(app, alice, read, made):
    _, links = read("/deployments")
    with app.app_context():
        a_deployment(alice, a_project(alice, "new"), datetime.now(UTC))
    assert unique(read(links["before"])[0]) == made[14:4:-1]


def test_where_nothing_is_left_the_newest_are_shown(app, read, made):
    _, links = read("/deployments")
    with app.app_context():
        db.session.execute(delete(Deployment).where(Deployment.id.in_(made[:15])))
        db.session.commit()
    ids, further = read(links["before"])
    assert unique(ids) == made[:14:-1]
    assert further == {}
    assert unique(read("/deployments?after=1000000")[0]) == made[:14:-1]


@pytest.mark.parametrize("query", ["before=x", "after=-1", "before=99999999999999999999"])
def test_a_place_that_makes_no_sense_is_a_422(browser, query):
    assert browser.get(f"/deployments?{query}").status_code == 422


def test_the_api_counts_pages_to_the_last_and_beyond(api, made):
    def page(query):
        answered = api.get(f"/api/deployments?{query}").json
        return [one["id"] for one in answered["deployments"]], answered["pagination"]

    assert page("page=3") == (made[4::-1], {"currentPage": 3, "totalPages": 3, "totalItems": 25})
    assert page("page=2&limit=5") == (made[19:14:-1], {"currentPage": 2, "totalPages": 5, "totalItems": 25})
    assert page("page=9") == ([], {"currentPage": 9, "totalPages": 3, "totalItems": 25})
    assert page("search=store&limit=2")[1] == {"currentPage": 1, "totalPages": 3, "totalItems": 5}
    assert page("search=no_such")[1] == {"currentPage": 1, "totalPages": 1, "totalItems": 0}


def test_a_search_takes_wildcards_as_they_are(api, made):
    assert api.get("/api/deployments?search=front_end").json["pagination"]["totalItems"] == 5
    assert api.get("/api/deployments?search=front%25end").json["pagination"]["totalItems"] == 0
    assert api.get("/api/deployments?search=frontXend").json["pagination"]["totalItems"] == 0


def test_a_search_that_finds_very_many_projects_finds_their_deployments_too(app, api, alice, made, monkeypatch):
    monkeypatch.setattr("autostack.deployments.service.FEW_PROJECTS", 1)
    answered = api.get("/api/deployments?search=o&limit=1").json
    assert (answered["deployments"][0]["id"], answered["pagination"]["totalItems"]) == (made[-1], 25)


def test_an_admin_goes_through_everybodys_in_the_same_way(app, made):
    root = make_person(app, "Root", "root@example.com")
    with app.app_context():
        admin.appoint(root.email, is_superuser=True)
    browser = Browser(app).sign_in(root)
    url, names = "/admin/deployments?search=blog&limit=20", []
    while url:
        page = browser.get(url).text
        names += re.findall(r'class="clip"[^>]*>([^<]+@[^<]+)<', page)
        url = next((href.replace("&amp;", "&") for href, name in LINK.findall(page) if name == "before"), None)
    assert names == ["charlie@example.com"] + ["alice@example.com"] * 20
    counted = Api(app, root.token).get("/api/admin/deployments?search=blog&page=3").json["pagination"]
    assert counted == {"currentPage": 3, "totalPages": 3, "totalItems": 21}
