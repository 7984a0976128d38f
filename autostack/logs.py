"""What every process says of itself: one line an event on stderr, as JSON, or readable on a developer's console.

What `structlog.contextvars` binds (the request, the user, the job) stands in each line that is written meanwhile.
"""

from __future__ import annotations

import logging.config
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog
from structlog.typing import Processor

from autostack.settings import Settings

HIDDEN = "[hidden]"
# What no line may carry, whoever wrote it: secrets in addresses, credentials in URLs, tokens. (The second net: nobody
# logs them on purpose, but a library's error may quote a URL.)
SECRETS = re.compile(
    r"""(?ix)
    (?P<before>
        [?&] (?: token | ticket | code | state | key | secret | password | x-amz-[a-z-]+ ) =
      | :// [^/\s:@"']* : (?= [^/\s@"']+ @ )
      | \b (?: bearer | basic ) [ ]
    ) [^&\s"'\\@]+
    | \b eyJ [\w-]+ \. [\w-]+ \. [\w-]*
    | \b (?: ast_ | gh[a-z]_ | github_pat_ ) [\w-]{16,}
    """
)
# What stands in everything that it finds. Looking for these first takes a tenth of the time, and most lines have none.
SIGNS = ("=", "://", "bearer ", "basic ", "eyj", "ast_", "gh", "github_pat_")
# Their every request or statement is no news.
# At the level `debug`, AWS's library would tell whole requests, and the tokens in them.
QUIET = {name: {"level": "WARNING"} for name in ("httpx2", "httpcore2", "boto3", "botocore", "urllib3")}


def begin(settings: Settings) -> None:
    """Have what this process logs, by structlog or by the standard library, written as the settings say."""
    _hand_over()
    logging.config.dictConfig(handlers(settings))


def ensure(settings: Settings) -> None:
    """Do the same in a process that may not be one of ours: where logging was set up before, that stays as it is."""
    if logging.root.handlers:
        _hand_over()
    else:
        begin(settings)


def handlers(settings: Settings) -> dict[str, Any]:
    """Return the standard library's part, as `logging.config.dictConfig` and gunicorn take it."""
    formatter = {
        "()": structlog.stdlib.ProcessorFormatter,
        "foreign_pre_chain": [*_facts(), structlog.stdlib.ExtraAdder()],
        "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(settings), hide_secrets],
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": formatter},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": settings.log_level.upper()},
        # gunicorn gives its logger a handler of its own before it reads this.
        "loggers": {"gunicorn.error": {"handlers": [], "propagate": True}, **QUIET},
    }


def hide_secrets(_logger: Any, _method: str, line: str) -> str:
    """Return a line without what looks like a secret in it."""
    folded = line.casefold()
    if not any(sign in folded for sign in SIGNS):
        return line
    return SECRETS.sub(lambda match: f"{match['before'] or ''}{HIDDEN}", line)


def _hand_over() -> None:
    """Give structlog's events to the standard library. Its own default shows variables, and secrets in them."""
    # No line of ours names the file that wrote it, and finding that takes a walk through the stack for each of them
    # (https://docs.python.org/3/howto/logging.html#optimization).
    logging._srcfile = None
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_facts(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )


def _facts() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _renderers(settings: Settings) -> list[Any]:
    if settings.logs_are_json:
        # A trace as the interpreter prints it: without the values of variables, which may be secrets.
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    console = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
    )
    return [_drop_machine_facts, console]


def _drop_machine_facts(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Leave out what only a program that searches logs needs: a developer reads the console."""
    for name in ("logger", "address"):
        event.pop(name, None)
    return event
