"""What the store does on S3 alone: signed addresses, uploads in parts, encryption, and a server that is away."""

from __future__ import annotations

import hashlib
import re
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from autostack.errors import ConfigurationError
from autostack.settings import load_settings
from autostack.sites.errors import StoreUnavailable
from autostack.sites.signing import Signer
from autostack.sites.store import PART_BYTES, SIGNED_BYTES, Store, open_store
from tests.moto_server import KEYS, running_moto
from tests.s3 import S3Server, free_port, s3_settings


@pytest.fixture
def on_s3(s3: S3Server) -> Store:
    return open_store(s3_settings(s3, prefix=f"tests/{uuid.uuid4()}"))


def put_to(url: str, data: bytes | None, headers: dict[str, str], method: str = "PUT") -> int:
    request = urllib.request.Request(url, data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_a_signed_address_takes_the_content_that_it_was_made_for(on_s3):
    data = b"body { color: red }"
    upload = on_s3.sign_put("blobs/a", hashlib.sha256(data).hexdigest(), len(data), 60)
    assert put_to(upload.url, data, upload.headers) == 200
    assert on_s3.get("blobs/a") == data


@pytest.mark.parametrize("data", [b"body { color: RED }", b"short", b"longer than what was signed"])
def test_a_signed_address_takes_nothing_else(on_s3, data):
    honest = b"body { color: red }"
    upload = on_s3.sign_put("blobs/a", hashlib.sha256(honest).hexdigest(), len(honest), 60)
    assert put_to(upload.url, data, upload.headers) in (400, 403)
    other = {"x-amz-checksum-sha256": hashlib.sha256(data).hexdigest()}
    assert put_to(upload.url, data, other) in (400, 403)
    assert put_to(upload.url, data, {}) in (400, 403)
    assert on_s3.size("blobs/a") is None


def test_a_signed_address_is_good_for_one_name_one_deed_and_a_while(on_s3):
    data = b"body { color: red }"
    upload = on_s3.sign_put("blobs/a", hashlib.sha256(data).hexdigest(), len(data), 1)
    signed = time.monotonic()
    assert put_to(upload.url.replace("blobs/a", "blobs/b"), data, upload.headers) == 403
    lengthened = re.sub(r"X-Amz-Expires=\d+", "X-Amz-Expires=1000", upload.url)
    assert put_to(lengthened, data, upload.headers) == 403
    for method in ("GET", "DELETE"):
        assert put_to(upload.url, None, upload.headers, method) == 403
    while time.monotonic() < signed + 2.5:
        time.sleep(0.1)
    assert put_to(upload.url, data, upload.headers) == 403
    assert on_s3.size("blobs/a") is on_s3.size("blobs/b") is None


def test_what_is_too_large_for_one_request_is_not_signed(on_s3):
    assert on_s3.sign_put("blobs/a", "0" * 64, SIGNED_BYTES, 60) is not None
    assert on_s3.sign_put("blobs/a", "0" * 64, SIGNED_BYTES + 1, 60) is None


def test_a_stream_that_breaks_off_leaves_no_parts(s3, on_s3):
    def broken() -> Iterator[bytes]:
        yield b"x" * 2 * PART_BYTES
        raise OSError("the agent hung up")

    # An S3 that broke off in another test may have kept some.
    before = unfinished(s3)
    with pytest.raises(OSError, match="hung up"):
        on_s3.put_stream("blobs/a", broken())
    assert unfinished(s3) == before


def test_parts_that_nobody_goes_on_with_are_given_up_after_a_while(s3):
    prefix = f"tests/{uuid.uuid4()}"
    store = open_store(s3_settings(s3, prefix=prefix))
    names = [f"{prefix}/blobs/a", f"{prefix}/blobs-of-others/a"]
    for name in names:
        begun = client_of(s3).create_multipart_upload(Bucket=s3.bucket, Key=name)
        part = {"Bucket": s3.bucket, "Key": name, "UploadId": begun["UploadId"], "PartNumber": 1}
        client_of(s3).upload_part(**part, Body=b"x" * PART_BYTES)
    assert store.end_unfinished("blobs", datetime.now(UTC) - timedelta(days=1)) == 0
    assert store.end_unfinished("blobs", datetime.now(UTC) + timedelta(days=1)) == 1
    assert [name for name in unfinished(s3) if name.startswith(prefix)] == names[1:]


def test_an_unfinished_upload_that_cannot_be_ended_keeps_no_other(s3, monkeypatch):
    signer = Signer(s3_settings(s3), s3.bucket, f"tests/{uuid.uuid4()}")
    begun = datetime(2026, 1, 1, tzinfo=UTC)
    uploads = [{"Key": key, "UploadId": f"{key}1", "Initiated": begun} for key in ("gone", "refused", "old")]
    asked = []
    codes = {"gone": "NoSuchUpload", "refused": "AccessDenied"}

    def answered(operation, parameters):
        if operation == "ListMultipartUploads":
            return {"Uploads": uploads}
        asked.append(parameters["Key"])
        if code := codes.get(asked[-1]):
            raise ClientError({"Error": {"Code": code}}, operation)
        return {}

    monkeypatch.setattr(signer._client, "_make_api_call", answered)
    with pytest.raises(StoreUnavailable, match="AccessDenied"):
        signer.end_unfinished("blobs", datetime.now(UTC))
    assert asked == ["gone", "refused", "old"]
    del codes["refused"]
    assert signer.end_unfinished("blobs", datetime.now(UTC)) == 3


def unfinished(s3: S3Server) -> list[str]:
    return [upload["Key"] for upload in client_of(s3).list_multipart_uploads(Bucket=s3.bucket).get("Uploads", [])]


def client_of(s3: S3Server) -> Any:
    keys = {"aws_access_key_id": s3.access_key_id, "aws_secret_access_key": s3.secret_access_key}
    return boto3.client("s3", endpoint_url=s3.endpoint_url, region_name=s3.region, **keys)


@pytest.fixture(scope="module")
def encrypting_s3() -> Iterator[S3Server]:
    """An S3 that knows how to encrypt, and who says so; SeaweedFS would need a key service beside it."""
    with running_moto() as moto:
        s3 = S3Server(moto.url, "encrypted", *KEYS.values())
        client_of(s3).create_bucket(Bucket=s3.bucket)
        yield s3


@pytest.mark.parametrize(
    ("sse", "key_id"), [("AES256", None), ("aws:kms", None), ("aws:kms", "arn:aws:kms:us-east-1:1:key/k")]
)
def test_every_object_is_written_encrypted_as_set(encrypting_s3, sse, key_id):
    prefix = str(uuid.uuid4())
    store = open_store(s3_settings(encrypting_s3, prefix, s3_sse=sse, s3_sse_kms_key_id=key_id))
    data = b"body { color: red }"
    store.put("put", data)
    store.put_stream("small", [data])
    store.put_stream("large", (bytes(PART_BYTES) for _ in range(3)))
    assert store.swap("swapped", data, None)
    upload = store.sign_put("signed", hashlib.sha256(data).hexdigest(), len(data), 60)
    assert put_to(upload.url, data, upload.headers) == 200
    for name in ("put", "small", "large", "swapped", "signed"):
        found = client_of(encrypting_s3).head_object(Bucket=encrypting_s3.bucket, Key=f"{prefix}/{name}")
        assert found["ServerSideEncryption"] == sse, name
        assert key_id is None or found["SSEKMSKeyId"] == key_id, name


def test_a_key_without_the_encryption_that_uses_it_is_refused():
    with pytest.raises(ConfigurationError, match="S3_SSE must be aws:kms"):
        load_settings(s3_sse="AES256", s3_sse_kms_key_id="key")


def test_an_s3_that_is_away_is_reported_and_not_waited_for_long(s3):
    nowhere = open_store(s3_settings(s3.through(free_port())), patience_s=0.3)
    with pytest.raises(StoreUnavailable):
        nowhere.get("a")
    with pytest.raises(StoreUnavailable):
        nowhere.put("a", b"")
    with pytest.raises(StoreUnavailable):
        nowhere.missing(["a"])
