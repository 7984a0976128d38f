"""Send the blobs that the store lacks. Each is read again and must still have the hash that it was listed under."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import IO

from autostack.agent.api import Api, Upload
from autostack.agent.collect import Output, SiteFile
from autostack.agent.errors import BuildFailed, InfrastructureError
from autostack.agent.files import UnsafePath

PARALLEL = 6
READ_BYTES = 256 * 1024


@dataclass(frozen=True)
class Blob:
    """Content of which only the hash matters, and how to read it."""

    sha256: str
    size: int
    title: str
    open: Callable[[], IO[bytes]]

    def open_verified(self) -> IO[bytes]:
        """Open the blob and read it once before anybody sees it. Raises BuildFailed if it is another by now.

        It is the open file that is checked and then sent: what is put in its place meanwhile is never read.
        """
        try:
            file = self.open()
        except (FileNotFoundError, UnsafePath):
            raise BuildFailed(f"`{self.title}` was replaced while it was uploaded") from None
        digest = hashlib.sha256()
        while chunk := file.read(READ_BYTES):
            digest.update(chunk)
        if digest.hexdigest() != self.sha256:
            file.close()
            raise BuildFailed(f"`{self.title}` was changed while it was uploaded")
        file.seek(0)
        return file


def upload(api: Api, output: Output, files: Sequence[SiteFile]) -> tuple[int, int]:
    """List the files, upload what web asks for; return how many files were sent and how many files there are."""
    blobs = blobs_of(output, files)
    wanted = api.list_files([file.as_json() for file in files])
    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="upload") as pool:
        sent = [pool.submit(_send, api, blobs, item) for item in wanted]
        try:
            for future in sent:
                future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    hashes = {item.sha256 for item in wanted}
    return sum(file.sha256 in hashes for file in files), len(files)


def blobs_of(output: Output, files: Sequence[SiteFile]) -> dict[str, Blob]:
    """Return every blob by its hash: the files and their variants."""
    blobs: dict[str, Blob] = {}
    for file in files:
        blobs[file.sha256] = Blob(file.sha256, file.size, str(file.path), partial(output.open, file.path))
        for variant in file.encodings.values():
            blobs[variant.sha256] = Blob(variant.sha256, variant.size, str(file.path), variant.open)
    return blobs


def _send(api: Api, blobs: dict[str, Blob], item: Upload) -> None:
    blob = blobs.get(item.sha256)
    if blob is None:
        raise InfrastructureError(f"web asks for a blob that was not listed: {item.sha256}")
    api.put_blob(item, blob.open_verified, blob.size)
