"""The examples of docs/extending.md run as they are printed there; a user's own parts do all that ours do."""

import dataclasses
import importlib
import re
import sys

import numpy as np
import pytest
import tensorflow as tf
from command_line import write_picture
from narrow import SHALLOW, warm_session
from objectives import eagerly
from paths import ROOT

import neural_style_tf as nst
from neural_style_tf.config.schema import Config
from neural_style_tf.optim import make_optimizer
from neural_style_tf.weights import resolve

PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
USE, LOSS, NEAREST, OPTIMIZER, NETWORK = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def place(tmp_path, monkeypatch, narrow_weights):
    """A folder with the pictures and the modules of the page, and the narrow network for `load_weights`."""
    monkeypatch.chdir(tmp_path)
    write_picture(tmp_path / "photo.jpg")
    write_picture(tmp_path / "painting.jpg", (40, 50), seed=1)
    (tmp_path / "my_losses.py").write_text(LOSS, encoding="utf-8")
    (tmp_path / "my_optimizers.py").write_text(OPTIMIZER, encoding="utf-8")
    # Imported first: it would keep the narrow network for later tests.
    importlib.import_module("neural_style_tf.jobs.machine")
    monkeypatch.setattr(resolve, "load_weights", lambda *given, **named: narrow_weights)
    yield tmp_path
    for name in ("my_losses", "my_optimizers"):
        sys.modules.pop(name, None)


def run(code, **names):
    exec(compile(code, "extending.md", "exec"), names)
    return names


def test_the_parts_together(place, capsys):
    names = run(USE.replace("iterations=60", "iterations=4"))
    assert names["found"].step == 4 and names["found"].image.shape == (48, 64, 3)
    assert list(names["found"].losses) == ["total", "content/relu4_1", "style/relu1_1", "style/relu3_1"]
    with eagerly():
        begun = float(names["objective"](nst_image(names["photo"]))[0]["total"])
    assert names["found"].total < begun


def nst_image(pixels):
    from neural_style_tf.losses.pixels import preprocess

    return preprocess(pixels)


@pytest.fixture
def own_loss(place, monkeypatch):
    monkeypatch.syspath_prepend(str(place))
    return importlib.import_module("my_losses").Histograms


def objective_of(terms, pictures, weights, **options):
    photo, style = pictures
    network = nst.build_network(weights.kernels, weights.biases, outputs=["relu1_1", "relu2_1"])
    return nst.Objective(network, terms, content=photo, styles=options.pop("styles", [style]), **options)


def test_an_own_loss_by_finite_differences_in_tiles_and_of_several_styles(own_loss, pictures, narrow_weights):
    terms = [own_loss("relu1_1", 2.0, bins=5, most=90.0), own_loss("relu2_1", 1.0, bins=5, most=90.0)]
    whole = objective_of(terms, pictures, narrow_weights)
    image = nst_image(pictures[0])
    losses, gradient = whole(image)
    # Downhill, where float32 tells the difference best.
    direction = gradient / tf.reduce_max(tf.abs(gradient))
    ahead, behind = (float(whole(image + sign * 0.25 * direction)[0]["total"]) for sign in (1, -1))
    assert ahead - behind == pytest.approx(0.5 * float(tf.reduce_sum(gradient * direction)), rel=0.05)
    tiled_losses, tiled = objective_of(terms, pictures, narrow_weights, tile=16)(image)
    assert float(tiled_losses["total"]) == pytest.approx(float(losses["total"]), rel=1e-4)
    np.testing.assert_allclose(tiled, gradient, atol=1e-4 * np.abs(gradient).max())
    # Twice the same style is once; another one beside it counts, unless its weight is 0.
    styles, blends = [pictures[1], pictures[1][::-1, ::-1] / 2], ((), (1, 1), (1, 0))

    def total(terms=terms, **options):
        objective = objective_of(terms, pictures, narrow_weights, **options)
        with eagerly():
            return float(objective(image)[0]["total"])

    once = pytest.approx(float(losses["total"]), rel=1e-5)
    assert total(styles=styles[:1] * 2) == once
    found = [total(styles=styles, blend=blend) for blend in blends]
    assert found[0] == found[1] != once and found[2] == once
    # A white mask is none; half a mask is not.
    white = np.ones(pictures[0].shape[:2], "float32")
    left = white * (np.arange(white.shape[1]) < white.shape[1] // 2)
    inside = [nst.Guidance((nst.Region(mask, (0,)),)) for mask in (white, left)]
    regions = [dataclasses.replace(term, region="region1") for term in terms]
    found = [total(regions, guidance=guidance) for guidance in inside]
    assert found[0] == once and found[1] != once


def test_nearest_features_are_those_of_the_package_in_one_piece_and_in_tiles(pictures, narrow_weights):
    """Which centres the features first."""
    own = run(NEAREST)["NearestFeature"]
    image = nst_image(pictures[0])
    whole = objective_of([own("relu2_1")], pictures, narrow_weights)
    with eagerly():
        losses, gradient = whole(image)
    tiled_losses, tiled = objective_of([own("relu2_1")], pictures, narrow_weights, tile=16)(image)
    assert float(tiled_losses["total"]) == pytest.approx(float(losses["total"]), rel=1e-4)
    np.testing.assert_allclose(tiled, gradient, atol=1e-3 * np.abs(gradient).max())
    ours = objective_of([nst.Nearest("relu2_1")], pictures, narrow_weights)
    target = ours.arguments.targets["style/relu2_1"][0]
    target["mean"] = tf.zeros_like(target["mean"])
    plain = objective_of([own("relu2_1")], pictures, narrow_weights).arguments.targets["style/relu2_1"]
    target["samples"] = tf.concat([plain] * 5, 0)[:4096]
    with eagerly():
        assert float(ours(image)[0]["total"]) == pytest.approx(float(losses["total"]), rel=1e-4)


@pytest.mark.parametrize(
    "own",
    ["--style_loss=my_losses:Histograms", "--optimizer=my_optimizers:Momentum"],
)
def test_an_own_class_by_the_command_line_resumes_to_the_same_bits(place, job, own):
    layers = ("--content_layers=relu2_2", "--style_layers=relu1_1,relu2_1")
    flags = (own, *layers, "--style_weight=1000", "--save_every=2")
    assert job(*flags, "--iterations=4", "--output_dir=whole") == 0
    assert job(*flags, "--iterations=2", "--output_dir=parts") == 0
    assert job(*flags, "--iterations=4", "--output_dir=parts", "--resume") == 0
    assert (place / "whole/result.png").read_bytes() == (place / "parts/result.png").read_bytes()
    assert own.partition("=")[2] in (place / "whole/run.json").read_text()


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("style_loss=nowhere:Loss", "there is no module 'nowhere'"),
        ("style_loss=my_losses:Histogram", "cannot be imported"),
        ("style_loss=my_losses:tf", "must be a subclass of neural_style_tf.Term"),
        ("style_loss=my_losses", "must be one of mean, gatys"),
        ("style_loss=my_wrong:Loss", "the class cannot be called (TypeError: Loss.__init__()"),
        ("optimizer=nowhere:Mover", "there is no module 'nowhere'"),
        ("optimizer=my_losses:Histograms", "must be a subclass of neural_style_tf.Optimizer"),
        ("optimizer=adams", "(did you mean 'adam'?)"),
        ("optimizer=my_wrong:Mover", "the class cannot be called (ZeroDivisionError: division by zero)"),
    ],
)
def test_an_own_class_that_is_none_is_one_line(place, job, capsys, flag, said):
    (place / "my_wrong.py").write_text(
        "from neural_style_tf import Optimizer, Term\n"
        "class Loss(Term):\n    def __init__(self): pass\n"
        "class Mover(Optimizer):\n    def __init__(self, clamp): clamp / 0\n"
    )
    assert job(f"--{flag}", "--iterations=1") == 2
    error = capsys.readouterr().err
    assert said in error and f"--{flag.partition('=')[0]}" in error and error.count("\n") == 1


def test_an_own_optimizer_gets_the_settings_that_its_fields_name(place):
    (place / "my_gentle.py").write_text(
        "import dataclasses\nfrom neural_style_tf import Optimizer\n"
        "@dataclasses.dataclass(frozen=True)\nclass Gentle(Optimizer):\n"
        "    learning_rate: float = 1.0\n    iterations: int = 0\n    decay: float = 0.5\n"
    )
    gentle = make_optimizer(Config(optimizer="my_gentle:Gentle", learning_rate=3, iterations=7))
    assert (gentle.learning_rate, gentle.iterations, gentle.decay) == (3, 7, 0.5)
    adam = make_optimizer(Config(learning_rate=3, adam_beta1=0.5, iterations=7))
    assert adam == nst.Adam(3.0, beta1=0.5, iterations=7) != adam.static == nst.Adam(1.0, beta1=0.5)


def test_an_own_optimizer(pictures, narrow_weights):
    momentum = run(OPTIMIZER)["Momentum"](first=0.5)
    terms = [nst.Gram("relu1_1"), nst.Gram("relu2_1"), nst.TotalVariation(weight=0.0)]
    objective = objective_of(terms, pictures, narrow_weights)
    totals = []
    found = nst.minimize(
        objective,
        pictures[0],
        momentum,
        iterations=8,
        callback=lambda step, losses: totals.append(losses["total"]),
    )
    assert len(totals) == 8 and found.total < 0.9 * totals[0]
    with pytest.raises(nst.UserError, match=r"init must be an array \[40, 48, 3\], not \[10, 48, 3\]"):
        nst.minimize(objective, pictures[0][:10], momentum)


def test_an_own_network(pictures):
    network = run(NETWORK)["network"]
    photo, style = pictures
    terms = [nst.Content("relu2_1", form="relative"), nst.Wasserstein("relu1_1")]
    objective = nst.Objective(network, terms, content=photo, styles=[style], tile=32)
    found = nst.minimize(objective, photo, nst.Adam(), iterations=3)
    assert found.step == 3 and np.isfinite(found.image).all()
    with pytest.raises(nst.UserError, match="no layer 'relu3_1' in tiny"):
        nst.Objective(network, [nst.Gram("relu3_1")], content=photo, styles=[style], tile=16)


def test_weights_of_own_terms_compile_nothing_anew(pictures, narrow_weights):
    """A sweep over weights shares a step, since the weight is no part of what is compiled."""
    one, other = (
        objective_of([nst.Gram("relu1_1", weight)], pictures, narrow_weights).evaluation.terms
        for weight in (1.0, 7.0)
    )
    assert one == other == (nst.Gram("relu1_1"),)
    session = warm_session(narrow_weights)
    config = Config(**SHALLOW, iterations=1)
    totals = [
        list(session.run(nst.Inputs(*pictures), config.replace(style_weight=weight)))[-1].total
        for weight in (0.5, 50.0)
    ]
    assert totals[0] != totals[1]


def test_one_call_paints_a_picture(place, narrow_weights):
    settings = {"content_layers": "relu2_1", "style_layers": "relu1_1", "scales": 1, "iterations": 2}
    settings |= {"style_loss": "mean", "weights": narrow_weights}
    painting = nst.paint("photo.jpg", np.asarray(nst.load_image("painting.jpg").pixels), size=48, **settings)
    painting.save("out.png")
    assert nst.load_image("out.png").pixels.shape == (36, 48, 3) == painting.pixels.shape
    assert painting.losses["total"] > 0
    with pytest.raises(nst.UserError, match="there is no preset|no preset"):
        nst.paint("photo.jpg", "painting.jpg", preset="balancd")
    with pytest.raises(nst.UserError, match=r"gone\.jpg"):
        nst.paint("gone.jpg", "painting.jpg")
