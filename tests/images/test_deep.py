"""Colours of 16 bits a channel, wide-gamut profiles and the resolution of a print."""

import io
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import pyvips
from PIL import Image, ImageCms

from neural_style_tf.errors import UserError
from neural_style_tf.images import color, deep, load_image, save_image

METHODS = [None, 0, 3, 1, 5, 4, 6, 2]


def upright(array, orientation):
    flips = {2: "h", 3: "vh", 4: "v", 5: "t", 6: "th", 7: "tvh", 8: "tv"}.get(orientation, "")
    for step in flips:
        array = {"h": lambda a: a[:, ::-1], "v": lambda a: a[::-1], "t": lambda a: a.swapaxes(0, 1)}[step](
            array
        )
    return array


RNG = np.random.default_rng(0)
SUFFIXES = (".png", ".tiff")


def p3():
    """Return the ICC profile of Display P3 that libvips brings along."""
    one = pyvips.Image.black(1, 1, bands=3).copy(interpretation="srgb")
    tagged = one.icc_transform("p3", embedded=True, input_profile="srgb")
    return tagged.get("icc-profile-data")


def write(path, levels, profile=None, dpi=None):
    """Write colours of 16 bits by libvips."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    form = "PNG" if path.suffix == ".png" else "TIFF"
    path.write_bytes(deep.encode(levels, form, profile=profile or srgb, dpi=dpi))
    return path


def levels(height=30, width=40, channels=3):
    return RNG.integers(0, 65536, (height, width, channels), np.uint16)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_written_in_16_bits_is_read_in_16_bits(tmp_path, suffix):
    pixels = RNG.uniform(-5, 260, (30, 40, 3)).astype(np.float32)
    assert save_image(tmp_path / f"a{suffix}", pixels, bits=16) == ()
    found = load_image(tmp_path / f"a{suffix}")
    assert np.abs(found.pixels - np.clip(pixels, 0, 255)).max() < 0.51 / 256
    # A ramp of which 8 bits know only one level.
    ramp = np.tile(np.linspace(100, 101, 200, dtype=np.float32)[:, None], (8, 1, 3))
    save_image(tmp_path / f"r{suffix}", ramp, bits=16)
    assert len(np.unique(load_image(tmp_path / f"r{suffix}").pixels)) == 200
    save_image(tmp_path / f"s{suffix}", ramp, bits=8)
    assert len(np.unique(load_image(tmp_path / f"s{suffix}").pixels)) == 2


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_16_bits_with_transparency_at_any_size(tmp_path, suffix):
    pixels = RNG.uniform(0, 255, (30, 40, 3)).astype(np.float32)
    alpha = np.tile(np.linspace(1, 255, 40, dtype=np.uint8), (30, 1))
    save_image(tmp_path / f"a{suffix}", pixels, alpha=alpha, bits=16)
    found = load_image(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(found.alpha, alpha)
    assert np.abs(found.pixels - pixels).max() < 0.51 / 256
    smaller = load_image(tmp_path / f"a{suffix}", longest=20)
    save_image(tmp_path / f"b{suffix}", pixels, alpha=alpha)
    plain = load_image(tmp_path / f"b{suffix}", longest=20)
    assert np.abs(smaller.pixels - plain.pixels).max() < 1 and np.array_equal(smaller.alpha, plain.alpha)


def test_the_same_pixels_give_the_same_bytes_and_pillow_can_read_them(tmp_path):
    pixels = RNG.uniform(0, 255, (30, 40, 3)).astype(np.float32)
    for suffix in SUFFIXES:
        files = [tmp_path / f"{name}{suffix}" for name in "ab"]
        for file in files:
            save_image(file, pixels, bits=16, dpi=(300, 150))
        assert files[0].read_bytes() == files[1].read_bytes()
        with Image.open(files[0]) as picture:
            assert picture.info["dpi"] == pytest.approx((300, 150), rel=1e-3)
            assert ImageCms.ImageCmsProfile(io.BytesIO(picture.info["icc_profile"]))
            assert np.abs(np.asarray(picture, np.float32) - pixels).max() < 1.1


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("bits", [8, 16])
def test_a_wide_gamut_is_converted_or_kept(tmp_path, suffix, bits):
    profile, path = p3(), tmp_path / f"a{suffix}"
    colours = np.array([[[255, 0, 0], [0, 255, 0], [128, 128, 128], [200, 120, 60]]], np.float32)
    colours = np.repeat(np.repeat(colours, 20, 0), 10, 1)
    save_image(path, colours, bits=bits, profile=profile)
    kept = load_image(path, keep_profile=True)
    assert kept.profile == profile and np.abs(kept.pixels - colours).max() < 0.5
    converted = load_image(path)
    assert converted.profile is None
    # The same colour has more extreme numbers in the smaller space; greys are the same.
    assert np.abs(converted.pixels[:, 20:30] - 128).max() < 1.5
    assert converted.pixels[0, 35, 0] > 204 and converted.pixels[0, 35, 2] < 56
    # A picture in sRGB, in the space of the other.
    save_image(tmp_path / f"s{suffix}", converted.pixels, bits=bits)
    there = load_image(tmp_path / f"s{suffix}", profile=profile)
    assert there.profile == profile
    assert np.abs(there.pixels[:, 20:] - colours[:, 20:]).max() < 2


def test_without_a_wide_profile_there_is_nothing_to_keep(tmp_path):
    Image.fromarray(RNG.integers(0, 255, (9, 9, 3), np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(RNG.integers(0, 255, (9, 9), np.uint8)).save(tmp_path / "g.png")
    for name in ("a.png", "g.png"):
        assert load_image(tmp_path / name, keep_profile=True).profile is None
    # Grey pictures, too, are brought to the space of the photo, in which grey is grey.
    grey = load_image(tmp_path / "g.png", profile=p3())
    assert np.ptp(grey.pixels, -1).max() <= 1
    assert np.abs(grey.pixels - load_image(tmp_path / "g.png").pixels).max() <= 1


def test_damaged_files_of_16_bits_fall_back_or_are_refused(tmp_path):
    whole = write(tmp_path / "a.png", levels()).read_bytes()
    outcomes = set()
    for number in range(60):
        data = bytearray(whole)
        place = int(RNG.integers(8, len(data)))
        data[place] ^= 1 << int(RNG.integers(8))
        path = tmp_path / f"{number}.png"
        path.write_bytes(data[: int(RNG.integers(20, len(data)))] if number % 2 else data)
        try:
            picture = load_image(path, allow_truncated=number % 3 == 0)
            outcomes.add("read")
            assert np.isfinite(picture.pixels).all()
        except UserError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_the_resolution_of_the_photo(tmp_path):
    picture = Image.fromarray(RNG.integers(0, 255, (20, 30, 3), np.uint8))
    for given, expected in (((300, 300), (300, 300)), ((72, 144), (72, 144)), ((0, 0), None)):
        picture.save(tmp_path / "a.tiff", dpi=given)
        found = load_image(tmp_path / "a.tiff").dpi
        assert found == (pytest.approx(expected, rel=1e-3) if expected else None)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "b.jpg", dpi=(72, 144), exif=exif)
    turned = load_image(tmp_path / "b.jpg")
    assert turned.pixels.shape == (30, 20, 3) and turned.dpi == pytest.approx((144, 72), rel=1e-3)
    picture.save(tmp_path / "b.tiff", dpi=(72, 144), exif=exif)
    turned = load_image(tmp_path / "b.tiff")
    assert turned.pixels.shape == (30, 20, 3) and turned.dpi == pytest.approx((144, 72), rel=1e-3)


def test_a_run_in_16_bits_keeps_profile_and_resolution(job, tmp_path, capsys):
    write(tmp_path / "c.tiff", levels(48, 64), profile=p3(), dpi=(300, 300))
    flags = ("--content=c.tiff", "--bits=16", "--profile=content", "--iterations=2", "--save_every=1")
    assert job(*flags, "--output_dir=o", "--output=out.tiff") == 0
    for name in ("o/result.png", "out.tiff"):
        found = load_image(name, keep_profile=True)
        assert found.profile == p3() and found.dpi == pytest.approx((300, 300), rel=1e-3)
        assert len(np.unique(found.pixels)) > 256
    with Image.open("o/images/step-000001.png") as step:
        assert step.info["icc_profile"] == p3()
    assert job("--bits=16", "--dpi=150", "--iterations=1", "--output_dir=p", "--output=out.jpg") == 0
    assert "out.jpg: this format holds 8 bits a channel" in capsys.readouterr().out
    assert load_image("out.jpg").dpi == (150, 150)
    assert load_image("p/result.png").dpi == pytest.approx((150, 150), rel=1e-3)
    assert job.bare("--flagfile=o/flags.txt", "--output_dir=q", "--quiet") == 0
    assert Path("q/result.png").read_bytes() == Path("o/result.png").read_bytes()


def test_mistakes_are_one_line(job, monkeypatch, capsys):
    for flags, said in (
        (("--bits=12",), "--bits must be one of 8, 16"),
        (("--profile=p3",), "--profile must be one of srgb, content"),
        (("--dpi=0.5",), "--dpi must be at least 1"),
        (("--dpi=-3",), "--dpi must be at least 0"),
        (("--dpi=100000",), "--dpi must be at most 30000"),
    ):
        assert job("--iterations=1", *flags) == 2
        assert said in capsys.readouterr().err
    monkeypatch.setattr(deep, "is_installed", lambda: False)
    assert job("--iterations=1", "--bits=16") == 2
    assert "--bits=16 needs libvips: pip install" in capsys.readouterr().err


def test_16_bits_without_libvips_and_other_bits_are_refused(tmp_path, monkeypatch):
    pixels = np.zeros((4, 5, 3), np.float32)
    for missing in (ModuleNotFoundError("No module named 'pyvips'"), OSError("libvips.so.42: cannot open")):
        monkeypatch.setattr(deep, "_vips", mock.Mock(side_effect=missing))
        with pytest.raises(UserError, match='16 needs libvips: pip install "neural-style-tf.deep."'):
            save_image(tmp_path / "a.png", pixels, bits=16)
    with pytest.raises(UserError, match="bits must be 8 or 16, not '16'"):
        save_image(tmp_path / "a.png", pixels, bits="16")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiff_that_is_to_be_turned(tmp_path, orientation, bits):
    stored = levels(20, 30)
    image = pyvips.Image.new_from_array(stored if bits == 16 else (stored >> 8).astype(np.uint8))
    image = image.copy(interpretation="rgb16" if bits == 16 else "srgb")
    image.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    (tmp_path / "a.tif").write_bytes(image.write_to_buffer(".tif"))
    found = load_image(tmp_path / "a.tif").pixels
    expected = upright(stored / (257.0 if bits == 16 else 1.0), orientation)
    expected = expected if bits == 16 else np.floor(upright(stored, orientation) / 256.0)
    assert found.shape == expected.shape and np.abs(found - expected).max() < 0.01


def test_a_fourth_channel_that_is_no_opacity(tmp_path):
    image = pyvips.Image.new_from_array(levels(20, 30, 4)).copy(interpretation="rgb16")
    data = bytearray(image.write_to_buffer(".tif"))
    # ExtraSamples (338), one SHORT: 0, unspecified.
    at = bytes(data).index((338).to_bytes(2, "little") + (3).to_bytes(2, "little"))
    data[at + 8 : at + 10] = bytes(2)
    (tmp_path / "a.tif").write_bytes(data)
    with_vips = load_image(tmp_path / "a.tif")
    assert with_vips.alpha is None and len(np.unique(with_vips.pixels)) > 256


def test_16_bits_that_are_not_read_are_told(tmp_path, monkeypatch):
    write(tmp_path / "a.png", levels())
    monkeypatch.setattr(deep, "is_installed", lambda: False)
    [note] = load_image(tmp_path / "a.png").notes
    assert "of which 8 are read" in note and "deep" in note


def test_pictures_in_other_spaces_beside_one_whose_profile_is_kept(tmp_path):
    Image.fromarray(levels(9, 9, 4).astype(np.uint8), "CMYK").save(tmp_path / "c.jpg")
    found = load_image(tmp_path / "c.jpg", profile=p3())
    assert found.profile == p3() and np.isfinite(found.pixels).all()
    # A profile that can only be read from, as scanners have: the picture is taken to sRGB.
    data = bytearray(p3())
    data[12:16] = b"scnr"
    picture = Image.fromarray(levels(9, 9).astype(np.uint8))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(color, "_can_be_written", lambda profile: False)
        picture.save(tmp_path / "s.png", icc_profile=bytes(data))
        scanned = load_image(tmp_path / "s.png", keep_profile=True)
    assert scanned.profile is None and "can only be read" in scanned.notes[0]
