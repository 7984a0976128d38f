"""How gunicorn serves web: threads, because requests wait on PostgreSQL and websockets on Redis."""

import gc

from autostack import logs
from autostack.settings import load_settings
from autostack.web.workers import SharingWorker

_settings = load_settings()
logs.begin(_settings)

bind = f"{_settings.host}:{_settings.port}"
workers = _settings.web_workers
worker_class = SharingWorker
# The application is made once, and each worker begins as a copy of it: one that dies is replaced at once, and they
# share its memory. Making it opens no connection and starts no thread; a copy must inherit neither.
preload_app = True
# A websocket holds a thread for as long as it is open.
threads = _settings.web_threads
timeout = 60
graceful_timeout = 10
keepalive = 75
# Which hops are believed is TRUSTED_PROXIES' to say, and ProxyFix's to do; gunicorn would believe whoever is on this
# machine, with a path of its own as well.
forwarded_allow_ips = ""
# Requests are logged by `request_log`, with who asked.
accesslog = None
logconfig_dict = logs.handlers(_settings)
control_socket_disable = True


def on_starting(_arbiter: object) -> None:
    """Look for no garbage, in workers either, among what the application is: see `autostack.copies`."""
    gc.freeze()
