"""A real SMTP server for tests, which keeps what it is sent and can refuse it.

with running_mailbox() as mailbox:
    settings = make_settings(smtp_host=mailbox.host, smtp_port=mailbox.port)
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from tests.s3 import free_port


@dataclass
class Mailbox:
    """What has arrived. `answer` is what the server says to the next mails: anything but 250 refuses them.

    `login` is the name and the password without which it takes none, if it asks for them.
    """

    host: str = "127.0.0.1"
    port: int = field(default_factory=free_port)
    answer: str = "250 OK"
    refused: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    login: tuple[str, str] | None = None

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        if not self.answer.startswith("250"):
            self.refused += 1
            return self.answer
        message = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.mails.append(message)
        return self.answer

    def authenticate(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, given: Any) -> AuthResult:
        """Say, as aiosmtpd asks it, whether somebody may hand in mails."""
        known = isinstance(given, LoginPassword) and (given.login.decode(), given.password.decode()) == self.login
        return AuthResult(success=known, handled=False)

    def wait(self, count: int = 1, within_s: float = 120) -> EmailMessage:
        """Return the mail with this number, counted from one, as soon as it is there."""
        deadline = time.monotonic() + within_s
        while len(self.mails) < count:
            assert time.monotonic() < deadline, f"{len(self.mails)} mails after {within_s} s"
            time.sleep(0.05)
        return self.mails[count - 1]


def link_in(message: EmailMessage) -> str:
    """Return the one link of a mail."""
    [link] = re.findall(r"https?://\S+", message.get_content())
    return str(link)


def token_in(message: EmailMessage) -> str:
    """Return the secret that the link of a mail carries."""
    return parse_qs(urlsplit(link_in(message)).query)["token"][0]


@contextmanager
def running_mailbox(login: tuple[str, str] | None = None, certificate: Path | None = None) -> Iterator[Mailbox]:
    """Run an SMTP server on a free port of 127.0.0.1. It asks for the `login`, and has TLS by the `certificate`."""
    mailbox = Mailbox(login=login)
    options: dict[str, Any] = {"authenticator": mailbox.authenticate, "auth_required": login is not None}
    if certificate is not None:
        options["tls_context"] = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        options["tls_context"].load_cert_chain(certificate)
    controller = Controller(mailbox, hostname=mailbox.host, port=mailbox.port, ready_timeout=60, **options)
    controller.start()
    try:
        yield mailbox
    finally:
        controller.stop()
