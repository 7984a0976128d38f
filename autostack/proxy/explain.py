"""Which rule, file or fallback answers an address, and why: what the proxy decides, in words."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

from autostack.errors import Invalid, NotFound
from autostack.proxy.formers import Lent, open_formers
from autostack.proxy.manifests import Manifests
from autostack.proxy.negotiation import takes_html
from autostack.proxy.resolve import (
    BadPath,
    Decision,
    Nothing,
    Redirect,
    Remote,
    Role,
    Serve,
    at_its_address,
    decode_path,
    elsewhere,
    follow,
)
from autostack.settings import Settings
from autostack.sites import keys
from autostack.sites.errors import StoreUnavailable
from autostack.sites.manifest import Manifest
from autostack.sites.media_types import is_content_hashed
from autostack.sites.routes import Route, read_route
from autostack.sites.rules.match import TooMuchWork, Visit
from autostack.sites.rules.model import REDIRECTS, HeaderRule, Rule
from autostack.sites.rules.targets import with_query
from autostack.sites.store import Store

MAX_ADDRESS = 8_192
PLATFORM = "/.autostack/"
NO_PAGE = "a page never answers for a missing script, image or the like"
HOST, FORCED, FILES, FORMERS, RULES, FALLBACK = (
    "Host",
    "Rules before files",
    "Files",
    "Former deployments",
    "Rules after files",
    "Nothing found",
)


class NoSuchSite(NotFound):
    code = "NO_SUCH_SITE"


@dataclass(frozen=True)
class Step:
    """One thing that was looked at, in the proxy's order; the last one answers."""

    title: str
    text: str


@dataclass(frozen=True)
class Explanation:
    """What an address is answered with. `headers` are lines of the owner's rules, each with where it is written."""

    address: str
    route: Route
    status: int | None
    steps: list[Step]
    headers: list[tuple[str, str]] = field(default_factory=list)

    @property
    def answer(self) -> Step:
        return self.steps[-1]


def explain(store: Store, settings: Settings, address: str, headers: Mapping[str, str] | None = None) -> Explanation:
    """Explain an address of a site; `headers` are what the visitor's browser says beside it.

    Raises Invalid for what is no address, NoSuchSite, StoreUnavailable.
    """
    host, target, query = _parts(address)
    route = _route(store, settings, host)
    given = {
        name.lower().encode("latin-1", "replace"): value.encode("latin-1", "replace")
        for name, value in (headers or {}).items()
    }
    if target.startswith(PLATFORM):
        return Explanation(address, route, None, [Step(HOST, f"Paths under {PLATFORM} are the platform’s.")])
    if route.redirect_to is not None:
        onward = f"{settings.site_url(route.redirect_to)}{with_query(target, query.encode())}"
        return Explanation(address, route, 308, [Step(HOST, f"{host} sends every visitor on to {onward}.")])
    steps: list[Step] = []
    if route.protection is not None:
        steps.append(Step(HOST, "Visitors are asked for the site’s password; what follows is for those who know it."))
    try:
        path = decode_path(target.encode())
    except BadPath:
        return Explanation(address, route, 400, [*steps, Step(FILES, "The path has no meaning: 400.")])
    visit = Visit(path, host, query.encode(), given, settings.country_header)
    manifest = Manifest.from_json(store.get(keys.manifest(route.project_id, route.deployment_id)))
    try:
        decision = _decide(store, settings, route, manifest, visit, steps)
        owned = [] if isinstance(decision, Remote) else manifest.matcher.blocks(visit)
    except TooMuchWork:
        return Explanation(address, route, 500, [*steps, Step(RULES, "The rules take too long for this path: 500.")])
    return Explanation(address, route, _status(decision), steps, list(_lines(owned)))


def _parts(address: str) -> tuple[str, str, str]:
    """Return host, percent-encoded path and query of an address, with or without its scheme."""
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        host = (parts.hostname or "").removesuffix(".")
    except ValueError:
        host = ""
    if not keys.HOST.fullmatch(host) or len(address) > MAX_ADDRESS:
        raise Invalid("An address is written as https://site.example.com/path")
    # As a browser sends them: what it encodes, it encodes in UTF-8.
    return host, quote(parts.path or "/", safe="/%!$&'()*+,;=:@~"), quote(parts.query, safe="/%!$&'()*+,;=:@~?")


def _route(store: Store, settings: Settings, host: str) -> Route:
    label = host.removesuffix(f".{settings.sites_domain}")
    route = read_route(store, label)
    if route is None or route.removed:
        raise NoSuchSite(f"No site is served at {host}")
    return route


def _decide(
    store: Store, settings: Settings, route: Route, manifest: Manifest, visit: Visit, steps: list[Step]
) -> Decision:
    """Take the proxy's way, step by step."""
    decision = at_its_address(manifest, visit)
    is_forced = decision is not None and decision.rule is not None
    steps.append(
        Step(FORCED, _told(decision, visit) if is_forced and decision else _no_rule(manifest, visit, forced=True))
    )
    if is_forced and decision:
        return decision
    if decision is not None:
        steps.append(Step(FILES, _told(decision, visit)))
        return decision
    steps.append(Step(FILES, "The deployment has no file at this address."))
    if is_content_hashed(visit.path):
        lent = _lent(store, settings, route, visit.path)
        if lent is not None:
            lender = f"Deployment {lent.deployment_id}, live here before,"
            steps.append(Step(FORMERS, f"{lender} lends its file: its name holds a hash."))
            return Serve(visit.path, lent.file)
        steps.append(Step(FORMERS, f"None of the {len(route.former)} that were live here before has it."))
    decision = elsewhere(manifest, visit, takes_html(visit.header("accept") or None))
    if decision.rule is not None:
        steps.append(Step(RULES, _told(decision, visit)))
        return decision
    steps.append(Step(RULES, _no_rule(manifest, visit, forced=False)))
    steps.append(Step(FALLBACK, _told(decision, visit)))
    return decision


def _lent(store: Store, settings: Settings, route: Route, path: str) -> Lent | None:
    try:
        return asyncio.run(open_formers(Manifests(store, 0), settings).find(route, path))
    except TimeoutError as error:
        raise StoreUnavailable("The object store takes too long to tell of former deployments.") from error


def _no_rule(manifest: Manifest, visit: Visit, *, forced: bool) -> str:
    """Say why no rule answers."""
    match = next(
        (one for one in manifest.matcher.matches(visit, forced=forced) if not follow(manifest, visit, one)), None
    )
    if match is not None:
        why = "it leads to this very address" if match.rule.status in REDIRECTS else NO_PAGE
        return f"{_named(match.rule)} stands back: {why}."
    count = sum(rule.forced is forced for rule in manifest.rules.redirects)
    return f"None of {count:,} matches." if count else "There are none."


def _told(decision: Decision, visit: Visit) -> str:
    rule = decision.rule
    if isinstance(decision, Redirect):
        leads = f"to {with_query(decision.location, visit.query)} with {decision.status}"
        return f"{_named(rule)} leads {leads}." if rule else f"The page has one address: this one leads {leads}."
    if isinstance(decision, Remote):
        return f"{_named(decision.rule)} passes the request on to {with_query(decision.url, visit.query)}."
    if isinstance(decision, Nothing):
        page = f"the platform’s own page, with {decision.status}"
        return f"{_named(rule)} has no file to show: {page}." if rule else f"The site has no page for this: {page}."
    return _told_of_file(decision)


def _told_of_file(decision: Serve) -> str:
    path, role = decision.path, decision.role
    if decision.rule is not None:
        return f"{_named(decision.rule)} answers with {path} and {role.status}."
    if role is Role.FILE:
        return f"{path} is the file at this address."
    if role is Role.FALLBACK:
        return f"{path} answers for every page that is not there, as in an application of one page."
    return f"{path} is the nearest page for what is not found: 404."


def _named(rule: Rule | None) -> str:
    return f"{rule.source} ({rule.text})" if rule else ""


def _status(decision: Decision) -> int | None:
    """Return the status, None where another server decides on it."""
    if isinstance(decision, Remote):
        return None
    return decision.role.status if isinstance(decision, Serve) else decision.status


def _lines(blocks: Iterable[HeaderRule]) -> Iterable[tuple[str, str]]:
    for block in blocks:
        yield from ((block.source, f"{name} is taken away") for name in block.removed)
        yield from ((block.source, f"{name}: {value}") for name, value in block.headers)
