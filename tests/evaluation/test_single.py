"""`nst.evaluate`, on the narrow network."""

import numpy as np
import pytest
from command_line import write_picture
from PIL import Image

import neural_style_tf as nst
from neural_style_tf.evaluation.columns import CHEAP, MEASURES, judge
from neural_style_tf.evaluation.looks import Trial, Viewer, cropped, judged_size


@pytest.fixture(scope="module")
def found(narrow_weights):
    """Measures of the photo, the style picture, and mixtures of both."""
    random = np.random.default_rng(4)
    y, x = np.mgrid[0:48, 0:64]
    photo = np.stack([4 * y, 3 * x, 2 * (x + y)], -1) + random.uniform(0, 20, (48, 64, 3))
    style = 127 + 120 * np.sin((x + 2 * y)[..., np.newaxis] / (2, 3, 4))
    style = np.clip(style + random.uniform(-30, 30, (48, 64, 3)), 0, 255)
    viewer = Viewer(narrow_weights)
    sides = viewer.look(photo), viewer.look(style)
    looks = {share: viewer.look(share * style + (1 - share) * photo) for share in (0.0, 0.2, 0.7)}
    values = {share: judge(Trial(look, *sides)) for share, look in looks.items()}
    return values | {1.0: nst.evaluate(style, photo, style, weights=narrow_weights, size=64)}


def test_the_photo_has_all_of_the_content_and_the_style_all_of_the_style(found):
    for measure in MEASURES:
        control = {"content": 0.0, "style": 1.0}.get(measure.axis)
        if control is not None:
            assert found[control][measure.name] == pytest.approx(measure.best, abs=1e-5), measure.name
            assert measure.badness(found[1.0 - control][measure.name]) > 0.01
    assert found[1.0]["copied"] == 1
    assert found[0.0]["foreign"] == pytest.approx(0, abs=1e-6)
    assert found[1.0]["foreign"] > 0.01


def test_each_measure_orders_a_better_and_a_worse_painting(found):
    for measure in MEASURES:
        slight, strong = (measure.badness(found[share][measure.name]) for share in (0.2, 0.7))
        assert (slight > strong) == (measure.axis == "style"), measure.name


def test_files_are_measured_as_their_pixels_and_cheap_measures_need_no_network(tmp_path):
    for name, size, seed in (("p.png", (40, 56), 1), ("c.png", (40, 56), 2), ("s.png", (50, 33), 3)):
        write_picture(tmp_path / name, size, seed=seed)
    files = [tmp_path / name for name in ("p.png", "c.png", "s.png")]
    names = [measure.name for measure in CHEAP]
    values = nst.evaluate(*files, size=48, measures=names)
    assert list(values) == names
    arrays = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    assert nst.evaluate(*arrays, size=48, measures=names) == pytest.approx(values)


def test_mistakes_are_one_clear_line():
    picture = np.zeros((40, 40, 3))
    for change, message in (
        ({"measures": ["sim"]}, r"no measure 'sim' \(did you mean 'ssim'\?\)"),
        ({"size": 8}, "--size must be 32 to 2048 pixels, not 8"),
        ({"style": picture[0]}, r"must be a file, or an array \[H, W, 3\], not \[40, 3\]"),
        ({"result": picture + np.nan}, "finite pixels"),
        ({"content": "nowhere.png"}, "nowhere.png does not exist"),
    ):
        arguments = {
            "result": picture,
            "content": picture,
            "style": picture,
            "measures": ["colours"],
        } | change
        with pytest.raises(nst.UserError, match=message):
            nst.evaluate(**arguments)


def test_without_scikit_image_a_line_names_the_extra(monkeypatch):
    monkeypatch.setattr("neural_style_tf.evaluation.single.has_scikit_image", lambda: False)
    with pytest.raises(nst.UserError, match=r'pip install "neural-style-tf\[evaluate\]"'):
        nst.evaluate(*np.zeros((3, 40, 40, 3)), measures=["ssim"])


def test_sizes_of_judging():
    assert judged_size((300, 600, 3), 512) == (256, 512)
    assert judged_size((10, 20, 3), 64) == (32, 64)
    assert judged_size((5, 500, 3), 100) == (32, 100)
    # A panorama keeps enough rows for patches at relu4_1.
    assert Viewer().look(np.zeros((32, 800, 3))).small.shape == (32, 384, 3)
    middle = cropped(np.arange(12, dtype=np.float32).reshape(2, 6, 1) * np.ones(3, np.float32), (2, 2))
    np.testing.assert_allclose(middle[..., 0], [[2, 3], [8, 9]])
