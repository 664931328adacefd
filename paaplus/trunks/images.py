"""Pictures from disk. A path in an event is hostile input: nothing outside one folder is ever opened."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from PIL import Image, ImageOps, UnidentifiedImageError

from paaplus.errors import TrunkError

MOST_BYTES = 50 * 2**20
"""A larger file is refused before it is read."""

MOST_PIXELS = 50_000_000
"""A larger picture is refused before it is decoded: small files can unpack to gigabytes."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""What may be decoded; Pillow's rarer formats are rarely looked after."""


def read_image(uri: str, root: Path) -> Image.Image:
    """Read a picture as RGB, turned upright.

    Args:
        uri: A path below `root`, or a `file://` URI of one.
        root: The only folder that pictures are read from.

    Raises:
        TrunkError: Outside `root`, not there, too large, or not a picture.
    """
    path = _resolve(uri, root)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise _bad(uri, f"the file is larger than {MOST_BYTES >> 20} MiB")
        with Image.open(path, formats=FORMATS) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise _bad(uri, f"{picture.width} x {picture.height} pixels are too many")
            picture.load()
            upright = ImageOps.exif_transpose(picture)
            return upright.convert("RGB")
    except TrunkError:
        raise
    except FileNotFoundError as error:
        raise _bad(uri, f"there is no such file in {root}") from error
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise _bad(uri, "it is not a picture of a known format, or far too large") from error
    except (OSError, ValueError, SyntaxError, EOFError, TypeError, IndexError) as error:
        raise _bad(uri, f"it cannot be decoded ({type(error).__name__})") from error


def _resolve(uri: str, root: Path) -> Path:
    parts = urlsplit(uri) if "://" in uri else None
    if parts is not None and (parts.scheme != "file" or parts.netloc not in ("", "localhost")):
        raise _bad(uri, f"only files are read, not {parts.scheme}://")
    name = unquote(parts.path) if parts is not None else uri
    if "\0" in name:
        raise _bad(uri, "the path holds a zero byte")
    try:
        home = root.resolve()
        path = (home / name).resolve()
    except (OSError, RuntimeError) as error:
        raise _bad(uri, "the path cannot be resolved") from error
    if not path.is_relative_to(home) or path == home:
        raise _bad(uri, f"it lies outside {root}")
    return path


def _bad(uri: str, why: str) -> TrunkError:
    return TrunkError(
        f"picture {uri[:200]!r}: {why}",
        "put a JPEG, PNG or WebP below `trunk.images`, then `paaplus embed --once --retry-failed`",
    )
