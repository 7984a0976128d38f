"""Domains for tests: an application that asks a DNS server of ours, and what owners write into it."""

from __future__ import annotations

from typing import Any

from tests.peers.dns_server import DnsServer
from tests.people import Api

SITE_ADDRESS = "192.0.2.10"


def add(api: Api, project: dict[str, Any], name: str, **options: Any) -> dict[str, Any]:
    """Add a domain to a project over the API; return it."""
    answered = api.post(f"/api/projects/{project['id']}/domains", {"name": name, **options})
    assert answered.status_code == 201, answered.text
    return answered.json


def check(api: Api, domain: dict[str, Any]) -> dict[str, Any]:
    """Have DNS asked about a domain; return how it stands then."""
    answered = api.post(f"/api/domains/{domain['id']}/check")
    assert answered.status_code == 200, answered.text
    return answered.json


def show_ownership(dns: DnsServer, *domains: dict[str, Any]) -> None:
    """Make the TXT record that a domain's page asks for; of several domains of the same name, each one's."""
    records = [record for domain in domains for record in domain["records"] if record["type"] == "TXT"]
    dns.put(records[0]["name"], "TXT", *(record["value"] for record in records))


def lead_here(dns: DnsServer, domain: dict[str, Any]) -> None:
    """Make the records that lead visitors of a domain to its project."""
    for record in domain["records"]:
        if record["type"] == "CNAME":
            dns.put(record["name"], "CNAME", record["value"])
            dns.put(record["value"], "A", SITE_ADDRESS)
        elif record["type"] == "ALIAS":
            dns.put(record["name"], "A", SITE_ADDRESS)
            dns.put(record["value"], "A", SITE_ADDRESS)
        elif record["type"] in {"A", "AAAA"}:
            dns.put(record["name"], record["type"], record["value"])


def serve(api: Api, dns: DnsServer, project: dict[str, Any], name: str) -> dict[str, Any]:
    """Add a domain, make its records and have it found active."""
    domain = add(api, project, name)
    show_ownership(dns, domain)
    lead_here(dns, domain)
    active = check(api, domain)
    assert active["status"] == "active", active
    return active
