"""Numbers and pictures that a run is not meant for."""

import json

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.faults

FEW = ("--output_dir=o", "--overwrite", "--iterations=8", "--log_every=1", "--save_every=2")
SPOIL = (
    "at(3, lambda record: record.state.solver['image'].assign(record.state.solver['image'] + float('nan')))"
)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_the_picture_turns_bad_and_the_best_is_taken(warm, place, solver):
    assert warm.run(*FEW, f"--optimizer={solver}", before=SPOIL) == 0, warm.said()
    # What is named is the first term that tells: ReLUs may turn NaN into 0.
    assert "step 4 is not finite (" in warm.said()
    assert "; back to the best image, of step 3, halving the learning rate" in warm.said()
    assert np.asarray(Image.open(place / "o" / "result.png")).std() > 1
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


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 15, 16, 17, 33, 64])
def test_every_size(warm, place, error_line, size):
    code = warm.run(*FEW, f"--image_size={size}", "--iterations=1")
    if size < 2:
        assert code == 2 and "needs sides of at least 2" in error_line()
    else:
        assert code == 0, warm.said()
        with Image.open(place / "o" / "result.png") as result:
            assert max(result.size) == size
