"""CloudFront as far as it is asked to forget: a real HTTP server on a free port that takes invalidations.

`faults` are statuses that it answers with first. The same reference twice is one invalidation, as there.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from xml.etree import ElementTree

NAMESPACE = "http://cloudfront.amazonaws.com/doc/2020-05-31/"
PATH = re.compile(r"/2020-05-31/distribution/(\w+)/invalidation")
ANSWER = f"""<?xml version="1.0"?><Invalidation xmlns="{NAMESPACE}"><Id>I1</Id><Status>InProgress</Status>
<CreateTime>2026-05-04T12:00:00Z</CreateTime><InvalidationBatch><Paths><Quantity>0</Quantity></Paths>
<CallerReference>r</CallerReference></InvalidationBatch></Invalidation>"""
REFUSAL = f"""<?xml version="1.0"?><ErrorResponse xmlns="{NAMESPACE}"><Error><Type>Sender</Type>
<Code>TooManyInvalidationsInProgress</Code><Message>Too many</Message></Error><RequestId>1</RequestId>
</ErrorResponse>"""


@dataclass
class CloudFrontPeer:
    """`invalidations` are the paths of each, in the order in which they were asked for."""

    url: str
    faults: list[int] = field(default_factory=list)
    distributions: set[str] = field(default_factory=set)
    by_reference: dict[str, list[str]] = field(default_factory=dict)

    @property
    def invalidations(self) -> list[list[str]]:
        return list(self.by_reference.values())


@contextmanager
def running_cloudfront() -> Iterator[CloudFrontPeer]:
    """Run it until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked = PATH.fullmatch(self.path)
            signed = "AWS4-HMAC-SHA256" in self.headers.get("Authorization", "")
            if asked is None or not signed:
                self._answer(403, REFUSAL)
            elif peer.faults:
                self._answer(peer.faults.pop(0), REFUSAL)
            else:
                batch = ElementTree.fromstring(body)
                paths = [element.text or "" for element in batch.iter(f"{{{NAMESPACE}}}Path")]
                assert batch.findtext(f".//{{{NAMESPACE}}}Quantity") == str(len(paths))
                peer.distributions.add(asked[1])
                peer.by_reference[batch.findtext(f"{{{NAMESPACE}}}CallerReference") or ""] = paths
                self._answer(201, ANSWER)

        def _answer(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "text/xml")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    peer = CloudFrontPeer(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield peer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
