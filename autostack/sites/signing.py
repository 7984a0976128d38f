"""Addresses by which others write one object on S3, without our keys.

Each is good for one content only: its SHA-256 and length are signed, and S3 refuses anything else.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any
from urllib.parse import quote

import botocore.exceptions
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config

from autostack.settings import Settings
from autostack.sites.errors import StoreUnavailable

BOTO_ERRORS = (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError)


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
        encryption, key_id = self._settings.s3_sse, self._settings.s3_sse_kms_key_id
        # Each is signed, and so must be sent as it is.
        headers = {
            "x-amz-checksum-sha256": checksum,
            "x-amz-server-side-encryption": encryption,
            "x-amz-server-side-encryption-aws-kms-key-id": key_id,
        }
        given = {header: value for header, value in headers.items() if value}
        return SignedUpload(self._sign_put(key, ttl_s, {**given, "content-length": str(size)}), given)

    def end_unfinished(self, prefix: str, before: datetime) -> int:
        """End uploads in parts below a folder that were begun before that time; return how many.

        One that cannot be ended keeps no other back. Raises StoreUnavailable for the first such at the end.
        """
        where = {"Bucket": self._bucket, "Prefix": f"{self._prefix}{prefix}/"}
        try:
            pages = self._client.get_paginator("list_multipart_uploads").paginate(**where)
            found = [upload for page in pages for upload in page.get("Uploads", ())]
        except BOTO_ERRORS as error:
            raise StoreUnavailable(f"Could not list unfinished uploads: {error}") from error
        errors = [self._end_upload(upload) for upload in found if upload["Initiated"] < before]
        if first := next(filter(None, errors), None):
            raise StoreUnavailable(f"Could not end an unfinished upload: {first}") from first
        return len(errors)

    def _end_upload(self, upload: Mapping[str, Any]) -> Exception | None:
        try:
            self._client.abort_multipart_upload(Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"])
        except BOTO_ERRORS as error:
            answer = getattr(error, "response", {})
            # It ended by itself since it was listed.
            return None if answer.get("Error", {}).get("Code") == "NoSuchUpload" else error
        return None

    def _sign_put(self, key: str, ttl_s: int, headers: Mapping[str, str]) -> str:
        # By the part of boto3 that does just that: a site has thousands of files, and its client took twice as long.
        try:
            request = AWSRequest("PUT", self._folder + quote(key), headers=dict(headers))
            # Those of an instance or a container are renewed now and then.
            credentials = self._session.get_credentials().get_frozen_credentials()
            S3SigV4QueryAuth(credentials, "s3", self._client.meta.region_name, expires=ttl_s).add_auth(request)
        except BOTO_ERRORS as error:
            raise _unsigned(error) from error
        return str(request.url)

    @cached_property
    def _folder(self) -> str:
        """The address that all objects' begin with: of the bucket's own host or not, as the client has it."""
        target = {"Bucket": self._bucket, "Key": f"{self._prefix}-"}
        try:
            signed = str(self._client.generate_presigned_url("get_object", Params=target))
        except BOTO_ERRORS as error:
            raise _unsigned(error) from error
        return signed.partition("?")[0].removesuffix("-")

    @cached_property
    def _session(self) -> Any:
        # Loading it takes a good part of a second, which the proxy and the tests on folders never need to spend.
        import boto3

        secret = self._settings.aws_secret_access_key
        return boto3.Session(
            region_name=self._settings.s3_region,
            aws_access_key_id=self._settings.aws_access_key_id,
            aws_secret_access_key=secret.get_secret_value() if secret else None,
        )

    @cached_property
    def _client(self) -> Any:
        return self._session.client(
            "s3",
            endpoint_url=self._settings.s3_endpoint_url,
            config=Config(
                signature_version="s3v4",
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                # A bucket's own host name, as AWS wants it; other servers are reached by one name for all buckets.
                s3={"addressing_style": "path" if self._settings.s3_endpoint_url else "auto"},
            ),
        )


def _unsigned(error: Exception) -> StoreUnavailable:
    return StoreUnavailable(f"Could not sign an address of the object store: {error}")
