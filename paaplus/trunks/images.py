"""Pictures from disk. A path in an event is hostile input: nothing outside one folder is ever opened."""

from __future__ import annotations

import io
import os
import stat
import struct
import zlib
from pathlib import Path
from urllib.parse import unquote, urlsplit

from PIL import Image, ImageOps, UnidentifiedImageError

from paaplus.errors import TrunkError

MOST_BYTES = 50 * 2**20
"""A larger file is refused before it is read."""

MOST_PIXELS = 50_000_000
"""A larger picture is refused before it is decoded: small files can unpack to gigabytes."""

MOST_SIDE = 1024
"""A longer picture is scaled down to this, so that a batch fits into memory; trunks see far fewer pixels."""

FORMATS = ("JPEG", "PNG", "WEBP")
"""What may be decoded: few and well-kept decoders."""

# Rarer platforms lack these flags; there the checks of the path and of the open file still hold.
_FLAGS = os.O_RDONLY
for _name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
    _FLAGS |= getattr(os, _name, 0)


def read_image(uri: str, root: Path) -> Image.Image:
    """Read a picture.

    Args:
        uri: A path below `root`, or a `file://` URI of one.
        root: The only folder that pictures are read from; links that lead out of it are refused.

    Returns:
        RGB, turned upright by its EXIF orientation, transparent parts white, at most MOST_SIDE long.

    Raises:
        TrunkError: Outside `root`, not there, too large, or not a picture.
    """
    content = _read(_resolve(uri, root), uri, root)
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise _bad(uri, f"{picture.width} x {picture.height} pixels are too many")
            picture.thumbnail((MOST_SIDE, MOST_SIDE))
            return _as_rgb(ImageOps.exif_transpose(picture))
    except TrunkError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _bad(uri, "it has far too many pixels") from error
    except UnidentifiedImageError as error:
        raise _bad(uri, "it is not a picture of a known format") from error
    except _DECODING as error:
        raise _bad(uri, f"it cannot be decoded ({type(error).__name__})") from error


_DECODING = (
    OSError, ValueError, SyntaxError, EOFError, TypeError, LookupError, ArithmeticError, AttributeError,
    RuntimeError, MemoryError, struct.error, zlib.error,
)  # fmt: skip
"""What Pillow's decoders have been seen to raise on damaged files."""


def _resolve(uri: str, root: Path) -> Path:
    name = uri
    if "://" in uri or uri[:5].lower() == "file:":
        try:
            parts = urlsplit(uri)
        except ValueError as error:
            raise _bad(uri, "it is no URI") from error
        if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
            raise _bad(uri, "only files of this machine are read")
        if parts.query or parts.fragment:
            raise _bad(uri, "a file has no ? or #; write %3F and %23")
        name = unquote(parts.path)
    if not name.isprintable():
        raise _bad(uri, "the path holds a control character")
    try:
        home = root.resolve()
        path = (home / name).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise _bad(uri, "the path cannot be resolved") from error
    if not path.is_relative_to(home) or path == home:
        raise _bad(uri, f"it lies outside {root}")
    return path


def _read(path: Path, uri: str, root: Path) -> bytes:
    """The bytes of a plain file; judged by the open file, so that it cannot be changed in between."""
    try:
        # A link put here since `_resolve`, and a pipe that would keep us waiting, are not followed.
        with os.fdopen(os.open(path, _FLAGS), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise _bad(uri, "it is not a plain file")
            content = file.read(MOST_BYTES + 1)
    except TrunkError:
        raise
    except FileNotFoundError as error:
        raise _bad(uri, f"there is no such file in {root}") from error
    except IsADirectoryError as error:
        raise _bad(uri, "it is not a plain file") from error
    except (OSError, ValueError) as error:
        raise _bad(uri, f"it cannot be read ({type(error).__name__})") from error
    if len(content) > MOST_BYTES:
        raise _bad(uri, f"the file is larger than {MOST_BYTES >> 20} MiB")
    return content


def _as_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):
        # Pillow clips 16 bits to 8 instead of scaling them.
        return picture.convert("I").point(lambda v: v * (1 / 257)).convert("L").convert("RGB")
    if picture.has_transparency_data:
        above = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", above.size, "white"), above).convert("RGB")
    return picture.convert("RGB")


def _bad(uri: str, why: str) -> TrunkError:
    return TrunkError(
        f"picture {uri[:200]!r}: {why}",
        "put a JPEG, PNG or WebP below `trunk.images`, then `paaplus embed --once --retry-failed`",
    )
