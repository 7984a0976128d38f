"""The names of domains: read as people type them, and what must be said of them in DNS. Nothing here asks DNS."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit

import idna
from publicsuffixlist import PublicSuffixList

from autostack.errors import Invalid
from autostack.settings import Settings
from autostack.sites import keys

MAX_TYPED_CHARACTERS = 300
OWNERSHIP_LABEL = "_autostack"
OWNERSHIP_PREFIX = "autostack-verification="
# Below the longest name, there must be room for the record that shows whose it is.
MAX_NAME = 253 - len(OWNERSHIP_LABEL) - 1


@dataclass(frozen=True, slots=True)
class Record:
    """A DNS record to be made: `name` in full, without the final dot."""

    type: str
    name: str
    value: str


def read(typed: str, settings: Settings) -> str:
    """Return a domain as DNS has it: lower-case ASCII without a final dot. An address is taken for its host.

    Raises Invalid for what cannot be a site's domain.
    """
    name = _in_ascii(_host_of(typed.strip()))
    if _is_address(name):
        raise _wrong("This is an address of a machine. Type a name, such as www.example.com.")
    if name.startswith("*."):
        raise _wrong("A domain with * is not served. Add each name that the site should have.")
    if "." not in name or len(name) > MAX_NAME or keys.HOST.fullmatch(name) is None:
        raise _wrong("This is no domain. Type one such as www.example.com.")
    if _suffixes().publicsuffix(name) == name:
        raise _wrong(f"{name} is what domains end in. Type one that is registered below it.")
    if any(_is_within(name, ours) for ours in _our_hosts(settings)):
        raise _wrong("This domain is the platform's own.")
    return name


def shown(name: str) -> str:
    """Return a name for people to read, with the letters that it was registered with."""
    try:
        return idna.decode(name)
    except idna.IDNAError:
        return name


def apex(name: str) -> str:
    """Return the domain that was registered: `example.co.uk` for `www.example.co.uk`."""
    return _suffixes().privatesuffix(name) or name


def counterpart(name: str) -> str | None:
    """Return `www.example.com` for `example.com` and the other way round; None for every other name."""
    registered = apex(name)
    if name == registered:
        return f"www.{name}"
    return registered if name == f"www.{registered}" else None


def ownership_names(name: str) -> list[str]:
    """Return where the TXT record may be: at the name itself, or once for all at the registered domain."""
    return list(dict.fromkeys(f"{OWNERSHIP_LABEL}.{owner}" for owner in (name, apex(name))))


def ownership_value(token: str) -> str:
    """Return what the TXT record must say."""
    return OWNERSHIP_PREFIX + token


def records(name: str, token: str, target: str, addresses: Iterable[str]) -> list[Record]:
    """Return the records to make: whose the name is, and that it leads here.

    A registered domain itself can have no CNAME beside its other records (RFC 1034, 3.6.2): it gets `addresses`, or
    where there are none what providers call ALIAS.
    """
    ownership = Record("TXT", f"{OWNERSHIP_LABEL}.{apex(name)}", ownership_value(token))
    if name != apex(name):
        return [ownership, Record("CNAME", name, target)]
    found = [Record("AAAA" if ":" in address else "A", name, address) for address in sorted(addresses)]
    return [ownership, *(found or [Record("ALIAS", name, target)])]


def is_public_suffix(name: str) -> bool:
    """Tell whether browsers keep cookies of the names below this one apart (publicsuffix.org)."""
    return bool(_suffixes().publicsuffix(name) == name)


def shares_cookies(app_url: str, sites_domain: str) -> bool:
    """Tell whether a site can set cookies that the dashboard receives: where both are below one registered domain."""
    return apex(f"any.{sites_domain}") == apex(urlsplit(app_url).hostname or "")


@lru_cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()


def _host_of(typed: str) -> str:
    if len(typed) > MAX_TYPED_CHARACTERS:
        raise _wrong("This is longer than a domain can be.")
    try:
        return urlsplit(typed if "//" in typed else f"//{typed}").hostname or ""
    except ValueError:
        return ""


def _in_ascii(name: str) -> str:
    try:
        return idna.encode(name.removesuffix("."), uts46=True).decode().lower() if not name.isascii() else _plain(name)
    except idna.IDNAError:
        return ""


def _plain(name: str) -> str:
    return name.removesuffix(".").lower()


def _is_address(name: str) -> bool:
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _our_hosts(settings: Settings) -> list[str]:
    return [settings.sites_domain, urlsplit(settings.app_url).hostname or ""]


def _is_within(name: str, domain: str) -> bool:
    return name == domain or name.endswith(f".{domain}")


def _wrong(problem: str) -> Invalid:
    return Invalid.field("name", problem)
