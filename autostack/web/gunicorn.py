"""How gunicorn serves web: threads, because requests wait on PostgreSQL and websockets on Redis."""

from autostack import logs
from autostack.settings import load_settings

_settings = load_settings()
logs.begin(_settings)

bind = f"{_settings.host}:{_settings.port}"
workers = _settings.web_workers
worker_class = "gthread"
# A websocket holds a thread for as long as it is open.
threads = _settings.web_threads
timeout = 60
graceful_timeout = 10
keepalive = 75
# Requests are logged by `request_log`, with who asked.
accesslog = None
logconfig_dict = logs.handlers(_settings)
control_socket_disable = True
