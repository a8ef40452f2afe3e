"""Pictures from a browser, whatever they are called."""

import numpy as np
import pytest
from command_line import write_picture
from PIL import Image

from neural_style_tf.app.pictures import (
    LONGEST_STEM,
    check_picture,
    clean_name,
    layer_of,
    preview,
    safe_name,
    store_mask,
    store_picture,
    strokes,
    title_of,
)
from neural_style_tf.errors import UserError
from neural_style_tf.images.masks import load_mask

COLORS = ("#e4572e", "#2e86ab", "#7cb518")


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("cat.jpg", "cat"),
        ("IMG_2024.06.01.jpg", "IMG_2024.06.01"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot"),
        ("--output_dir=x.png", "output_dir_x"),
        (".hidden.png", "hidden"),
        ("a\0b.png", "a_b"),
        ("a\nb\x1b[31m.png", "a_b_31m"),
        ("Zwölf Kühe 猫.jpg", "Zwölf_Kühe_猫"),
        ("<img src=x onerror=alert(1)>.png", "img_src_x_onerror_alert_1"),
        ("", "picture"),
        ("..", "picture"),
        ("/", "picture"),
        ("💥.png", "picture"),
        *((letter * 1000 + ".png", letter * (LONGEST_STEM // len(letter.encode()))) for letter in "xö猫"),
    ],
)
def test_names_are_harmless(name, safe):
    assert safe_name(name) == safe


def test_a_title_keeps_what_comes_after_a_dot():
    assert clean_name("IMG_2024.06.01-starry_night") == "IMG_2024.06.01-starry_night"


def test_the_same_picture_is_kept_once(tmp_path):
    first, second = write_picture(tmp_path / "a.png"), tmp_path / "-b.html"
    second.write_bytes(first.read_bytes())
    stored = store_picture(str(first), tmp_path / "out")
    assert stored.parent == tmp_path / "out" / "pictures" and stored.read_bytes() == first.read_bytes()
    assert store_picture(str(second), tmp_path / "out") == stored
    # An unknown ending is not kept.
    other = store_picture(str(second), tmp_path / "other")
    assert title_of(stored) == "a" and stored.name.endswith("-a.png") and other.name.endswith("-b.png")
    changed = write_picture(tmp_path / "a.png", seed=1)
    assert store_picture(str(changed), tmp_path / "out") != stored


def test_what_cannot_be_painted_from_is_refused(tmp_path):
    clip = tmp_path / "clip.gif"
    frames = [Image.new("RGB", (40, 40), color) for color in ("red", "blue")]
    frames[0].save(clip, save_all=True, append_images=frames[1:])
    with pytest.raises(UserError, match="moves"):
        check_picture(str(clip))
    check_picture(str(write_picture(tmp_path / "fine.png")))


def test_strokes_are_read_and_drawn_again():
    masks = [np.zeros((20, 30), bool) for _ in COLORS]
    masks[0][:5], masks[2][10:, 7:] = True, True
    first, second, third = strokes(layer_of([masks[0], None, masks[2]], COLORS), COLORS)
    assert second is None and (first == masks[0]).all() and (third == masks[2]).all()
    assert layer_of([None, None, None], COLORS) is None and strokes(None, COLORS) == [None] * 3


def test_soft_edges():
    layer = np.zeros((4, 4, 4), np.uint8)
    layer[:2] = (46, 134, 171, 200)
    layer[2] = (46, 134, 171, 90)
    first, second = strokes(layer, COLORS[:2])
    assert first is None and second[:2].all() and not second[2:].any()


def test_a_mask_is_kept_as_it_is(tmp_path):
    mask = np.random.default_rng(0).uniform(size=(20, 30)) > 0.5
    path = store_mask(mask, "../cat-region", tmp_path)
    assert path.parent == tmp_path / "pictures" and path == store_mask(mask, "other", tmp_path)
    assert (load_mask(path)[0] == mask).all()


def size_of(path):
    with Image.open(path) as picture:
        return picture.size


def test_a_preview_follows_its_picture(tmp_path):
    path = write_picture(tmp_path / "a.png", (200, 300))
    first = preview(path, tmp_path, longest=100)
    assert preview(path, tmp_path, longest=100) == first and size_of(first) == (100, 67)
    write_picture(path, (100, 300), seed=1)
    second = preview(path, tmp_path, longest=100)
    assert second != first and size_of(second) == (100, 33)


def test_a_preview_is_srgb_on_white_in_a_folder_that_is_made(tmp_path):
    path = tmp_path / "clear.tif"
    Image.new("RGBA", (30, 20), (200, 0, 0, 0)).save(path)
    with Image.open(preview(path, tmp_path / "gone" / "previews")) as opened:
        assert opened.format == "JPEG" and opened.getpixel((5, 5)) == (255, 255, 255)
