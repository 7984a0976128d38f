"""The peer of `bench api`: a Flask view that returns bytes it was given, and does nothing else."""

from __future__ import annotations

import json
import os
from pathlib import Path

from flask import Flask, Response

# A file with what to answer: path → content type and body.
ANSWERS = "BENCH_ANSWERS"


def create_app() -> Flask:
    """Return the application that gunicorn serves."""
    app = Flask("bare")
    answers = json.loads(Path(os.environ[ANSWERS]).read_text())

    @app.route("/<path:path>", methods=["GET", "POST"])
    def answer(path: str) -> Response:
        content_type, body = answers[f"/{path}"]
        return Response(body, content_type=content_type)

    return app
