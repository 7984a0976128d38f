"""Status and headers after RFC 9110, from a request and a manifest alone."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autostack.proxy.messages import Request, Response, Tally
from autostack.proxy.negotiation import Unsatisfiable, parse_ranges, read_accepts, takes_html
from autostack.proxy.own_headers import Extras
from autostack.proxy.resolve import Nothing, Role, Serve, resolve
from autostack.proxy.respond import IMMUTABLE, NO_STORE, REVALIDATE, Plan, prepare, respond
from autostack.sites.manifest import Manifest
from autostack.sites.rules.match import Visit
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
        accepts = read_accepts(given.get(b"accept-encoding"), given.get(b"accept"))
        decision = resolve(MANIFEST, Visit(path.decode()), accepts.html)
        request = Request(method.encode(), path, query, "site.localhost", given)
        answer = respond(request, prepare(decision, accepts, is_preview))
        first, *lines = answer.head.decode().rstrip("\r\n").split("\r\n")
        self.status = int(first.split()[1])
        self.headers = dict(line.split(": ", 1) for line in lines)
        self.parts = answer.parts if isinstance(answer, Plan) else None
        self.seams = answer.seams if isinstance(answer, Plan) else None
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
        assert answer.parts is None


def test_each_encoding_has_a_tag_of_its_own():
    assert Answered("/", accept_encoding="br").headers["ETag"] == BR_ETAG
    assert Answered("/", accept_encoding="br", if_none_match=BR_ETAG).status == 304
    assert Answered("/", accept_encoding="gzip", if_none_match=BR_ETAG).status == 200
    assert Answered("/", accept_encoding="br", if_none_match=BR_ETAG).headers["Vary"] == "Accept-Encoding"


def test_head_is_get_without_the_body():
    get, head = Answered("/", accept_encoding="br"), Answered("/", "HEAD", accept_encoding="br")
    assert head.headers == get.headers
    assert head.parts is None
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
        ("BYTES=0-0", 206, (0, 1), "bytes 0-0/10"),
        ("bytes=, 0-0 ,,", 206, (0, 1), "bytes 0-0/10"),
        ("bytes=0-0,10-", 206, (0, 1), "bytes 0-0/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=10-12", 416, None, "bytes */10"),
        ("bytes=10-12,11-", 416, None, "bytes */10"),
        ("bytes=-0", 416, None, "bytes */10"),
        ("bytes=4-2", 200, None, None),
        ("bytes=0-1,4-2", 200, None, None),
        ("bytes=", 200, None, None),
        ("bytes=-", 200, None, None),
        ("bytes=a-b", 200, None, None),
        ("lines=0-1", 200, None, None),
        ("bytes=99999999999999999999-", 200, None, None),
    ],
)
def test_one_range_is_answered_and_what_is_none_is_ignored(value, status, part, content_range):
    answer = Answered("/plain.txt", range=value)
    assert (answer.status, answer.parts or None) == (status, part and (part,))
    assert answer.headers.get("Content-Range") == content_range
    if status == 206:
        assert answer.headers["Content-Length"] == str(part[1] - part[0])
        assert answer.headers["ETag"] == ETAG


def test_several_ranges_come_in_their_order_each_with_its_own_headers():
    answer = Answered("/plain.txt", range="bytes=5-6, 0-1, -1")
    assert answer.status == 206
    assert answer.parts == ((5, 7), (0, 2), (9, 10))
    mark, boundary = answer.headers["Content-Type"].split("; boundary=")
    assert mark == "multipart/byteranges"
    assert "Content-Range" not in answer.headers
    first, *_, last = answer.seams
    head = f"--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: bytes 5-6/10\r\n\r\n"
    assert first == head.encode()
    assert last == f"\r\n--{boundary}--\r\n".encode()
    assert int(answer.headers["Content-Length"]) == sum(map(len, answer.seams)) + 2 + 2 + 1


@pytest.mark.parametrize(
    "value",
    [
        "0-1,1-2",
        "0-,0-",
        "0-4,-997",
        ",".join(f"{2 * number}-{2 * number}" for number in range(17)),
        "0-0" + "," * 40,
    ],
)
def test_ranges_that_overlap_or_are_many_get_the_whole(value):
    assert parse_ranges(f"bytes={value}", 1000) == ()


@given(
    size=st.integers(1, 50),
    bounds=st.lists(st.tuples(st.none() | st.integers(0, 60), st.none() | st.integers(0, 60)), min_size=1, max_size=6),
)
def test_ranges_are_the_bytes_that_a_slow_reading_of_the_rfc_gives(size, bounds):
    header = "bytes=" + ",".join("-".join("" if one is None else str(one) for one in pair) for pair in bounds)
    content = list(range(size))
    expected = []
    for first, last in bounds:
        if (first is None and last is None) or (first is not None and last is not None and last < first):
            assert parse_ranges(header, size) == ()
            return
        chosen = content[-last:] if first is None and last else content[first : None if last is None else last + 1]
        expected.append(chosen if first is not None or last else [])
    wanted = [part for part in expected if part]
    if not wanted:
        with pytest.raises(Unsatisfiable):
            parse_ranges(header, size)
    elif len({byte for part in wanted for byte in part}) < sum(map(len, wanted)):
        assert parse_ranges(header, size) == ()
    else:
        assert [content[part.start : part.end] for part in parse_ranges(header, size)] == wanted


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
    assert read_accepts(header.encode(), None).choose({"zstd", "br", "gzip"}) == chosen


def test_an_encoding_that_was_not_made_is_not_chosen():
    assert read_accepts(b"zstd, gzip", None).choose({"br"}) is None
    assert read_accepts(b"zstd, br;q=0.1", None).choose({"br"}) == "br"


def test_headers_that_mean_the_same_are_the_same():
    browser = read_accepts(b"gzip, deflate, br, zstd", b"text/html,*/*;q=0.8")
    assert read_accepts(b"zstd, br, gzip", b"*/*") is browser
    assert read_accepts(b"zstd, br, gzip", b"image/png") is not browser
    assert read_accepts(b"br, gzip", b"*/*") is not browser


def test_a_header_longer_than_any_browser_sends_is_not_read():
    nothing = read_accepts(None, None)
    assert read_accepts(b"br," + b"a," * 600, b"image/png," + b"a/a," * 300) is nothing
    assert read_accepts(b"br," + b"a," * 500, None).choose({"br"}) == "br"


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


def test_a_412_is_kept_by_nobody_however_long_its_file_is():
    answer = Answered("/assets/app-BqX3zK1d.js", if_match='"x"')
    assert (answer.status, answer.headers["Cache-Control"]) == (412, NO_STORE)
    kept = Extras({"CDN-Cache-Control": ("max-age=3600",), "Expires": ("Thu, 01 Jan 2099 00:00:00 GMT",)})
    prepared = prepare(Serve("/plain.txt", FILES["/plain.txt"]), read_accepts(None, None), False, kept)
    assert b"CDN-Cache-Control" in prepared.head
    refused = respond(Request(b"GET", b"/plain.txt", b"", "site.localhost", {b"if-match": b'"x"'}), prepared)
    assert b"CDN-" not in refused.head
    assert b"Expires" not in refused.head


@pytest.mark.parametrize(
    "name", ["Cache-Control", "CDN-Cache-Control", "Cloudflare-CDN-Cache-Control", "Surrogate-Control", "expires"]
)
def test_that_nothing_is_there_is_kept_by_no_cdn_whatever_the_owner_says(name):
    extras = Extras({name: ("public, max-age=3600",)})
    for decision in (Serve("/a/404.html", FILES["/a/404.html"], Role.NOT_FOUND), Nothing()):
        lines = prepare(decision, read_accepts(None, None), False, extras).head.decode().lower().split("\r\n")
        assert "cache-control: no-store" in lines
        assert not any("max-age" in line for line in lines)


def test_who_has_it_already_is_counted_apart_from_who_gets_it():
    prepared = prepare(Serve("/plain.txt", FILES["/plain.txt"]), read_accepts(None, None), False)
    prepared.tally = Tally("project", False, b"/plain.txt", False, b"200", times=5, sent_bytes=500)
    start, tally = prepared.unchanged
    assert start.startswith(b"HTTP/1.1 304 ")
    assert tally is not None
    assert (tally.path, tally.status, tally.times, tally.sent_bytes) == (b"/plain.txt", b"304", 0, 0)
    assert prepared.unchanged[1] is tally
    assert prepared.tally.times == 5


@pytest.mark.parametrize("header", ["lines=1-2", "bytes=x-", "bytes", "bytes=5-2"])
def test_a_range_without_sense_changes_nothing(header):
    asked = {"accept_encoding": "br", "range": header}
    assert Answered("/", **asked).headers == Answered("/", accept_encoding="br").headers
    assert Answered("/", if_none_match=BR_ETAG, **asked).status == 304


def test_a_range_past_the_end_has_the_headers_of_the_file_but_is_not_kept():
    answer = Answered("/plain.txt", is_preview=True, range="bytes=10-")
    expected = {
        "Content-Range": "bytes */10",
        "Cache-Control": NO_STORE,
        "X-Robots-Tag": "noindex",
        "Accept-Ranges": "bytes",
    }
    assert answer.status == 416
    assert expected.items() <= answer.headers.items()
