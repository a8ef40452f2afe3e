"""Warping, reliability and flow against loops over pixels and known movements."""

import cv2
import numpy as np
import pytest
from clips import texture
from scipy import ndimage

from neural_style_tf.errors import RunError, UserError
from neural_style_tf.video.flow import FlowFolder, dis_flow, reliability, unchanged, warp

RNG = np.random.default_rng(3)


def test_warping_is_bilinear_and_repeats_the_border():
    picture = RNG.uniform(0, 255, (7, 9, 3))
    # OpenCV before version 5 rounds places to 1/32 pixel.
    flow = np.rint(32 * RNG.uniform(-4, 4, (7, 9, 2))) / 32
    warped = warp(picture, flow)
    for row in range(7):
        for column in range(9):
            x = np.clip(column + flow[row, column, 0], 0, 8)
            y = np.clip(row + flow[row, column, 1], 0, 6)
            left, top = int(min(x, 7)), int(min(y, 5))
            fx, fy = x - left, y - top
            expected = (1 - fy) * ((1 - fx) * picture[top, left] + fx * picture[top, left + 1]) + fy * (
                (1 - fx) * picture[top + 1, left] + fx * picture[top + 1, left + 1]
            )
            np.testing.assert_allclose(warped[row, column], expected, rtol=1e-4, atol=1e-3)


def test_reliability_is_that_of_the_paper():
    backward = ndimage.gaussian_filter(RNG.normal(0, 9, (20, 24, 2)), (4, 4, 0)) + np.array([3.0, -2.0])
    forward = ndimage.gaussian_filter(RNG.normal(0, 8, (20, 24, 2)), (2, 2, 0)) - backward
    backward, forward = backward.astype(np.float32), forward.astype(np.float32)
    there, reliable = warp(forward, backward), reliability(backward, forward)
    slopes = np.stack([np.gradient(backward[..., k], axis=a) for k in (0, 1) for a in (0, 1)])
    for row in range(20):
        for column in range(24):
            flow, back = backward[row, column], there[row, column]
            hidden = ((flow + back) ** 2).sum() >= 0.01 * ((flow**2).sum() + (back**2).sum()) + 0.5
            border = (slopes[:, row, column] ** 2).sum() > 0.01 * (flow**2).sum() + 0.002
            x, y = column + flow[0], row + flow[1]
            outside = not (0 <= x <= 23 and 0 <= y <= 19)
            assert reliable[row, column] == (0.0 if hidden or border or outside else 1.0)
    assert 0.05 < reliable.mean() < 0.95


def test_a_known_movement_is_followed():
    large = texture(120, 160)
    before, frame = large[10:106, 10:138], large[13:109, 6:134]
    backward, forward = dis_flow(1, 2, before, frame)
    # What is at x now was at x − (4, −3) before.
    inside = (slice(12, -12), slice(12, -12))
    assert np.abs(backward[inside] - [-4, 3]).max() < 0.2
    known = reliability(backward, forward)
    assert known[inside].mean() > 0.99
    assert np.abs(warp(before, backward) - frame)[inside].mean() < 1.0
    # What has come into view was not seen.
    assert known[:, :3].mean() < 0.2
    backward, forward = dis_flow(1, 2, frame, frame)
    assert np.abs(backward).max() == 0 and reliability(backward, forward).min() == 1


def test_flow_of_another_program_is_read_and_scaled(tmp_path):
    flow = RNG.uniform(-3, 3, (10, 14, 2)).astype(np.float32)
    cv2.writeOpticalFlow(str(tmp_path / "backward_2_1.flo"), flow)
    cv2.writeOpticalFlow(str(tmp_path / "forward_1_2.flo"), -flow)
    folder = FlowFolder(str(tmp_path))
    backward, forward = folder(1, 2, None, np.zeros((10, 14, 3)))
    np.testing.assert_array_equal(backward, flow)
    np.testing.assert_array_equal(forward, -flow)
    even = np.full((10, 14, 2), [1.0, -2.0], np.float32)
    cv2.writeOpticalFlow(str(tmp_path / "backward_2_1.flo"), even)
    backward, _ = folder(1, 2, None, np.zeros((20, 42, 3)))
    np.testing.assert_allclose(backward, np.broadcast_to([3.0, -4.0], (20, 42, 2)), rtol=1e-5)


@pytest.mark.parametrize(
    "data",
    [
        None,
        b"",
        b"text that is no flow",
        b"PIEH" + b"\x02\0\0\0\x02\0\0\0" + b"1234",
        b"PIEH" + b"\x01\0\0\0\x01\0\0\0" + np.full(2, np.inf, "<f4").tobytes(),
    ],
)
def test_what_is_no_flow_is_refused(tmp_path, data):
    folder, path = FlowFolder(str(tmp_path)), tmp_path / "backward_2_1.flo"
    if data is None:
        with pytest.raises(UserError, match=r"there is no .*backward_2_1\.flo; .* --long_term=1"):
            folder.check([(1, 2)])
    else:
        path.write_bytes(data)
    with pytest.raises(RunError, match=r"frame 2: --flow: .*backward_2_1\.flo is missing, cut short, or no "):
        folder(1, 2, None, np.zeros((4, 4, 3)))


def still_parts(clip):
    """Return where each frame is still, against what was last seen to change at each place."""
    seen, parts = clip[0], []
    for frame in clip[1:]:
        parts.append(unchanged(seen, frame))
        seen = np.where(parts[-1][..., np.newaxis], seen, frame)
    return parts


def test_what_is_unchanged_is_told_from_what_moves_fades_or_is_noise():
    scene = texture(96, 160)
    scene[:40] = np.linspace(90, 110, 40)[:, np.newaxis, np.newaxis]
    noisy = [np.clip(scene + RNG.normal(0, 2, scene.shape), 0, 255) for _ in range(4)]
    assert all(still.all() for still in still_parts(noisy))
    # The even sky moves along with what is below it.
    assert not any(still.any() for still in still_parts([scene[:, k : k + 128] for k in range(4)]))
    small = []
    for number in range(4):
        frame = noisy[number].copy()
        frame[70:74, 10 + number : 14 + number] = 255 - frame[70:74, 10:14]
        small.append(frame)
    for still in still_parts(small):
        assert not still[60:84, 2:24].any() and still[:, 48:].all()
    # Each step is less than noise, and they add up; also those of a hardly visible movement.
    for clip in (
        [scene - 2 * number for number in range(9)],
        [ndimage.shift(scene, (0, 0.05 * number, 0), order=1, mode="nearest") for number in range(9)],
    ):
        parts = still_parts(clip)
        assert parts[0].mean() > 0.9 and min(still.mean() for still in parts) < 0.5
