"""Any path and any bytes give a picture or one clear line, never a traceback, a hang or a bloated process."""

import contextlib
import io
import os
import struct
import subprocess
import sys
import time
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile

from neural_style_tf.errors import UserError
from neural_style_tf.images import Picture, decode, files, load_image, save_image

SUFFIXES = ("png", "jpg", "webp", "tif", "gif", "bmp", "ppm")
FORMATS = dict(zip(SUFFIXES, ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "PPM"), strict=True))


def picture(mode="RGB", size=(32, 24), seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 4)).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encoded(suffix, image=None, **options):
    file = io.BytesIO()
    (image or picture()).save(file, FORMATS[suffix], **options)
    return file.getvalue()


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


def test_missing(tmp_path):
    (tmp_path / "starry_night.jpg").touch()
    assert "does not exist (did you mean 'starry_night.jpg'?)" in refusal(tmp_path / "stary_night.jpg")
    assert refusal(tmp_path / "qqq").endswith("qqq does not exist")
    assert f"there is no folder {tmp_path / 'nowhere'}" in refusal(tmp_path / "nowhere" / "a.png")
    assert "a part of its path is a file" in refusal(tmp_path / "starry_night.jpg" / "a.png")
    assert "name of the picture is empty" in refusal("")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes and devices")
def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    start = time.monotonic()
    assert "pipe.png is a pipe; expected a picture in a regular file" in refusal(tmp_path / "pipe.png")
    assert "/dev/zero is a device" in refusal("/dev/zero")
    assert "is a folder; expected a picture file" in refusal(tmp_path)
    assert time.monotonic() - start < 1.0


def test_a_pipe_put_in_place_of_the_file_does_not_block(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "a.png")
    monkeypatch.setattr(files.Path, "stat", lambda _: os.lstat(__file__))
    start = time.monotonic()
    assert "is a pipe" in refusal(tmp_path / "a.png")
    assert time.monotonic() - start < 1.0


def test_links(tmp_path):
    (tmp_path / "real.png").write_bytes(encoded("png"))
    (tmp_path / "link.png").symlink_to("real.png")
    assert load_image(tmp_path / "link.png").pixels.shape == (24, 32, 3)
    (tmp_path / "loop.png").symlink_to("loop.png")
    assert "leads back to itself" in refusal(tmp_path / "loop.png")
    (tmp_path / "dangling.png").symlink_to("gone.png")
    assert "is a symbolic link to a file that does not exist" in refusal(tmp_path / "dangling.png")


def test_permission_denied(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(encoded("png"))

    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    assert "a.png cannot be read: permission denied" in refusal(tmp_path / "a.png")


@pytest.mark.parametrize(
    "name", ["a\nb.png", "100%s%n.png", "tab\there.png", "\udcff.png", " x.png ", "\x1b[31m.png"]
)
def test_strange_names_print_safely(tmp_path, name):
    missing = refusal(tmp_path / name)
    assert "does not exist" in missing
    (tmp_path / name).write_bytes(b"nothing")
    assert "is not a picture" in refusal(tmp_path / name)
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    (tmp_path / name).write_bytes(encoded("gif", frames[0], save_all=True, append_images=frames[1:]))
    (note,) = load_image(tmp_path / name).notes
    assert note.isprintable()
    assert "is animated" in note


def test_names_no_system_allows(tmp_path):
    assert "is not a valid file name" in refusal(tmp_path / "a\0.png")
    assert "cannot be read: File name too long" in refusal(tmp_path / ("a" * 5000))


def test_what_is_no_picture_is_named(tmp_path):
    path = tmp_path / "a.png"
    for content, what in [
        (b"", "is empty (0 bytes); expected a picture"),
        (b"Hello, I am text", "is not a picture that can be read: expected PNG.*b'Hello, I'"),
        (b"<!DOCTYPE html><html>", "looks like HTML, SVG or other markup"),
        (b"%PDF-1.7 ...", "looks like PDF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "is a HEIC file that is cut short or damaged"),
        (b"\0\0\0\x18ftypisom\0\0\0\0mp41avc1", "looks like a video or other media"),
        (b"\x89PNG\r\n\x1a\n", "is a PNG file that is cut short or damaged"),
        (b"\xff\xd8\xff", "is a JPEG file that is cut short or damaged"),
        (b"\0" * 1000, "is not a picture"),
        (b"BM" + b"\xff" * 100, "is a BMP file that is cut short or damaged"),
    ]:
        path.write_bytes(content)
        message = refusal(path)
        assert what.split(".*")[0] in message
        assert what.split(".*")[-1] in message


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def lying(suffix, width, height):
    """Return a small file whose header claims a large picture."""
    data = bytearray(encoded(suffix, picture("L" if suffix == "tif" else "RGB")))
    if suffix == "png":
        return (
            bytes(data[:8])
            + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            + data[33:]
        )
    if suffix == "jpg":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", height, width)
    elif suffix == "gif":
        data[6:10] = struct.pack("<HH", width, height)
    elif suffix == "bmp":
        data[18:26] = struct.pack("<ii", width, height)
    elif suffix == "webp":
        at = data.index(b"\x9d\x01\x2a") + 3
        data[at : at + 4] = struct.pack("<HH", width, height)
    elif suffix == "ppm":
        data = bytearray(data.replace(b"32 24", b"%d %d" % (width, height)))
    else:
        ifd = struct.unpack_from("<I", data, 4)[0] + 2
        for at in range(ifd, ifd + 12 * struct.unpack_from("<H", data, ifd - 2)[0], 12):
            if struct.unpack_from("<H", data, at)[0] in (256, 257):
                struct.pack_into("<HII", data, at + 2, 4, 1, height if data[at] else width)
    return bytes(data)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_header_over_the_limit_is_refused_before_decoding(tmp_path, suffix, monkeypatch):
    path = tmp_path / f"bomb.{suffix}"
    path.write_bytes(lying(suffix, 16_000, 15_000))

    def load(_):
        raise AssertionError("it was decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    message = refusal(path)
    assert "100,000,000" in message
    assert "raise --max_pixels" in message
    assert "240,000,000 pixels" in message
    path.write_bytes(lying(suffix, 16_000, 7_000))
    limit = "60,000,000" if suffix == "webp" else "100,000,000"
    assert f"16000 × 7000 = 112,000,000 pixels, over the limit of {limit}" in refusal(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_header_that_promises_more_than_the_file_holds(tmp_path, suffix):
    path = tmp_path / f"short.{suffix}"
    path.write_bytes(lying(suffix, 900, 800))
    if suffix in ("gif", "jpg"):
        # A GIF's canvas may be larger than its first frame; libjpeg fills up with grey and tells nobody.
        assert load_image(path).pixels.shape == (800, 900, 3)
    else:
        assert "cut short or damaged" in refusal(path)


def test_the_limit_is_exact_and_can_be_raised(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(encoded("png", picture(size=(40, 25))))
    assert load_image(path, max_pixels=1000).pixels.shape == (25, 40, 3)
    assert "40 × 25 = 1,000 pixels, over the limit of 999" in refusal(path, max_pixels=999)
    assert "at least 1" in refusal(path, max_pixels=0)
    # Pillow's own limit plays no part, neither as an error nor as a warning.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert load_image(path).notes == ()


def test_a_file_too_large_for_any_such_picture_is_not_read(tmp_path):
    path = tmp_path / "sparse.png"
    with path.open("wb") as file:
        file.truncate(10**12)
    tracemalloc.start()
    assert "more than" in refusal(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "bmp", "ppm"])
def test_no_pixels(tmp_path, suffix):
    path = tmp_path / f"zero.{suffix}"
    for size in ((0, 0), (32, 0), (0, 24)):
        path.write_bytes(lying(suffix, *size))
        assert "cut short or damaged" in refusal(path)
    path.write_bytes(b"GIF89a" + bytes(7) + b",\0\0\0\0\0\0\0\0\0\x02\0;")
    assert "cut short or damaged" in refusal(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("part", [0.02, 0.1, 0.3, 0.5, 0.8, 0.97])
def test_truncated(tmp_path, suffix, part):
    data = encoded(suffix)
    path = tmp_path / f"cut.{suffix}"
    path.write_bytes(data[: int(len(data) * part)])
    message = refusal(path)
    assert "cut short or damaged" in message or "is not a picture" in message
    assert "Error" not in message


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "ppm"])
def test_what_there_is_of_a_truncated_picture_can_be_used(tmp_path, suffix):
    image = picture("L", (64, 64))
    data = encoded(suffix, image)
    path = tmp_path / f"cut.{suffix}"
    path.write_bytes(data)
    whole = load_image(path, allow_truncated=True)
    assert whole.notes == ()
    path.write_bytes(data[: len(data) * 7 // 10])
    assert "pass --allow_truncated" in refusal(path)
    part = load_image(path, allow_truncated=True)
    rows = slice(48, 64) if suffix == "bmp" else slice(0, 16)  # a BMP starts at the bottom
    np.testing.assert_array_equal(part.pixels[rows], whole.pixels[rows])
    assert part.pixels.shape == whole.pixels.shape
    assert part.notes == (f"{path} is cut short or damaged; what could be decoded is used",)


def test_nothing_of_a_picture_can_be_used(tmp_path):
    path = tmp_path / "cut.webp"
    path.write_bytes(encoded("webp")[:60])
    assert "--allow_truncated" not in refusal(path, allow_truncated=True)


def mutants(count, seed):
    rng = np.random.default_rng(seed)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "words"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    originals = []
    for suffix, modes in {
        "png": ("RGB", "RGBA", "P", "L", "I;16"),
        "jpg": ("RGB", "CMYK", "L"),
        "webp": ("RGB", "RGBA"),
        "tif": ("RGB", "CMYK", "L", "F"),
        "gif": ("P", "L"),
        "bmp": ("RGB", "P"),
        "ppm": ("RGB", "L"),
    }.items():
        for mode in modes:
            image = picture("L").convert("I").convert("I;16") if mode == "I;16" else picture(mode)
            extra = {"exif": exif, "icc_profile": profile} if suffix in ("png", "jpg", "webp", "tif") else {}
            originals.append(encoded(suffix, image, **extra))
    originals.append(encoded("tif", compression="tiff_lzw"))
    originals.append(encoded("tif", compression="tiff_deflate"))
    originals.append(encoded("tif", compression="jpeg"))
    frames = [picture("P", seed=n) for n in range(3)]
    originals.append(encoded("gif", frames[0], save_all=True, append_images=frames[1:]))
    for index in range(count):
        data = bytearray(originals[index % len(originals)])
        # Half of them where the headers are, for most of a file is pixels, which may hold anything.
        end = len(data) if rng.random() < 0.5 else min(len(data), 120)
        for _ in range(rng.integers(1, 8)):
            data[rng.integers(0, end)] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.integers(0, 256)])
        if rng.random() < 0.2:
            at, length = rng.integers(0, len(data)), rng.integers(1, 40)
            data[at : at + length] = b"" if rng.random() < 0.5 else bytes(data[at : at + length]) * 2
        yield bytes(data)


@pytest.mark.parametrize("allow_truncated", [False, True])
def test_mutated_bytes_give_a_picture_or_a_refusal(tmp_path, allow_truncated, caplog):
    path = tmp_path / "mutant"
    outcomes = {"read": 0, "refused": 0}
    for data in mutants(330, seed=int(allow_truncated)):
        path.write_bytes(data)
        try:
            loaded = load_image(path, max_pixels=200_000, allow_truncated=allow_truncated, longest=20)
        except UserError as error:
            assert str(error).isprintable()
            outcomes["refused"] += 1
            continue
        outcomes["read"] += 1
        assert isinstance(loaded, Picture)
        assert np.isfinite(loaded.pixels).all()
        assert 0 <= loaded.pixels.min() <= loaded.pixels.max() <= 255
        assert loaded.alpha is None or loaded.alpha.shape == loaded.pixels.shape[:2]
        assert all(note.isprintable() for note in loaded.notes)
    assert min(outcomes.values()) > 40, outcomes
    assert caplog.records == []


@pytest.mark.parametrize("what", ["exif", "icc_profile"])
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_damaged_metadata_does_not_cost_the_picture(tmp_path, what, suffix):
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 1, "words" * 9
    exif.get_ifd(0x8769)[0x9286] = b"comment"
    good = {
        "exif": exif.tobytes(),
        "icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
    }[what]
    rng = np.random.default_rng(5)
    path = tmp_path / f"a.{suffix}"
    lossless = {"lossless": True} if suffix == "webp" else {}
    for _ in range(40):
        bad = bytearray(good)
        for _ in range(rng.integers(1, 12)):
            bad[rng.integers(6 if what == "exif" else 0, len(bad))] = rng.integers(0, 256)
        path.write_bytes(encoded(suffix, **{what: bytes(bad)}, **lossless))
        assert sorted(load_image(path).pixels.shape) == [3, 24, 32]


def test_exif_that_contains_itself(tmp_path):
    # An IFD whose pointer to the next leads back to itself, and whose Exif sub-IFD is itself.
    entry = struct.pack("<HHII", 0x8769, 4, 1, 8) + struct.pack("<HHII", 0x0112, 3, 1, 3)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entry + struct.pack("<I", 8)
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded("jpg", exif=exif))
    upright = tmp_path / "b.jpg"
    upright.write_bytes(encoded("jpg"))
    np.testing.assert_array_equal(load_image(path).pixels, load_image(upright).pixels[::-1, ::-1])


def test_exif_nobody_can_read_is_ignored_with_a_note(tmp_path, monkeypatch):
    def broken(_):
        raise RecursionError

    monkeypatch.setattr(Image.Image, "getexif", broken)
    (tmp_path / "a.png").write_bytes(encoded("png"))
    assert load_image(tmp_path / "a.png").notes == (
        f"{tmp_path}/a.png: its EXIF data is damaged and ignored",
    )


@pytest.mark.parametrize(
    "error",
    [
        *(struct.error, SyntaxError, OverflowError, MemoryError, ValueError, zlib.error, AttributeError),
        *(TypeError, KeyError, IndexError, EOFError, RecursionError, ZeroDivisionError, AssertionError),
        *(OSError, NotImplementedError, UnicodeDecodeError, Image.DecompressionBombError),
    ],
)
@pytest.mark.parametrize("where", ["open", "load", "crop"])
def test_whatever_pillow_raises_is_one_line(tmp_path, monkeypatch, error, where):
    (tmp_path / "a.png").write_bytes(encoded("png"))
    arguments = ("utf-8", b"x", 0, 1, "why") if error is UnicodeDecodeError else ("two\nlines",)

    def broken(*_, **__):
        raise error(*arguments)

    owner = {"open": Image, "load": ImageFile.ImageFile, "crop": Image.Image}[where]
    monkeypatch.setattr(owner, where, broken)
    for allow_truncated in (False, True):
        assert "a.png" in refusal(tmp_path / "a.png", allow_truncated=allow_truncated)


def test_control_c_is_not_a_damaged_picture(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(encoded("png"))

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(ImageFile.ImageFile, "load", interrupt)
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


def test_what_changes_while_it_is_read_is_never_mixed(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    save_image(path, np.zeros((4, 4, 3)))
    before = load_image(path)
    read = files.read_bounded

    def swapped(*arguments, **options):
        data = read(*arguments, **options)
        save_image(path, np.full((4, 4, 3), 255.0))
        return data

    monkeypatch.setattr("neural_style_tf.images.read.read_bounded", swapped)
    after = load_image(path)
    np.testing.assert_array_equal(after.pixels, before.pixels)
    assert after.sha256 == before.sha256


def test_a_file_that_grows_is_not_read_for_ever(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(encoded("png") + bytes(2 << 20))
    status = path.stat()
    small = os.stat_result([*status[:6], 100, *status[7:]])
    monkeypatch.setattr(os, "fstat", lambda _: small)
    assert len(files.read_bounded(path, max_pixels=1000)) <= (1 << 20) + 1


def test_libtiff_keeps_its_lines_to_itself(tmp_path, capfd):
    path = tmp_path / "a.tif"
    data = encoded("tif", compression="tiff_lzw")
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    refusal(path)
    path.write_bytes(data.replace(b"\x11\x01", b"\x11\x77"))
    with contextlib.suppress(UserError):
        load_image(path)
    assert capfd.readouterr() == ("", "")


def test_names_that_look_like_flags(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("-x.png", "--style", "-"):
        assert f"{name} does not exist" in refusal(name)
        (tmp_path / name).write_bytes(encoded("png"))
        assert load_image(name).pixels.shape == (24, 32, 3)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_sides_of_65535_pixels(tmp_path, suffix):
    """Within the limit of pixels by its header, and with next to nothing in it."""
    path = tmp_path / f"long.{suffix}"
    for size in ((65535, 1), (1, 65535), (65535, 65535)):
        path.write_bytes(lying(suffix, *size))
        start = time.monotonic()
        try:
            loaded = load_image(path, longest=512)
        except UserError as error:
            assert str(error).isprintable()
        else:
            assert suffix in ("gif", "jpg")
            assert max(loaded.pixels.shape) == 512
        assert time.monotonic() - start < 5


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read as Linux tells it")
@pytest.mark.parametrize("suffix", ["png", "webp", "gif"])
def test_bombs_stay_below_a_gigabyte(tmp_path, suffix):
    """Bytes a pixel, of one colour, times the limit of pixels; in a process whose memory is its own."""
    path = tmp_path / f"bomb.{suffix}"
    side = 3000
    Image.new("RGBA", (side, side)).save(
        path, **({"lossless": True, "method": 0} if suffix == "webp" else {})
    )
    script = (
        "import resource, sys; from neural_style_tf.images import load_image;"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; before = peak();"
        f"load_image(sys.argv[1], longest=64); print((peak() - before) * 1024 / {side**2})"
    )
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
    share = {"webp": 0.6}.get(suffix, 1)
    assert float(done.stdout) * 100_000_000 * share < 1_000_000_000


def test_tiff_without_all_its_strips_is_truncated(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(lying("tif", 32, 240))
    assert "cut short or damaged (rows are missing)" in refusal(path)
    loaded = load_image(path, allow_truncated=True)
    assert loaded.pixels.shape == (240, 32, 3)
    assert "what could be decoded is used" in loaded.notes[0]
