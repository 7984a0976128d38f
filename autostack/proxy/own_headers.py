"""The headers that a site's owner decides on, merged over the platform's."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

Line = tuple[str, str]
# What is told with the body's length and coding, where there is a body.
CONTENT_TYPE = "content-type"


@dataclass(frozen=True, slots=True)
class Extras:
    """What an answer's headers depend on beside its file: the owner's rules (see `rules.match.merged`).

    `vary` names the headers of the request that rules looked at. `cdn_s` is for how long a CDN may keep the answer.
    """

    own: Mapping[str, tuple[str, ...] | None] = field(default_factory=dict)
    vary: tuple[str, ...] = ()
    cdn_s: int = 0

    def decide(self, name: str) -> bool:
        """Tell whether the owner decides on a header, by its name in lower case."""
        return any(own.lower() == name for own in self.own)

    def content_type(self, default: str) -> str:
        """Return the content type that a file is sent with."""
        given = next((values for name, values in self.own.items() if name.lower() == CONTENT_TYPE), None)
        return given[0] if given else default

    def over(self, defaults: Iterable[Line], kept: Collection[str] = ()) -> list[Line]:
        """Return default headers with the owner's in their place; those `kept`, in lower case, stay as they are."""
        ours = {*kept, CONTENT_TYPE, "vary"}
        own = {name: values for name, values in self.own.items() if name.lower() not in ours}
        decided = {name.lower() for name in own}
        lines = [line for line in defaults if line[0].lower() not in decided]
        lines += [(name, value) for name, values in own.items() for value in values or ()]
        return self._with_vary(lines)

    def _with_vary(self, lines: list[Line]) -> list[Line]:
        own = next((values for name, values in self.own.items() if name.lower() == "vary"), None) or ()
        ours = [value for name, value in lines if name == "Vary"]
        # What we choose between stays named, whatever the owner adds.
        vary = joined_vary((*ours, *self.vary, *own))
        return [*(line for line in lines if line[0] != "Vary"), ("Vary", vary)] if vary else lines


def joined_vary(values: Iterable[str]) -> str:
    """Return in one value what several of Vary say, each name once; empty if they name nothing."""
    once: dict[str, str] = {}
    for name in (name.strip() for value in values for name in value.split(",")):
        once.setdefault(name.lower(), name)
    once.pop("", None)
    return ", ".join(once.values())


NO_EXTRAS = Extras()
