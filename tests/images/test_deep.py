"""Colours of 16 bits a channel, wide-gamut profiles and the resolution of a print."""

import io
from unittest import mock

import numpy as np
import pytest
import pyvips
from picture_files import as_stored
from PIL import Image, ImageCms

from neural_style_tf.errors import UserError
from neural_style_tf.images import color, deep, load_image, save_image

RNG = np.random.default_rng(0)
SUFFIXES = (".png", ".tiff")
PIXELS = RNG.uniform(0, 255, (30, 40, 3)).astype(np.float32)
LEVELS = RNG.integers(0, 65536, (30, 40, 4), np.uint16)


@pytest.fixture(scope="module")
def p3():
    """The ICC profile of Display P3 that libvips brings along, made by another hand."""
    pixel = pyvips.Image.black(1, 1, bands=3).copy(interpretation="srgb")
    return pixel.icc_transform("p3", embedded=True, input_profile="srgb").get("icc-profile-data")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_written_in_16_bits_is_read_in_16_bits(tmp_path, suffix):
    path, alpha = tmp_path / f"a{suffix}", np.tile(np.linspace(1, 255, 40, dtype=np.uint8), (30, 1))
    assert save_image(path, PIXELS * 1.1 - 5, bits=16, dpi=(300, 150)) == ()
    picture = load_image(path)
    assert np.abs(picture.pixels - np.clip(PIXELS * 1.1 - 5, 0, 255)).max() < 0.51 / 256
    assert picture.dpi == pytest.approx((300, 150), rel=1e-3)
    # The same pixels give the same bytes, and Pillow reads them, too.
    before = path.read_bytes()
    save_image(path, PIXELS * 1.1 - 5, bits=16, dpi=(300, 150))
    assert path.read_bytes() == before
    with Image.open(path) as image:
        assert ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        assert np.abs(np.asarray(image, np.float32) - picture.pixels).max() < 1.1
    # A ramp of which 8 bits know only one level.
    ramp = np.tile(np.linspace(100, 101, 200, dtype=np.float32)[:, None], (8, 1, 3))
    for bits, count in ((16, 200), (8, 2)):
        save_image(path, ramp, bits=bits)
        assert len(np.unique(load_image(path).pixels)) == count
    # With transparency, at any size.
    save_image(path, PIXELS, alpha=alpha, bits=16)
    picture = load_image(path)
    np.testing.assert_array_equal(picture.alpha, alpha)
    assert np.abs(picture.pixels - PIXELS).max() < 0.51 / 256
    smaller = load_image(path, longest=20)
    save_image(path, PIXELS, alpha=alpha)
    plain = load_image(path, longest=20)
    assert np.abs(smaller.pixels - plain.pixels).max() < 1 and np.array_equal(smaller.alpha, plain.alpha)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("bits", [8, 16])
def test_a_wide_gamut_is_converted_or_kept(tmp_path, p3, suffix, bits):
    path = tmp_path / f"a{suffix}"
    colors = np.array([[[255, 0, 0], [0, 255, 0], [128, 128, 128], [200, 120, 60]]], np.float32)
    colors = np.repeat(np.repeat(colors, 20, 0), 10, 1)
    save_image(path, colors, bits=bits, profile=p3)
    kept = load_image(path, keep_profile=True)
    assert kept.profile == p3 and np.abs(kept.pixels - colors).max() < 0.5
    converted = load_image(path)
    assert converted.profile is None
    # The same colour has more extreme numbers in the smaller space; greys are the same.
    assert np.abs(converted.pixels[:, 20:30] - 128).max() < 1.5
    assert converted.pixels[0, 35, 0] > 204 and converted.pixels[0, 35, 2] < 56
    # A picture in sRGB, in the space of the other.
    save_image(path, converted.pixels, bits=bits)
    there = load_image(path, profile=p3)
    assert there.profile == p3
    assert np.abs(there.pixels[:, 20:] - colors[:, 20:]).max() < 2


def test_pictures_in_other_spaces_beside_one_whose_profile_is_kept(tmp_path, p3, monkeypatch):
    image = Image.fromarray((LEVELS >> 8).astype(np.uint8))
    for name, mode in (("a.png", "RGB"), ("g.png", "L"), ("c.jpg", "CMYK")):
        image.convert(mode).save(tmp_path / name)
        assert load_image(tmp_path / name, keep_profile=True).profile is None
        assert load_image(tmp_path / name, profile=p3).profile == p3
    # Grey is grey in both.
    grey = load_image(tmp_path / "g.png", profile=p3).pixels
    assert np.ptp(grey, -1).max() <= 1 and np.abs(grey - load_image(tmp_path / "g.png").pixels).max() <= 1
    # Of a profile that can only be read from, as scanners have, the picture is converted to sRGB.
    transform = color._transform

    def refuse(profile, mode, target):
        if target is not None:
            raise ImageCms.PyCMSError
        return transform(profile, mode, target)

    monkeypatch.setattr(color, "_transform", refuse)
    image.convert("RGB").save(tmp_path / "s.png", icc_profile=p3)
    scanned = load_image(tmp_path / "s.png", keep_profile=True)
    assert scanned.profile is None and "can only be read" in scanned.notes[0]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_pictures_of_16_bits_are_turned_upright(tmp_path, suffix):
    upright = LEVELS[..., :3]
    for orientation in range(1, 9):
        image = pyvips.Image.new_from_array(as_stored(upright, orientation)).copy(
            interpretation="rgb16", xres=10, yres=20
        )
        image.set_type(pyvips.GValue.gint_type, "orientation", orientation)
        (tmp_path / "a").write_bytes(image.write_to_buffer(suffix))
        picture = load_image(tmp_path / "a")
        assert np.abs(picture.pixels - upright / 257.0).max() < 0.01
        assert picture.dpi == pytest.approx((254, 508) if orientation < 5 else (508, 254), rel=1e-3)


def test_16_bits_without_libvips_and_other_bits_are_refused(tmp_path, monkeypatch):
    for missing in (ModuleNotFoundError("No module named 'pyvips'"), OSError("libvips.so.42: cannot open")):
        monkeypatch.setattr(deep, "_vips", mock.Mock(side_effect=missing))
        with pytest.raises(UserError, match='16 needs libvips: pip install "neural-style-tf.deep."'):
            save_image(tmp_path / "a.png", PIXELS, bits=16)
    with pytest.raises(UserError, match="bits must be 8 or 16, not '16'"):
        save_image(tmp_path / "a.png", PIXELS, bits="16")
    assert not list(tmp_path.iterdir())


def test_a_run_in_16_bits_keeps_profile_and_resolution(job, p3, tmp_path, capsys):
    # Of the size of other tests' pictures, whose compiled step it shares.
    photo = RNG.uniform(0, 255, (48, 64, 3))
    save_image(tmp_path / "c.tiff", photo, bits=16, profile=p3, dpi=(300, 300))
    flags = ("--content=c.tiff", "--bits=16", "--iterations=1")
    assert job(*flags, "--profile=content", "--save_every=1", "--output_dir=o", "--output=out.tiff") == 0
    for name in ("o/result.png", "out.tiff"):
        picture = load_image(name, keep_profile=True)
        assert picture.profile == p3 and picture.dpi == pytest.approx((300, 300), rel=1e-3)
        assert len(np.unique(picture.pixels)) > 256
    with Image.open("o/images/step-000001.png") as step:
        assert step.info["icc_profile"] == p3
    assert job(*flags, "--dpi=150", "--output_dir=p", "--output=out.jpg") == 0
    assert "out.jpg: this format holds 8 bits a channel" in capsys.readouterr().out
    for name in ("out.jpg", "p/result.png"):
        assert load_image(name).dpi == pytest.approx((150, 150), rel=1e-3)
