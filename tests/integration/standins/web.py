"""The part of the JSON API that `--example` uses: an account, a project, a deployment that is a file for proxy.py."""

import json
import os
import subprocess
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote, urlsplit

SITE = Path(os.environ["DATA_DIR"]) / "site"
USERS: dict[str, str] = {}
PROJECTS: list[dict[str, str]] = []


def deploy(project: dict[str, str]) -> dict[str, object]:
    if project["repository"] != os.environ["EXAMPLE_REPOSITORY"] or "FAIL_DEPLOYMENTS" in os.environ:
        return {"id": "1", "status": "failed", "reason": "npm run build ended with exit code 1", "url": None}
    git_dir = unquote(urlsplit(project["repository"]).path)
    command = ["git", f"--git-dir={git_dir}", "show", f"{project['branch']}:src/index.html"]
    SITE.write_bytes(subprocess.run(command, capture_output=True, check=True).stdout)
    return {"id": "1", "status": "success", "url": f"http://{project['name']}.localhost:{os.environ['PROXY_PORT']}"}


class Handler(BaseHTTPRequestHandler):
    deployment: ClassVar[dict[str, object]] = {}

    def do_GET(self):
        answers = {"/healthz": {}, "/api/projects": {"projects": PROJECTS}, "/api/deployments/1": Handler.deployment}
        self.answer(200 if self.path in answers else 404, answers.get(self.path, {}))

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/api/auth/signup":
            taken = USERS.setdefault(body["email"], body["password"]) != body["password"]
            self.answer(409 if taken else 201, {"token": "t", "error": {"message": "That e-mail is taken."}})
        elif self.path == "/api/projects":
            PROJECTS.append(body | {"id": "p"})
            self.answer(201, PROJECTS[-1])
        else:
            Handler.deployment = deploy(PROJECTS[-1])
            self.answer(201, {"id": "1"})

    def answer(self, status, body):
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
