"""Every way a file can store colours comes out as the same sRGB."""

import io
import struct

import numpy as np
import pytest
import pyvips
import tifffile
from picture_files import LINEAR_GREY, matrix_profile, write_png
from PIL import Image, ImageCms

from neural_style_tf.images import color, deep, load_image, resize

RAMP = np.arange(0, 240, dtype=np.uint8).reshape(12, 20)
RGB = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], -1)
ALPHA = RAMP[::-1, ::-1]
EXACT = {"webp": {"lossless": True}, "jpg": {"quality": 100, "subsampling": 0}}
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


def load(folder, image, suffix="png", **options):
    image.save(folder / f"a.{suffix}", **options)
    return load_image(folder / f"a.{suffix}")


def load_tiff(folder, values, **options):
    tifffile.imwrite(folder / "a.tif", values, **{"photometric": "minisblack"} | options)
    return load_image(folder / "a.tif")


def grey(values):
    return np.repeat(np.asarray(values, np.float32)[..., None], 3, -1)


def encode(linear):
    linear = np.clip(linear, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def name_of(profile):
    return ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))).strip("\0\n ")


# Bits


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "ppm", "gif"])
def test_eight_bits_and_one(tmp_path, suffix):
    np.testing.assert_array_equal(load(tmp_path, Image.fromarray(RGB), suffix).pixels, RGB)
    picture = load(tmp_path, Image.fromarray(RAMP), suffix)
    np.testing.assert_array_equal(picture.pixels, grey(RAMP))
    assert picture.alpha is None
    bits = Image.fromarray(RAMP).point(lambda v: 255 * (v > 99)).convert("1")
    np.testing.assert_array_equal(load(tmp_path, bits, suffix).pixels, grey(255 * (RAMP > 99)))


@pytest.mark.parametrize("installed", [True, False])
def test_sixteen_bits(tmp_path, monkeypatch, installed):
    """Grey keeps its 16 bits; colours, and grey with opacity, keep them with the extra `deep`."""
    monkeypatch.setattr(deep, "is_installed", lambda: installed)
    values = np.linspace(0, 65535, 240).round().astype(np.uint16).reshape(12, 20)
    (tmp_path / "a.pgm").write_bytes(b"P5 20 12 65535\n" + values.astype(">u2").tobytes())
    for picture in (
        load_image(write_png(tmp_path / "a.png", values, 16, 0)),
        load_image(tmp_path / "a.pgm"),
    ):
        np.testing.assert_allclose(picture.pixels, grey(values / 257.0), atol=1e-4)
        assert picture.notes == ()
    for color_type, channels in ((4, 2), (2, 3), (6, 4)):
        values = np.linspace(0, 65535, 240 * channels).round().astype(np.uint16).reshape(12, 20, channels)
        picture = load_image(write_png(tmp_path / "a.png", values, 16, color_type))
        expected = grey(values[..., 0]) if channels == 2 else values[..., :3].astype(np.float32)
        np.testing.assert_allclose(picture.pixels, expected / 257.0, atol=1e-4 if installed else 1)
        if channels != 3:
            np.testing.assert_allclose(picture.alpha, values[..., -1] / 257.0, atol=1)
        assert installed == (picture.notes == ())
        assert (
            installed
            or "16 bits a colour, of which 8 are read; all are with the extra deep" in picture.notes[0]
        )


FULL = np.linspace(0, 255, 240)


@pytest.mark.parametrize(
    ("values", "expected", "rule"),
    [
        (np.linspace(0, 1, 240, dtype="f4"), FULL, "1 is taken as white"),
        (np.linspace(0, 254, 240, dtype="f4"), np.linspace(0, 254, 240), "255 is taken as white"),
        (
            np.linspace(-3, 5, 240, dtype="f4"),
            FULL,
            "their smallest, -3, is taken as black and their largest, 5,",
        ),
        (np.arange(240, dtype="i4"), np.arange(240), "255 is taken as white"),
        (np.arange(-120, 120, dtype="i4"), FULL, "their smallest, -120,"),
        (np.linspace(0, 2**32 - 1, 240).astype("u4"), FULL, "their largest, 4.29497e+09,"),
        (np.full(240, 10**6, "i4"), np.zeros(240), "their smallest, 1e+06,"),
    ],
)
def test_grey_of_32_bits_says_what_is_white(tmp_path, values, expected, rule):
    picture = load_tiff(tmp_path, values.reshape(12, 20))
    np.testing.assert_allclose(picture.pixels, grey(expected.reshape(12, 20)), atol=2e-3)
    assert len(picture.notes) == 1 and rule in picture.notes[0]


# Transparency and palettes


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize(("colors", "expected"), [(RGB, RGB), (RAMP, grey(RAMP))])
def test_alpha_is_kept_apart_and_colors_are_as_stored(tmp_path, suffix, colors, expected):
    picture = load(tmp_path, Image.fromarray(np.dstack([colors, ALPHA])), suffix)
    np.testing.assert_array_equal(picture.pixels, expected)
    np.testing.assert_array_equal(picture.alpha, ALPHA)
    opaque = load(tmp_path, Image.fromarray(np.dstack([colors, np.full_like(RAMP, 255)])), suffix)
    assert opaque.alpha is None
    small = load_image(tmp_path / f"a.{suffix}", longest=7).pixels
    np.testing.assert_allclose(small, resize(expected, (4, 7)), atol=1e-4)


def palette_picture():
    image = Image.new("P", (20, 12))
    image.putdata((RAMP // 60).ravel().tolist())
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 8, 7])
    return image, np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 8, 7]])[RAMP // 60]


@pytest.mark.parametrize(
    ("suffix", "transparency", "opacity"),
    [
        *((suffix, None, None) for suffix in ("png", "gif", "tif", "bmp")),
        ("png", 2, [255, 255, 0, 255]),
        ("gif", 2, [255, 255, 0, 255]),
        ("png", bytes([9, 99, 0, 200]), [9, 99, 0, 200]),
    ],
)
def test_palette(tmp_path, suffix, transparency, opacity):
    image, expected = palette_picture()
    options = {} if transparency is None else {"transparency": transparency}
    picture = load(tmp_path, image, suffix, **options)
    np.testing.assert_array_equal(picture.pixels, expected)
    np.testing.assert_array_equal(picture.alpha, opacity and np.array(opacity)[RAMP // 60])
    assert picture.notes == ()


def test_a_transparent_color_of_a_png(tmp_path, monkeypatch):
    def opacity(depth, color_type, values, key):
        extra = (b"tRNS", struct.pack(f">{len(key)}H", *key))
        picture = load_image(write_png(tmp_path / "a.png", values, depth, color_type, extra))
        scale = 255 / (2**depth - 1)
        expected = values * scale if values.ndim == 3 else grey(values * scale)
        np.testing.assert_allclose(picture.pixels, expected, atol=1e-4)
        np.testing.assert_array_equal(
            picture.alpha == 0, (values == (key if values.ndim == 3 else key[0])).reshape(12, 20, -1).all(-1)
        )
        assert set(np.unique(picture.alpha)) == {0, 255}

    wide = RAMP.astype(np.uint16) * 257
    for depth in (1, 2, 4):
        opacity(depth, 0, RAMP % 2**depth, [1])
    opacity(8, 0, RAMP, [77])
    opacity(16, 0, wide, [77 * 257])
    opacity(8, 2, RGB, RGB[5, 6])
    for installed in (True, False):
        monkeypatch.setattr(deep, "is_installed", lambda installed=installed: installed)
        opacity(16, 2, RGB.astype(np.uint16) * 257, RGB[5, 6].astype(np.uint16) * 257)


def test_transparent_colors_do_not_bleed(tmp_path):
    rgba = np.zeros((32, 32, 4), np.uint8)
    rgba[..., 1] = 255  # green that nobody sees
    rgba[3:19, 5:22] = [255, 0, 0, 255]
    Image.fromarray(rgba).save(tmp_path / "a.png")
    picture = load_image(tmp_path / "a.png", longest=9)
    assert ((picture.alpha > 0) & (picture.alpha < 255)).any() and (picture.alpha == 0).any()
    visible = picture.alpha > 0
    np.testing.assert_allclose(picture.pixels[visible], [[255, 0, 0]] * visible.sum(), atol=0.1)
    np.testing.assert_allclose(picture.pixels[-1, -1], [0, 255, 0], atol=0.1)
    # Half of the light comes through a pixel that is half covered, whatever its colour.
    np.testing.assert_allclose(picture.alpha.mean(), rgba[..., 3].mean(), rtol=0.02)
    rgba[:, ::2], rgba[:, 1::2] = [200, 0, 0, 30], [0, 100, 0, 10]
    Image.fromarray(rgba).save(tmp_path / "a.png")
    picture = load_image(tmp_path / "a.png", longest=1)
    np.testing.assert_allclose(picture.pixels[0, 0], [150, 25, 0], atol=6)
    assert picture.alpha[0, 0] == 20


# Colour spaces and profiles


CMYK = [[0, 0, 0, 0], [255, 0, 0, 0], [0, 255, 0, 0], [0, 0, 255, 0], [0, 0, 0, 255], [0, 0, 0, 128]]
CMYK_AS_RGB = [[255] * 3, [0, 255, 255], [255, 0, 255], [255, 255, 0], [0] * 3, [127] * 3]


def cmyk_picture():
    pixels = np.array([CMYK], np.uint8).repeat(8, 0).repeat(8, 1)
    return Image.frombytes("CMYK", (48, 8), pixels.tobytes())


@pytest.mark.parametrize("suffix", ["tif", "jpg"])
def test_cmyk(tmp_path, suffix):
    # Pillow writes CMYK JPEGs the way Adobe does, inverted.
    picture = load(tmp_path, cmyk_picture(), suffix, **EXACT.get(suffix, {}))
    np.testing.assert_allclose(picture.pixels[4, 4::8], CMYK_AS_RGB, atol=2)


def test_cmyk_with_its_profile(tmp_path):
    """As libvips converts it, by the profile of a press that it brings along."""
    white = pyvips.Image.black(1, 1, bands=3).copy(interpretation="srgb")
    profile = white.icc_transform("cmyk", input_profile="srgb").get("icc-profile-data")
    image = pyvips.Image.new_from_array(np.asarray(cmyk_picture())).copy(interpretation="cmyk")
    options = {"input_profile": "cmyk", "intent": "relative", "black_point_compensation": True}
    picture = load(tmp_path, cmyk_picture(), "tif", icc_profile=profile)
    np.testing.assert_allclose(picture.pixels, image.icc_transform("srgb", **options).numpy(), atol=2)
    assert picture.notes == () and np.abs(picture.pixels[4, 12] - [0, 255, 255]).max() > 50


def test_lab_and_ycbcr_tiff(tmp_path):
    # L* 0–100 as 0–255; a* and b* as they are. White, mid grey and sRGB's red, relative to D50.
    lab = np.array([[100, 0, 0], [53.585, 0, 0], [54.29, 80.81, 69.89]])
    stored = (lab * [2.55, 1, 1]).round().astype(np.int16).astype(np.uint8)
    picture = load_tiff(tmp_path, stored[None], photometric="cielab")
    np.testing.assert_allclose(picture.pixels[0], [[255] * 3, [128] * 3, [255, 0, 0]], atol=6)
    ycbcr = Image.frombytes("YCbCr", (3, 1), bytes([255, 128, 128, 128, 128, 128, 76, 85, 255]))
    # Pillow reads those without compression from version 13 on.
    picture = load(tmp_path, ycbcr, "tif", compression="tiff_lzw")
    np.testing.assert_allclose(picture.pixels[0], [[255] * 3, [128] * 3, [255, 0, 0]], atol=2)


@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "jpg"])
def test_a_color_profile_is_converted(tmp_path, suffix):
    colors = RGB // 2 + 60  # most of these stay inside sRGB
    profile = matrix_profile(ADOBE, 2.2)
    picture = load(tmp_path, Image.fromarray(colors), suffix, icc_profile=profile, **EXACT.get(suffix, {}))
    linear = (colors / 255.0) ** 2.2 @ (np.linalg.inv(SRGB) @ ADOBE).T
    inside = ((linear > 0) & (linear < 1)).all(-1)
    assert inside.mean() > 0.7 and np.abs(encode(linear) - colors).max() > 20
    tolerance = 5 if suffix == "jpg" else 1.5
    np.testing.assert_allclose(picture.pixels[inside], encode(linear)[inside], atol=tolerance)
    assert picture.notes == ()


def test_a_profile_applies_to_palette_alpha_and_grey(tmp_path):
    swapped = matrix_profile(np.asarray(SRGB)[:, [1, 0, 2]], 2.2)
    image, colors = palette_picture()
    picture = load(tmp_path, image, icc_profile=swapped)
    np.testing.assert_allclose(picture.pixels, encode((colors[..., [1, 0, 2]] / 255.0) ** 2.2), atol=1.5)
    picture = load(tmp_path, Image.fromarray(np.dstack([RGB, RAMP])), icc_profile=swapped)
    np.testing.assert_allclose(picture.pixels, encode((RGB[..., [1, 0, 2]] / 255.0) ** 2.2), atol=1.5)
    np.testing.assert_array_equal(picture.alpha, RAMP)
    for image in (
        Image.fromarray(RAMP),
        Image.fromarray(np.dstack([RAMP, RAMP])),
        Image.fromarray(RAMP.astype(np.uint16) * 257),
    ):
        picture = load(tmp_path, image, icc_profile=LINEAR_GREY)
        np.testing.assert_allclose(picture.pixels, grey(encode(RAMP / 255.0)), atol=1.5)


def test_srgb_itself_is_left_alone(tmp_path):
    np.testing.assert_array_equal(
        load(tmp_path, Image.fromarray(RGB), icc_profile=color.srgb_profile()).pixels, RGB
    )
    # Another maker's sRGB: a table for a curve, colours of fewer digits, a white half a level darker.
    # Converting it would do nothing but round.
    levels = np.arange(256) / 255
    decoded = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    table = np.round(decoded * 65535 * 0.994).astype(">u2").tobytes()
    profile = matrix_profile(np.round(SRGB, 4), b"curv" + bytes(4) + struct.pack(">I", 256) + table)
    np.testing.assert_array_equal(load(tmp_path, Image.fromarray(RGB), icc_profile=profile).pixels, RGB)
    linear = load(tmp_path, Image.fromarray(RGB), icc_profile=matrix_profile(SRGB, 1.0))
    np.testing.assert_allclose(linear.pixels, encode(RGB / 255.0), atol=2)


def test_a_useless_profile_is_ignored_with_a_note(tmp_path):
    good = matrix_profile(ADOBE, 2.2)
    damaged = [b"not a profile", good[:200], bytes(len(good)), good[:128] + b"\xff" * 400]
    for bad, why in [
        *((data, "is damaged and") for data in damaged),
        (LINEAR_GREY, "is not for RGB pixels and is"),
    ]:
        picture = load(tmp_path, Image.fromarray(RGB), icc_profile=bad)
        np.testing.assert_array_equal(picture.pixels, RGB)
        assert picture.notes == (f"{tmp_path}/a.png: its colour profile {why} ignored",)


# What files say without a profile: code points of ITU-T H.273, EXIF


def write_named(path, primaries, transfer):
    """Write a picture whose file names a colour space by its code points."""
    if path.suffix == ".png":
        extra = (b"cICP", bytes([primaries, transfer, 0, 1]))
        return write_png(path, RGB, 8, 2, extra)
    if path.suffix == ".avif":
        Image.fromarray(RGB).save(path, quality=100, subsampling="4:4:4")
        before, after = b"colrnclx\0\x01\0\x0d\0", b"colrnclx\0%c\0%c\0" % (primaries, transfer)
        data = path.read_bytes()
        assert data.count(before) == 1
        path.write_bytes(data.replace(before, after))
        return path
    heif = pytest.importorskip("pillow_heif")
    named = {"color_primaries": primaries, "transfer_characteristics": transfer}
    named |= {"matrix_coefficients": 6, "full_range_flag": 1}
    heif.from_pillow(Image.fromarray(RGB)).save(path, quality=100, chroma=444, **named)
    return path


@pytest.mark.parametrize("suffix", ["png", "avif", "heic"])
@pytest.mark.parametrize(("primaries", "transfer"), [(9, 16), (9, 18), (1, 13), (1, 1), (2, 2)])
def test_high_dynamic_range_is_told(tmp_path, suffix, primaries, transfer):
    path = write_named(tmp_path / f"a.{suffix}", primaries, transfer)
    notes = load_image(path).notes
    assert len(notes) == (transfer in (16, 18))
    assert not notes or "is in high dynamic range, and is read as if it were not" in notes[0]
    if (suffix, transfer) == ("avif", 13):
        # The boxes of a gain map come later; the picture itself is of standard range.
        path.write_bytes(path.read_bytes() + b"\0\0\0\x13colrnclx\0\x09\0\x10\0\x09\x80")
        assert load_image(path).notes == ()


@pytest.mark.parametrize("name", ["Rec2100 PQ", "BT2100_HLG", "Screen HLG"])
def test_high_dynamic_range_by_a_profile_is_told(tmp_path, name):
    profile = color.rgb_profile("Display P3").replace(
        "Display P3".encode("utf-16-be"), name.encode("utf-16-be")
    )
    assert "high dynamic range" in load(tmp_path, Image.fromarray(RGB), icc_profile=profile).notes[0]


@pytest.mark.parametrize(
    ("suffix", "camera"),
    [
        # Pillow writes no such table into a TIFF.
        *((suffix, {0xA001: 65535, 0xA005: {1: "R03"}}) for suffix in ("jpg", "png", "webp")),
        *((suffix, {0xA001: 2}) for suffix in ("jpg", "tif")),
    ],
)
def test_adobe_rgb_that_only_exif_names_is_read_as_adobe_rgb(tmp_path, suffix, camera):
    exif = Image.Exif()
    exif.get_ifd(0x8769).update(camera)
    image, options = Image.fromarray(RGB), EXACT.get(suffix, {})
    tagged = load(tmp_path, image, suffix, icc_profile=matrix_profile(ADOBE, 2.2), **options)
    plain = load(tmp_path, image, suffix, **options)
    # A profile says more than EXIF does.
    both = load(tmp_path, image, suffix, exif=exif.tobytes(), icc_profile=color.srgb_profile(), **options)
    np.testing.assert_array_equal(both.pixels, plain.pixels)
    named = load(tmp_path, image, suffix, exif=exif.tobytes(), **options)
    np.testing.assert_allclose(named.pixels, tagged.pixels, atol=1)
    assert np.abs(named.pixels - plain.pixels).max() > 20 and named.notes == ()
    kept = load_image(tmp_path / f"a.{suffix}", keep_profile=True)
    assert name_of(kept.profile) == "Adobe RGB" and np.array_equal(kept.pixels, plain.pixels)


def test_a_colour_space_that_nobody_names_is_told(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = 65535
    picture = load(tmp_path, Image.fromarray(RGB), exif=exif.tobytes())
    np.testing.assert_array_equal(picture.pixels, RGB)
    assert "its colours are not sRGB, and no profile says which" in picture.notes[0]


@pytest.mark.parametrize("suffix", ["png", "avif", "heic"])
@pytest.mark.parametrize(("primaries", "space"), [(12, "Display P3"), (9, "BT.2020")])
def test_a_wide_gamut_that_only_the_container_names(tmp_path, suffix, primaries, space):
    named = load_image(write_named(tmp_path / f"a.{suffix}", primaries, 13), keep_profile=True)
    assert name_of(named.profile) == space and named.notes == ()


# x, y of red, green and blue (ITU-R BT.2020; SMPTE EG 432-1; Adobe RGB (1998)).
CHROMATICITIES = {
    "BT.2020": [(0.708, 0.292), (0.170, 0.797), (0.131, 0.046)],
    "Display P3": [(0.680, 0.320), (0.265, 0.690), (0.150, 0.060)],
    "Adobe RGB": [(0.640, 0.330), (0.210, 0.710), (0.150, 0.060)],
}


@pytest.mark.parametrize("space", CHROMATICITIES)
def test_profiles_of_named_spaces(space):
    """Colours by the chromaticities of the standards, from white D65 to D50 by Bradford's matrix."""

    def xyz(x, y):
        return np.array([x / y, 1, (1 - x - y) / y])

    primaries = np.stack([xyz(*point) for point in CHROMATICITIES[space]], -1)
    white = xyz(0.3127, 0.3290)
    primaries = primaries * np.linalg.solve(primaries, white)
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    scale = np.diag(bradford @ [0.96422, 1.0, 0.82521] / (bradford @ white))
    primaries = np.linalg.inv(bradford) @ scale @ bradford @ primaries
    profile = ImageCms.ImageCmsProfile(io.BytesIO(color.rgb_profile(space))).profile
    for channel, name in enumerate(("red", "green", "blue")):
        colorant = getattr(profile, f"{name}_colorant")[0]
        np.testing.assert_allclose(colorant, primaries[:, channel], atol=5e-4)
