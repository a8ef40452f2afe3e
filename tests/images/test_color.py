"""Every way a file can store colours comes out as the same sRGB."""

import io
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, features

from neural_style_tf.errors import UserError
from neural_style_tf.images import color, deep, load_image, resize

RAMP = np.arange(0, 240, dtype=np.uint8).reshape(12, 20)
RGB = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], -1)


def load(folder, image, suffix="png", **options):
    path = folder / f"a.{suffix}"
    image.save(path, **options)
    return load_image(path)


def grey(values):
    return np.repeat(np.asarray(values, np.float32)[..., None], 3, -1)


def write_png(path, pixels, depth, color, *extra):
    """Write a PNG of big-endian samples by hand; `extra` are (name, data) chunks before the pixels."""
    height, width = pixels.shape[:2]

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    if depth < 8:
        bits = (pixels[..., None] >> np.arange(depth)[::-1]) & 1
        rows = [np.packbits(row.ravel()).tobytes() for row in bits.astype(np.uint8)]
    else:
        rows = [row.tobytes() for row in pixels.astype(f">u{depth // 8}")]
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    body = [chunk(b"IHDR", header), *(chunk(*e) for e in extra), chunk(b"IDAT", data), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(body))
    return path


def write_tiff(path, pixels, bits, photometric, *, order="<", sample_format=1):
    """Write an uncompressed TIFF by hand; `pixels` are the samples in their type."""
    height, width = pixels.shape[:2]
    samples = pixels.shape[2] if pixels.ndim == 3 else 1
    data = pixels.tobytes()
    tail = struct.pack(f"{order}{samples}H", *[bits] * samples) if samples > 1 else b""
    tags = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, samples, 8 + len(data) if samples > 1 else bits),
        (259, 3, 1, 1),
        (262, 3, 1, photometric),
        (273, 4, 1, 8),
        (277, 3, 1, samples),
        (278, 4, 1, height),
        (279, 4, 1, len(data)),
        (339, 3, 1, sample_format),
    ]
    ifd = struct.pack(f"{order}H", len(tags))
    for tag, kind, count, value in tags:
        short = kind == 3 and count == 1
        ifd += struct.pack(f"{order}HHI", tag, kind, count)
        ifd += struct.pack(f"{order}HH" if short else f"{order}I", *((value, 0) if short else (value,)))
    magic = b"II*\0" if order == "<" else b"MM\0*"
    start = struct.pack(f"{order}I", 8 + len(data) + len(tail))
    path.write_bytes(magic + start + data + tail + ifd + bytes(4))
    return path


def test_grey_and_one_bit(tmp_path):
    picture = load(tmp_path, Image.fromarray(RAMP))
    np.testing.assert_array_equal(picture.pixels, grey(RAMP))
    assert picture.alpha is None
    bits = Image.fromarray(RAMP).point(lambda v: 255 * (v > 99)).convert("1")
    for suffix in ("png", "tif", "bmp", "pbm"):
        np.testing.assert_array_equal(load(tmp_path, bits, suffix).pixels, grey(255 * (RAMP > 99)))


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "ppm", "gif"])
def test_plain_color(tmp_path, suffix):
    np.testing.assert_array_equal(load(tmp_path, Image.fromarray(RGB), suffix).pixels, RGB)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_alpha_is_kept_apart_and_colors_are_as_stored(tmp_path, suffix):
    alpha = RAMP[::-1, ::-1]
    picture = load(tmp_path, Image.fromarray(np.dstack([RGB, alpha])), suffix)
    np.testing.assert_array_equal(picture.pixels, RGB)
    np.testing.assert_array_equal(picture.alpha, alpha)
    picture = load(tmp_path, Image.fromarray(np.dstack([RAMP, alpha])), suffix)
    np.testing.assert_array_equal(picture.pixels, grey(RAMP))
    np.testing.assert_array_equal(picture.alpha, alpha)


def test_alpha_that_is_opaque_everywhere_is_none(tmp_path):
    rgba = Image.fromarray(np.dstack([RGB, np.full_like(RAMP, 255)]))
    assert load(tmp_path, rgba).alpha is None
    np.testing.assert_array_equal(load_image(tmp_path / "a.png", longest=7).pixels, resize(RGB, (4, 7)))


def palette_picture():
    image = Image.new("P", (20, 12))
    image.putdata((RAMP // 60).ravel().tolist())
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 8, 7])
    return image, np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 8, 7]])[RAMP // 60]


@pytest.mark.parametrize("suffix", ["png", "gif", "tif", "bmp"])
def test_palette(tmp_path, suffix):
    image, expected = palette_picture()
    picture = load(tmp_path, image, suffix)
    np.testing.assert_array_equal(picture.pixels, expected)
    assert picture.alpha is None


@pytest.mark.parametrize(
    ("suffix", "transparency", "opacity"),
    [
        ("png", 2, [255, 255, 0, 255]),
        ("gif", 2, [255, 255, 0, 255]),
        ("png", bytes([9, 99, 0, 200]), [9, 99, 0, 200]),
    ],
)
def test_palette_with_transparency(tmp_path, suffix, transparency, opacity):
    image, expected = palette_picture()
    picture = load(tmp_path, image, suffix, transparency=transparency)
    np.testing.assert_array_equal(picture.pixels, expected)
    np.testing.assert_array_equal(picture.alpha, np.array(opacity)[RAMP // 60])
    assert picture.notes == ()


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path):
    values = np.linspace(0, 65535, 240).round().astype(np.uint16).reshape(12, 20)
    files = [
        write_png(tmp_path / "a.png", values, 16, 0),
        write_tiff(tmp_path / "little.tif", values.astype("<u2"), 16, 1),
        write_tiff(tmp_path / "big.tif", values.astype(">u2"), 16, 1, order=">"),
        tmp_path / "a.pgm",
    ]
    files[-1].write_bytes(b"P5 20 12 65535\n" + values.astype(">u2").tobytes())
    for file in files:
        picture = load_image(file)
        np.testing.assert_allclose(picture.pixels, grey(values / 257), atol=1e-4, err_msg=file.name)
        assert picture.notes == ()
        assert len(np.unique(picture.pixels)) == 240


def test_sixteen_bit_grey_with_opacity(tmp_path, monkeypatch):
    """Grey, and not colours, for which a profile of grey would be none."""
    values = np.linspace(0, 65535, 480).round().astype(np.uint16).reshape(12, 20, 2)
    file = write_png(tmp_path / "a.png", values, 16, 4)
    for installed, precision in ((True, 1e-4), (False, 1)):
        monkeypatch.setattr(deep, "is_installed", lambda installed=installed: installed)
        picture = load_image(file)
        np.testing.assert_allclose(picture.pixels, grey(values[..., 0] / 257.0), atol=precision)
        np.testing.assert_allclose(picture.alpha, values[..., 1] / 257.0, atol=1)
    [note] = picture.notes
    assert "16 bits a colour, of which 8 are read" in note


def test_white_is_zero(tmp_path):
    for bits, kind in ((8, np.uint8), (16, "<u2")):
        values = (RAMP * (257.0 if bits == 16 else 1.0)).astype(kind)
        picture = load_image(write_tiff(tmp_path / "a.tif", values, bits, 0))
        np.testing.assert_allclose(picture.pixels, grey(255.0 - RAMP), atol=1e-4)


def test_twelve_bit_grey(tmp_path):
    values = np.arange(0, 4080, 17).reshape(12, 20)
    first, second = values[:, ::2], values[:, 1::2]
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], -1).astype(np.uint8)
    data = write_tiff(tmp_path / "a.tif", packed.reshape(12, 30), 12, 1).read_bytes()
    width = struct.pack("<HHII", 256, 4, 1, 30)
    (tmp_path / "a.tif").write_bytes(data.replace(width, struct.pack("<HHII", 256, 4, 1, 20)))
    np.testing.assert_allclose(load_image(tmp_path / "a.tif").pixels, grey(values / 4095 * 255), atol=2e-3)


@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bit_color(tmp_path, channels):
    deep = np.dstack([RGB, RAMP])[..., :channels].astype(np.uint16) * 257
    files = [write_png(tmp_path / "a.png", deep, 16, 2 if channels == 3 else 6)]
    if channels == 3:
        files.append(write_tiff(tmp_path / "little.tif", deep.astype("<u2"), 16, 2))
        files.append(write_tiff(tmp_path / "big.tif", deep.astype(">u2"), 16, 2, order=">"))
    for file in files:
        picture = load_image(file)
        np.testing.assert_array_equal(picture.pixels, RGB, err_msg=file.name)
        if channels == 4:
            np.testing.assert_array_equal(picture.alpha, RAMP)


def test_a_transparent_color_of_a_png(tmp_path):
    file = write_png(tmp_path / "grey.png", RAMP, 8, 0, (b"tRNS", struct.pack(">H", 77)))
    picture = load_image(file)
    np.testing.assert_array_equal(picture.alpha, np.where(RAMP == 77, 0, 255))
    np.testing.assert_array_equal(picture.pixels, grey(RAMP))
    key = RGB[5, 6]
    file = write_png(tmp_path / "rgb.png", RGB, 8, 2, (b"tRNS", struct.pack(">3H", *key)))
    np.testing.assert_array_equal(load_image(file).alpha, np.where((key == RGB).all(-1), 0, 255))
    deep = RAMP.astype(np.uint16) * 257
    file = write_png(tmp_path / "deep.png", deep, 16, 0, (b"tRNS", struct.pack(">H", 77 * 257)))
    np.testing.assert_array_equal(load_image(file).alpha, np.where(RAMP == 77, 0, 255))
    rgb16 = RGB.astype(np.uint16) * 257
    file = write_png(tmp_path / "rgb16.png", rgb16, 16, 2, (b"tRNS", struct.pack(">3H", *rgb16[5, 6])))
    np.testing.assert_array_equal(load_image(file).alpha, np.where((key == RGB).all(-1), 0, 255))


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_grey_of_few_bits_and_its_transparent_level(tmp_path, depth):
    levels = 2**depth - 1
    values = RAMP % (levels + 1)
    file = write_png(tmp_path / "a.png", values, depth, 0, (b"tRNS", struct.pack(">H", 1)))
    picture = load_image(file)
    np.testing.assert_array_equal(picture.pixels, grey(values * (255 // levels)))
    np.testing.assert_array_equal(picture.alpha, np.where(values == 1, 0, 255))


@pytest.mark.parametrize(
    ("values", "sample_format", "expected", "rule"),
    [
        (np.linspace(0, 1, 240, dtype="<f4"), 3, np.linspace(0, 255, 240), "1 is taken as white"),
        (np.linspace(0, 254, 240, dtype="<f4"), 3, np.linspace(0, 254, 240), "255 is taken as white"),
        (np.linspace(0, 65535, 240, dtype="<f4"), 3, np.linspace(0, 255, 240), "65535 is taken as white"),
        (
            np.linspace(-3, 5, 240, dtype="<f4"),
            3,
            np.linspace(0, 255, 240),
            "smallest, -3, .* largest, 5, as white",
        ),
        (np.arange(240, dtype="<i4"), 2, np.arange(240), "255 is taken as white"),
        (np.arange(240, dtype="<i4") * 257, 2, np.arange(240), "65535 is taken as white"),
        (np.arange(-120, 120, dtype="<i4"), 2, np.linspace(0, 255, 240), "smallest, -120"),
        (
            np.linspace(0, 2**32 - 1, 240).astype("<u4"),
            1,
            np.linspace(0, 255, 240),
            r"largest, 4\.29497e\+09",
        ),
        (np.full(240, 10**6, "<i4"), 2, np.zeros(240), "smallest, 1e"),
    ],
)
def test_thirty_two_bit_grey(tmp_path, values, sample_format, expected, rule):
    file = write_tiff(tmp_path / "a.tif", values.reshape(12, 20), 32, 1, sample_format=sample_format)
    picture = load_image(file)
    np.testing.assert_allclose(picture.pixels, grey(expected.reshape(12, 20)), atol=2e-3)
    assert len(picture.notes) == 1
    assert re.search(rule, picture.notes[0])


def test_floats_that_are_no_numbers(tmp_path):
    values = np.linspace(0, 1, 240, dtype="<f4").reshape(12, 20)
    values[3, 4], values[5, 6], values[7, 8] = np.nan, np.inf, -np.inf
    picture = load_image(write_tiff(tmp_path / "a.tif", values, 32, 1, sample_format=3))
    assert picture.pixels[3, 4].tolist() == picture.pixels[7, 8].tolist() == [0, 0, 0]
    assert picture.pixels[5, 6].tolist() == [255, 255, 255]
    assert np.isfinite(picture.pixels).all()
    assert "pixels that are not finite numbers are read as black or white" in picture.notes[0]
    values[:] = np.nan
    assert load_image(write_tiff(tmp_path / "b.tif", values, 32, 1, sample_format=3)).pixels.max() == 0


CMYK = np.array(
    [[[0, 0, 0, 0], [255, 0, 0, 0], [0, 255, 0, 0], [0, 0, 255, 0], [0, 0, 0, 255], [0, 0, 0, 128]]]
)
CMYK_AS_RGB = np.array([[[255] * 3, [0, 255, 255], [255, 0, 255], [255, 255, 0], [0] * 3, [127] * 3]])


def cmyk_picture():
    return Image.frombytes("CMYK", (48, 8), CMYK.astype(np.uint8).repeat(8, 0).repeat(8, 1).tobytes())


@pytest.mark.parametrize("suffix", ["tif", "jpg"])
def test_cmyk(tmp_path, suffix):
    # Pillow writes CMYK JPEGs the way Adobe does, inverted.
    options = {"quality": 100, "subsampling": 0} if suffix == "jpg" else {}
    picture = load(tmp_path, cmyk_picture(), suffix, **options)
    np.testing.assert_allclose(picture.pixels[4, 4::8], CMYK_AS_RGB[0], atol=2)


def icc(space, tags):
    """Build an ICC profile of version 2 with D50 white."""
    white = struct.pack(">4sI3i", b"XYZ ", 0, 63190, 65536, 54061)
    tags = [
        (b"wtpt", white),
        (b"desc", b"desc" + bytes(4) + struct.pack(">I", 2) + b"x\0" + bytes(78)),
        *tags,
    ]
    tags.append((b"cprt", b"text" + bytes(4) + b"none\0"))
    offset, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, data in tags:
        table += struct.pack(">4sII", name, offset + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    kind, connection = (b"prtr", b"Lab ") if space == b"CMYK" else (b"mntr", b"XYZ ")
    header = struct.pack(">I4sI4s4s4s", offset + len(body), b"lcms", 0x02400000, kind, space, connection)
    header += (
        struct.pack(">6H4s", 2000, 1, 1, 0, 0, 0, b"acsp")
        + bytes(28)
        + struct.pack(">3i", 63190, 65536, 54061)
    )
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def matrix_profile(matrix, gamma):
    """Return the profile of an RGB space from its colours' XYZ (D50, columns) and its exponent or curve."""
    columns = np.round(np.asarray(matrix).T * 65536).astype(int)
    exponent = isinstance(gamma, float)
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) if exponent else gamma
    tags = [
        (b"%cXYZ" % c, struct.pack(">4sI3i", b"XYZ ", 0, *xyz))
        for c, xyz in zip(b"rgb", columns, strict=True)
    ]
    return icc(b"RGB ", [*tags, *((b"%cTRC" % c, curve) for c in b"rgb")])


# Bruce Lindbloom's tables, RGB to XYZ relative to D50.
ADOBE = [
    [0.6097559, 0.2052401, 0.1492240],
    [0.3111242, 0.6256560, 0.0632197],
    [0.0194811, 0.0608902, 0.7448387],
]
SRGB = [
    [0.4360747, 0.3850649, 0.1430804],
    [0.2225045, 0.7168786, 0.0606169],
    [0.0139322, 0.0971045, 0.7141733],
]


def encode(linear):
    linear = np.clip(linear, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "jpg"])
def test_a_color_profile_is_converted(tmp_path, suffix):
    colors = RGB // 2 + 60  # these stay inside sRGB
    options = {"webp": {"lossless": True}, "jpg": {"quality": 100, "subsampling": 0}}.get(suffix, {})
    profile = matrix_profile(ADOBE, 2.2)
    picture = load(tmp_path, Image.fromarray(colors), suffix, icc_profile=profile, **options)
    linear = (colors / 255.0) ** 2.2 @ (np.linalg.inv(SRGB) @ ADOBE).T
    expected = encode(linear)
    assert np.abs(expected - colors).max() > 20
    inside = ((linear > 0) & (linear < 1)).all(-1)
    assert inside.mean() > 0.7
    np.testing.assert_allclose(picture.pixels[inside], expected[inside], atol=5 if suffix == "jpg" else 1.5)
    assert picture.notes == ()


def test_a_profile_applies_to_palette_alpha_and_grey(tmp_path):
    swapped = matrix_profile(np.asarray(SRGB)[:, [1, 0, 2]], 2.2)
    image, expected = palette_picture()
    picture = load(tmp_path, image, icc_profile=swapped)
    expected = encode((expected[..., [1, 0, 2]] / 255.0) ** 2.2)
    np.testing.assert_allclose(picture.pixels, expected, atol=1.5)
    picture = load(tmp_path, Image.fromarray(np.dstack([RGB, RAMP])), icc_profile=swapped)
    expected = encode((RGB[..., [1, 0, 2]] / 255.0) ** 2.2)
    np.testing.assert_allclose(picture.pixels, expected, atol=1.5)
    np.testing.assert_array_equal(picture.alpha, RAMP)
    linear = icc(b"GRAY", [(b"kTRC", b"curv" + bytes(8))])
    picture = load(tmp_path, Image.fromarray(RAMP), icc_profile=linear)
    np.testing.assert_allclose(picture.pixels, grey(encode(RAMP / 255.0)), atol=1.5)
    assert picture.pixels[6, 0, 0] > RAMP[6, 0] + 40
    with_alpha = load(tmp_path, Image.fromarray(np.dstack([RAMP, RAMP])), icc_profile=linear)
    np.testing.assert_array_equal(with_alpha.pixels, picture.pixels)
    deep = Image.fromarray(RAMP.astype(np.uint16) * 257)
    np.testing.assert_allclose(load(tmp_path, deep, icc_profile=linear).pixels, picture.pixels, atol=0.01)


def test_cmyk_with_its_profile(tmp_path):
    # A press whose cyan ink is red and whose other inks are black, which only the profile tells.
    def lab(c, m, y, k):
        return (0, 128, 128) if m or y or k else (138, 209, 198) if c else (255, 128, 128)

    table = [lab(c, m, y, k) for c in (0, 1) for m in (0, 1) for y in (0, 1) for k in (0, 1)]
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + bytes(range(256)) * 4
    lut += bytes(v for row in table for v in row) + bytes(range(256)) * 3
    picture = load(
        tmp_path, cmyk_picture(), "tif", icc_profile=icc(b"CMYK", [(b"A2B0", lut), (b"A2B1", lut)])
    )
    assert picture.notes == ()
    white, red, black = picture.pixels[4, 4], picture.pixels[4, 12], picture.pixels[4, 20]
    np.testing.assert_allclose(white, 255, atol=2)
    np.testing.assert_allclose(black, 0, atol=2)
    np.testing.assert_allclose(red, [255, 0, 0], atol=12)


def test_srgb_itself_is_left_alone(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    np.testing.assert_array_equal(load(tmp_path, Image.fromarray(RGB), icc_profile=profile).pixels, RGB)
    # Another maker's sRGB: a table for a curve, colours of fewer digits, a white half a level darker.
    # Converting it would do nothing but round.
    levels = np.arange(256) / 255
    decoded = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    table = np.round(decoded * 65535 * 0.994).astype(">u2").tobytes()
    curve = b"curv" + bytes(4) + struct.pack(">I", 256) + table
    profile = matrix_profile(np.round(SRGB, 4), curve)
    np.testing.assert_array_equal(load(tmp_path, Image.fromarray(RGB), icc_profile=profile).pixels, RGB)
    linear = load(tmp_path, Image.fromarray(RGB), icc_profile=matrix_profile(SRGB, 1.0))
    np.testing.assert_allclose(linear.pixels, encode(RGB / 255.0), atol=2)


def test_a_useless_profile_is_ignored_with_a_note(tmp_path):
    good = matrix_profile(ADOBE, 2.2)
    for bad in (b"not a profile", good[:200], good[:130], bytes(len(good)), good[:128] + b"\xff" * 400):
        picture = load(tmp_path, Image.fromarray(RGB), icc_profile=bad)
        np.testing.assert_array_equal(picture.pixels, RGB)
        assert picture.notes == (f"{tmp_path}/a.png: its colour profile is damaged and ignored",)
    picture = load(tmp_path, Image.fromarray(RGB), icc_profile=icc(b"GRAY", [(b"kTRC", b"curv" + bytes(8))]))
    np.testing.assert_array_equal(picture.pixels, RGB)
    assert picture.notes == (f"{tmp_path}/a.png: its colour profile is not for RGB pixels and is ignored",)


def test_lab_and_ycbcr_tiff(tmp_path):
    # L* 0–100 as 0–255; a* and b* as they are. White, mid grey and sRGB's red, relative to D50.
    lab = np.array([[100, 0, 0], [53.585, 0, 0], [54.29, 80.81, 69.89]])
    stored = (lab * [2.55, 1, 1]).round().astype(np.int16).astype(np.uint8)
    picture = load_image(write_tiff(tmp_path / "lab.tif", stored[None], 8, 8))
    np.testing.assert_allclose(picture.pixels[0], [[255] * 3, [128] * 3, [255, 0, 0]], atol=6)
    ycbcr = Image.frombytes("YCbCr", (3, 1), bytes([255, 128, 128, 128, 128, 128, 76, 85, 255]))
    # Pillow reads those without compression from version 13 on.
    picture = load(tmp_path, ycbcr, "tif", compression="tiff_lzw")
    np.testing.assert_allclose(picture.pixels[0], [[255] * 3, [128] * 3, [255, 0, 0]], atol=2)


def test_transparent_colors_do_not_bleed(tmp_path):
    rgba = np.zeros((32, 32, 4), np.uint8)
    rgba[..., 1] = 255  # green that nobody sees
    rgba[3:19, 5:22] = [255, 0, 0, 255]
    Image.fromarray(rgba).save(tmp_path / "a.png")
    picture = load_image(tmp_path / "a.png", longest=9)
    assert 0 < (picture.alpha == 0).sum() < 81
    assert ((picture.alpha > 0) & (picture.alpha < 255)).any()
    seen = picture.alpha > 0
    np.testing.assert_allclose(picture.pixels[seen], np.broadcast_to([255, 0, 0], (seen.sum(), 3)), atol=0.1)
    hidden = picture.pixels[-1, -1]
    np.testing.assert_allclose(hidden, [0, 255, 0], atol=0.1)
    # Half of the light comes through a pixel that is half covered, whatever its colour.
    np.testing.assert_allclose(picture.alpha.mean(), rgba[..., 3].mean(), rtol=0.02)


def test_colors_weigh_by_their_opacity(tmp_path):
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[:, ::2] = [200, 0, 0, 30]
    rgba[:, 1::2] = [0, 100, 0, 10]
    Image.fromarray(rgba).save(tmp_path / "a.png")
    picture = load_image(tmp_path / "a.png", longest=1)
    np.testing.assert_allclose(picture.pixels[0, 0], [150, 25, 0], atol=6)
    assert picture.alpha[0, 0] == 20


def test_pfm_floats(tmp_path):
    values = np.linspace(0, 1, 240, dtype="<f4").reshape(12, 20)
    (tmp_path / "a.pfm").write_bytes(b"Pf\n20 12\n-1.0\n" + values[::-1].tobytes())
    np.testing.assert_allclose(load_image(tmp_path / "a.pfm").pixels, grey(values * 255), atol=2e-3)


def test_a_format_that_is_not_offered(tmp_path):
    for form in ("ICO", "TGA", "PCX", "JPEG2000"):
        file = io.BytesIO()
        Image.fromarray(RGB).save(file, form)
        (tmp_path / "a.png").write_bytes(file.getvalue())
        with pytest.raises(UserError, match="expected PNG, JPEG, WebP, AVIF, HEIC, TIFF, GIF, BMP or PPM"):
            load_image(tmp_path / "a.png")


# High dynamic range, and colour spaces that a file only names


def write_named(path, primaries, transfer):
    """Write a picture whose container names colour primaries and transfer characteristics (ITU-T H.273)."""
    if path.suffix == ".png":
        return write_png(path, RGB, 8, 2, (b"cICP", bytes([primaries, transfer, 0, 1])))
    if path.suffix == ".avif":
        if not ("avif" in features.modules and features.check("avif")):
            pytest.skip("this Pillow has no AVIF")
        Image.fromarray(RGB).save(path, quality=100, subsampling="4:4:4")
        before, after = b"colrnclx\0\x01\0\x0d\0", b"colrnclx\0%c\0%c\0"
        data = path.read_bytes()
        assert data.count(before) == 1
        path.write_bytes(data.replace(before, after % (primaries, transfer)))
        return path
    heif = pytest.importorskip("pillow_heif")
    named = {"color_primaries": primaries, "transfer_characteristics": transfer}
    named |= {"matrix_coefficients": 6, "full_range_flag": 1}
    heif.from_pillow(Image.fromarray(RGB)).save(path, quality=100, chroma=444, **named)
    return path


@pytest.mark.parametrize("suffix", ["png", "avif", "heic", "hif"])
@pytest.mark.parametrize(("primaries", "transfer"), [(9, 16), (9, 18), (12, 16), (1, 13), (1, 1), (2, 2)])
def test_high_dynamic_range_is_told(tmp_path, suffix, primaries, transfer):
    notes = load_image(write_named(tmp_path / f"a.{suffix}", primaries, transfer)).notes
    assert len(notes) == (transfer in (16, 18))
    assert not notes or "is in high dynamic range, and is read as if it were not" in notes[0]


def test_of_a_gain_map_nothing_is_told(tmp_path):
    """The picture itself is of standard range; the boxes of what it could be in another range come later."""
    path = write_named(tmp_path / "a.avif", 1, 13)
    path.write_bytes(path.read_bytes() + b"\0\0\0\x13colrnclx\0\x09\0\x10\0\x09\x80")
    assert load_image(path).notes == ()


@pytest.mark.parametrize("name", [b"Rec2100 PQ", b"BT2100_HLG", b"Screen HLG"])
def test_high_dynamic_range_by_a_profile_is_told(tmp_path, name):
    profile = color.rgb_profile("Display P3").replace(
        "Display P3".encode("utf-16-be"), name.decode().encode("utf-16-be")
    )
    picture = load(tmp_path, Image.fromarray(RGB), "jpg", icc_profile=profile)
    assert "high dynamic range" in picture.notes[0]


@pytest.mark.parametrize(
    ("suffix", "camera"),
    [
        # Pillow writes no such table into a TIFF.
        *((suffix, {0xA001: 65535, 0xA005: {1: "R03"}}) for suffix in ("jpg", "png", "webp")),
        *((suffix, {0xA001: 2}) for suffix in ("jpg", "tif")),
    ],
)
def test_adobe_rgb_that_only_exif_names_is_read_as_adobe_rgb(tmp_path, suffix, camera):
    options = {"webp": {"lossless": True}, "jpg": {"quality": 100, "subsampling": 0}}.get(suffix, {})
    exif = Image.Exif()
    exif[0x010F] = "A camera"
    exif.get_ifd(0x8769).update(camera)
    exif = exif.tobytes()
    image = Image.fromarray(RGB)
    named = load(tmp_path, image, suffix, exif=exif, **options)
    tagged = load(tmp_path, image, suffix, icc_profile=matrix_profile(ADOBE, 2.2), **options)
    plain = load(tmp_path, image, suffix, **options)
    np.testing.assert_allclose(named.pixels, tagged.pixels, atol=1)
    assert np.abs(named.pixels - plain.pixels).max() > 20 and named.notes == ()
    kept = load_image(load_path(tmp_path, image, suffix, exif=exif, **options), keep_profile=True)
    assert color.profile_name(kept.profile) == "Adobe RGB" and np.array_equal(kept.pixels, plain.pixels)
    # A profile says more than EXIF does.
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    both = load(tmp_path, image, suffix, exif=exif, icc_profile=srgb, **options)
    np.testing.assert_array_equal(both.pixels, plain.pixels)


def load_path(folder, image, suffix, **options):
    image.save(folder / f"b.{suffix}", **options)
    return folder / f"b.{suffix}"


def test_a_colour_space_that_nobody_names_is_told(tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "A camera"
    exif.get_ifd(0x8769)[0xA001] = 65535
    picture = load(tmp_path, Image.fromarray(RGB), exif=exif)
    np.testing.assert_array_equal(picture.pixels, RGB)
    assert "its colours are not sRGB, and no profile says which" in picture.notes[0]


@pytest.mark.parametrize("suffix", ["png", "avif", "heic"])
@pytest.mark.parametrize(("primaries", "space"), [(12, "Display P3"), (9, "BT.2020")])
def test_a_wide_gamut_that_only_the_container_names(tmp_path, suffix, primaries, space):
    named = load_image(write_named(tmp_path / f"a.{suffix}", primaries, 13), keep_profile=True)
    assert color.profile_name(named.profile) == space and named.notes == ()
    profile = ImageCms.ImageCmsProfile(io.BytesIO(color.rgb_profile(space)))
    if space == "Display P3":
        # That of libvips, by another hand.
        pyvips = pytest.importorskip("pyvips")
        other = pyvips.Image.black(1, 1, bands=3).copy(interpretation="srgb").icc_transform("p3")
        there = ImageCms.ImageCmsProfile(io.BytesIO(other.get("icc-profile-data")))
        moved = ImageCms.profileToProfile(Image.fromarray(RGB), profile, there, outputMode="RGB")
        assert np.abs(np.asarray(moved, int) - RGB).max() <= 2
    grey_levels = Image.fromarray(grey(RAMP).astype(np.uint8))
    srgb = ImageCms.profileToProfile(grey_levels, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    assert np.abs(np.asarray(srgb, int) - np.asarray(grey_levels, int)).max() <= 1
