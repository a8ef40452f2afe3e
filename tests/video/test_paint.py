"""Painting clips: stable, without tracing for each frame, anew after a cut."""

from fractions import Fraction

import numpy as np
import pytest
from clips import moving_frames
from narrow import SHALLOW, warm_session
from tensorflow.python.framework import func_graph

from neural_style_tf.config.schema import Config
from neural_style_tf.losses.temporal import Warped
from neural_style_tf.transfer.masks import Masks
from neural_style_tf.transfer.records import FrameState, StepRecord
from neural_style_tf.video import flow as flow_module
from neural_style_tf.video.flow import dis_flow, reliability, warp
from neural_style_tf.video.paint import Enough, beginning, follow, paint_clip
from neural_style_tf.video.read import Frame

# A size that no other test compiles for: what is traced for it is traced here.
SIZE = (32, 46)
CONFIG = Config(
    **SHALLOW,
    content_loss="relative",
    style_loss="moments",
    gram="positions",
    content_weight=1.0,
    style_weight=4.0,
    tv_weight=0.0,
    temporal_weight=0.01,
    long_term=(1, 2),
    optimizer="lbfgs",
    clamp=True,
    init="content",
    iterations=12,
)


def frames_of(pictures, first=1):
    return [
        Frame(number, Fraction(number), np.asarray(picture, np.float32))
        for number, picture in enumerate(pictures, first)
    ]


@pytest.fixture(scope="module")
def paint(narrow_weights, pictures):
    """Return a function that paints a clip in a warm session."""

    def painting(clip, config=CONFIG, *, first=1, **options):
        session, frames = warm_session(narrow_weights), frames_of(clip, first)
        return list(paint_clip(session, frames, [pictures[1]], config, flow=dis_flow, **options))

    return painting


@pytest.fixture(scope="module")
def painted(paint):
    """Return a clip, its frames, and how many graphs were traced before each of them, and at the end."""
    traced, counts = [], []
    with pytest.MonkeyPatch.context() as changed:
        make = func_graph.FuncGraph.__init__
        changed.setattr(
            func_graph.FuncGraph, "__init__", lambda graph, *a, **k: traced.append(1) or make(graph, *a, **k)
        )
        clip = moving_frames(5, *SIZE)
        frames = paint(clip, masks=lambda number: counts.append(len(traced)) or Masks())
    return clip, frames, [*counts, len(traced)]


def error(clip, painted):
    """Return the mean difference of each painted frame from the one before, moved along."""
    errors = []
    for index in range(1, len(painted)):
        backward, forward = dis_flow(1, 2, *(np.asarray(clip[k], np.float32) for k in (index - 1, index)))
        known = reliability(backward, forward) > 0
        moved = warp(painted[index - 1].state.painted, backward)
        errors.append(np.abs(painted[index].state.painted - moved)[known].mean())
    return np.mean(errors)


def test_the_temporal_loss_holds_frames_to_those_before(painted, paint):
    clip, held, _ = painted
    free = paint(clip[:3], CONFIG.replace(temporal_weight=0.0))
    assert error(clip, held[:3]) < 0.5 * error(clip, free)
    assert held[0].reliable == 0 and all(frame.reliable > 0.5 for frame in held[1:])
    assert "temporal" not in held[0].terms and held[1].terms["temporal"] > 0


def test_no_frame_after_the_second_traces(painted):
    _, _, counts = painted
    assert counts[0] < counts[1] < counts[2] == counts[3] == counts[5]


def test_what_stands_still_stays_while_the_rest_moves(paint, monkeypatch):
    """Also under the noise of a camera; with the same bits, so that nothing drifts."""
    monkeypatch.setattr(flow_module, "REACH", 3)
    random, clip = np.random.default_rng(0), []
    scene = np.asarray(moving_frames(1, *SIZE)[0], np.float32)
    for number in range(3):
        frame = scene + random.integers(-2, 3, scene.shape)
        frame[8:20, 2 + 3 * number : 10 + 3 * number] = 255 - frame[8:20, 2:10]
        clip.append(np.clip(frame, 0, 255))
    first, *later = paint([*clip, clip[-1]])
    for frame in later:
        np.testing.assert_array_equal(frame.state.painted[:, 36:], first.state.painted[:, 36:])
    assert np.abs(later[0].state.painted - first.state.painted)[8:20, 2:16].mean() > 5
    # The last frame is like the one before.
    assert later[0].iterations > 0 and later[-1].iterations == 0
    assert np.abs(later[-1].image_rows[:] - later[-2].image_rows[:]).max() < 0.01


def test_a_cut_begins_anew(paint):
    clip = [*moving_frames(2, *SIZE, seed=1), *moving_frames(2, *SIZE, seed=9)]
    painted = paint(clip)
    assert [frame.state.scene for frame in painted] == [1, 1, 3, 3] and painted[2].reliable == 0
    # As if it were a clip of its own.
    alone = paint(clip[2:], first=3)
    np.testing.assert_array_equal(painted[3].state.painted, alone[1].state.painted)


def test_from_painted_frames_it_goes_on_with_the_same_bits(painted, paint):
    clip, whole, _ = painted
    rest = paint(clip[3:], before=[frame.state for frame in whole[1:3]], first=4)
    for frame, same in zip(whole[3:], rest, strict=True):
        np.testing.assert_array_equal(frame.state.painted, same.state.painted)


def test_a_frame_that_is_interrupted_is_left_out(painted, paint):
    calls = []
    stopped = paint(painted[0], tick=lambda step: calls.append(step) or len(calls) > 4)
    assert 0 < len(stopped) < 5


def test_of_several_frames_back_the_nearest_that_knows_counts():
    """Something hid a part of the last frame, and not of the one before it."""
    still = np.zeros((32, 32, 2), np.float32)
    hiding = still.copy()
    hiding[:16] = 9
    flows = {3: (still, hiding), 2: (still, still)}

    def flow(earlier, now, before, frame):
        return flows[earlier]

    source = np.zeros((32, 32, 3), np.float32)
    known = [FrameState(2, 1, source, source + 20), FrameState(3, 1, source, source + 30)]
    both = follow(known, 4, source, (1, 2), flow)
    assert both.reliable.min() == 1
    np.testing.assert_array_equal(both.picture[:16], np.full((16, 32, 3), 20))
    np.testing.assert_array_equal(both.picture[16:], np.full((16, 32, 3), 30))
    nearest = follow(known, 4, source, (1,), flow)
    np.testing.assert_array_equal(nearest.reliable[:, 0], [0] * 16 + [1] * 16)
    assert follow([], 4, source, (1, 2), flow) is None
    assert follow([FrameState(3, 1, source[:16], source[:16])], 4, source, (1,), flow) is None


def test_what_comes_into_view_begins_in_the_colours_of_the_painting():
    source = np.random.default_rng(0).uniform(50, 200, (24, 24, 3)).astype(np.float32)
    painted = 255 - source
    reliable = np.zeros((24, 24), np.float32)
    reliable[:, :12] = 1
    start = beginning(Warped(np.full_like(source, 7), reliable), source, painted)
    np.testing.assert_allclose(start[:, :6], 7, atol=1e-3)
    new = start[:, 18:]
    assert np.corrcoef(new.ravel(), source[:, 18:].ravel())[0, 1] > 0.9
    assert new.mean() == pytest.approx(painted.mean(), abs=8)


def test_adam_is_not_ended_while_it_is_above_the_painting_it_began_with():
    def record(step, best_step, best):
        common = {"terms": {}, "scale": 0, "planned": 100, "seconds": 0}
        return StepRecord(step=step, best_step=best_step, best_total=best, **common)

    above, below, slow = record(50, 0, 1.0), record(100, 90, 0.9), record(150, 140, 0.895)
    assert not Enough(leaves=True, free=0.5)(record(0, 0, 1.0))
    assert Enough(leaves=True, free=0.0)(record(0, 0, 1.0))
    adam, lbfgs = Enough(leaves=True), Enough(leaves=False)
    assert [adam(step) for step in (record(0, 0, 1.0), above, below, slow)] == [False, False, False, True]
    assert [lbfgs(step) for step in (record(0, 0, 1.0), above)] == [False, True]
