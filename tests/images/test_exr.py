"""OpenEXR: the curve, what is kept, what is refused."""

import contextlib
import io
import struct
import sys
from fractions import Fraction

import numpy as np
import pytest

OpenEXR = pytest.importorskip("OpenEXR")

from neural_style_tf.errors import UserError  # noqa: E402
from neural_style_tf.images import exr, load_image, save_image  # noqa: E402
from neural_style_tf.images.color import rgb_profile  # noqa: E402
from neural_style_tf.images.masks import load_mask  # noqa: E402

HALVES = np.arange(65536, dtype=np.uint16).view(np.float16)
FINITE = HALVES[np.isfinite(HALVES)]
ALL = FINITE[FINITE >= 0][:31744].reshape(124, 256)
RNG = np.random.default_rng(0)
SHAPE = (24, 32)
ATTRIBUTES = {
    "comments": "shot 7",
    "timeCode": OpenEXR.TimeCode(
        1, 2, 3, 4, False, False, False, False, False, False, 0, 0, 0, 0, 0, 0, 0, 0
    ),
    "pixelAspectRatio": 2.0,
    "framesPerSecond": Fraction(24000, 1001),
    "keyCode": OpenEXR.KeyCode(1, 2, 3, 4, 5, 4, 64),
    "roi": (np.array([1, 2], np.float32), np.array([3, 4], np.float32)),
    "whiteLuminance": 100.5,
    "take": 7,
    "offsets": [1.5, 2.5],
    "worldToCamera": np.eye(4, dtype=np.float32),
    "multiView": ["left"],
    "displayWindow": (np.array([0, 0], np.int32), np.array([99, 59], np.int32)),
    "dataWindow": (np.array([-3, 5], np.int32), np.array([28, 28], np.int32)),
}


def colors(shape=SHAPE, scale=2.0, dtype=np.float16):
    return {name: (scale * RNG.random(shape)).astype(dtype) for name in "RGB"}


def write(path, channels, header=(), parts=None):
    header = {"type": OpenEXR.scanlineimage, "compression": OpenEXR.PIZ_COMPRESSION} | dict(header)
    # The library reads arrays as if they were contiguous.
    arrays = {name: np.ascontiguousarray(values) for name, values in channels.items()}
    made = parts or [OpenEXR.Part(header, arrays, "")]
    OpenEXR.File(made).write(str(path))
    return path


def read(path):
    return OpenEXR.File(str(path), separate_channels=True)


def bits(values):
    values = np.ascontiguousarray(values)
    return values.view(f"u{values.itemsize}")


def round_trip(path, **options):
    """Read a file and write what the network would see, without painting."""
    picture = load_image(path, **options)
    out = path.with_name("out.exr")
    save_image(out, picture.pixels, alpha=picture.alpha, original=picture.original)
    return picture, read(out)


def test_the_curve_is_srgb_below_a_half_and_never_reaches_255():
    grey = np.array([0.0, 0.18, 0.5, 1.0, 20.0, 65504.0])
    levels = exr.to_levels(np.repeat(grey[:, None], 3, -1)[None])[0, :, 0]
    # By hand: 255 · (1.055 · x^(1/2.4) − 0.055) of 0.18, 0.5, and of T(1) = 3/4 and T(20) = 79/80.
    np.testing.assert_allclose(levels[:5], [0, 117.64, 187.52, 224.61, 253.59], atol=0.01)
    assert levels[5] < 255
    steps = exr.to_levels(np.repeat(np.geomspace(1e-4, 1e4, 5000)[:, None], 3, -1)[None])[0, :, 0]
    assert (np.diff(steps) > 0).all()
    hue = exr.to_levels(np.array([[[20.0, 10.0, 5.0]]]))[0, 0]
    np.testing.assert_allclose(exr.from_srgb(hue / 255) / exr.from_srgb(hue / 255)[0], [1, 0.5, 0.25])


def test_the_curve_is_inverted():
    light = np.concatenate([RNG.random((1, 500, 3)), 20 * RNG.random((1, 500, 3)), -RNG.random((1, 9, 3))], 1)
    np.testing.assert_allclose(exr.to_light(exr.to_levels(light)), light, rtol=1e-6)


@pytest.mark.parametrize("other", [None, 0.0, 0.3, 20.0])
def test_every_finite_half_comes_back_to_the_same_bits(tmp_path, other):
    plane = ALL if other is None else np.full_like(ALL, other)
    channels = {"R": ALL, "G": plane, "B": plane[::-1]}
    picture, out = round_trip(write(tmp_path / "a.exr", channels))
    assert picture.pixels.dtype == np.float32
    assert 0 <= picture.pixels.min() <= picture.pixels.max() < 255
    for name, values in channels.items():
        np.testing.assert_array_equal(bits(out.channels()[name].pixels), bits(values))


def test_values_below_0_and_floats_come_back(tmp_path):
    channels = colors(scale=-3.0) | {"G": (1e6 * RNG.random(SHAPE)).astype(np.float32)}
    picture, out = round_trip(write(tmp_path / "a.exr", channels))
    assert picture.pixels.min() > -255
    assert "below 0" in " ".join(picture.notes)
    np.testing.assert_array_equal(out.channels()["R"].pixels, channels["R"])
    np.testing.assert_allclose(out.channels()["G"].pixels, channels["G"], rtol=1e-6)
    # Paint is never below 0 where the photo is not.
    save_image(tmp_path / "b.exr", np.full((*SHAPE, 3), -9.0), original=picture.original)
    painted = read(tmp_path / "b.exr").channels()
    assert painted["G"].pixels.min() == 0
    assert painted["R"].pixels.min() < 0


def test_infinity_and_nan_are_replaced_and_noted(tmp_path):
    channels = colors()
    channels["R"][0, :3] = [np.nan, np.inf, -np.inf]
    picture, out = round_trip(write(tmp_path / "a.exr", channels))
    assert np.isfinite(picture.pixels).all()
    assert any("3 values are not finite" in note for note in picture.notes)
    np.testing.assert_array_equal(out.channels()["R"].pixels[0, :3], [0, 65504, -65504])
    # Paint brighter than the largest half float stays that.
    save_image(tmp_path / "b.exr", np.full((*SHAPE, 3), 255.0), original=picture.original)
    assert read(tmp_path / "b.exr").channels()["G"].pixels[0, 1] == 65504


def test_all_that_is_not_painted_is_kept(tmp_path):
    alpha = np.linspace(0, 1, SHAPE[1], dtype=np.float16) * np.ones((SHAPE[0], 1), np.float16)
    channels = {name: values * alpha for name, values in colors(scale=20.0).items()} | {"A": alpha}
    # Light without opacity, as of a flame.
    channels["R"][:4, 0] = 3.0
    further = {
        "Z": (1e4 * RNG.random(SHAPE)).astype(np.float32),
        "crypto00.id": RNG.integers(0, 2**32, SHAPE, dtype=np.uint32),
        "motion.x": HALVES[-SHAPE[0] * SHAPE[1] :].reshape(SHAPE),
    }
    path = write(tmp_path / "a.exr", channels | further, ATTRIBUTES)
    before = read(path)
    picture, out = round_trip(path)
    assert picture.original.further == ("Z", "crypto00.id", "motion.x")
    assert picture.alpha[0, 0] == 0
    assert picture.alpha[0, -1] == 255
    assert set(out.header()) == set(before.header())
    for key, value in before.header().items():
        if key != "channels":
            np.testing.assert_equal(out.header()[key], value)
    for name, channel in before.channels().items():
        assert out.channels()[name].pixels.dtype == channel.pixels.dtype
        np.testing.assert_array_equal(bits(out.channels()[name].pixels), bits(channel.pixels))
    # A painting: white paint everywhere. Its light is that of the photo, at least 1, times the opacity.
    save_image(tmp_path / "b.exr", np.full((*SHAPE, 3), 255.0), original=picture.original)
    painted = read(tmp_path / "b.exr").channels()
    np.testing.assert_array_equal(bits(painted["motion.x"].pixels), bits(further["motion.x"]))
    straight = np.stack([channels[name][:, 1:] / alpha[:, 1:].astype(float) for name in "RGB"], -1).max(-1)
    shining = straight > 0.5
    expected = np.where(shining, straight / (1 - 0.25 / np.maximum(straight, 0.5)), 1.0) * alpha[:, 1:]
    np.testing.assert_allclose(painted["G"].pixels[:, 1:], expected, rtol=2e-3)
    np.testing.assert_array_equal(painted["R"].pixels[:, 0], channels["R"][:, 0])
    assert painted["R"].pixels.max() > 19


def test_attributes_of_unknown_types_are_kept_and_empty_lists_left_out(tmp_path):
    path = write(tmp_path / "a.exr", colors(), {"secret": "of some program", "words": "abcd"})
    data = path.read_bytes().replace(b"secret\0string\0", b"secret\0strinx\0")
    # "words\0string\0", its length and its text take as many bytes as an empty list of a longer type.
    text = b"words\0string\0" + struct.pack("<I", 4) + b"abcd"
    empty = b"w\0floatvector\0" + bytes(4)
    assert text in data and len(empty) <= len(text)
    data = data.replace(text, b"w" * (len(text) - len(empty)) + empty)
    path.write_bytes(data)
    assert read(path).header()["wwww"] == []
    _, out = round_trip(path)
    assert b"secret\0strinx\0" in (tmp_path / "out.exr").read_bytes()
    assert "wwww" not in out.header()


def test_another_size_keeps_colours_opacity_and_attributes(tmp_path):
    channels = colors(scale=0.4) | {"A": np.ones(SHAPE, np.float16), "Z": np.ones(SHAPE, np.float16)}
    for name in "RGB":
        channels[name][6:18, 8:24] = 20.0
    path = write(tmp_path / "a.exr", channels, ATTRIBUTES)
    picture, out = round_trip(path, longest=16)
    assert picture.pixels.shape == (12, 16, 3)
    assert set(out.channels()) == {"R", "G", "B", "A"}
    assert out.channels()["R"].pixels.shape == (12, 16)
    np.testing.assert_allclose(out.channels()["R"].pixels[5:7, 7:9], 20, rtol=0.01)
    np.testing.assert_array_equal(out.channels()["A"].pixels, 1)
    assert out.header()["comments"] == "shot 7"
    assert out.header()["pixelAspectRatio"] == 2.0
    np.testing.assert_array_equal(out.header()["displayWindow"], [[0, 0], [15, 11]])


AP0 = (0.7347, 0.2653, 0.0, 1.0, 0.0001, -0.077, 0.32168, 0.33767)


@pytest.mark.parametrize("header", [{"chromaticities": AP0}, {"colorInteropID": "lin_ap0_scene"}])
def test_other_primaries_are_converted_and_come_back(tmp_path, header):
    channels = colors(scale=4.0)
    channels["R"][0], channels["G"][0], channels["B"][0] = 1.0, 1.0, 1.0
    # ACES' AP0 to sRGB with Bradford's adaptation, as published in the Academy's CTL: red of AP0.
    channels["R"][1], channels["G"][1], channels["B"][1] = 0.1, 0.0, 0.0
    picture, out = round_trip(write(tmp_path / "a.exr", channels, header))
    np.testing.assert_allclose(picture.pixels[0], 224.6, atol=0.05)
    np.testing.assert_allclose(
        exr.from_srgb(picture.pixels[1, 0] / 255.0) / 0.1, [2.5217, -0.2765, -0.0153], atol=2e-3
    )
    for name in "RGB":
        np.testing.assert_allclose(out.channels()[name].pixels, channels[name], rtol=5e-4, atol=1e-6)


def test_primaries_that_make_no_sense_are_ignored(tmp_path):
    picture, _ = round_trip(write(tmp_path / "a.exr", colors(), {"chromaticities": (0.0,) * 8}))
    assert np.isfinite(picture.pixels).all()


def test_layers_parts_tiles_and_luminance(tmp_path):
    layered = {f"view.Combined.{name}": values for name, values in colors().items()}
    layered |= {f"view.Albedo.{name}": values for name, values in colors().items()} | {
        "view.Combined.A": np.full(SHAPE, 0.5, np.float16)
    }
    picture, out = round_trip(write(tmp_path / "layers.exr", layered))
    assert "painted is view.Combined.R, view.Combined.G, view.Combined.B" in picture.notes[0]
    assert picture.alpha.max() == 128
    assert {*out.channels()} == {*layered}
    for name in layered:
        np.testing.assert_array_equal(out.channels()[name].pixels, layered[name])

    scanlines = {"type": OpenEXR.scanlineimage}
    depth = np.ones(SHAPE, np.float32)
    parts = [
        OpenEXR.Part(dict(scanlines), {"Z": depth}, "depth"),
        OpenEXR.Part(scanlines | {"owner": "me"}, colors(), "main"),
    ]
    picture, out = round_trip(write(tmp_path / "parts.exr", {}, parts=parts))
    assert "of part main" in picture.notes[0]
    assert [part.name() for part in out.parts] == ["depth", "main"]
    assert out.parts[1].header["owner"] == "me"
    np.testing.assert_array_equal(out.parts[0].channels["Z"].pixels, depth)

    tiles = OpenEXR.TileDescription()
    tiles.xSize = tiles.ySize = 16
    channels = colors()
    path = write(tmp_path / "tiles.exr", channels, {"type": OpenEXR.tiledimage, "tiles": tiles})
    picture, out = round_trip(path)
    assert out.header()["type"] == OpenEXR.tiledimage
    np.testing.assert_array_equal(out.channels()["B"].pixels, channels["B"])

    grey = colors()["R"]
    picture, out = round_trip(write(tmp_path / "grey.exr", {"Y": grey, "Z": depth}))
    assert {*out.channels()} == {"R", "G", "B", "Z"}
    np.testing.assert_array_equal(out.channels()["G"].pixels, grey)


def test_a_photo_of_another_format_becomes_plain_light(tmp_path):
    levels = np.tile(np.array([-9.0, 0.0, 127.5, 255.0, 300.0])[None, :, None], (1, 1, 3))
    alpha = np.array([[255, 255, 255, 51, 255]], np.uint8)
    save_image(tmp_path / "a.exr", levels, alpha=alpha, dpi=(300.0, 300.0))
    out = read(tmp_path / "a.exr")
    assert out.channels()["R"].pixels.dtype == np.float16
    np.testing.assert_allclose(out.channels()["R"].pixels[0], [0, 0, 0.21404, 0.2, 1], rtol=1e-3)
    np.testing.assert_allclose(out.channels()["A"].pixels[0], [1, 1, 1, 0.2, 1], rtol=1e-3)
    assert out.header()["xDensity"] == 300
    with pytest.raises(UserError, match="leave out --profile=content"):
        save_image(tmp_path / "b.exr", levels, profile=rgb_profile("Display P3"))
    save_image(tmp_path / "b.exr", levels, stretch=True)
    np.testing.assert_array_equal(read(tmp_path / "b.exr").channels()["R"].pixels[0, [0, -1]], [0, 1])


def test_a_mask_is_the_values_themselves(tmp_path):
    matte = np.tile(np.array([0.0, 0.25, 0.5, 1.0], np.float16), (4, 1))
    mask, _ = load_mask(write(tmp_path / "a.exr", {"Y": matte}))
    np.testing.assert_allclose(mask[0], [0, 0.25, 0.5, 1], atol=1e-3)


def test_the_bytes_count_and_not_the_name(tmp_path):
    path = write(tmp_path / "a.png", colors())
    assert load_image(path).original.path == path
    save_image(tmp_path / "b.png", np.full((4, 4, 3), 7.0))
    (tmp_path / "b.png").rename(tmp_path / "b.exr")
    assert load_image(tmp_path / "b.exr").original is None


def deep(path):
    samples = np.empty(SHAPE, object)
    for index in np.ndindex(SHAPE):
        samples[index] = np.ones(2, np.float32)
    header = {"type": OpenEXR.deepscanline, "compression": OpenEXR.ZIPS_COMPRESSION}
    return write(path, dict.fromkeys("RGB", samples), header)


def refusals(folder):
    whole = write(folder / "whole.exr", colors(), {"compression": OpenEXR.ZIP_COMPRESSION}).read_bytes()
    window = whole.index(b"dataWindow\0box2i\0") + len(b"dataWindow\0box2i\0") + 4
    channels = colors()

    def box(*numbers):
        return whole[:window] + struct.pack("<4i", *numbers) + whole[window + 16 :]

    def written(channels):
        return write(folder / "other.exr", channels).read_bytes()

    yield whole[:2], "not a picture"
    for length in (4, 8, 60, len(whole) // 2, len(whole) - 3):
        yield whole[:length], "cut short or damaged"
    yield box(0, 0, 2**30, 2**30), "cut short or damaged"
    yield box(0, 0, 40_000, 40_000), "over the limit"
    yield box(0, 0, -1, -1), "cut short or damaged"
    yield whole.replace(b"\x02\0\0\0channels", b"\x09\0\0\0channels"), "cut short or damaged"
    thick = written(channels | {"thick": channels["R"]})
    at = thick.index(b"thick\0") + len(b"thick\0") + 8
    coarse = thick[:at] + struct.pack("<ii", 2, 1) + thick[at + 8 :]
    yield coarse, "its channels thick have a lower resolution"
    yield written({"Z": channels["R"], "A": channels["G"]}), "no channels R, G and B, nor Y, but A, Z"
    parts = [OpenEXR.Part({"type": OpenEXR.scanlineimage}, {name: channels[name]}, name) for name in "RGB"]
    split = write(folder / "other.exr", {}, parts=parts).read_bytes()
    yield split, "no channels R, G and B in one part, nor Y, but R, G, B"
    yield written({name: np.ones(SHAPE, np.uint32) for name in "RGB"}), "are integers"
    yield written({"Y": channels["R"], "RY": channels["R"], "BY": channels["R"]}), "luminance and chroma"
    noted = write(folder / "other.exr", channels, {"owner": "Mx. Unknown"}).read_bytes()
    yield noted.replace(b"Mx.", b"M\xfc."), "not text in UTF-8"
    yield deep(folder / "deep.exr").read_bytes(), "deep data"


def test_what_cannot_be_painted_is_refused_in_one_line(tmp_path, capfd):
    for data, expected in refusals(tmp_path):
        path = tmp_path / "bad.exr"
        path.write_bytes(data)
        with pytest.raises(UserError) as error:
            load_image(path)
        assert expected in str(error.value)
        assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")
    with pytest.raises(UserError, match="too many for 1,000 pixels"):
        load_image(write(tmp_path / "many.exr", {f"c{n}": colors()["R"] for n in range(12)}), max_pixels=1000)


def test_random_damage_is_survived(tmp_path):
    whole = bytearray(write(tmp_path / "a.exr", colors() | {"A": colors()["R"]}, ATTRIBUTES).read_bytes())
    path = tmp_path / "bad.exr"
    for seed in range(150):
        rng, data = np.random.default_rng(seed), bytearray(whole)
        for at in rng.integers(4, 900 if seed % 2 else len(whole), 3):
            data[at] = rng.integers(256)
        path.write_bytes(data)
        with contextlib.suppress(UserError):
            assert np.isfinite(load_image(path).pixels).all()


def test_the_extra_is_named_where_it_is_missing(tmp_path, monkeypatch):
    path = write(tmp_path / "a.exr", colors())
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    for call in (lambda: load_image(path), lambda: save_image(tmp_path / "b.exr", np.zeros((2, 2, 3)))):
        with pytest.raises(UserError, match=r'pip install "neural-style-tf\[exr\]"'):
            call()


def test_an_original_that_is_gone_is_reported(tmp_path):
    path = write(tmp_path / "a.exr", colors())
    picture = load_image(path)
    path.unlink()
    with pytest.raises(UserError, match=r"a.exr cannot be read again"):
        save_image(tmp_path / "b.exr", picture.pixels, original=picture.original)
    assert not (tmp_path / "b.exr").exists()


def test_frames_of_different_windows_lie_in_one_area(tmp_path):
    files = []
    for number, left in enumerate((0, 4)):
        window = (np.array([left, left], np.int32), np.array([left + 31, left + 23], np.int32))
        channels = colors() | {"A": np.ones(SHAPE, np.float16)}
        files.append(write(tmp_path / f"f{number}.exr", channels, {"dataWindow": window}))
    area = exr.common_window(files)
    assert area == (0, 0, 35, 27)
    assert exr.common_window(files[:1]) is None
    picture, out = round_trip(files[1], window=area)
    assert picture.pixels.shape == (28, 36, 3)
    assert picture.alpha[:4].max() == 0
    assert picture.alpha[4:, 4:].min() == 255
    np.testing.assert_array_equal(out.channels()["R"].pixels, channels["R"])
    np.testing.assert_array_equal(out.header()["dataWindow"], window)
    with pytest.raises(UserError, match="outside of the area"):
        load_image(files[1], window=(0, 0, 31, 23))


def test_the_same_painting_gives_the_same_bytes(tmp_path):
    picture = load_image(write(tmp_path / "a.exr", colors()))
    encoded = [exr.encode(picture.pixels, original=picture.original) for _ in range(2)]
    assert encoded[0] == encoded[1]
    assert OpenEXR.File(io.BytesIO(encoded[0])).header()["type"] == OpenEXR.scanlineimage


def test_opacity_next_to_nothing_gives_no_nan(tmp_path):
    """1/opacity is beyond float32."""
    pixels = {name: np.ones((4, 4), np.float32) for name in "RGB"} | {"A": np.full((4, 4), 1e-39, np.float32)}
    photo = load_image(write(tmp_path / "a.exr", pixels))
    save_image(tmp_path / "b.exr", np.zeros((4, 4, 3), np.float32), original=photo.original)
    assert np.isfinite(read(tmp_path / "b.exr").channels()["R"].pixels).all()


def test_a_photo_that_was_replaced_by_another_size_is_refused(tmp_path):
    original = load_image(write(tmp_path / "a.exr", colors())).original
    write(tmp_path / "a.exr", {name: np.ones((3, 5), np.float16) for name in "RGB"})
    with pytest.raises(UserError, match=r"a\.exr was replaced by a file of another size"):
        save_image(tmp_path / "b.exr", np.zeros((*original.size, 3), np.float32), original=original)


def test_a_style_is_not_read_in_the_colours_of_another_photo(tmp_path):
    path = write(tmp_path / "a.exr", colors())
    with pytest.raises(UserError, match=r"a\.exr is OpenEXR, .*: leave out --profile=content"):
        load_image(path, profile=rgb_profile("Display P3"))
