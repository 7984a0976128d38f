"""Sending mail by SMTP. Without SMTP_HOST a development installation keeps its mails as files to read."""

from __future__ import annotations

import smtplib
import ssl
import time
import uuid
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

import structlog

from autostack.settings import Settings

log = structlog.stdlib.get_logger(__name__)

IMPLICIT_TLS_PORT = 465
FIRST_PERMANENT_CODE = 500


class NotSent(Exception):
    """A mail did not go out. `is_final` where trying again is no use: the server refuses it for good."""

    def __init__(self, reason: str, *, is_final: bool = False) -> None:
        super().__init__(reason)
        self.is_final = is_final


def compose(to: str, subject: str, text: str, settings: Settings) -> EmailMessage:
    """Return a plain-text mail. Raises ValueError for an address or subject with a line break in it."""
    message = EmailMessage()
    message["From"] = settings.mail_sender
    message["To"] = to
    message["Subject"] = subject
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain=settings.mail_sender.rpartition("@")[2].rstrip(">"))
    # RFC 3834: no holiday note should answer it.
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text)
    return message


def send(message: EmailMessage, settings: Settings) -> None:
    """Hand a mail to the SMTP server. Raises NotSent."""
    if settings.smtp_host is None:
        _keep(message, settings)
        return
    try:
        with _connect(settings.smtp_host, settings) as server:
            server.send_message(message)
    except smtplib.SMTPRecipientsRefused as error:
        code = max(code for code, _ in error.recipients.values())
        raise NotSent(f"the recipient was refused ({code})", is_final=code >= FIRST_PERMANENT_CODE) from None
    except smtplib.SMTPSenderRefused as error:
        raise NotSent(f"the sender was refused ({error.smtp_code})") from None
    # What the server says is not passed on: it may quote the mail, and with it the link.
    except (smtplib.SMTPException, OSError) as error:
        raise NotSent(f"{settings.smtp_host} did not take it ({type(error).__name__})") from None


def _connect(host: str, settings: Settings) -> smtplib.SMTP:
    context = ssl.create_default_context()
    if settings.smtp_port == IMPLICIT_TLS_PORT:
        server: smtplib.SMTP = smtplib.SMTP_SSL(
            host, settings.smtp_port, timeout=settings.smtp_timeout_s, context=context
        )
    else:
        server = smtplib.SMTP(host, settings.smtp_port, timeout=settings.smtp_timeout_s)
        server.ehlo()
        # A password is never sent in the clear: without TLS the server is only asked to take the mail.
        if settings.smtp_user or server.has_extn("starttls"):
            server.starttls(context=context)
    if settings.smtp_user and settings.smtp_password:
        server.login(settings.smtp_user, settings.smtp_password.get_secret_value())
    return server


def _keep(message: EmailMessage, settings: Settings) -> None:
    if settings.is_production:
        raise NotSent("SMTP_HOST is not set", is_final=True)
    folder = settings.data_dir.absolute() / "mail"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{time.time_ns()}-{uuid.uuid4().hex[:8]}.eml"
    path.touch(mode=0o600)
    path.write_bytes(bytes(message))
    log.info("no SMTP_HOST: the mail is in a file", subject=message["Subject"], to=message["To"], path=str(path))
