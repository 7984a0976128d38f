"""How web's processes share the connections that come in."""

from __future__ import annotations

import time
from concurrent.futures import Future
from socket import socket
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

STEP_S, LONGEST_S = 0.000_05, 0.001


class SharingWorker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's worker with threads, which leaves a connection to one that has fewer.

    All of them wake for each connection, and who is first takes it. Of those that come at once one process could take
    nearly all; they are kept alive, so it would answer all of their requests while the other ones have none.
    """

    nr_conns: int

    def accept(self, listener: socket) -> None:
        """Take a connection, unless another worker has by then."""
        time.sleep(patience_s(self.nr_conns))
        super().accept(listener)

    def finish_request(self, conn: TConn, fs: Future[Any]) -> None:
        """Count a connection as gone once. A websocket closes its socket itself, and gunicorn counts that again."""
        left = self.nr_conns - 1
        super().finish_request(conn, fs)
        self.nr_conns = max(self.nr_conns, left)


def patience_s(connections: int) -> float:
    """Return how long a worker that has so many connections waits for others to take the next one, in seconds."""
    return min(connections * STEP_S, LONGEST_S)
