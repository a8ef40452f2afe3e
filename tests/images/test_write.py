"""Write pictures: formats, rounding, transparency, mistakes."""

import errno
import io
import os

import numpy as np
import pytest
from PIL import Image, ImageCms, JpegImagePlugin

from neural_style_tf.errors import RunError, UserError
from neural_style_tf.images import check_output, color, load_image, save_image

Y, X = np.mgrid[0 : 1 : 40 * 1j, 0 : 1 : 64 * 1j]
SMOOTH = np.stack([255 * X, 255 * Y, 255 * (1 - X) * (1 - Y)], -1).astype(np.uint8)
ALPHA = np.random.default_rng(4).integers(0, 256, (40, 64)).astype(np.uint8)
FORMATS = {"png": "PNG", "jpg": "JPEG", "JPEG": "JPEG", "webp": "WEBP", "tif": "TIFF", "tiff": "TIFF"}


@pytest.mark.parametrize(("suffix", "form"), FORMATS.items())
def test_the_suffix_names_the_format(tmp_path, suffix, form):
    path = tmp_path / f"out.{suffix}"
    assert save_image(path, SMOOTH.astype(np.float32), text={"Comment": "α = 1"}) == ()
    with Image.open(path) as image:
        assert image.format == form
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        assert "sRGB" in ImageCms.getProfileDescription(profile)
        if form == "JPEG":
            assert JpegImagePlugin.get_sampling(image) == 0
            assert image.quantization[0][0] == 2, "not quality 95"
        if form == "PNG":
            assert image.text == {"Comment": "α = 1"}
    back = load_image(path)
    assert back.notes == ()
    np.testing.assert_allclose(back.pixels, SMOOTH, atol={"JPEG": 4, "WEBP": 12}.get(form, 0))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    # The same pixels give the same bytes; littlecms' profile would tell when it was made.
    before = path.read_bytes()
    color.srgb_profile.cache_clear()
    assert color.srgb_profile()[24:36] == bytes(12)
    save_image(path, SMOOTH.astype(np.float32), text={"Comment": "α = 1"})
    assert path.read_bytes() == before


def test_pixels_are_rounded_and_clipped(tmp_path):
    pixels = np.array([-1e9, -0.6, 0.49, 0.5, 1.5, 2.5, 254.49, 254.5, 255.4, 300.0, 7.0, 1e30])
    save_image(tmp_path / "a.png", pixels.reshape(1, 2, 2, 3))
    stored = np.asarray(Image.open(tmp_path / "a.png")).ravel()
    np.testing.assert_array_equal(stored, [0, 0, 0, 1, 2, 3, 254, 255, 255, 255, 7, 255])


def bytescale(data):
    """scipy.misc.pilutil.bytescale of SciPy 0.18, as its arithmetic is documented."""
    low, high = float(data.min()), float(data.max())
    scale = 255.0 / ((high - low) or 1.0)
    return np.array(
        [int(min(max((float(v) - low) * scale, 0.0), 255.0) + 0.5) for v in data.ravel()], np.uint8
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_stretch_is_what_imsave_did(tmp_path, dtype):
    pixels = np.random.default_rng(3).normal(120, 40, (9, 7, 3)).astype(dtype)
    save_image(tmp_path / "a.png", pixels, stretch=True)
    stored = np.asarray(Image.open(tmp_path / "a.png"))
    np.testing.assert_array_equal(stored.ravel(), bytescale(pixels))
    save_image(tmp_path / "b.png", np.full((2, 2, 3), 77.0), stretch=True)
    assert np.asarray(Image.open(tmp_path / "b.png")).max() == 0


def test_arrays_that_are_no_picture(tmp_path):
    for shape in ((4, 5), (4, 5, 1), (4, 5, 4), (2, 4, 5, 3), (0, 5, 3)):
        with pytest.raises(ValueError, match=r"expected pixels of shape \[H, W, 3\]"):
            save_image(tmp_path / "a.png", np.zeros(shape))
    for alpha in (np.zeros((64, 40), np.uint8), np.zeros((40, 64)), np.zeros((40, 64, 1), np.uint8)):
        with pytest.raises(ValueError, match="expected alpha of uint8"):
            save_image(tmp_path / "a.png", SMOOTH, alpha=alpha)
    for bad in (np.nan, np.inf, -np.inf):
        pixels = np.zeros((4, 5, 3))
        pixels[1, 2, 0] = bad
        with pytest.raises(ValueError, match="1 of 60 values are not finite; a NaN is never") as caught:
            save_image(tmp_path / "a.png", pixels)
        assert not isinstance(caught.value, UserError)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_alpha_comes_back(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    assert save_image(path, SMOOTH, alpha=ALPHA) == ()
    back = load_image(path)
    np.testing.assert_array_equal(back.alpha, ALPHA)
    np.testing.assert_allclose(back.pixels, SMOOTH, atol=12 if suffix == "webp" else 0)


def test_jpeg_says_that_it_drops_alpha(tmp_path):
    notes = save_image(tmp_path / "a.jpg", SMOOTH, alpha=ALPHA)
    assert notes == ("a.jpg: JPEG cannot hold transparency; it is left out",)
    assert load_image(tmp_path / "a.jpg").alpha is None


def test_a_failed_write_leaves_the_old_picture(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    save_image(path, SMOOTH)
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"a\.png could not be written: No space left"):
        save_image(path, 255 - SMOOTH)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_check_output_finds_the_mistake_early(tmp_path, monkeypatch):
    (tmp_path / "old.jpg").touch()
    (tmp_path / "folder.png").mkdir()
    check_output(tmp_path / "new.png")
    check_output(tmp_path / "NEW.TIFF", size=(100_000, 10))
    check_output(tmp_path / "old.jpg", size=(65_500, 10))
    for name, size, message in [
        (
            "a.pgn",
            None,
            r"has the suffix \.pgn \(did you mean '\.png'\?\); a picture can be written as \.png",
        ),
        ("a", None, "has no suffix; a picture can be written as .*webp"),
        ("nowhere/a.png", None, "there is no folder .*nowhere; create it first"),
        ("old.jpg/a.png", None, "is not a folder"),
        ("folder.png", None, "something that is not a file"),
        ("a.jpg", (10, 65_501), "65501 pixels is too long for this format"),
        ("a.webp", (16_384, 1), "16384 pixels is too long for this format"),
        ("a\0.png", None, "cannot be written"),
    ]:
        with pytest.raises(UserError, match=message) as caught:
            check_output(tmp_path / name, size=size)
        assert str(caught.value).isprintable()
        if size is None:
            with pytest.raises(UserError, match=message):
                save_image(tmp_path / name, SMOOTH)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UserError, match="permission denied in folder"):
        check_output(tmp_path / "new.png")
