"""The time that is left: within a fifth of what it will be, on machines that differ."""

import math

import pytest

from neural_style_tf.config.presets import PRESETS
from neural_style_tf.transfer.pace import Pace, Times
from neural_style_tf.transfer.scales import plan_scales

SCALES = plan_scales((384, 512), [(384, 512)], PRESETS["balanced"])


PIXELS = [math.prod(scale.content) for scale in SCALES]
MACHINES = {
    "two cores, AVX2": Times(PIXELS, (0.116, 0.325, 1.06, 3.5), (0.3, 0.6, 2.1, 7.5)),
    # benchmarks/results/8c7acf6/painting_float32.md
    "two cores, AVX-512": Times(PIXELS, (0.033, 0.05, 0.15, 0.56), (0.1, 0.2, 0.5, 1.3)),
    "a GPU": Times(PIXELS, (0.02, 0.02, 0.021, 0.026), (1, 1, 1, 1)),
}
"""Seconds for a step and to begin a scale."""


def estimates(machine, known=None, scales=SCALES):
    """Paint by a fake clock; return the ratios of estimate and truth, a list for each scale, and the times.

    The first of a scale is before its first step.
    """
    pace, ratios = Pace(scales, known), []
    steps = [machine.step(math.prod(scale.content)) for scale in scales]
    beginnings = [machine.beginning(math.prod(scale.content)) for scale in scales]
    for scale, step, beginning in zip(scales, steps, beginnings, strict=True):
        ratios.append([])
        if scale.index:
            pace.begin(scale, beginning)
        for done in range(scale.iterations):
            if done:
                pace.advance(scale, step)
            truth = (scale.iterations - done) * step
            for later in scales[scale.index + 1 :]:
                truth += beginnings[later.index] + later.iterations * steps[later.index]
            left = pace.left(scale, scale.first_step + done)
            ratios[-1].append(None if left is None else left / truth)
    return ratios, pace.times


@pytest.mark.parametrize("machine", ["two cores, AVX2", "two cores, AVX-512"])
def test_right_from_the_second_scale_on(machine):
    ratios, _ = estimates(MACHINES[machine])
    assert ratios[0][0] is None
    assert all(0.8 < ratio < 1.2 for scale in ratios[1:] for ratio in scale[1:])


@pytest.mark.parametrize("machine", MACHINES)
def test_right_at_once_after_an_earlier_run(machine):
    _, known = estimates(MACHINES[machine])
    ratios, _ = estimates(MACHINES[machine], known)
    # How long the first scale takes to begin is not part of it.
    assert all(0.95 < ratio < 1.05 for scale in ratios for ratio in scale)
    # Of another photo, at another size.
    scales = plan_scales((450, 450), [(384, 512)], PRESETS["balanced"])
    ratios, _ = estimates(MACHINES[machine], known, scales)
    assert all(0.8 < ratio < 1.2 for scale in ratios[1:] for ratio in scale)


def test_a_machine_that_is_busier_than_it_was():
    idle = MACHINES["two cores, AVX2"]
    _, known = estimates(idle)
    busy = Times(PIXELS, [3 * time for time in idle.steps], [3 * time for time in idle.beginnings])
    [(first, *others), *later], _ = estimates(busy, known)
    assert first == pytest.approx(1 / 3, abs=0.02)
    assert all(0.95 < ratio < 1.05 for scale in (others, *later) for ratio in scale)


def test_nothing_is_told_before_anything_is_known():
    pace = Pace(SCALES)
    assert pace.left(SCALES[0], 0) is pace.times is None
    pace.advance(SCALES[0], 0.0)
    assert pace.left(SCALES[-1], SCALES[-1].end) == 0


def test_new_times_take_the_place_of_those_of_like_sizes():
    times = Times((100, 1000), (1, 2), (3, 4)).replaced(1100, 5, 6)
    assert times == Times((100, 1100), (1, 5), (3, 6))
    assert times.replaced(400, 7, 8) == Times((100, 400, 1100), (1, 7, 5), (3, 8, 6))
    assert times.step(2200) == pytest.approx(10) and times.beginning(50) == pytest.approx(3)


@pytest.mark.parametrize(
    "rows", [((), (), ()), ((1, 2), (1,), (1, 2)), ((2, 1), (1, 1), (1, 1)), ((1,), (0,), (1,))]
)
def test_times_that_are_none_are_refused(rows):
    with pytest.raises(ValueError, match="times"):
        Times(*rows)
