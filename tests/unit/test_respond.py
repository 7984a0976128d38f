"""Status and headers after RFC 9110, from a request and a manifest alone."""

from __future__ import annotations

import uuid

import pytest

from autostack.proxy.messages import Request, Response
from autostack.proxy.negotiation import choose_encoding, parse_range, takes_html
from autostack.proxy.respond import IMMUTABLE, NO_STORE, REVALIDATE, Plan, respond
from autostack.sites.manifest import Manifest
from tests.sites import make_file

PAGE = b"<h1>page</h1>" * 50
FILES = {
    "/index.html": make_file("/index.html", PAGE, ["br", "zstd"])[0],
    "/plain.txt": make_file("/plain.txt", b"0123456789")[0],
    "/empty.txt": make_file("/empty.txt", b"")[0],
    "/assets/app-BqX3zK1d.js": make_file("/assets/app-BqX3zK1d.js", b"js")[0],
    "/a/404.html": make_file("/a/404.html", b"no", ["br"])[0],
    "/about.html": make_file("/about.html", b"about")[0],
}
MANIFEST = Manifest(str(uuid.uuid4()), str(uuid.uuid4()), FILES)
ETAG = f'"{FILES["/plain.txt"].sha256}"'
BR_ETAG = f'"{FILES["/index.html"].encodings["br"].sha256}"'


class Answered:
    """A response in a form that tests can compare."""

    def __init__(self, target: str, method: str = "GET", is_preview: bool = False, **headers: str) -> None:
        path, _, query = target.encode().partition(b"?")
        given = {name.replace("_", "-").encode(): value.encode("latin-1") for name, value in headers.items()}
        answer = respond(Request(method.encode(), path, query, "site.localhost", given), MANIFEST, is_preview)
        first, *lines = answer.head.decode().rstrip("\r\n").split("\r\n")
        self.status = int(first.split()[1])
        self.headers = dict(line.split(": ", 1) for line in lines)
        self.part = (answer.part.start, answer.part.end) if isinstance(answer, Plan) else None
        self.blob = answer.blob if isinstance(answer, Plan) else None
        self.body = answer.body if isinstance(answer, Response) else None


def test_a_page_has_the_default_headers():
    answer = Answered("/")
    assert answer.status == 200
    assert answer.headers == {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Length": str(len(PAGE)),
        "ETag": f'"{FILES["/index.html"].sha256}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": REVALIDATE,
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "strict-origin-when-cross-origin",
    }


def test_only_a_hashed_asset_is_kept_for_a_year():
    assert Answered("/assets/app-BqX3zK1d.js").headers["Cache-Control"] == IMMUTABLE
    assert Answered("/assets/app-AqX3zK1d.js").headers["Cache-Control"] == NO_STORE
    assert Answered("/plain.txt").headers["Cache-Control"] == REVALIDATE
    fallback = Answered("/users/3f2a1b9c")
    assert fallback.status == 200
    assert fallback.headers["Cache-Control"] == REVALIDATE
    assert fallback.headers["Vary"] == "Accept-Encoding, Accept"


def test_a_sites_own_404_page_is_not_stored_and_has_no_tag():
    answer = Answered("/a/x", accept_encoding="br", if_none_match="*", range="bytes=0-0")
    assert answer.status == 404
    assert answer.headers["Cache-Control"] == NO_STORE
    assert answer.headers["Content-Encoding"] == "br"
    assert "ETag" not in answer.headers


@pytest.mark.parametrize("target", ["/", "/missing.js", "/about.html"])
def test_previews_are_kept_out_of_search_engines(target):
    assert Answered(target, is_preview=True).headers["X-Robots-Tag"] == "noindex"
    assert "X-Robots-Tag" not in Answered(target).headers


def test_a_redirect_keeps_the_query_and_cannot_split_the_header():
    assert Answered("/about.html?a=1&b=/c").headers["Location"] == "/about?a=1&b=/c"
    assert Answered("/about/?\x7f\xff\r\n").headers["Location"] == "/about?%7F%C3%BF%0D%0A"
    assert Answered("/about.html").status == 308
    assert Answered("/about.html").headers["Cache-Control"] == REVALIDATE


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "headers, status",
    [
        ({"if_none_match": ETAG}, 304),
        ({"if_none_match": f"W/{ETAG}"}, 304),
        ({"if_none_match": f'"x", {ETAG}'}, 304),
        ({"if_none_match": "*"}, 304),
        ({"if_none_match": '"x"'}, 200),
        ({"if_none_match": ETAG[1:-1]}, 200),
        ({"if_match": ETAG}, 200),
        ({"if_match": "*"}, 200),
        ({"if_match": '"x"'}, 412),
        ({"if_match": f"W/{ETAG}"}, 412),
        ({"if_match": '"x"', "if_none_match": ETAG}, 412),
        ({"if_match": ETAG, "if_none_match": ETAG}, 304),
        # Without a date of ours there is nothing to compare theirs with (RFC 9110, 13.1.3 and 13.1.4).
        ({"if_modified_since": "Sat, 21 Nov 2099 00:00:00 GMT"}, 200),
        ({"if_unmodified_since": "Sat, 21 Nov 1999 00:00:00 GMT"}, 200),
        ({"if_none_match": ETAG, "if_modified_since": "Sat, 21 Nov 1999 00:00:00 GMT"}, 304),
    ],
)
def test_conditions_are_taken_in_their_order(method, headers, status):
    answer = Answered("/plain.txt", method, **headers)
    assert answer.status == status
    if status == 304:
        assert answer.headers["ETag"] == ETAG
        assert answer.headers["Cache-Control"] == REVALIDATE
        assert "Content-Length" not in answer.headers
        assert answer.part is None


def test_each_encoding_has_a_tag_of_its_own():
    assert Answered("/", accept_encoding="br").headers["ETag"] == BR_ETAG
    assert Answered("/", accept_encoding="br", if_none_match=BR_ETAG).status == 304
    assert Answered("/", accept_encoding="gzip", if_none_match=BR_ETAG).status == 200
    assert Answered("/", accept_encoding="br", if_none_match=BR_ETAG).headers["Vary"] == "Accept-Encoding"


def test_head_is_get_without_the_body():
    get, head = Answered("/", accept_encoding="br"), Answered("/", "HEAD", accept_encoding="br")
    assert head.headers == get.headers
    assert head.part is None
    assert head.body == b""
    assert Answered("/nothing.js", "HEAD").headers == Answered("/nothing.js").headers
    assert Answered("/nothing.js", "HEAD").body == b""
    assert Answered("/plain.txt", "HEAD", range="bytes=0-1").status == 200


@pytest.mark.parametrize(
    "value, status, part, content_range",
    [
        ("bytes=0-0", 206, (0, 1), "bytes 0-0/10"),
        ("bytes=2-4", 206, (2, 5), "bytes 2-4/10"),
        ("bytes=5-", 206, (5, 10), "bytes 5-9/10"),
        ("bytes=5-99", 206, (5, 10), "bytes 5-9/10"),
        ("bytes=-3", 206, (7, 10), "bytes 7-9/10"),
        ("bytes=-99", 206, (0, 10), "bytes 0-9/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=10-12", 416, None, "bytes */10"),
        ("bytes=-0", 416, None, "bytes */10"),
        ("bytes=4-2", 200, (0, 10), None),
        ("bytes=0-1,3-4", 200, (0, 10), None),
        ("bytes=", 200, (0, 10), None),
        ("bytes=-", 200, (0, 10), None),
        ("bytes=a-b", 200, (0, 10), None),
        ("lines=0-1", 200, (0, 10), None),
        ("bytes=99999999999999999999-", 200, (0, 10), None),
    ],
)
def test_one_range_is_answered_and_what_is_none_is_ignored(value, status, part, content_range):
    answer = Answered("/plain.txt", range=value)
    assert (answer.status, answer.part) == (status, part)
    assert answer.headers.get("Content-Range") == content_range
    if status == 206:
        assert answer.headers["Content-Length"] == str(part[1] - part[0])
        assert answer.headers["ETag"] == ETAG


def test_a_range_of_an_empty_file_cannot_be_satisfied():
    assert Answered("/empty.txt", range="bytes=0-").status == 416
    assert Answered("/empty.txt").status == 200


@pytest.mark.parametrize(
    "condition, status",
    [
        (ETAG, 206),
        (f"W/{ETAG}", 200),
        ('"x"', 200),
        ("Sat, 21 Nov 2026 00:00:00 GMT", 200),
    ],
)
def test_if_range_asks_for_the_whole_unless_the_tag_is_the_same(condition, status):
    assert Answered("/plain.txt", range="bytes=2-4", if_range=condition).status == status


def test_ranges_are_of_the_plain_file():
    answer = Answered("/", range="bytes=0-9", accept_encoding="br")
    assert answer.status == 206
    assert answer.blob.sha256 == FILES["/index.html"].sha256
    assert "Content-Encoding" not in answer.headers
    # A client that resumes what it got compressed, or wants no plain file, gets the whole anew.
    assert Answered("/", range="bytes=0-9", accept_encoding="br", if_range=BR_ETAG).status == 200
    assert Answered("/", range="bytes=0-9", accept_encoding="br, identity;q=0").status == 200


@pytest.mark.parametrize(
    "header, chosen",
    [
        ("", None),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, br", "br"),
        ("gzip", "gzip"),
        ("x-gzip", "gzip"),
        ("GZIP", "gzip"),
        ("br;q=0.5, gzip;q=0.8", "gzip"),
        ("br;q=0", None),
        ("*", "zstd"),
        ("*;q=0", None),
        ("zstd;q=0, *", "br"),
        ("gzip;q=0.5, identity", None),
        ("gzip;q=0.5", "gzip"),
        ("identity;q=0.5, gzip;q=0.5", "gzip"),
        ("br;q=nonsense", None),
        ("deflate", None),
        (";;,,q=1", None),
    ],
)
def test_the_client_prefers_and_the_server_breaks_ties(header, chosen):
    assert choose_encoding(header, frozenset({"zstd", "br", "gzip"})) == chosen


def test_an_encoding_that_was_not_made_is_not_chosen():
    assert choose_encoding("zstd, gzip", frozenset({"br"})) is None
    assert choose_encoding("zstd, br;q=0.1", frozenset({"br"})) == "br"


@pytest.mark.parametrize(
    "accept, takes",
    [
        (None, True),
        ("", True),
        ("text/html,application/xhtml+xml,*/*;q=0.8", True),
        ("*/*", True),
        ("text/*", True),
        ("application/json", False),
        ("image/avif,image/webp", False),
        ("text/html;q=0, */*", False),
        ("text/css,*/*;q=0.1", True),
    ],
)
def test_accept_tells_whether_a_page_will_do(accept, takes):
    assert takes_html(accept) is takes


def test_parse_range_counts_from_the_end():
    part = parse_range("bytes=-1", 5)
    assert part is not None
    assert (part.start, part.end) == (4, 5)


@pytest.mark.parametrize("target", ["/%2e%2e/x", "/%00", "/%c0%ae", "/..%2f"])
def test_a_path_without_meaning_is_400(target):
    assert Answered(target).status == 400
