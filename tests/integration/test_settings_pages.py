"""The settings of an account, a page a tab: profile and picture, GitHub, notifications, appearance."""

from __future__ import annotations

import io
import struct
from typing import Any

import pytest
from flask import Flask
from PIL import Image
from sqlalchemy import func, select, text
from werkzeug.test import TestResponse

from autostack.accounts import avatars
from autostack.accounts.models import Avatar
from autostack.extensions import db
from tests.conftest import AppMaker
from tests.pages import fields, links, parsed, text_of
from tests.people import Api, Browser, Person

TABS = ["", "/github", "/notifications", "/appearance", "/account", "/sessions", "/tokens"]


def picture(format: str = "PNG", size: tuple[int, int] = (40, 20), **options: Any) -> bytes:
    drawn = io.BytesIO()
    Image.new("RGB", size, "#c0392b").save(drawn, format, **options)
    return drawn.getvalue()


def malformed_exif() -> bytes:
    """Return a photo taken sideways whose artist is a fraction: Pillow meets that as it turns the photo."""
    entry = struct.Struct("<HHII")
    entries = entry.pack(0x0112, 3, 1, 6) + entry.pack(0x013B, 5, 1, 8 + 2 + 2 * entry.size + 4)
    tiff = b"II*\0" + struct.pack("<IH", 8, 2) + entries + struct.pack("<III", 0, 1, 2)
    return picture("JPEG", exif=b"Exif\0\0" + tiff)


def upload(browser: Browser, data: bytes, name: str = "me.png") -> TestResponse:
    sent = {"avatar": (io.BytesIO(data), name)}
    return browser.post("/settings/avatar", sent, content_type="multipart/form-data")


def shown(browser: Browser) -> str | None:
    """Return the address of the picture that the page shows of its reader."""
    [found] = parsed(browser.get("/settings")).select(".picture .avatar")
    picture = found.select_one("img")
    return str(picture["src"]) if picture else None


def pictures(app: Flask) -> int:
    with app.app_context():
        return db.session.scalar(select(func.count()).select_from(Avatar)) or 0


@pytest.mark.parametrize("tab", TABS)
def test_each_tab_is_a_page_that_leads_to_all_others(browser: Browser, nobodys_browser: Browser, tab: str) -> None:
    page = parsed(browser.get(f"/settings{tab}"))
    [nav] = page.select(".settings-nav")
    assert links(nav) == {f"/settings{other}" for other in TABS}
    assert [link["href"] for link in nav.select("[aria-current]")] == [f"/settings{tab}"]
    assert nobodys_browser.get(f"/settings{tab}").location == f"/login?next=/settings{tab}"


def test_where_connections_were_one_is_led_on(browser: Browser) -> None:
    assert browser.get("/settings/connections").location == "/settings/account"


# Profile


def test_a_profile_has_a_name_to_change_and_an_address_that_stays(browser: Browser, alice: Person) -> None:
    page = parsed(browser.get("/settings"))
    [email] = page.select("input[name=email]")
    assert (email["value"], "disabled" in email.attrs) == (alice.email, True)
    assert browser.post("/settings", {"name": "Alice Liddell", "email": "other@example.com"}).location == "/settings"
    assert fields(parsed(browser.get("/settings")), "form[action='/settings']")["name"] == "Alice Liddell"
    profile = browser.get("/api/user/profile").json
    assert (profile["name"], profile["email"]) == ("Alice Liddell", alice.email)


def test_a_name_that_is_none_is_refused_at_its_field(browser: Browser) -> None:
    refused = browser.post("/settings", {"name": " "})
    assert refused.status_code == 422
    assert 'id="name-error"' in refused.text
    assert browser.get("/api/user/profile").json["name"] == "Alice"


# The picture


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "WEBP"])
def test_a_picture_is_drawn_anew_small_and_square(browser: Browser, format: str) -> None:
    assert shown(browser) is None
    assert upload(browser, picture(format)).location == "/settings"
    answered = browser.get(shown(browser) or "")
    assert answered.mimetype == "image/webp"
    with Image.open(io.BytesIO(answered.data)) as drawn:
        assert (drawn.format, drawn.size) == ("WEBP", (256, 256))
        red, green, blue = drawn.convert("RGB").getpixel((128, 128))  # type: ignore[misc]
    assert red > 150 > 80 > max(green, blue)


def test_a_picture_is_served_as_nothing_but_a_picture(browser: Browser, nobodys_browser: Browser) -> None:
    upload(browser, picture())
    headers = nobodys_browser.get(shown(browser) or "").headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert headers["Cache-Control"] == "public, max-age=86400, immutable"
    assert "Set-Cookie" not in headers


def test_nothing_that_stands_beside_a_picture_is_kept(browser: Browser) -> None:
    details = Image.Exif()
    details[0x010E] = "taken at 12 Sesame Street"
    upload(browser, picture("JPEG", exif=details) + b"<script>alert(1)</script>", "me.html")
    served = browser.get(shown(browser) or "").data
    assert b"Sesame" not in served
    assert b"script" not in served


def test_a_photo_that_was_taken_sideways_stands_upright(browser: Browser) -> None:
    drawn = Image.new("RGB", (64, 64), "white")
    drawn.paste("black", (0, 0, 64, 32))
    turned = Image.Exif()
    turned[0x0112] = 3
    file = io.BytesIO()
    drawn.save(file, "JPEG", exif=turned)
    upload(browser, file.getvalue())
    with Image.open(io.BytesIO(browser.get(shown(browser) or "").data)) as served:
        assert served.convert("L").getpixel((128, 10)) > 200  # type: ignore[operator]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "Choose a picture first."),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "no picture that can be read"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, "no picture that can be read"),
        (picture("BMP"), "no picture that can be read"),
        (picture()[:40], "no picture that can be read"),
        (picture("JPEG", size=(6000, 5000)), "more than 25 million pixels"),
        # Unlike a JPEG it would have to be read whole.
        (picture(size=(3000, 2500)), "more than 6 million pixels"),
        (malformed_exif(), "no picture that can be read"),
        (picture() + b"\0" * avatars.MAX_BYTES, "more than 5 MB"),
    ],
    ids=["nothing", "svg", "broken", "another kind", "cut off", "huge", "large", "malformed", "long"],
)
def test_what_is_no_picture_of_ours_is_refused(app: Flask, browser: Browser, data: bytes, problem: str) -> None:
    refused = upload(browser, data)
    assert refused.status_code == 422
    assert problem in refused.text
    assert pictures(app) == 0


def test_a_request_that_is_too_long_is_not_read(app: Flask, browser: Browser) -> None:
    refused = upload(browser, b"\0" * 2 * avatars.MAX_BYTES)
    assert refused.status_code == 413
    assert "The picture has more than 5 MB." in refused.text
    assert pictures(app) == 0


def test_another_picture_takes_the_place_of_the_first_at_another_address(app: Flask, browser: Browser) -> None:
    upload(browser, picture())
    first = shown(browser) or ""
    upload(browser, picture("GIF"))
    assert shown(browser) not in {None, first}
    assert browser.get(first).status_code == 404
    assert pictures(app) == 1


def test_the_api_says_where_the_picture_is(browser: Browser, app: Flask) -> None:
    upload(browser, picture())
    assert browser.get("/api/user/profile").json["avatarUrl"] == f"http://localhost:8000{shown(browser)}"
    assert browser.post("/settings/avatar/remove").location == "/settings"
    assert shown(browser) is None
    assert browser.get("/api/user/profile").json["avatarUrl"] is None
    assert pictures(app) == 0


def test_what_a_provider_shows_is_not_loaded_by_our_pages(app: Flask, browser: Browser) -> None:
    with app.app_context():
        db.session.execute(text("UPDATE users SET avatar_url = 'https://avatars.example/u/1'"))
        db.session.commit()
    assert shown(browser) is None
    assert not parsed(browser.get("/settings")).select("img[src^=http]")
    assert browser.get("/api/user/profile").json["avatarUrl"] == "https://avatars.example/u/1"


def test_a_picture_goes_with_its_account(app: Flask, browser: Browser, alice: Person) -> None:
    upload(browser, picture())
    with app.app_context():
        db.session.execute(text("DELETE FROM users"))
        db.session.commit()
    assert pictures(app) == 0


def test_pictures_are_taken_only_so_often(make_app: AppMaker, alice: Person) -> None:
    browser = Browser(make_app(rate_limit_api="2/minute")).sign_in(alice)
    assert [upload(browser, picture()).status_code for _ in range(3)] == [303, 303, 429]


# Notifications


def test_notifications_are_switched_one_by_one(browser: Browser) -> None:
    form = "form[action='/settings/notifications']"
    chosen = fields(parsed(browser.get("/settings/notifications")), form)
    names = {"emailNotifications", "deploymentSuccessNotifications", "deploymentFailureNotifications"}
    assert chosen.keys() == {*names, "csrf_token"}
    assert browser.post("/settings/notifications", {"deploymentFailureNotifications": "on"}).status_code == 303
    kept = fields(parsed(browser.get("/settings/notifications")), form)
    assert kept.keys() == {"deploymentFailureNotifications", "csrf_token"}
    preferences = browser.get("/api/user/preferences").json
    assert {name: preferences[name] for name in names} == {
        name: name == "deploymentFailureNotifications" for name in names
    }


def test_the_page_says_which_mails_there_are(make_app: AppMaker, browser: Browser, alice: Person) -> None:
    said = text_of(parsed(browser.get("/settings/notifications")), "main")
    assert "sends no mail about deployments yet" in said
    assert "sends no mail at all" in said
    posting = Browser(make_app(smtp_host="127.0.0.1")).sign_in(alice)
    assert f"are sent to {alice.email}" in text_of(parsed(posting.get("/settings/notifications")), ".settings-note")


# Appearance


def theme(browser: Browser, path: str) -> str:
    return str(parsed(browser.get(path)).select_one("html")["data-theme"])  # type: ignore[index]


def test_a_theme_is_kept_with_the_account_and_counts_everywhere(app: Flask, browser: Browser, alice: Person) -> None:
    elsewhere = Browser(app).sign_in(alice)
    assert theme(browser, "/projects") == "system"
    assert browser.post("/settings/appearance", {"theme": "dark"}).location == "/settings/appearance"
    assert theme(browser, "/projects") == theme(elsewhere, "/projects") == "dark"
    [chosen] = parsed(browser.get("/settings/appearance")).select("input[name=theme][checked]")
    assert chosen["value"] == "dark"
    elsewhere.client.put(
        "/api/user/preferences", json={"theme": "light"}, headers={"X-CSRFToken": elsewhere.csrf_token()}
    )
    assert theme(browser, "/projects") == "light"


def test_a_theme_stays_in_the_browser_for_pages_that_know_nobody(browser: Browser) -> None:
    browser.post("/settings/appearance", {"theme": "dark"})
    browser.post("/logout")
    assert theme(browser, "/login") == "dark"


def test_the_menu_chooses_a_theme_without_another_page(browser: Browser) -> None:
    [form] = parsed(browser.get("/projects")).select("#user-menu form[hx-post]")
    answered = browser.post(str(form["action"]), {"theme": "light"}, headers={"HX-Request": "true"})
    assert (answered.status_code, answered.text) == (204, "")
    assert theme(browser, "/projects") == "light"


@pytest.mark.parametrize("given", [{"theme": "pink"}, {}])
def test_a_theme_that_there_is_not_changes_nothing(browser: Browser, api: Api, given: dict[str, str]) -> None:
    before = api.get("/api/user/preferences").json
    assert browser.post("/settings/appearance", given).status_code in {303, 422}
    assert api.get("/api/user/preferences").json == before


@pytest.mark.parametrize("path", ["", "/avatar", "/avatar/remove", "/notifications", "/appearance"])
def test_without_the_forms_token_nothing_changes(browser: Browser, path: str) -> None:
    assert browser.client.post(f"/settings{path}").status_code == 400
