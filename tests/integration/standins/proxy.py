"""Answer for the one site there is, by its host name."""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SITE = Path(os.environ["DATA_DIR"]) / "site"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        is_site = self.headers["Host"].startswith("hello-autostack.localhost") and SITE.exists()
        self.send_response(200 if is_site or self.path == "/.autostack/healthz" else 404)
        self.end_headers()
        self.wfile.write(SITE.read_bytes() if is_site else b"")

    def log_message(self, *_):
        pass


ThreadingHTTPServer((os.environ["PROXY_HOST"], int(os.environ["PROXY_PORT"])), Handler).serve_forever()
