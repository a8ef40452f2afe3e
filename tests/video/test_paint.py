"""Painting clips: stable, without tracing for each frame, anew after a cut."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from clips import moving_frames
from narrow import SHALLOW, warm_session
from tensorflow.python.framework import func_graph

from neural_style_tf.config.schema import Config
from neural_style_tf.errors import RunError
from neural_style_tf.losses.temporal import Warped
from neural_style_tf.transfer.records import StepRecord
from neural_style_tf.transfer.session import Session
from neural_style_tf.video.flow import dis_flow, reliability, warp
from neural_style_tf.video.memory import Memory
from neural_style_tf.video.paint import Enough, beginning, follow, paint_clip
from neural_style_tf.video.read import Frame
from neural_style_tf.video.scenes import find_scenes

CONFIG = Config(
    **SHALLOW,
    content_loss="relative",
    style_loss="wasserstein",
    gram="positions",
    content_weight=1.0,
    style_weight=4.0,
    tv_weight=0.0,
    temporal_weight=0.01,
    optimizer="lbfgs",
    clamp=True,
    init="content",
    iterations=20,
)


def frames_of(pictures, first=1):
    return [
        Frame(number, Fraction(number), np.asarray(picture, np.float32))
        for number, picture in enumerate(pictures, first)
    ]


def paint(pictures, session, style, config=CONFIG, **options):
    options.setdefault("flow", dis_flow)
    return list(paint_clip(session, frames_of(pictures, options.pop("first", 1)), [style], config, **options))


def error(pictures, painted):
    """Return the mean difference of each painted frame from the one before, moved along."""
    found = []
    for index in range(1, len(painted)):
        sources = [np.asarray(picture, np.float32) for picture in pictures[index - 1 : index + 1]]
        backward, forward = dis_flow(1, 2, *sources)
        known = reliability(backward, forward) > 0
        moved = warp(painted[index - 1].memory.painted, backward)
        found.append(np.abs(painted[index].memory.painted - moved)[known].mean())
    return np.mean(found)


def test_the_temporal_loss_holds_frames_to_those_before(narrow_weights, pictures):
    session, clip = warm_session(narrow_weights), moving_frames(4, 48, 64)
    held = paint(clip, session, pictures[1])
    free = paint(clip, session, pictures[1], CONFIG.replace(temporal_weight=0.0))
    assert error(clip, held) < 0.5 * error(clip, free)
    assert held[0].reliable == 0 and all(one.reliable > 0.5 for one in held[1:])
    assert "temporal" not in held[0].record.terms and held[1].record.terms["temporal"] > 0


def test_what_stands_still_stays_while_the_rest_moves(narrow_weights, pictures):
    """Also under the noise of a camera; with the same bits, so that nothing drifts."""
    random, clip = np.random.default_rng(0), []
    scene = np.asarray(moving_frames(1, 48, 112)[0], np.float32)
    for number in range(3):
        frame = scene + random.integers(-2, 3, scene.shape)
        frame[8:24, 8 + 3 * number : 24 + 3 * number] = 255 - frame[8:24, 8:24]
        clip.append(np.clip(frame, 0, 255))
    session = warm_session(narrow_weights)
    first, *later = paint([*clip, clip[-1]], session, pictures[1], CONFIG.replace(iterations=5))
    for one in later:
        np.testing.assert_array_equal(one.memory.painted[:, 64:], first.memory.painted[:, 64:])
    assert np.abs(later[0].memory.painted - first.memory.painted)[8:24, 8:40].mean() > 5
    # The last frame is like the one before.
    assert later[0].record.step > 0 and later[-1].record.step == 0
    assert np.abs(later[-1].record.best - later[-2].record.best).max() < 0.01


def test_equal_frames_hardly_change(narrow_weights, pictures):
    clip = [moving_frames(1, 48, 64)[0]] * 8
    painted = [one.memory.painted for one in paint(clip, warm_session(narrow_weights), pictures[1])]
    changes = [np.abs(after - before).mean() for before, after in itertools.pairwise(painted[1:])]
    assert max(changes) < 0.5 and abs(painted[-1].mean() - painted[1].mean()) < 1


def test_no_frame_after_the_second_traces(narrow_weights, pictures, monkeypatch):
    session, traced = Session(narrow_weights), []
    make = func_graph.FuncGraph.__init__
    monkeypatch.setattr(
        func_graph.FuncGraph, "__init__", lambda graph, *a, **k: traced.append(1) or make(graph, *a, **k)
    )
    counts = []
    for _ in paint_clip(session, frames_of(moving_frames(5, 48, 64)), [pictures[1]], CONFIG, flow=dis_flow):
        counts.append(len(traced))
    assert 0 < counts[0] < counts[1] == counts[2] == counts[4]


def test_a_cut_begins_anew(narrow_weights, pictures):
    clip = [*moving_frames(2, 48, 64, seed=1), *moving_frames(2, 48, 64, seed=9)]
    painted = paint(clip, warm_session(narrow_weights), pictures[1])
    assert [one.memory.scene for one in painted] == [1, 1, 3, 3]
    assert painted[2].reliable == 0
    # As if it were a clip of its own.
    alone = paint(clip[2:], warm_session(narrow_weights), pictures[1], first=3)
    np.testing.assert_array_equal(painted[3].memory.painted, alone[1].memory.painted)


def test_from_what_is_known_it_goes_on_with_the_same_bits(narrow_weights, pictures):
    session, clip = warm_session(narrow_weights), moving_frames(5, 48, 64)
    config = CONFIG.replace(long_term=(1, 2))
    whole = paint(clip, session, pictures[1], config)
    known = [one.memory for one in whole[1:3]]
    rest = paint(clip[3:], session, pictures[1], config, before=known, first=4)
    for one, other in zip(whole[3:], rest, strict=True):
        np.testing.assert_array_equal(one.memory.painted, other.memory.painted)


def test_a_frame_that_is_interrupted_is_left_out(narrow_weights, pictures):
    calls = []

    def tick(step):
        calls.append(step)
        return len(calls) > 6

    painted = paint(moving_frames(5, 48, 64), warm_session(narrow_weights), pictures[1], tick=tick)
    assert 0 < len(painted) < 5


def test_of_several_frames_back_the_nearest_that_knows_counts():
    """Something hid a part of the last frame, and not of the one before it."""
    still = np.zeros((32, 32, 2), np.float32)
    hiding = still.copy()
    hiding[:16] = 9
    flows = {3: (still, hiding), 2: (still, still)}

    def flow(earlier, now, before, frame):
        return flows[earlier]

    source = np.zeros((32, 32, 3), np.float32)
    known = [Memory(2, 1, source, source + 20), Memory(3, 1, source, source + 30)]
    found = follow(known, 4, source, (1, 2), flow)
    assert found.reliable.min() == 1
    np.testing.assert_array_equal(found.picture[:16], np.full((16, 32, 3), 20))
    np.testing.assert_array_equal(found.picture[16:], np.full((16, 32, 3), 30))
    nearest = follow(known, 4, source, (1,), flow)
    np.testing.assert_array_equal(nearest.reliable[:, 0], [0] * 16 + [1] * 16)
    assert follow([], 4, source, (1, 2), flow) is None
    assert follow([Memory(3, 1, source[:16], source[:16])], 4, source, (1,), flow) is None


def test_a_later_frame_is_looked_at_along_the_same_flow():
    """What is the way there for one is the way back for the other."""
    there, back = (np.full((32, 32, 2), value, np.float32) for value in (2, -2))
    asked = []

    def flow(earlier, now, before, frame):
        asked.append((earlier, now))
        return there, back

    source = np.zeros((32, 32, 3), np.float32)
    columns = np.broadcast_to(np.arange(32, dtype=np.float32)[:, None], (32, 32, 3))
    found = follow([Memory(5, 1, source, columns)], 4, source, (1,), flow)
    assert asked == [(4, 5)]
    np.testing.assert_array_equal(found.picture[5:-5, 5:-5], columns[5:-5, 5:-5] - 2)


def test_scenes_are_found_as_painting_finds_them():
    clip = [*moving_frames(3, 48, 64, seed=1), *moving_frames(2, 48, 64, seed=9)]
    assert find_scenes(frames_of(clip), CONFIG, dis_flow) == [(1, 3), (4, 5)]
    assert find_scenes(frames_of(clip[1:], first=7), CONFIG, dis_flow) == [(7, 8), (9, 10)]
    assert find_scenes([], CONFIG, dis_flow) == []


class Kept:
    """Passes in memory; counts what is written."""

    def __init__(self):
        self.found, self.written = {}, []

    def read(self, turn, number):
        return self.found.get((turn, number))

    def write(self, turn, memory):
        self.found[turn, memory.number] = memory
        self.written.append((turn, memory.number))

    def forget(self, before):
        self.found = {key: memory for key, memory in self.found.items() if key[1] >= before}


def paintings(painted):
    return [one.memory.painted for one in painted]


def test_passes_go_there_and_back(narrow_weights, pictures):
    session, kept = warm_session(narrow_weights), Kept()
    clip = [*moving_frames(4, 48, 64, seed=1), *moving_frames(2, 48, 64, seed=9)]
    config = CONFIG.replace(passes=3, iterations=5)
    painted = paint(clip, session, pictures[1], config, passes=kept)
    first, second = [(1, number) for number in range(1, 6)], [(2, number) for number in (4, 3, 2, 1)]
    # The first frame of the next scene shows that a scene is over.
    assert kept.written == [*first, *second, (1, 6), (2, 6), (2, 5)]
    assert [one.memory.number for one in painted] == [1, 2, 3, 4, 5, 6]
    assert [one.memory.scene for one in painted] == [1, 1, 1, 1, 5, 5]
    assert not kept.found, "what is of no more use is forgotten"
    # What comes later counts for what is before it.
    other = [*clip[:3], 255 - clip[3], *clip[4:]]
    once = CONFIG.replace(iterations=5)
    for settings, alike in ((once, True), (config, False)):
        results = [
            paintings(paint(one, session, pictures[1], settings, flow=still, passes=Kept()))
            for one in (clip, other)
        ]
        assert np.array_equal(results[0][0], results[1][0]) == alike


def still(earlier, now, before, frame):
    return np.zeros((*frame.shape[:2], 2), np.float32), np.zeros((*frame.shape[:2], 2), np.float32)


@pytest.mark.parametrize("calls", [2, 5, 8, 11])
def test_passes_go_on_with_the_same_bits(narrow_weights, pictures, calls):
    session, clip = warm_session(narrow_weights), moving_frames(4, 48, 64)
    config = CONFIG.replace(passes=3, iterations=4, long_term=(1, 2))
    whole = paint(clip, session, pictures[1], config, passes=Kept())
    kept, begun, ended = Kept(), [], []

    def tick(step):
        """End after so many frames, of all passes."""
        ended.append(len(kept.written) + len(begun) >= calls)
        return ended[-1]

    options = {"flow": dis_flow, "passes": kept}
    for one in paint_clip(session, frames_of(clip), [pictures[1]], config, tick=tick, **options):
        begun.append(one)
    assert any(ended) and len(begun) < 4
    before = [one.memory for one in begun][-2:]
    rest = frames_of(clip)[len(begun) :]
    written = len(kept.written)
    found = list(paint_clip(session, rest, [pictures[1]], config, before=before, **options))
    assert len(kept.written) + len(begun) + len(found) == 12 and written == calls - len(begun)
    for one, other in zip(paintings(whole), paintings([*begun, *found]), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_lost_first_pass_is_not_painted_otherwise(narrow_weights, pictures):
    session, clip, kept = warm_session(narrow_weights), moving_frames(4, 48, 64), Kept()
    config = CONFIG.replace(passes=3, iterations=4)
    painted = paint_clip(session, frames_of(clip), [pictures[1]], config, flow=dis_flow, passes=kept)
    before = [next(painted).memory]
    painted.close()
    del kept.found[1, 3]
    with pytest.raises(RunError, match="what pass 1 made of frame 3 cannot be read"):
        paint(clip[1:], session, pictures[1], config, passes=kept, before=before, first=2)


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
        return StepRecord(step, {}, scale=0, planned=100, seconds=0, best_step=best_step, best_total=best)

    above, below, slow = record(50, 0, 1.0), record(100, 90, 0.9), record(150, 140, 0.895)
    assert not Enough("adam", 0.5)(record(0, 0, 1.0)) and Enough("adam", 0.0)(record(0, 0, 1.0))
    adam, lbfgs = Enough("adam"), Enough("lbfgs")
    assert [adam(one) for one in (record(0, 0, 1.0), above, below, slow)] == [False, False, False, True]
    assert [lbfgs(one) for one in (record(0, 0, 1.0), above)] == [False, True]
