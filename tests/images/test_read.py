"""Read pictures upright, in all formats, and resize them."""

import hashlib
import sys
from importlib import import_module

import numpy as np
import pytest
from picture_files import ORIENTATIONS, as_stored
from PIL import Image

from neural_style_tf.errors import UserError
from neural_style_tf.images import fit_size, load_image, resize

RNG = np.random.default_rng(0)
COLORS = RNG.integers(0, 256, (20, 30, 3), np.uint8)
# A picture that survives JPEG and tells every turn and mirror image of itself apart.
Y, X = np.mgrid[0 : 1 : 40 * 1j, 0 : 1 : 64 * 1j]
SMOOTH = np.stack([255 * X, 255 * Y, 255 * (1 - X) * (1 - Y)], -1).astype(np.uint8)


def exif_of(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def test_a_picture_is_its_pixels_and_its_hash(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(COLORS).save(path)
    picture = load_image(str(path))
    assert picture.pixels.dtype == np.float32
    np.testing.assert_array_equal(picture.pixels, COLORS)
    assert (picture.alpha, picture.notes, picture.path) == (None, (), path)
    assert picture.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg", "webp"])
def test_every_orientation_is_turned_upright_with_its_resolution(tmp_path, suffix):
    path, tolerance = tmp_path / f"a.{suffix}", 4 if suffix == "jpg" else 0
    options = {"jpg": {"quality": 95, "subsampling": 0}, "webp": {"lossless": True}}.get(suffix, {})
    for orientation in ORIENTATIONS:
        stored = Image.fromarray(as_stored(SMOOTH, orientation))
        stored.save(path, exif=exif_of(orientation), dpi=(72, 144), **options)
        picture = load_image(path)
        np.testing.assert_allclose(picture.pixels, SMOOTH, atol=tolerance)
        if suffix != "webp":
            assert picture.dpi == pytest.approx((72, 144) if orientation < 5 else (144, 72), rel=1e-3)
        small = load_image(path, longest=16).pixels
        np.testing.assert_allclose(small, resize(SMOOTH, (10, 16)), atol=tolerance + 0.01)


def test_a_resolution_that_is_none(tmp_path):
    for dpi in ((0, 0), (1e6, 1e6), None):
        Image.fromarray(COLORS).save(tmp_path / "a.tif", **({"dpi": dpi} if dpi else {}))
        assert load_image(tmp_path / "a.tif").dpi is None


@pytest.mark.parametrize(
    ("size", "longest", "expected"),
    [
        ((600, 800), 400, (300, 400)),
        ((800, 600), 400, (400, 300)),
        ((600, 800), 5000, (600, 800)),
        ((600, 800), None, (600, 800)),
        ((600, 800), 0, (600, 800)),
        ((5, 10), 5, (3, 5)),  # 2.5 goes up
        ((3, 10), 5, (2, 5)),  # 1.5 goes up, where Python's round() would also give 2
        ((9, 10), 5, (5, 5)),  # 4.5 goes up, where round() would give 4
        ((249, 1000), 10, (2, 10)),  # 2.49
        ((1, 100_000), 512, (1, 512)),
    ],
)
def test_fit_size(size, longest, expected):
    assert fit_size(size, longest) == expected
    assert fit_size((2, 3), 30, enlarge=True) == (20, 30)


def test_a_picture_is_shrunk_on_loading_and_enlarged_only_on_request(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(COLORS).save(path)
    small = load_image(path, longest=12).pixels
    np.testing.assert_allclose(small, resize(COLORS, (8, 12)), atol=0.01)
    for longest in (None, 0, 30, 9999):
        np.testing.assert_array_equal(load_image(path, longest=longest).pixels, COLORS)
    with pytest.raises(UserError, match="longest side must be at least 1"):
        load_image(path, longest=-1)
    pixels = np.zeros((4, 6, 4), np.uint8)
    pixels[:, :3] = (255, 0, 0, 255)
    Image.fromarray(pixels).save(path)
    picture = load_image(path, longest=60, enlarge=True)
    assert picture.pixels.shape == (40, 60, 3) and picture.alpha.dtype == np.uint8
    assert picture.alpha[:, :25].min() > 235 and picture.alpha[:, 35:].max() < 20
    with pytest.raises(UserError, match="enlarged would have 240,000 pixels, over the limit of 200,000"):
        load_image(path, longest=600, enlarge=True, max_pixels=200_000)


# AVIF and HEIC


@pytest.fixture(params=["AVIF", "HEIF"])
def modern(request):
    pytest.importorskip("pillow_heif").register_heif_opener()
    return request.param


@pytest.fixture
def halves():
    """A picture whose upper left is red, its lower right blue."""
    pixels = np.zeros((40, 64, 3), np.uint8)
    pixels[:20, :32], pixels[20:, 32:] = (255, 0, 0), (0, 0, 255)
    return Image.fromarray(pixels)


def test_avif_and_heic_by_their_content_upright_and_with_alpha(tmp_path, modern, halves):
    for name in ("a.heic", "a.jpg", "a"):
        halves.save(tmp_path / name, modern, quality=100)
        picture = load_image(tmp_path / name)
        assert picture.notes == () and picture.alpha is None
        assert np.abs(picture.pixels - np.asarray(halves, np.float32)).mean() < 4
    halves.save(tmp_path / "a", modern, quality=100, exif=exif_of(6).tobytes())
    turned = load_image(tmp_path / "a").pixels
    assert turned.shape == (64, 40, 3)
    assert turned[10, 30, 0] > 200 and turned[-10, 10, 2] > 200 and turned[10, 10].max() < 50
    halves.putalpha(100)
    halves.save(tmp_path / "b", modern, quality=100)
    assert np.abs(load_image(tmp_path / "b").alpha.astype(int) - 100).max() <= 2


def test_avif_and_heic_that_are_damaged_or_hold_several_pictures(tmp_path, modern, halves):
    halves.save(tmp_path / "a", modern, save_all=True, append_images=[halves])
    [note] = load_image(tmp_path / "a").notes
    assert ("is animated" if modern == "AVIF" else "holds several pictures") in note
    halves.save(tmp_path / "a", modern)
    data = (tmp_path / "a").read_bytes()
    for length in (len(data) * 2 // 3, 60, 28):
        (tmp_path / "b").write_bytes(data[:length])
        with pytest.raises(UserError, match=rf"{modern[:2]}.. file that is cut short or damaged") as caught:
            load_image(tmp_path / "b")
        # The advice is given only where it helps.
        if "--allow_truncated" in str(caught.value):
            load_image(tmp_path / "b", allow_truncated=True)


def test_heic_of_a_phone(tmp_path, monkeypatch, halves):
    pillow_heif = pytest.importorskip("pillow_heif")
    file = pillow_heif.from_pillow(Image.new("RGB", (64, 64), "red"))
    file.add_from_pillow(halves)
    file.save(tmp_path / "a.heic", primary_index=1)
    picture = load_image(tmp_path / "a.heic")
    assert picture.pixels.shape == (40, 64, 3)
    assert picture.notes == (f"{tmp_path / 'a.heic'} holds several pictures; the main picture is used",)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UserError, match=r'is a HEIC picture.*pip install "neural-style-tf\[heic\]"'):
        load_image(tmp_path / "a.heic")


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
    if suffix == "png":
        # The still picture beside an animation is no frame.
        frames[1].save(path, save_all=True, append_images=[frames[0], frames[2]], default_image=True)
        np.testing.assert_array_equal(load_image(path).pixels[0, 0], [255, 0, 0])


def lanczos(values, size):
    """Antialiased Lanczos-3 along the first axis, from its definition."""
    scale = len(values) / size
    stretch = max(scale, 1.0)
    out = np.zeros((size, *values.shape[1:]))
    for i in range(size):
        distance = (np.arange(len(values)) + 0.5 - (i + 0.5) * scale) / stretch
        weights = np.where(np.abs(distance) < 3, np.sinc(distance) * np.sinc(distance / 3), 0.0)
        out[i] = np.tensordot(weights / weights.sum(), values, 1)
    return out


@pytest.mark.parametrize("size", [(7, 11), (7, 30), (41, 63), (1, 1), (20, 30)])
def test_resize_is_antialiased_lanczos(size):
    pixels = COLORS.astype(np.float64)
    expected = lanczos(lanczos(pixels, size[0]).swapaxes(0, 1), size[1]).swapaxes(0, 1)
    expected = np.clip(expected, pixels.min((0, 1)), pixels.max((0, 1)))
    np.testing.assert_allclose(resize(pixels, size), expected, atol=0.02)


def test_resize_keeps_shape_and_range():
    assert resize(np.zeros((4, 6)), (2, 3)).shape == (2, 3)
    assert resize(np.zeros((1, 4, 6, 3)), (2, 3)).shape == (1, 2, 3, 3)
    edge = np.repeat([[0.0, 1.0]], 8, 0).repeat(8, 1)
    assert resize(edge, (5, 11)).min() >= 0.0 and resize(edge, (5, 11)).max() <= 1.0
    for shape, size in [((2, 4, 6, 3), (2, 3)), ((4,), (2, 3)), ((4, 6), (0, 3)), ((0, 6, 3), (2, 3))]:
        with pytest.raises(ValueError, match="cannot resize"):
            resize(np.zeros(shape), size)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "CMYK", "I;16", "1"])
@pytest.mark.parametrize("longest", [None, 11])
def test_strips_leave_no_seams(tmp_path, monkeypatch, mode, longest):
    if mode == "I;16":
        image = Image.fromarray(RNG.integers(0, 65536, (20, 30), np.uint16))
    else:
        image = Image.fromarray(np.dstack([COLORS, RNG.integers(0, 256, (20, 30), np.uint8)])).convert(mode)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(path)
    whole = load_image(path, longest=longest)
    # `neural_style_tf.images.resize` by itself is the function.
    monkeypatch.setattr(import_module("neural_style_tf.images.resize"), "_PIXELS_PER_STRIP", 90)
    strips = load_image(path, longest=longest)
    np.testing.assert_array_equal(strips.pixels, whole.pixels)
    np.testing.assert_array_equal(strips.alpha, whole.alpha)
