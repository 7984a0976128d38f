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
# Which hops are believed is TRUSTED_PROXIES' to say, and ProxyFix's to do; gunicorn would believe whoever is on this
# machine, with a path of its own as well.
forwarded_allow_ips = ""
# Requests are logged by `request_log`, with who asked.
accesslog = None
logconfig_dict = logs.handlers(_settings)
control_socket_disable = True
