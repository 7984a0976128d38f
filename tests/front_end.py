"""A front end of one's own, at another origin than the dashboard: a page that signs in by GitHub, with a code."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE = """<!doctype html>
<title>Elsewhere</title>
<button>Sign in with GitHub</button>
<output></output>
<script type="module">
const api = "API";
const base64url = (bytes) =>
  btoa(String.fromCharCode(...new Uint8Array(bytes))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const json = async (path, options) => (await fetch(api + path, options)).json();

document.querySelector("button").onclick = async () => {
  const verifier = base64url(crypto.getRandomValues(new Uint8Array(32)));
  sessionStorage.setItem("verifier", verifier);
  const challenge = base64url(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier)));
  location.assign(`${api}/api/auth/github?codeChallenge=${challenge}`);
};

const given = new URLSearchParams(location.search);
history.replaceState(null, "", "/");
if (given.has("code")) {
  const body = JSON.stringify({ code: given.get("code"), codeVerifier: sessionStorage.getItem("verifier") });
  const headers = { "Content-Type": "application/json" };
  const { token } = await json("/api/auth/exchange", { method: "POST", headers, body });
  const { name } = await json("/api/user/profile", { headers: { Authorization: `Bearer ${token}` } });
  document.querySelector("output").textContent = `Hello, ${name}`;
}
if (given.has("error")) document.querySelector("output").textContent = given.get("error");
</script>
"""


class FrontEnd:
    """Where it is, and at which address it finds the API (to be set before it is visited)."""

    def __init__(self) -> None:
        self.api = ""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://localhost:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(front_end: FrontEnd) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = PAGE.replace("API", front_end.api, 1).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@contextmanager
def running_front_end() -> Iterator[FrontEnd]:
    """Serve it on a free port of 127.0.0.1."""
    front_end = FrontEnd()
    try:
        yield front_end
    finally:
        front_end.close()
