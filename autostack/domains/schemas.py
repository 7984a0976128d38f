"""What the domains API takes and answers."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from autostack.domains import names, service
from autostack.domains.models import Domain
from autostack.domains.status import DomainStatus
from autostack.web.schemas import Schema, Time

Name = Annotated[
    str, StringConstraints(min_length=1, max_length=names.MAX_TYPED_CHARACTERS), Field(examples=["www.example.com"])
]


class DomainIn(Schema):
    """A domain to add; `withWww` adds the same name with www (or without it) too, which then redirects to it."""

    name: Name
    with_www: bool = False


class RedirectIn(Schema):
    """The domain of the same project that visitors are sent on to; null: the site itself is shown."""

    redirect_to: Name | None


class RecordOut(Schema):
    """A DNS record to be made. `ALIAS` is called ANAME or flattened CNAME by some providers."""

    type: Literal["TXT", "CNAME", "A", "AAAA", "ALIAS"] = Field(examples=["CNAME"])
    name: str = Field(examples=["www.example.com"])
    value: str = Field(examples=["portfolio.example.app"])


class DomainOut(Schema):
    """A domain. `verified`, `active` and `failing` ones are served; `problem` is what DNS lacks."""

    id: uuid.UUID
    project_id: uuid.UUID
    name: str = Field(examples=["www.example.com"])
    status: DomainStatus = Field(examples=[DomainStatus.ACTIVE])
    records: list[RecordOut]
    redirect_to: str | None = Field(examples=["example.com"])
    problem: str | None = Field(examples=["The domain leads to 192.0.2.1 instead."])
    checked_at: Time | None
    verified_at: Time | None
    created_at: Time

    @classmethod
    def of(cls, domain: Domain) -> DomainOut:
        return cls(
            id=domain.id,
            project_id=domain.project_id,
            name=domain.name,
            status=domain.state,
            records=[RecordOut.model_validate(record, from_attributes=True) for record in service.records_of(domain)],
            redirect_to=domain.redirect_to.name if domain.redirect_to else None,
            problem=domain.problem,
            checked_at=domain.checked_at,
            verified_at=domain.verified_at,
            created_at=domain.created_at,
        )


class DomainsOut(Schema):
    domains: list[DomainOut]

    @classmethod
    def of(cls, domains: Iterable[Domain]) -> DomainsOut:
        return cls(domains=[DomainOut.of(domain) for domain in domains])
