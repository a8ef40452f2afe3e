"""Any path and any bytes give a picture or one clear line, never a traceback, a hang or a bloated process."""

import os
import struct
import subprocess
import sys
import tracemalloc
import warnings

import numpy as np
import pytest
from picture_files import FORMATS, encoded, lying, noise
from PIL import Image, ImageCms, ImageFile

from neural_style_tf.errors import UserError
from neural_style_tf.images import decode, files, load_image, save_image

FRAMES = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]


def refusal(path, **options):
    """Return the one line with which a path is refused."""
    with pytest.raises(UserError) as caught:
        load_image(path, **options)
    message = str(caught.value)
    assert message.isprintable(), "it must be one line without control characters"
    message.encode()
    return message


@pytest.fixture(autouse=True)
def pillow_is_left_as_it_was():
    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    yield
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    assert not decode._pillow_lock.locked()


def test_paths_without_a_picture(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "starry_night.jpg").touch()
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "dangling.png").symlink_to("gone.png")
    os.mkfifo(tmp_path / "pipe.png")
    for path, message in {
        "stary_night.jpg": "does not exist (did you mean 'starry_night.jpg'?)",
        "--style": "--style does not exist",
        "nowhere/a.png": "there is no folder nowhere",
        "starry_night.jpg/a.png": "a part of its path is a file",
        "": "name of the picture is empty",
        "pipe.png": "pipe.png is a pipe; expected a picture in a regular file",
        "/dev/zero": "/dev/zero is a device",
        ".": "is a folder; expected a picture file",
        "loop.png": "leads back to itself",
        "dangling.png": "is a symbolic link to a file that does not exist",
        "a\0.png": "is not a valid file name",
        "a" * 5000: "cannot be read: File name too long",
    }.items():
        assert message in refusal(path), path


def test_links_and_permissions(tmp_path, monkeypatch):
    (tmp_path / "real.png").write_bytes(encoded("png"))
    (tmp_path / "link.png").symlink_to("real.png")
    assert load_image(tmp_path / "link.png").pixels.shape == (24, 32, 3)

    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files.Path, "open", denied)
    assert "real.png cannot be read: permission denied" in refusal(tmp_path / "real.png")


@pytest.mark.parametrize(
    "name", ["a\nb.png", "100%s%n.png", "\udcff.png", " x.png ", "\x1b[31m.png", "-x.png"]
)
def test_strange_names_print_safely(tmp_path, name):
    assert "does not exist" in refusal(tmp_path / name)
    (tmp_path / name).write_bytes(b"nothing")
    assert "is not a picture" in refusal(tmp_path / name)
    (tmp_path / name).write_bytes(encoded("gif", FRAMES[0], save_all=True, append_images=FRAMES[1:]))
    (note,) = load_image(tmp_path / name).notes
    assert note.isprintable() and "is animated" in note


@pytest.mark.parametrize(
    ("content", "messages"),
    [
        (b"", ["is empty (0 bytes)"]),
        (b"Hello, I am text", ["is not a picture that can be read: expected PNG", "b'Hello, I'"]),
        (b"<!DOCTYPE html><html>", ["looks like HTML, SVG or other markup"]),
        (b"%PDF-1.7 ...", ["looks like PDF"]),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", ["is a HEIC file that is cut short or damaged"]),
        (b"\0\0\0\x18ftypisom\0\0\0\0mp41avc1", ["looks like a video or other media"]),
        (b"\x89PNG\r\n\x1a\n", ["is a PNG file that is cut short or damaged"]),
        (b"BM" + b"\xff" * 100, ["is a BMP file that is cut short or damaged"]),
        (b"\0\0\1\0" + bytes(99), ["expected PNG, JPEG, WebP, AVIF, HEIC, TIFF, OpenEXR, GIF, BMP or PPM"]),
    ],
)
def test_what_is_no_picture_is_named(tmp_path, content, messages):
    (tmp_path / "a.png").write_bytes(content)
    assert all(message in refusal(tmp_path / "a.png") for message in messages)


@pytest.mark.parametrize("suffix", FORMATS)
def test_headers_that_lie(tmp_path, suffix, monkeypatch):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(lying(suffix, 900, 800))
    if suffix in ("gif", "jpg"):
        # A GIF's canvas may be larger than its first frame; libjpeg fills up with grey and tells nobody.
        assert load_image(path).pixels.shape == (800, 900, 3)
    else:
        assert "cut short or damaged" in refusal(path)
        path.write_bytes(lying(suffix, 65535, 1))
        assert "cut short or damaged" in refusal(path, longest=512)
    if suffix != "gif":
        for size in ((0, 0), (32, 0), (0, 24)):
            path.write_bytes(lying(suffix, *size))
            assert "cut short or damaged" in refusal(path)

    def load(_):
        raise AssertionError("it was decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    path.write_bytes(lying(suffix, 16_000, 15_000))
    message = refusal(path)
    assert "240,000,000 pixels" in message and "100,000,000" in message and "raise --max_pixels" in message
    path.write_bytes(lying(suffix, 16_000, 7_000))
    limit = "60,000,000" if suffix == "webp" else "100,000,000"
    assert f"16000 × 7000 = 112,000,000 pixels, over the limit of {limit}" in refusal(path)


def test_the_limit_is_exact_and_can_be_raised(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(encoded("png", noise(size=(40, 25))))
    assert load_image(path, max_pixels=1000).pixels.shape == (25, 40, 3)
    assert "40 × 25 = 1,000 pixels, over the limit of 999" in refusal(path, max_pixels=999)
    assert "at least 1" in refusal(path, max_pixels=0)
    # Pillow's own limit plays no part, neither as an error nor as a warning.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert load_image(path).notes == ()


def test_no_more_is_read_than_a_picture_needs(tmp_path, monkeypatch):
    path = tmp_path / "sparse.png"
    with path.open("wb") as file:
        file.truncate(10**12)
    tracemalloc.start()
    assert "more than" in refusal(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6


@pytest.mark.parametrize("suffix", FORMATS)
def test_truncated(tmp_path, suffix):
    image, path = noise("L", (64, 64)), tmp_path / f"cut.{suffix}"
    data = encoded(suffix, image)
    for part in (0.02, 0.1, 0.5, 0.97):
        path.write_bytes(data[: int(len(data) * part)])
        message = refusal(path)
        assert "cut short or damaged" in message or "is not a picture" in message
        assert "Error" not in message
    path.write_bytes(data)
    whole = load_image(path, allow_truncated=True)
    assert whole.notes == ()
    path.write_bytes(data[: len(data) * 7 // 10])
    if suffix == "webp":
        assert "--allow_truncated" not in refusal(path, allow_truncated=True)
        return
    assert "pass --allow_truncated" in refusal(path)
    picture = load_image(path, allow_truncated=True)
    rows = slice(48, 64) if suffix == "bmp" else slice(0, 16)  # a BMP starts at the bottom
    np.testing.assert_array_equal(picture.pixels[rows], whole.pixels[rows])
    assert picture.pixels.shape == whole.pixels.shape
    assert picture.notes == (f"{path} is cut short or damaged; what could be decoded is used",)


def test_a_tiff_without_all_its_strips_is_truncated(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(lying("tif", 32, 240))
    assert "cut short or damaged (rows are missing)" in refusal(path)
    picture = load_image(path, allow_truncated=True)
    assert picture.pixels.shape == (240, 32, 3)
    assert "what could be decoded is used" in picture.notes[0]


def test_libtiff_keeps_its_lines_to_itself(tmp_path, capfd):
    path = tmp_path / "a.tif"
    data = encoded("tif", compression="tiff_lzw")
    middle = len(data) // 3
    path.write_bytes(data[:middle] + bytes(200) + data[middle + 200 :])
    refusal(path)
    assert capfd.readouterr() == ("", "")


def test_mutated_bytes_give_a_picture_or_a_refusal(tmp_path, caplog):
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "words"
    options = {
        "exif": exif,
        "icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
    }
    originals = [encoded(suffix, noise("L"), **options) for suffix in ("png", "jpg", "webp", "tif")]
    originals += [encoded("tif", compression=method) for method in ("tiff_lzw", "jpeg")]
    originals += [encoded(suffix, noise("P")) for suffix in ("png", "gif", "bmp")]
    originals += [encoded("png", noise("RGBA")), encoded("jpg", noise("CMYK")), encoded("ppm")]
    save_image(tmp_path / "deep.png", np.asarray(noise()), bits=16)
    originals.append((tmp_path / "deep.png").read_bytes())
    rng, path, outcomes = np.random.default_rng(0), tmp_path / "mutant", {"read": 0, "refused": 0}
    for number in range(143):
        data = bytearray(originals[number % len(originals)])
        # Half of them where the headers are, for most of a file is pixels, which may hold anything.
        end = len(data) if rng.random() < 0.5 else min(len(data), 120)
        for _ in range(rng.integers(1, 8)):
            data[rng.integers(0, end)] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.integers(0, 256)])
        path.write_bytes(data[: rng.integers(20, len(data))] if number % 5 == 0 else data)
        try:
            picture = load_image(path, max_pixels=200_000, allow_truncated=number % 3 == 0, longest=20)
        except UserError as error:
            assert str(error).isprintable()
            outcomes["refused"] += 1
            continue
        outcomes["read"] += 1
        assert 0 <= picture.pixels.min() <= picture.pixels.max() <= 255
        assert picture.alpha is None or picture.alpha.shape == picture.pixels.shape[:2]
        assert all(note.isprintable() for note in picture.notes)
    assert min(outcomes.values()) > 20, outcomes
    assert caplog.records == []


def test_exif_that_is_odd(tmp_path, monkeypatch):
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded("jpg"))
    plain = load_image(path).pixels
    for orientation in (0, 9, 1000):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path.write_bytes(encoded("jpg", exif=exif))
        np.testing.assert_array_equal(load_image(path).pixels, plain)

    def broken(_):
        raise RecursionError

    monkeypatch.setattr(Image.Image, "getexif", broken)
    path.write_bytes(encoded("png"))
    assert load_image(path).notes == (f"{path}: its EXIF data is damaged and ignored",)


@pytest.mark.parametrize("where", ["open", "load", "crop"])
def test_whatever_pillow_raises_is_one_line(tmp_path, monkeypatch, where):
    (tmp_path / "a.png").write_bytes(encoded("png"))
    owner = {"open": Image, "load": ImageFile.ImageFile, "crop": Image.Image}[where]
    for error in (struct.error, MemoryError, RecursionError, OSError, Image.DecompressionBombError):

        def broken(*_, error=error, **__):
            raise error("two\nlines")

        monkeypatch.setattr(owner, where, broken)
        for allow_truncated in (False, True):
            assert "a.png" in refusal(tmp_path / "a.png", allow_truncated=allow_truncated)

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(owner, where, interrupt)
    with pytest.raises(KeyboardInterrupt):
        load_image(tmp_path / "a.png")


def test_warnings_become_notes(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(encoded("png"))
    load = ImageFile.ImageFile.load

    def warn(self):
        for _ in range(9):
            warnings.warn("Corrupt EXIF data.\nExpecting more", UserWarning, stacklevel=1)
            warnings.warn("this will be removed", DeprecationWarning, stacklevel=1)
        return load(self)

    monkeypatch.setattr(ImageFile.ImageFile, "load", warn)
    assert load_image(tmp_path / "a.png").notes == (f"{tmp_path}/a.png: Corrupt EXIF data. Expecting more",)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read as Linux tells it")
@pytest.mark.parametrize("suffix", ["png", "webp", "gif"])
def test_bombs_stay_below_a_gigabyte(tmp_path, suffix):
    """Bytes a pixel, of one colour, times the limit of pixels; in a process whose memory is its own."""
    path, side = tmp_path / f"bomb.{suffix}", 3000
    options = {"lossless": True, "method": 0} if suffix == "webp" else {}
    Image.new("RGBA", (side, side)).save(path, **options)
    script = (
        "import resource, sys; from neural_style_tf.images import load_image;"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; before = peak();"
        f"load_image(sys.argv[1], longest=64); print((peak() - before) * 1024 / {side**2})"
    )
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
    share = {"webp": 0.6}.get(suffix, 1)
    assert float(done.stdout) * 100_000_000 * share < 1_000_000_000
