"""Of any TIFF the picture itself is read, and right; or one line says of which kind it is."""

import itertools

import numpy as np
import pytest
import tifffile
from PIL import Image, TiffImagePlugin

from neural_style_tf.errors import UserError
from neural_style_tf.images import deep, load_image
from neural_style_tf.images.color import rgb_profile

Y, X = np.mgrid[0:9, 0:14]
COLORS = np.stack([X / 13, Y / 8, (1 - X / 13) * Y / 8], -1)
GREY = COLORS[..., :1] * 0.6 + COLORS[..., 1:2] * 0.4
OPACITY = 0.25 + 0.75 * X[..., None] / 13
WHITES = {"u1": 255, "i1": 127, "u2": 65535, "i4": 2**31 - 1}
LAYOUTS = {
    "plain": {},
    "tiled": {"tile": (16, 16)},
    "deflate": {"compression": "zlib", "predictor": True},
    "planes": {"planarconfig": "separate"},
    "deflate_planes": {"planarconfig": "separate", "compression": "zlib"},
    "tiled_planes": {"planarconfig": "separate", "tile": (16, 16)},
    "large": {"bigtiff": True},
}
SPACES = {
    "grey": (GREY, {"photometric": "minisblack"}),
    "negative": (1 - GREY, {"photometric": "miniswhite"}),
    "grey_alpha": (np.dstack([GREY, OPACITY]), {"photometric": "minisblack", "extrasamples": [2]}),
    "grey_more": (np.dstack([GREY, OPACITY]), {"photometric": "minisblack", "extrasamples": [0]}),
    "rgb": (COLORS, {"photometric": "rgb"}),
    "rgb_alpha": (np.dstack([COLORS, OPACITY]), {"photometric": "rgb", "extrasamples": [2]}),
    "rgb_associated": (np.dstack([COLORS * OPACITY, OPACITY]), {"photometric": "rgb", "extrasamples": [1]}),
    "rgb_more": (np.dstack([COLORS, OPACITY, GREY]), {"photometric": "rgb", "extrasamples": [0, 0]}),
    "cmyk": (np.dstack([1 - COLORS, 0 * GREY]), {"photometric": "separated"}),
}


def stored(values, kind):
    if kind[0] == "f":
        return values.astype(kind)
    return np.floor(values * float(WHITES[kind]) + 0.5).clip(max=float(WHITES[kind])).astype(kind)


# Little-endian files of most kinds, big-endian ones of some; without libvips some.
CASES = [(kind, "<", True) for kind in ("u1", "i1", "u2", "i4", "f2", "f4", "f8")]
CASES += [(kind, ">", True) for kind in ("u2", "f4")]
CASES += [(kind, order, False) for kind, order in (("u1", "<"), ("i1", "<"), ("u2", ">"), ("f4", ">"))]


@pytest.mark.parametrize(("kind", "order", "installed"), CASES)
def test_every_kind_is_read_right_or_named(tmp_path, monkeypatch, kind, order, installed):
    monkeypatch.setattr(deep, "is_installed", lambda: installed)
    path, read = tmp_path / "a.tif", set()
    for (space, (values, options)), (layout, how) in itertools.product(SPACES.items(), LAYOUTS.items()):
        samples, how = stored(values, kind), dict(how)
        if kind[0] == "f":
            # tifffile by itself has no predictor for floats.
            how.pop("predictor", None)
        if "planarconfig" not in how:
            how |= {} if samples.shape[-1] == 1 else {"planarconfig": "contig"}
            samples = samples[..., 0] if samples.shape[-1] == 1 else samples
        elif samples.shape[-1] == 1:
            continue
        else:
            samples = np.ascontiguousarray(np.moveaxis(samples, -1, 0))
        tifffile.imwrite(path, samples, byteorder=order, **options, **how)
        what = f"{space} {layout}"
        try:
            picture = load_image(path)
        except UserError as error:
            assert "is a TIFF of " in str(error) and "cannot be read correctly; save it" in str(error), what
            assert ("extra deep" in str(error)) != installed
            continue
        read.add(what)
        colors = GREY if space in ("grey", "negative", "grey_alpha", "grey_more") else COLORS
        # Of 8 bits that are multiplied by opacity there is not more left.
        precision = 6 if space == "rgb_associated" else 2 if kind == "i1" else 1.1
        np.testing.assert_allclose(
            picture.pixels, np.broadcast_to(255 * colors, (9, 14, 3)), atol=precision, err_msg=what
        )
        assert (picture.alpha is not None) == (space.endswith(("alpha", "associated"))), what
        if picture.alpha is not None:
            np.testing.assert_allclose(picture.alpha, 255 * OPACITY[..., 0], atol=1.5, err_msg=what)
    if kind in ("u1", "u2"):
        assert {"grey plain", "rgb plain", "rgb_alpha plain", "rgb_associated plain"} <= read
    if installed and kind != "f8":
        # A fair part of what there is: libvips has no tiles of separate planes.
        assert {f"{space} {layout}" for space in ("rgb", "grey") for layout in ("plain", "deflate")} <= read
    if installed and kind in ("u1", "u2", "f4"):
        assert {"rgb planes", "grey_alpha plain", "cmyk planes", "rgb_more plain", "negative tiled"} <= read


def test_what_is_not_agreed_on_or_left_out_is_said(tmp_path):
    values = np.float32(COLORS * 8 - 1)
    values[2, 3], values[4, 5] = np.nan, np.inf
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb")
    picture = load_image(tmp_path / "a.tif")
    assert "smallest, -1, is taken as black and their largest, 7, as white" in picture.notes[0]
    assert picture.pixels[2, 3].tolist() == [0, 0, 0] and picture.pixels[4, 5].tolist() == [255, 255, 255]
    assert abs(picture.pixels[8, 13, 0] - 255) < 0.01 and abs(picture.pixels[0, 0, 0]) < 0.01
    tifffile.imwrite(tmp_path / "b.tif", stored(np.dstack([COLORS, COLORS]), "u2"), photometric="rgb")
    assert "has 6 channels; only the first 3 are read" in load_image(tmp_path / "b.tif").notes[0]
    with pytest.raises(UserError, match="126 pixels, over the limit of 100"):
        load_image(tmp_path / "a.tif", max_pixels=100)
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "c.tif").write_bytes(data[:-300])
    with pytest.raises(UserError, match="cut short or damaged .*--allow_truncated"):
        load_image(tmp_path / "c.tif")
    assert "what could be decoded is used" in " ".join(
        load_image(tmp_path / "c.tif", allow_truncated=True).notes
    )


def test_a_deep_tiff_keeps_profile_resolution_and_turn(tmp_path):
    profile = rgb_profile("Adobe RGB")
    options = {"photometric": "rgb", "resolution": (300, 150), "resolutionunit": "inch"}
    extra = [(274, "H", 1, 6, True), (34675, "B", len(profile), profile, True)]
    tifffile.imwrite(tmp_path / "a.tif", np.float32(COLORS), extratags=extra, **options)
    picture = load_image(tmp_path / "a.tif", keep_profile=True)
    assert picture.profile == profile and picture.dpi == pytest.approx((150, 300))
    np.testing.assert_allclose(picture.pixels, np.rot90(255 * COLORS, -1), atol=0.01)
    assert np.abs(load_image(tmp_path / "a.tif").pixels - picture.pixels).max() > 20


def write_pages(path, *pages):
    """Write pictures of one colour each; a page is (side, colour, tags)."""
    images = []
    for side, color, tags in pages:
        image = Image.new("RGB", (side, side), color)
        image.encoderinfo = {"tiffinfo": TiffImagePlugin.ImageFileDirectory_v2()}
        for tag, value in tags.items():
            image.encoderinfo["tiffinfo"][tag] = value
            if tag == 50706:
                image.encoderinfo["tiffinfo"].tagtype[tag] = 1
        images.append(image)
    first = images[0].encoderinfo["tiffinfo"]
    images[0].save(path, "TIFF", save_all=True, append_images=images[1:], tiffinfo=first)
    return path


REDUCED, MASK, OLD_REDUCED = {254: 1}, {254: 4}, {255: 2}


@pytest.mark.parametrize(
    ("pages", "note"),
    [
        ([(8, "red", REDUCED), (40, "blue", {})], ""),
        ([(8, "red", OLD_REDUCED), (40, "blue", {254: 0})], ""),
        ([(40, "red", MASK), (40, "blue", {})], ""),
        ([(40, "blue", {}), (20, "red", REDUCED), (40, "red", MASK)], ""),
        (
            [(8, "red", {}), (40, "blue", {})],
            "holds several pictures; picture 2, the first of full size, is used",
        ),
        ([(40, "blue", {}), (41, "red", {})], "holds several pictures; the first picture is used"),
    ],
)
def test_a_thumbnail_is_never_taken_for_the_picture(tmp_path, pages, note):
    path = write_pages(tmp_path / "a.tif", *pages)
    with Image.open(path) as written:
        assert written.n_frames == len(pages)
    picture = load_image(path)
    assert picture.pixels.shape == (40, 40, 3) and picture.pixels[0, 0].tolist() == [0, 0, 255]
    assert [line.removeprefix(f"{path} ") for line in picture.notes] == ([note] if note else [])


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("a.dng", lambda path: write_pages(path, (8, "red", REDUCED | {50706: bytes([1, 4, 0, 0])}))),
        ("a.tif", lambda path: write_pages(path, (8, "red", {50706: bytes([1, 4, 0, 0])}))),
        ("photo.NEF", lambda path: write_pages(path, (8, "red", {271: "NIKON"}))),
        ("b.tif", lambda path: write_pages(path, (8, "red", REDUCED))),
        (
            "c.tif",
            lambda path: tifffile.imwrite(path, stored(GREY[..., 0], "u2"), photometric="cfa"),
        ),
        ("d.tif", lambda path: path.write_bytes(b"II*\0\x10\0\0\0CR\2\0" + bytes(99))),
        ("a.raf", lambda path: path.write_bytes(b"FUJIFILMCCD-RAW 0201" + bytes(99))),
    ],
)
def test_a_raw_file_is_named_as_one(tmp_path, name, make):
    make(tmp_path / name)
    with pytest.raises(UserError, match="camera's raw file.*; develop it, as with darktable"):
        load_image(tmp_path / name)


def test_a_picture_inside_of_a_thumbnail_is_not_lost_in_silence(tmp_path):
    """As most raw files are: a thumbnail whose directory leads to that of the picture."""
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(np.zeros((8, 8, 3), np.uint8), photometric="rgb", subifds=1)
        file.write(np.zeros((64, 64, 3), np.uint8), photometric="rgb")
    with pytest.raises(UserError, match="shows only a thumbnail"):
        load_image(tmp_path / "a.tif")
    with tifffile.TiffWriter(tmp_path / "b.tif") as file:
        file.write(np.zeros((64, 64, 3), np.uint8), photometric="rgb", subifds=1)
        file.write(np.zeros((32, 32, 3), np.uint8), photometric="rgb", subfiletype=1)
    assert load_image(tmp_path / "b.tif").notes == ()
