"""What DNS says of a domain: whose it is, and whether it leads here."""

from __future__ import annotations

from dataclasses import dataclass

import dns.exception
import dns.resolver

from autostack.domains import names
from autostack.domains.status import Finding
from autostack.resolvers import new_resolver
from autostack.settings import Settings

UNANSWERED = "DNS did not answer. It is asked again soon."


class Unanswered(Exception):
    """DNS gave no answer to go by: it was not reached, or broke."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be found out: whether `name` has the record with this token, and leads where `target` is."""

    name: str
    token: str
    target: str


def look_up(question: Question, settings: Settings) -> Finding:
    """Ask DNS; takes DNS_TIMEOUT for each of its answers at most, and never raises for what DNS does."""
    # It keeps nothing: owners wait for what they have just changed.
    resolver = new_resolver(dns.resolver.Resolver, settings)
    try:
        is_owned = _has_token(resolver, question)
    except Unanswered:
        return Finding(None, None, UNANSWERED)
    if not is_owned:
        where = names.ownership_names(question.name)[-1]
        return Finding(False, None, f"No TXT record at {where} has the value shown below.")
    try:
        problem = _why_elsewhere(resolver, question, settings)
    except Unanswered:
        return Finding(True, None, UNANSWERED)
    return Finding(True, problem is None, problem)


def _has_token(resolver: dns.resolver.Resolver, question: Question) -> bool:
    wanted = names.ownership_value(question.token).encode()
    return any(wanted in _texts(resolver, where) for where in names.ownership_names(question.name))


def _why_elsewhere(resolver: dns.resolver.Resolver, question: Question, settings: Settings) -> str | None:
    """Return what keeps visitors of the name from coming here; None if they do."""
    found, aliases = _addresses(resolver, question.name)
    # Whichever of our hosts it is an alias for: they all lead here.
    if any(alias.endswith(f".{settings.sites_domain}") for alias in aliases):
        return None
    if not found:
        return "The domain has no address yet: the second record below is missing."
    expected = settings.sites_addresses or _addresses(resolver, question.target)[0]
    # One that leads elsewhere, too, would lose every other visitor.
    stray = found - expected
    return f"The domain leads to {', '.join(sorted(stray))} instead." if stray else None


def _texts(resolver: dns.resolver.Resolver, name: str) -> list[bytes]:
    answer = _ask(resolver, name, "TXT")
    return [b"".join(record.strings) for record in answer] if answer else []


def _addresses(resolver: dns.resolver.Resolver, name: str) -> tuple[frozenset[str], set[str]]:
    """Return the addresses of a name, and the names that it is an alias of."""
    answers = [answer for kind in ("A", "AAAA") if (answer := _ask(resolver, name, kind))]
    found = frozenset(str(record.address) for answer in answers for record in answer)
    chains = [alias for answer in answers for alias in answer.chaining_result.cnames]
    return found, {record.target.to_text(omit_final_dot=True).lower() for alias in chains for record in alias}


def _ask(resolver: dns.resolver.Resolver, name: str, kind: str) -> dns.resolver.Answer | None:
    try:
        # Of an alias for what has no address, too, it counts what it is an alias for.
        return resolver.resolve(name, kind, search=False, raise_on_no_answer=False)
    except dns.resolver.NXDOMAIN:
        return None
    except (dns.exception.DNSException, OSError) as error:
        raise Unanswered from error
