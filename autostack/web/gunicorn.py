"""How gunicorn serves web: threads, because requests wait on PostgreSQL and websockets on Redis."""

from autostack.settings import load_settings

_settings = load_settings()

bind = f"{_settings.host}:{_settings.port}"
workers = _settings.web_workers
worker_class = "gthread"
# A websocket holds a thread for as long as it is open.
threads = _settings.web_threads
timeout = 60
graceful_timeout = 10
keepalive = 75
accesslog = None
control_socket_disable = True
