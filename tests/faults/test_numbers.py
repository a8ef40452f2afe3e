"""Numbers and pictures that a run is not meant for."""

import json

import numpy as np
import pytest
from harness import half_written
from PIL import Image

pytestmark = pytest.mark.faults

FEW = ("--output_dir=o", "--overwrite", "--iterations=8", "--log_every=1", "--save_every=2")
SPOIL = "at(3, lambda record: record.state.solver{0}.assign(record.state.solver{0} + float('nan')))"


NETWORK = """
import gc, keras
def poison(record):
    [network] = [o for o in gc.get_objects() if type(o) is keras.Model or type(o).__name__ == "Functional"]
    bias = network.get_layer("conv2_1").bias
    bias.assign(bias + float("nan"))
at(3, poison)
"""


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("layers", ["conv2_1,conv3_1", "relu2_1,relu3_1"])
def test_the_network_turns_bad(warm, place, error_line, solver, layers):
    """A weight becomes NaN in the middle of a run, which keeps the best image from before."""
    flags = (f"--optimizer={solver}", f"--style_layers={layers}", "--iterations=40")
    code = warm.run(*FEW, *flags, before=NETWORK)
    assert half_written(place / "o") == []
    assert json.loads((place / "o" / "run.json").read_text())["best"]["step"] <= 3
    assert np.asarray(Image.open(place / "o" / "result.png")).std() > 1
    if solver == "adam" and layers.startswith("conv"):
        assert (
            code == 1 and "the loss was not finite 4 times (content/relu2_1, style/conv2_1" in error_line()
        ), warm.said()
    else:
        # A line search refuses such images. And where only ReLUs are looked at, they make 0 of NaN.
        assert code == 0, warm.said()


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_the_picture_turns_bad_and_the_best_is_taken(warm, place, solver):
    assert warm.run(*FEW, f"--optimizer={solver}", before=SPOIL.format("['image']")) == 0, warm.said()
    # What is named is the first term that tells: ReLUs may turn NaN into 0.
    assert "step 4 is not finite (" in warm.said()
    assert "; back to the best image, of step 3, halving the learning rate" in warm.said()
    assert np.asarray(Image.open(place / "o" / "result.png")).std() > 1
    assert json.loads((place / "o" / "run.json").read_text())["best"]["step"] > 3


@pytest.mark.parametrize(
    ("solver", "state"),
    [
        ("adam", "['m']"),
        ("adam", "['v']"),
        ("lbfgs", "['s']"),
        ("lbfgs", "['y']"),
        ("lbfgs", "['products']"),
        ("lbfgs", "['h0']['energies']"),
    ],
)
def test_the_optimiser_turns_bad_and_recovers(warm, place, solver, state):
    spoil = SPOIL.format(f"['optimizer']{state}")
    assert warm.run(*FEW, f"--optimizer={solver}", before=spoil) == 0, warm.said()
    assert json.loads((place / "o" / "run.json").read_text())["best"]["step"] > 3


@pytest.mark.parametrize(
    "flags",
    [
        ("--learning_rate=1e6",),
        ("--content=flat.png",),
        ("--style=flat.png",),
        ("--content=flat.png", "--style=flat.png", "--init=content", "--optimizer=lbfgs"),
        ("--content=flat.png", "--style=flat.png", "--init=content", "--tv_weight=0"),
        ("--style=c.png", "--init=content"),
        ("--style=c.png", "--init=content", "--optimizer=lbfgs", "--tv_weight=0"),
        ("--content_loss=relative", "--style_loss=relative", "--content=flat.png", "--style=black.png"),
    ],
    ids=" ".join,
)
def test_odd_inputs_end_well(warm, place, flags):
    for name, level in (("flat", 128), ("black", 0)):
        Image.new("RGB", (64, 48), (level,) * 3).save(place / f"{name}.png")
    assert warm.run(*FEW, *flags) == 0, warm.said()
    assert all(np.isfinite(v) for v in json.loads((place / "o" / "run.json").read_text())["final"].values())


def test_a_strip_of_one_pixel(warm, place, error_line):
    Image.new("RGB", (64, 1), "red").save(place / "strip.png")
    for role in ("content", "style"):
        assert warm.run(*FEW, f"--{role}=strip.png") == 2
        assert "sides of at least 2" in error_line() and "64×1" in error_line()


@pytest.mark.parametrize("size", [*range(1, 20), 31, 32, 33, 47, 48, 63, 64])
def test_every_size(warm, place, error_line, size):
    code = warm.run(*FEW, f"--image_size={size}", "--iterations=1")
    if size < 2:
        assert code == 2 and "needs sides of at least 2" in error_line()
    else:
        assert code == 0, warm.said()
        with Image.open(place / "o" / "result.png") as result:
            assert max(result.size) == size
