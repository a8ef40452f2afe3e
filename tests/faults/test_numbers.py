"""Numbers and pictures that a run is not meant for."""

import json

import numpy as np
import pytest
from harness import half_written
from PIL import Image

pytestmark = pytest.mark.faults

FEW = ("--output_dir=o", "--overwrite", "--iterations=8", "--log_every=1", "--save_every=2")
SPOIL = "at(3, lambda record: record.state.solver.{}.assign(record.state.solver.{} + float('nan')))"


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_the_network_turns_bad(warm, place, error_line, solver):
    """A weight becomes NaN in the middle of a run: it ends, and keeps the best image."""
    before = """
import gc
from neural_style_tf import solver

advance = solver.Solver.advance
def spoilt(self, count):
    if int(self.step) == 3:
        self._objective = spoil(self._objective)
        return solver.tf.function(lambda n: advance.python_function(self, n), autograph=False)(count)
    return advance.__get__(self)(count)
def spoil(objective):
    def bad(image):
        terms, gradient = objective(image)
        return {k: v + float("nan") for k, v in terms.items()}, gradient
    return bad
solver.Solver.advance = spoilt
"""
    assert warm.run(*FEW, f"--optimizer={solver}", before=before) in (0, 1), warm.said()
    assert half_written(place / "o") == [] and (place / "o" / "result.png").exists()


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_the_picture_turns_bad_and_the_best_is_taken(warm, place, solver):
    assert warm.run(*FEW, f"--optimizer={solver}", before=SPOIL.format("image", "image")) == 0, warm.said()
    assert "step 4 is not finite (the image itself); back to step" in warm.said()
    assert np.asarray(Image.open(place / "o" / "result.png")).std() > 1
    assert json.loads((place / "o" / "run.json").read_text())["best"]["step"] > 3


@pytest.mark.parametrize(
    ("solver", "state"),
    [
        ("adam", "optimizer.keras.variables[2]"),
        ("adam", "optimizer.keras.variables[3]"),
        ("lbfgs", "optimizer.s"),
        ("lbfgs", "optimizer.y"),
        ("lbfgs", "optimizer.rho"),
    ],
)
def test_the_optimiser_turns_bad_and_recovers(warm, place, solver, state):
    assert warm.run(*FEW, f"--optimizer={solver}", before=SPOIL.format(state, state)) == 0, warm.said()
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
