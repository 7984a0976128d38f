"""A manifest as it was stored, of which each file is read when somebody asks for it.

The largest has twenty thousand files and nine megabytes. To read all of them takes Python 150 ms, in which no visitor
of any site is answered, and more than twice the memory; to find where each one stands takes 8 ms. What a file says is
checked all the same, before it is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec
from pydantic import TypeAdapter, ValidationError

from autostack.sites.manifest import Fallback, File, Manifest, ManifestInvalid, first_mistake
from autostack.sites.rules.model import Rules


class StoredFiles(Mapping[str, File]):
    """Files by absolute path. To look one up raises ManifestInvalid for one that breaks the rules."""

    def __init__(self, texts: dict[str, msgspec.Raw]) -> None:
        self._texts = texts

    def __contains__(self, path: object) -> bool:
        return path in self._texts

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, path: str) -> File:
        text = bytes(self._texts[path])
        try:
            return _file.validate_json(text)
        except ValidationError as error:
            raise ManifestInvalid(f"{path}: {first_mistake(error)}") from None


class _Stored(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    project_id: str
    deployment_id: str
    files: dict[str, msgspec.Raw]
    fallback: Fallback = "auto"
    rules: msgspec.Raw = msgspec.Raw(b"{}")
    version: Literal[1] = 1


def read_stored(data: bytes) -> Manifest:
    """Return a manifest that was written by `Manifest.to_json`. Raises ManifestInvalid."""
    try:
        stored = _decoder.decode(data)
        rules = _rules.validate_json(bytes(stored.rules))
    except msgspec.MsgspecError as error:
        raise ManifestInvalid(str(error)) from None
    except ValidationError as error:
        raise ManifestInvalid(f"rules: {first_mistake(error)}") from None
    return Manifest(
        stored.project_id, stored.deployment_id, StoredFiles(stored.files), stored.fallback, rules, stored.version
    )


_decoder = msgspec.json.Decoder(_Stored)
_file = TypeAdapter(File)
_rules = TypeAdapter(Rules)
