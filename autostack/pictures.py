"""Pictures from elsewhere are never served as they came: each is drawn anew, small and without anything beside it.

That leaves out where a photo was taken, and whatever a file may be besides a picture.
"""

from __future__ import annotations

import io
import threading

import structlog
from PIL import Image, ImageOps

log = structlog.stdlib.get_logger(__name__)

# A small file can claim to be a huge picture, which takes four bytes of memory a pixel to look at; a JPEG is read at
# about the size that is wanted.
MAX_PIXELS = {"JPEG": 25_000_000}
MAX_PIXELS_OTHERWISE = 6_000_000
FORMATS = ("JPEG", "PNG", "GIF", "WEBP")
MEDIA_TYPE = "image/webp"

# So that many pictures at once take one picture's memory.
_one_at_a_time = threading.Lock()


class Refused(Exception):
    """A sentence that says why a file is not drawn."""


def drawn(data: bytes, size: tuple[int, int]) -> bytes:
    """Return a picture, upright and cut to this width and height, of the type MEDIA_TYPE. Raises Refused."""
    try:
        with _one_at_a_time, Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            most = MAX_PIXELS.get(opened.format or "", MAX_PIXELS_OTHERWISE)
            if opened.width * opened.height > most:
                raise Refused(f"The picture has more than {most // 1_000_000} million pixels.")
            return _small(opened, size)
    except Refused:
        raise
    # Whatever a malformed file leads Pillow to: it promises no error of its own.
    except Exception as error:  # noqa: BLE001
        log.info("picture refused", error=repr(error))
        raise Refused("This is no picture that can be read: a JPEG, PNG, GIF or WebP.") from None


def _small(opened: Image.Image, size: tuple[int, int]) -> bytes:
    # Made small before anything else: what follows takes a copy each.
    opened.thumbnail((4 * max(size), 4 * max(size)))
    upright = ImageOps.exif_transpose(opened)
    cut = ImageOps.fit(upright.convert("RGBA"), size)
    written = io.BytesIO()
    cut.save(written, "WEBP", quality=85)
    return written.getvalue()
