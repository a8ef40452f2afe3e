"""Pictures: reading upright, resizing, writing."""

import errno
import hashlib
import importlib
import io
import os
import sys
import time
import tracemalloc

import numpy as np
import pytest
from PIL import Image, ImageCms, JpegImagePlugin, features

from neural_style_tf.errors import RunError, UserError
from neural_style_tf.images import check_output, color, fit_size, load_image, resize, save_image

resizing = importlib.import_module("neural_style_tf.images.resize")


def colors(height=20, width=30, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def smooth(height=40, width=64):
    """A picture that survives JPEG and tells every turn and mirror image of itself apart."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    return np.stack([255 * x, 255 * y, 255 * (1 - x) * (1 - y)], -1).astype(np.uint8)


def test_a_picture_is_its_pixels_and_its_hash(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(colors()).save(path)
    picture = load_image(path)
    assert picture.pixels.dtype == np.float32
    np.testing.assert_array_equal(picture.pixels, colors())
    assert picture.alpha is None
    assert picture.notes == ()
    assert picture.path == path
    assert picture.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    np.testing.assert_array_equal(load_image(str(path)).pixels, colors())


# EXIF 2.32, tag 0x0112: where the first stored row and the first stored column are seen.
ORIENTATIONS = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


def as_stored(upright, orientation):
    first_row, first_column = ORIENTATIONS[orientation]
    stored = upright.swapaxes(0, 1) if first_row in ("left", "right") else upright
    stored = stored[::-1] if first_row in ("right", "bottom") else stored
    return np.ascontiguousarray(stored[:, ::-1] if first_column in ("right", "bottom") else stored)


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg", "webp"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_orientation_is_turned_upright(tmp_path, orientation, suffix):
    path = tmp_path / f"turned.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"jpg": {"quality": 95, "subsampling": 0}, "webp": {"lossless": True}}.get(suffix, {})
    Image.fromarray(as_stored(smooth(), orientation)).save(path, exif=exif, **options)
    tolerance = 4 if suffix == "jpg" else 0
    np.testing.assert_allclose(load_image(path).pixels, smooth(), atol=tolerance)
    small = load_image(path, longest=16).pixels
    np.testing.assert_allclose(small, resize(smooth(), (10, 16)), atol=tolerance + 0.01)


def test_alpha_is_turned_with_its_picture(tmp_path):
    rgba = np.dstack([colors(), np.arange(600).reshape(20, 30) % 256]).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(as_stored(rgba, 6)).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(load_image(tmp_path / "a.png").alpha, rgba[..., 3])


@pytest.mark.parametrize("value", [0, 9, 1000])
def test_an_orientation_that_does_not_exist_is_none(tmp_path, value):
    exif = Image.Exif()
    exif[0x0112] = value
    Image.fromarray(colors()).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(load_image(tmp_path / "a.png").pixels, colors())


@pytest.mark.parametrize(
    ("size", "longest", "expected"),
    [
        ((600, 800), 400, (300, 400)),
        ((800, 600), 400, (400, 300)),
        ((600, 800), 800, (600, 800)),
        ((600, 800), 5000, (600, 800)),
        ((600, 800), None, (600, 800)),
        ((600, 800), 0, (600, 800)),
        ((5, 10), 5, (3, 5)),  # 2.5 goes up
        ((3, 10), 5, (2, 5)),  # 1.5 goes up, where Python's round() would also give 2
        ((9, 10), 5, (5, 5)),  # 4.5 goes up, where round() would give 4
        ((249, 1000), 10, (2, 10)),  # 2.49
        ((1, 100_000), 512, (1, 512)),
        ((3, 3), 1, (1, 1)),
    ],
)
def test_fit_size(size, longest, expected):
    assert fit_size(size, longest) == expected


@pytest.mark.parametrize(
    ("size", "longest", "expected"),
    [
        ((2, 3), 30, (20, 30)),
        ((3, 2), 5, (5, 3)),
        ((20, 30), 3, (2, 3)),
        ((2, 3), 3, (2, 3)),
        ((2, 3), 0, (2, 3)),
    ],
)
def test_fit_size_may_enlarge(size, longest, expected):
    assert fit_size(size, longest, enlarge=True) == expected


def test_a_picture_is_enlarged_with_its_transparency(tmp_path):
    pixels = np.zeros((4, 6, 4), np.uint8)
    pixels[:, :3] = (255, 0, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    picture = load_image(tmp_path / "a.png", longest=60, enlarge=True)
    assert picture.pixels.shape == (40, 60, 3) and picture.alpha.shape == (40, 60)
    assert picture.alpha.dtype == np.uint8
    assert picture.alpha[:, :25].min() > 235 and picture.alpha[:, 35:].max() < 20
    with pytest.raises(UserError, match="enlarged would have 240,000 pixels, over the limit of 200,000"):
        load_image(tmp_path / "a.png", longest=600, enlarge=True, max_pixels=200_000)
    assert load_image(tmp_path / "a.png", longest=60).pixels.shape == (4, 6, 3)


# AVIF and HEIC


def halves(size=(40, 64)):
    """A picture whose upper left is red, its lower right blue."""
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[: size[0] // 2, : size[1] // 2] = (255, 0, 0)
    pixels[size[0] // 2 :, size[1] // 2 :] = (0, 0, 255)
    return Image.fromarray(pixels)


@pytest.fixture(params=["AVIF", "HEIF"])
def modern(request):
    # Asked for what it does not know, an earlier Pillow warns.
    if request.param == "AVIF" and not ("avif" in features.modules and features.check("avif")):
        pytest.skip("this Pillow has no AVIF")
    pytest.importorskip("pillow_heif").register_heif_opener()
    return request.param


@pytest.mark.parametrize("name", ["a.avif", "a.heic", "a.jpg", "a"])
def test_avif_and_heic_are_known_by_their_content(tmp_path, modern, name):
    halves().save(tmp_path / name, modern, quality=100)
    picture = load_image(tmp_path / name)
    assert picture.notes == () and picture.alpha is None
    assert np.abs(picture.pixels - np.asarray(halves(), np.float32)).mean() < 4


def test_avif_and_heic_are_turned_upright_and_keep_alpha(tmp_path, modern):
    exif = Image.Exif()
    exif[0x0112] = 6
    halves().save(tmp_path / "a", modern, quality=100, exif=exif.tobytes())
    picture = load_image(tmp_path / "a").pixels
    # A quarter to the right.
    assert picture.shape == (64, 40, 3)
    assert picture[10, 30, 0] > 200 and picture[-10, 10, 2] > 200 and picture[10, 10].max() < 50
    clear = halves()
    clear.putalpha(100)
    clear.save(tmp_path / "b", modern, quality=100)
    assert np.abs(load_image(tmp_path / "b").alpha.astype(int) - 100).max() <= 2


def test_damaged_avif_and_heic_are_refused_by_name(tmp_path, modern):
    halves().save(tmp_path / "a", modern)
    data = (tmp_path / "a").read_bytes()
    for length in (len(data) * 2 // 3, 60, 28):
        (tmp_path / "b").write_bytes(data[:length])
        with pytest.raises(UserError, match=rf"{modern[:2]}.. file that is cut short or damaged") as caught:
            load_image(tmp_path / "b")
        # Advised only where it helps.
        if "--allow_truncated" in str(caught.value):
            load_image(tmp_path / "b", allow_truncated=True)


def test_several_pictures_in_one_file_are_told(tmp_path, modern):
    halves().save(tmp_path / "a", modern, save_all=True, append_images=[halves()])
    [note] = load_image(tmp_path / "a").notes
    assert ("is animated" if modern == "AVIF" else "holds several pictures") in note


def test_heic_without_its_reader_names_the_extra(tmp_path, monkeypatch):
    pytest.importorskip("pillow_heif").register_heif_opener()
    halves().save(tmp_path / "photo.jpg", "HEIF")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UserError, match=r'is a HEIC picture.*pip install "neural-style-tf\[heic\]"'):
        load_image(tmp_path / "photo.jpg")


def test_a_picture_is_shrunk_on_loading_but_never_enlarged(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(colors()).save(path)
    small = load_image(path, longest=12)
    assert small.pixels.shape == (8, 12, 3)
    assert small.pixels.dtype == np.float32
    unclipped = resize(np.pad(colors().astype(np.float32), 0), (8, 12))
    np.testing.assert_allclose(small.pixels, unclipped, atol=0.01)
    for longest in (None, 0, 30, 31, 9999):
        np.testing.assert_array_equal(load_image(path, longest=longest).pixels, colors())
    with pytest.raises(UserError, match="longest side must be at least 1"):
        load_image(path, longest=-1)


def lanczos_1d(values, size):
    """Antialiased Lanczos-3 along the first axis, from its definition."""
    scale = len(values) / size
    stretch = max(scale, 1.0)
    out = np.zeros((size, *values.shape[1:]))
    for i in range(size):
        distance = (np.arange(len(values)) + 0.5 - (i + 0.5) * scale) / stretch
        weights = np.where(np.abs(distance) < 3, np.sinc(distance) * np.sinc(distance / 3), 0.0)
        out[i] = np.tensordot(weights / weights.sum(), values, 1)
    return out


@pytest.mark.parametrize("size", [(7, 11), (20, 11), (7, 30), (41, 63), (1, 1), (20, 30)])
def test_resize_is_antialiased_lanczos(size):
    pixels = colors().astype(np.float64)
    expected = lanczos_1d(lanczos_1d(pixels, size[0]).swapaxes(0, 1), size[1]).swapaxes(0, 1)
    expected = np.clip(expected, pixels.min((0, 1)), pixels.max((0, 1)))
    np.testing.assert_allclose(resize(pixels, size), expected, atol=0.02)


def test_resize_takes_out_what_the_small_size_cannot_show():
    checkers = np.indices((64, 64)).sum(0) % 2 * 255.0
    inner = resize(checkers, (16, 16))[3:-3, 3:-3]
    np.testing.assert_allclose(inner, 127.5, atol=1.0)


def test_resize_keeps_shape_and_range():
    assert resize(np.zeros((4, 6)), (2, 3)).shape == (2, 3)
    assert resize(np.zeros((1, 4, 6, 3)), (2, 3)).shape == (1, 2, 3, 3)
    assert resize(np.zeros((4, 6, 5)), (8, 3)).shape == (8, 3, 5)
    np.testing.assert_allclose(resize(np.full((5, 5), 7.0), (9, 2)), 7.0, rtol=1e-6)
    edge = np.repeat([[0.0, 1.0]], 8, 0).repeat(8, 1)
    assert resize(edge, (5, 11)).min() >= 0.0
    assert resize(edge, (5, 11)).max() <= 1.0
    for shape, size in [((2, 4, 6, 3), (2, 3)), ((4,), (2, 3)), ((4, 6), (0, 3)), ((0, 6, 3), (2, 3))]:
        with pytest.raises(ValueError, match="cannot resize"):
            resize(np.zeros(shape), size)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "CMYK", "I;16", "1"])
@pytest.mark.parametrize("longest", [None, 11])
def test_strips_leave_no_seams(tmp_path, monkeypatch, mode, longest):
    alpha = np.random.default_rng(1).integers(0, 256, (20, 30, 1)).astype(np.uint8)
    if mode == "I;16":
        image = Image.fromarray(np.random.default_rng(2).integers(0, 65536, (20, 30)).astype(np.uint16))
    else:
        image = Image.fromarray(np.dstack([colors(), alpha])).convert(mode)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(path)
    whole = load_image(path, longest=longest)
    monkeypatch.setattr(resizing, "_PIXELS_PER_STRIP", 90)
    strips = load_image(path, longest=longest)
    np.testing.assert_array_equal(strips.pixels, whole.pixels)
    np.testing.assert_array_equal(strips.alpha, whole.alpha)


def test_a_large_picture_is_never_held_as_floats(tmp_path):
    path = tmp_path / "large.png"
    Image.new("RGB", (6000, 3000), (10, 200, 30)).save(path, compress_level=1)
    tracemalloc.start()
    small = load_image(path, longest=64).pixels
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_allclose(small, np.broadcast_to([10, 200, 30], (32, 64, 3)), atol=0.01)
    assert peak < 64e6, f"{peak / 1e6:.0f} MB; the picture as float32 has {6000 * 3000 * 12 / 1e6:.0f} MB"


@pytest.mark.parametrize("suffix", ["png", "gif", "webp", "tif"])
def test_of_an_animation_the_first_frame_is_used(tmp_path, suffix):
    path = tmp_path / f"moving.{suffix}"
    frames = [Image.new("RGB", (8, 6), color) for color in ("red", "blue", "lime")]
    options = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    picture = load_image(path)
    np.testing.assert_array_equal(picture.pixels, np.broadcast_to([255, 0, 0], (6, 8, 3)))
    what = "holds several pictures; the first picture" if suffix == "tif" else "is animated; the first frame"
    assert picture.notes == (f"{path} {what} is used",)
    frames[0].save(path)
    assert load_image(path).notes == ()


def test_the_still_picture_beside_an_animation_is_no_frame(tmp_path):
    still, *frames = [Image.new("RGB", (8, 6), color) for color in ("blue", "red", "lime")]
    still.save(tmp_path / "a.png", save_all=True, append_images=frames, default_image=True)
    np.testing.assert_array_equal(load_image(tmp_path / "a.png").pixels[0, 0], [255, 0, 0])


def test_of_several_pictures_of_a_phone_the_main_one_is_used(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    file = pillow_heif.from_pillow(Image.new("RGB", (64, 64), "red"))
    file.add_from_pillow(Image.new("RGB", (320, 320), "blue"))
    file.save(tmp_path / "a.heic", primary_index=1)
    picture = load_image(tmp_path / "a.heic")
    assert picture.pixels.shape == (320, 320, 3)
    assert picture.notes == (f"{tmp_path / 'a.heic'} holds several pictures; the main picture is used",)


@pytest.mark.parametrize(
    ("suffix", "form"),
    [("png", "PNG"), ("jpg", "JPEG"), ("JPEG", "JPEG"), ("webp", "WEBP"), ("tif", "TIFF"), ("tiff", "TIFF")],
)
def test_the_suffix_names_the_format(tmp_path, suffix, form):
    path = tmp_path / f"out.{suffix}"
    assert save_image(path, smooth().astype(np.float32)) == ()
    with Image.open(path) as image:
        assert image.format == form
        assert "sRGB" in ImageCms.getProfileDescription(
            ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        )
        if form == "JPEG":
            assert JpegImagePlugin.get_sampling(image) == 0
            assert image.quantization[0][0] == 2, "not quality 95"
    back = load_image(path)
    assert back.notes == ()
    lossy = {"JPEG": 4, "WEBP": 12}.get(form, 0)
    np.testing.assert_allclose(back.pixels, smooth(), atol=lossy)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


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
    assert (stored.min(), stored.max()) == (0, 255)
    save_image(tmp_path / "b.png", np.full((2, 2, 3), 77.0), stretch=True)
    assert np.asarray(Image.open(tmp_path / "b.png")).max() == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_nan_is_never_written(tmp_path, bad):
    pixels = np.zeros((4, 5, 3))
    pixels[1, 2, 0] = bad
    with pytest.raises(ValueError, match="1 of 60 values are not finite; a NaN is never written") as caught:
        save_image(tmp_path / "a.png", pixels)
    assert not isinstance(caught.value, UserError)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 4), (2, 4, 5, 3), (0, 5, 3)])
def test_only_rgb_is_written(tmp_path, shape):
    with pytest.raises(ValueError, match=r"expected pixels of shape \[H, W, 3\]"):
        save_image(tmp_path / "a.png", np.zeros(shape))


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_alpha_comes_back(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    alpha = np.random.default_rng(4).integers(0, 256, (40, 64)).astype(np.uint8)
    assert save_image(path, smooth(), alpha=alpha) == ()
    back = load_image(path)
    np.testing.assert_array_equal(back.alpha, alpha)
    assert back.alpha.dtype == np.uint8
    np.testing.assert_allclose(back.pixels, smooth(), atol=12 if suffix == "webp" else 0)


def test_jpeg_says_that_it_drops_alpha(tmp_path):
    notes = save_image(tmp_path / "a.jpg", smooth(), alpha=np.zeros((40, 64), np.uint8))
    assert notes == ("a.jpg: JPEG cannot hold transparency; it is left out",)
    assert load_image(tmp_path / "a.jpg").alpha is None


@pytest.mark.parametrize(
    "alpha", [np.zeros((64, 40), np.uint8), np.zeros((40, 64)), np.zeros((40, 64, 1), np.uint8)]
)
def test_alpha_must_fit(tmp_path, alpha):
    with pytest.raises(ValueError, match="expected alpha of uint8"):
        save_image(tmp_path / "a.png", smooth(), alpha=alpha)


def test_the_same_pixels_give_the_same_bytes(tmp_path):
    for suffix in ("png", "jpg", "webp", "tif"):
        save_image(tmp_path / f"first.{suffix}", smooth())
    # The profile is made once a process; another process, a second later, would make another.
    color.srgb_profile.cache_clear()
    time.sleep(1.1)
    for suffix in ("png", "jpg", "webp", "tif"):
        save_image(tmp_path / f"second.{suffix}", smooth())
        first, second = (tmp_path / f"{name}.{suffix}" for name in ("first", "second"))
        assert first.read_bytes() == second.read_bytes(), suffix


def test_text_is_kept_in_a_png(tmp_path):
    save_image(tmp_path / "a.png", smooth(), text={"Software": "neural_style_tf", "Comment": "α = 1"})
    with Image.open(tmp_path / "a.png") as image:
        assert image.text == {"Software": "neural_style_tf", "Comment": "α = 1"}
    save_image(tmp_path / "a.jpg", smooth(), text={"Software": "neural_style_tf"})


def test_a_failed_write_leaves_the_old_picture(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    save_image(path, smooth())
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"a\.png could not be written: No space left"):
        save_image(path, 255 - smooth())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_check_output_finds_the_mistake_early(tmp_path, monkeypatch):
    check_output(tmp_path / "new.png")
    check_output(tmp_path / "NEW.TIFF", size=(100_000, 10))
    (tmp_path / "old.jpg").touch()
    check_output(tmp_path / "old.jpg", size=(65_500, 10))
    (tmp_path / "folder.png").mkdir()
    for name, size, message in [
        (
            "a.pgn",
            None,
            r"has the suffix \.pgn \(did you mean '\.png'\?\); a picture can be written as \.png",
        ),
        ("a", None, "has no suffix; a picture can be written as .*webp"),
        ("a.gif", None, r"suffix \.gif"),
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
                save_image(tmp_path / name, smooth())
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UserError, match="permission denied in folder"):
        check_output(tmp_path / "new.png")
