"""Figures of traffic: from requests to a real proxy by way of Redis or the store into PostgreSQL, each once."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import select as sockets
import socket
import socketserver
import struct
import threading
import time
import uuid
from contextlib import contextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import bcrypt
import pytest
from sqlalchemy import select

from autostack.extensions import connect_redis, db, redis, store
from autostack.sites import keys, traffic
from autostack.sites.routes import Protection, write_route
from autostack.sites.traffic import Batch, Kind, SiteTraffic
from autostack.sites.visitors import Visitors
from autostack.traffic import gathering
from autostack.traffic.models import TrafficBatch, TrafficHour, TrafficName, TrafficVisitors
from tests.sites import publish, running_proxy

WAIT_S = 60
NOW = dt.datetime.now(dt.UTC)


def batch(project_id, began=NOW, **counts):
    return Batch(str(uuid.uuid4()), began, [SiteTraffic(project_id, False, **{"requests": 1, **counts})])


def send(one):
    redis().rpush(traffic.LIST, one.to_json())


def requests_of(project_id):
    return sum(db.session.scalars(select(TrafficHour.requests).where(TrafficHour.project_id == uuid.UUID(project_id))))


def names_of(project_id):
    rows = db.session.scalars(select(TrafficName).where(TrafficName.project_id == uuid.UUID(project_id)))
    return {(row.kind, row.name): row.requests for row in rows}


def gathered(project_id, wanted):
    """Gather until so many requests are there."""
    deadline = time.monotonic() + WAIT_S
    while True:
        gathering.gather()
        if (count := requests_of(project_id)) >= wanted or time.monotonic() > deadline:
            return count


@pytest.fixture
def context(app):
    with app.app_context():
        store().delete_prefix("traffic")
        yield


@pytest.fixture
def environment(make_settings):
    settings = make_settings()
    return {"STORAGE_URL": settings.object_store_url, "TRAFFIC_INTERVAL": 1}


def visit(proxy):
    for path in ("/", "/", "/app.js", "/nothing.txt"):
        proxy.get(path, User_Agent="Firefox", Referer="https://news.example/today?who=me")
    proxy.get("/", User_Agent="Chrome", Referer="http://site.localhost/")
    proxy.get("/", host="nobody.localhost")
    proxy.get("/.autostack/healthz")


FILES = {"/index.html": b"<h1>home</h1>", "/app.js": b"1", "/404.html": b"no"}


def test_what_a_proxy_answered_is_counted_by_way_of_redis(tmp_path, context, project, environment, redis_url):
    publish(store(), "site", FILES, project_id=project["id"])
    with running_proxy(tmp_path, {**environment, "REDIS_URL": redis_url}) as proxy:
        visit(proxy)
        assert gathered(project["id"], 5) == 5
    (hour,) = db.session.scalars(select(TrafficHour))
    assert (hour.succeeded, hour.redirected, hour.refused, hour.failed) == (4, 0, 1, 0)
    assert hour.sent_bytes > 500
    assert names_of(project["id"]) == {
        ("page", "/"): 3,
        ("file", "/app.js"): 1,
        ("missing", "/nothing.txt"): 1,
        ("referrer", "news.example"): 2,
    }
    assert db.session.scalar(select(TrafficVisitors.estimate)) == 2


def test_who_is_asked_for_a_password_or_sent_on_counts_and_is_no_visitor(tmp_path, context, project, environment):
    live = publish(store(), "site", FILES, project_id=project["id"])
    hashed = bcrypt.hashpw(b"open sesame", bcrypt.gensalt(4)).decode()
    write_route(store(), replace(live, generation=2, protection=Protection(hashed, "its-key-id")))
    write_route(store(), replace(live, host="www.example.org", redirect_to="site"))
    known = "Basic " + base64.b64encode(b"anybody:open sesame").decode()
    with running_proxy(tmp_path, environment) as proxy:
        asked = [proxy.get(path, Referer="https://news.example/") for path in ("/", "/secret", "/.autostack/enter")]
        led = [proxy.get("/", host="www.example.org", User_Agent=f"Browser {number}") for number in range(3)]
        seen = proxy.get("/", Authorization=known, User_Agent="Firefox")
        assert [answer.status for answer in (*asked, *led, seen)] == [401, 401, 303, 308, 308, 308, 200]
        assert gathered(project["id"], 7) == 7
    (hour,) = db.session.scalars(select(TrafficHour))
    assert (hour.succeeded, hour.redirected, hour.refused, hour.failed) == (1, 4, 2, 0)
    assert hour.sent_bytes > sum(len(answer.body) for answer in asked)
    assert names_of(project["id"]) == {("page", "/"): 1}
    assert db.session.scalar(select(TrafficVisitors.estimate)) == 1


def test_an_answer_that_takes_long_is_counted_as_it_goes(tmp_path, context, project, environment, redis_url):
    size = 30_000_000
    publish(store(), "site", {"/large.bin": b"x" * size}, project_id=project["id"])
    with running_proxy(tmp_path, {**environment, "REDIS_URL": redis_url}) as proxy, proxy.connect() as visitor:
        visitor.sendall(b"GET /large.bin HTTP/1.1\r\nHost: site.localhost\r\n\r\n")
        assert visitor.recv(100)
        assert gathered(project["id"], 1) == 1
        deadline = time.monotonic() + WAIT_S
        while not 1_000_000 < (sent := db.session.scalar(select(TrafficHour.sent_bytes))) < size:
            assert time.monotonic() < deadline, sent
            gathering.gather()
            db.session.rollback()


def test_while_redis_is_away_counts_go_by_way_of_the_store(tmp_path, context, project, environment):
    publish(store(), "site", FILES, project_id=project["id"])
    with running_proxy(tmp_path, environment) as proxy:
        visit(proxy)
        assert gathered(project["id"], 5) == 5
    assert list(store().names(keys.TRAFFIC_BATCHES)) == []


def test_a_proxy_that_is_told_to_end_reports_first(tmp_path, context, project, environment, redis_url):
    publish(store(), "site", {**FILES, "/lost.js": b"lost"}, project_id=project["id"])
    store().delete(keys.blob(project["id"], hashlib.sha256(b"lost").hexdigest()))
    with running_proxy(tmp_path, {**environment, "TRAFFIC_INTERVAL": 600, "REDIS_URL": redis_url}) as proxy:
        visit(proxy)
        assert proxy.get("/lost.js").status == 503
        proxy.process.terminate()
        proxy.process.wait(WAIT_S)
    gathering.gather()
    assert requests_of(project["id"]) == 6
    assert db.session.scalar(select(TrafficHour.failed)) == 1


def test_proxies_count_visitors_with_one_salt(tmp_path, context, project, environment, redis_url):
    publish(store(), "site", FILES, project_id=project["id"])
    together = {**environment, "REDIS_URL": redis_url}
    with running_proxy(tmp_path, together) as first, running_proxy(tmp_path, together) as second:
        visit(first)
        visit(second)
        assert gathered(project["id"], 10) == 10
    assert db.session.scalar(select(TrafficVisitors.estimate)) == 2


def test_a_batch_counts_once_however_often_it_arrives(context, project):
    one = batch(project["id"], top={Kind.PAGE: {"/": 1}})
    for _ in range(3):
        send(one)
    store().put(keys.traffic_batch(one.id), one.to_json())
    gathering.gather()
    send(one)
    gathering.gather()
    assert (requests_of(project["id"]), names_of(project["id"])) == (1, {("page", "/"): 1})
    assert (redis().llen(traffic.LIST), list(store().names(keys.TRAFFIC_BATCHES))) == (0, [])


def test_a_gatherer_that_dies_before_it_takes_batches_away_counts_them_once(context, project):
    one, other = batch(project["id"]), batch(project["id"])
    send(one)
    gathering.count([one])
    send(other)
    gathering.gather()
    assert requests_of(project["id"]) == 2


class _CutOff(socketserver.BaseRequestHandler):
    """Passes a client's bytes on to Redis and back, until the answer to the first removal: that one never arrives."""

    def handle(self):
        with socket.socket(socket.AF_UNIX) as server:
            server.connect(self.server.redis_path)
            is_removal = False
            while data := (one := sockets.select([self.request, server], [], [])[0][0]).recv(65_536):
                if one is server and is_removal:
                    self.server.was_cut_off = True
                    return
                if one is self.request:
                    is_removal = not self.server.was_cut_off and (b"LREM" in data or b"LTRIM" in data)
                (server if one is self.request else self.request).sendall(data)


@contextmanager
def line_that_is_cut_off(redis_url):
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _CutOff) as line:
        line.daemon_threads, line.redis_path, line.was_cut_off = True, urlsplit(redis_url).path, False
        thread = threading.Thread(target=line.serve_forever)
        thread.start()
        try:
            yield line
        finally:
            line.shutdown()
            thread.join()


def test_batches_that_are_taken_away_twice_take_no_others_with_them(
    context, app, project, make_settings, redis_url, monkeypatch
):
    monkeypatch.setattr(gathering, "BATCHES_AT_ONCE", 1)
    for _ in range(3):
        send(batch(project["id"]))
    with line_that_is_cut_off(redis_url) as line:
        here = make_settings(redis_url=f"redis://127.0.0.1:{line.server_address[1]}/0")
        monkeypatch.setitem(app.extensions, "autostack_redis", connect_redis(here, 5))
        gathering.gather()
        redis().close()
    assert line.was_cut_off
    assert requests_of(project["id"]) == 3


def test_counts_of_a_deleted_project_are_dropped_and_others_are_not(context, project):
    both = Batch(
        str(uuid.uuid4()), NOW, [SiteTraffic(id, False, requests=1) for id in (str(uuid.uuid4()), project["id"])]
    )
    send(both)
    gathering.gather()
    assert [row.requests for row in db.session.scalars(select(TrafficHour))] == [1]


def test_what_is_damaged_is_dropped(context, project):
    redis().rpush(traffic.LIST, b"{not a batch")
    store().put(keys.traffic_batch(str(uuid.uuid4())), b"nor this")
    send(batch(project["id"], visitors=b"12"))
    gathering.gather()
    assert requests_of(project["id"]) == 1
    assert redis().llen(traffic.LIST) == 0


def test_visitors_of_a_day_are_merged_and_days_apart(context, project):
    def seen(*names):
        visitors = Visitors()
        for name in names:
            visitors.add(b"salt", name, b"")
        return visitors.to_bytes()

    yesterday = NOW - dt.timedelta(days=1)
    for began, names in ((NOW, ("a", "b")), (NOW, ("b", "c")), (yesterday, ("a",))):
        send(batch(project["id"], began, visitors=seen(*names)))
        gathering.gather()
    days = db.session.execute(select(TrafficVisitors.day, TrafficVisitors.estimate).order_by(TrafficVisitors.day))
    assert [tuple(row) for row in days] == [(yesterday.date(), 1), (NOW.date(), 3)]


def test_of_very_many_names_the_most_frequent_stay(context, project):
    for start in range(0, 500, 100):
        names = {f"/{number}": 1 + number % 2 for number in range(start, start + 100)}
        send(batch(project["id"], top={Kind.PAGE: names}))
    gathering.gather()
    kept = names_of(project["id"])
    assert (len(kept), set(kept.values())) == (gathering.NAMES_KEPT, {2})


def test_what_is_old_is_forgotten(context, project):
    old = NOW - dt.timedelta(days=100)
    send(batch(project["id"], old, top={Kind.PAGE: {"/": 1}}, visitors=b"\x00\x01\x01"))
    send(batch(project["id"]))
    for ago in range(4):
        store().put(keys.traffic_salt(NOW.date() - dt.timedelta(days=ago)), b"salt")
    gathering.gather()
    gathering.forget_old()
    assert requests_of(project["id"]) == 1
    assert names_of(project["id"]) == {}
    assert db.session.scalar(select(TrafficVisitors)) is None
    assert len(list(db.session.scalars(select(TrafficBatch)))) == 2
    assert len(list(store().names(keys.TRAFFIC_SALTS))) == 2


@pytest.mark.parametrize(("days", "requests"), [(99, 1), (101, 2)])
def test_how_many_days_are_kept_is_a_setting(context, make_app, project, days, requests):
    old = NOW - dt.timedelta(days=100)
    send(batch(project["id"], old, top={Kind.PAGE: {"/": 1}}, visitors=b"\x00\x01\x01"))
    send(batch(project["id"]))
    gathering.gather()
    with make_app(traffic_retention_days=days).app_context():
        gathering.forget_old()
    assert requests_of(project["id"]) == requests
    assert (names_of(project["id"]) == {}) == (requests == 1)
    assert (db.session.scalar(select(TrafficVisitors)) is None) == (requests == 1)


def leave_early(proxy, path):
    """Ask for a file, and hang up at its first bytes, with no word of farewell."""
    with socket.socket() as visitor:
        visitor.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        visitor.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        visitor.connect(("127.0.0.1", proxy.port))
        visitor.sendall(f"GET {path} HTTP/1.1\r\nHost: site.localhost\r\n\r\n".encode())
        visitor.recv(1000)


def test_what_a_visitor_never_took_is_not_counted(tmp_path, context, project, environment, redis_url):
    files = {"/middle.bin": b"m" * 990_000, "/large.bin": b"l" * 9_000_000}
    publish(store(), "site", files, project_id=project["id"])
    with running_proxy(tmp_path, {**environment, "REDIS_URL": redis_url}) as proxy:
        for _ in range(20):
            leave_early(proxy, "/middle.bin")
        leave_early(proxy, "/large.bin")
        assert len(proxy.get("/middle.bin").body) == 990_000
        proxy.process.terminate()
        proxy.process.wait(WAIT_S)
    assert gathered(project["id"], 22) == 22
    assert 990_000 < sum(db.session.scalars(select(TrafficHour.sent_bytes))) < 3_000_000
