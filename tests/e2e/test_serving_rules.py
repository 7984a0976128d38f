"""One push with rules, from the repository to what visitors get."""

from __future__ import annotations

from pathlib import Path

from tests.git_server import GitServer, make_repository
from tests.stack import Stack

FILES = {
    "index.html": "<h1>Home</h1>",
    "_redirects": "/old/*  /new/:splat  302\n/broken\n/app/*  /index.html  200\n",
    "_headers": "/*\n  X-Frame-Options: DENY\n",
    "netlify.toml": '[[redirects]]\nfrom = "/toml"\nto = "/there"\n',
    "404.html": "<h1>Not here</h1>",
}


def test_a_pushs_rules_are_served_and_a_bad_line_is_told_in_its_log(stack: Stack, git: GitServer, folder: Path):
    make_repository(folder / "ruled", FILES)
    stack.sign_up("ruled@example.com")

    deployment = stack.ended(stack.deploy(git.url("ruled")))

    assert deployment["status"] == "success", deployment["logs"]
    assert [line for line in deployment["logs"] if "_redirects:2" in line and "no target" in line]
    url = deployment["url"]
    redirect = stack.get_site(url, "/old/x?a=1")
    assert (redirect.status_code, redirect.headers["location"]) == (302, "/new/x?a=1")
    assert stack.get_site(url, "/toml").headers["location"] == "/there"
    app = stack.get_site(url, "/app/7")
    assert (app.status_code, app.text, app.headers["x-frame-options"]) == (200, "<h1>Home</h1>", "DENY")
    for path in ("/broken", "/_redirects", "/_headers", "/netlify.toml"):
        assert stack.get_site(url, path).text == "<h1>Not here</h1>"
