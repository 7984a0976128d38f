"""Addresses by which others read or write one object on S3, without our keys.

An upload's address is good for one content only: its SHA-256 and length are signed, and S3 refuses anything else.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import botocore.exceptions
from botocore.config import Config

from autostack.settings import Settings
from autostack.sites.errors import StoreUnavailable


@dataclass(frozen=True, slots=True)
class SignedUpload:
    """Where to PUT an object, with exactly these headers beside the length."""

    url: str
    headers: dict[str, str]


class Signer:
    """Signs for one bucket and prefix, with the settings' keys or those that AWS's tools would find."""

    def __init__(self, settings: Settings, bucket: str, prefix: str) -> None:
        self._settings = settings
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""

    def put(self, key: str, sha256: str, size: int, ttl_s: int) -> SignedUpload:
        """Return the address that takes `size` bytes with this hex SHA-256, for `ttl_s` seconds."""
        checksum = base64.b64encode(bytes.fromhex(sha256)).decode()
        content = {"ChecksumSHA256": checksum, "ContentLength": size}
        return SignedUpload(self._sign("put_object", key, ttl_s, content), {"x-amz-checksum-sha256": checksum})

    def get(self, key: str, ttl_s: int) -> str:
        """Return the address that reads this object, for `ttl_s` seconds."""
        return self._sign("get_object", key, ttl_s, {})

    def _sign(self, operation: str, key: str, ttl_s: int, parameters: dict[str, Any]) -> str:
        target = {"Bucket": self._bucket, "Key": self._prefix + key, **parameters}
        try:
            return str(self._client.generate_presigned_url(operation, Params=target, ExpiresIn=ttl_s))
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
            raise StoreUnavailable(f"Could not sign an address of the object store: {error}") from error

    @cached_property
    def _client(self) -> Any:
        # Loading it takes a good part of a second, which the proxy and the tests on folders never need to spend.
        import boto3

        secret = self._settings.aws_secret_access_key
        return boto3.client(
            "s3",
            endpoint_url=self._settings.s3_endpoint_url,
            region_name=self._settings.s3_region,
            aws_access_key_id=self._settings.aws_access_key_id,
            aws_secret_access_key=secret.get_secret_value() if secret else None,
            config=Config(
                signature_version="s3v4",
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                # A bucket's own host name, as AWS wants it; other servers are reached by one name for all buckets.
                s3={"addressing_style": "path" if self._settings.s3_endpoint_url else "auto"},
            ),
        )
