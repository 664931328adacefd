"""Pictures named by events are hostile input: nothing outside one folder is read, nothing kills us."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from paaplus.errors import TrunkError
from paaplus.trunks.images import MOST_SIDE, read_image

SECRET = (7, 8, 9)
STEPS = ["..", "out", "sub", "/", "file:", "%2e", "secret.png", "good.png", "\0", "link.png"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a picture, and one beside it that may not be seen."""
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    Image.new("RGB", (20, 10), (200, 100, 50)).save(folder / "good.png")
    Image.new("RGB", (20, 10), (200, 100, 50)).save(folder / "sub" / "a b#c.png")
    Image.new("RGB", (5, 5), SECRET).save(tmp_path / "secret.png")
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "out").symlink_to(tmp_path)
    (folder / "text.png").write_text("not a picture")
    (folder / "empty.png").touch()
    good = (folder / "good.png").read_bytes()
    (folder / "cut.png").write_bytes(good[: len(good) // 2])
    os.mkfifo(folder / "pipe.png")
    (folder / "bomb.png").write_bytes(png_header(60_000, 60_000))
    return folder


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims to be that large."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0" * 100)
    chunks = [body, data, b"IEND"]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks
    )


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("../secret.png", "outside"),
        ("sub/../../secret.png", "outside"),
        ("/etc/passwd", "outside"),
        ("link.png", "outside"),
        ("out/secret.png", "outside"),
        ("file:///etc/passwd", "outside"),
        ("%2e%2e/secret.png", "no such file"),
        ("file:..%2fsecret.png", "outside"),
        ("https://example.org/a.png", "this machine"),
        ("s3://bucket/a.png", "this machine"),
        ("file://elsewhere/a.png", "this machine"),
        ("good.png\0.jpg", "control character"),
        ("missing.png", "no such file"),
        ("sub", "plain file"),
        ("", "outside"),
        (".", "outside"),
        ("pipe.png", "plain file"),
        ("text.png", "not a picture"),
        ("empty.png", "not a picture"),
        ("cut.png", "decoded|known format"),
        ("bomb.png", "too many"),
        ("x" * 5000, "cannot be"),
    ],
)
def test_what_may_not_or_cannot_be_read_is_refused_with_a_remedy(
    root: Path, uri: str, why: str
) -> None:
    with pytest.raises(TrunkError, match=why) as refused:
        read_image(uri, root)
    assert "trunk.images" in (refused.value.remedy or "")
    assert len(str(refused.value)) < 600


@pytest.mark.parametrize("uri", ["good.png", "./good.png", "sub/a b#c.png", "sub/../good.png"])
def test_a_path_below_the_folder_is_read(root: Path, uri: str) -> None:
    assert read_image(uri, root).getpixel((3, 3)) == (200, 100, 50)


def test_a_file_uri_is_read_with_its_escapes(root: Path) -> None:
    uri = (root / "sub" / "a b#c.png").as_uri()
    assert read_image(uri, root).size == (20, 10)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.text(max_size=60) | st.lists(st.sampled_from(STEPS), max_size=6).map("/".join))
def test_no_path_leads_out(root: Path, uri: str) -> None:
    try:
        found = read_image(uri, root)
    except TrunkError:
        return
    assert found.getpixel((0, 0)) != SECRET


def test_modes_become_rgb_upright_and_of_a_size_that_fits(root: Path) -> None:
    picture = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    picture.save(root / "clear.png")
    assert read_image("clear.png", root).getpixel((0, 0)) == (255, 255, 255)
    Image.fromarray(np.full((4, 4), 65535, np.uint16)).save(root / "deep.png")
    assert read_image("deep.png", root).getpixel((0, 0)) == (255, 255, 255)
    Image.fromarray(np.full((4, 4), 32768, np.uint16)).save(root / "half.png")
    assert abs(read_image("half.png", root).getpixel((0, 0))[0] - 128) <= 1
    turned = Image.new("RGB", (30, 10))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(root / "turned.jpg", exif=exif)
    assert read_image("turned.jpg", root).size == (10, 30)
    Image.new("P", (3000, 1500)).save(root / "large.png")
    large = read_image("large.png", root)
    assert (large.mode, large.size) == ("RGB", (MOST_SIDE, MOST_SIDE // 2))
