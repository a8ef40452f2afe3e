"""From the page's values to a checked run."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from command_line import WEIGHTS_DIR, write_picture

from neural_style_tf.app import requests
from neural_style_tf.app.requests import (
    Request,
    Style,
    check_fits,
    claim_folder,
    fill_regions,
    plan,
    requested_settings,
)
from neural_style_tf.config.presets import PRESETS
from neural_style_tf.config.schema import Job
from neural_style_tf.errors import UserError
from neural_style_tf.images.masks import load_mask

SETTINGS = {
    "preset": "balanced",
    "strength": 0.5,
    "style_scale": 1,
    "image_size": 80,
    "colors": "style",
    "iterations": 0,
    "seed": 0,
}


@pytest.fixture
def base(tmp_path):
    return Job(output_dir=str(tmp_path / "out"), weights="bundled", weights_dir=str(WEIGHTS_DIR))


@pytest.fixture
def request_of(tmp_path):
    """Return a function that makes a request of a photo and a style: settings and other fields → request."""
    photo = write_picture(tmp_path / "cat.png", (80, 96))
    style = write_picture(tmp_path / "sea.png", (90, 90), seed=1)

    def make(settings=(), **fields):
        request = Request(str(photo), (Style(str(style)),), SETTINGS | dict(settings))
        return dataclasses.replace(request, **fields)

    return make


@pytest.fixture
def two_styles(request_of, tmp_path):
    """Return a function that makes a request of two styles, the second of half the weight."""
    other = str(write_picture(tmp_path / "sky.png", (90, 90), seed=2))

    def make(**first):
        request = request_of()
        styles = dataclasses.replace(request.styles[0], **first), Style(other, 0.5)
        return dataclasses.replace(request, styles=styles)

    return make


LEFT = np.zeros((40, 48), bool)
LEFT[:, :24] = True


def test_a_run_of_the_page_is_one_of_the_command_line(request_of, base):
    task = plan(request_of({"strength": 0.75, "style_scale": 2, "colors": "match", "seed": 3.0}), base)
    config, job = task.config, task.job
    assert (config.preset, config.loss.strength, config.sizes.style_scale) == ("balanced", 0.75, (2.0,))
    assert (config.colors, config.seed, config.sizes.image_size) == ("match", 3, 80)
    assert config.iterations == PRESETS["balanced"].iterations
    assert Path(job.output_dir) == Path(base.output_dir) / "cat-sea" and task.name == "cat-sea"
    # The pictures are kept, so that the command gives the same bits later.
    for path, name in zip((job.content, *job.style), ("cat.png", "sea.png"), strict=True):
        assert Path(path).parent == Path(base.output_dir) / "pictures" and path.endswith(f"-{name}")
    assert plan(request_of(), base).name == "cat-sea-2"


@pytest.mark.parametrize(
    ("settings", "fields", "message"),
    [
        ({}, {"photo": ""}, "no photo yet"),
        ({}, {"styles": ()}, "no style yet"),
        ({}, {"photo": "/nowhere.png"}, "is gone: send it once more"),
        ({}, {"bits": "32"}, "--bits"),
        ({"iterations": -1}, {}, "--iterations"),
        ({"image_size": 4}, {}, "at least"),
        ({"image_size": 0}, {}, "must be from 1 to 4096 here, not 0"),
        ({"image_size": 4097}, {}, "not 4097"),
        ({"strength": 7.0}, {}, "--strength"),
        ({"style_scale": 0.0}, {}, "--style_scale"),
        ({"preset": "nobody's"}, {}, "no preset"),
        ({"colors": "mine"}, {}, "--colors"),
    ],
)
def test_what_cannot_be_is_said_and_leaves_no_folder(request_of, base, settings, fields, message):
    with pytest.raises(UserError, match=message):
        plan(request_of(settings, **fields), base)
    assert not (Path(base.output_dir) / "cat-sea").exists()


def test_weights_blend_styles(two_styles, base):
    task = plan(two_styles(), base)
    assert task.config.loss.style_blend == (1.0, 0.5) and task.name == "cat-sea+sky"
    assert requested_settings(two_styles(weight=0.5)).loss.style_blend == ()


def test_regions_of_a_brush_become_masks(two_styles, base):
    task = plan(two_styles(region=LEFT, origin=LEFT), base)
    # The style that is not drawn gets the rest.
    first, second = (load_mask(path)[0] for path in task.job.content_mask)
    assert (first == LEFT).all() and (second == ~LEFT).all()
    assert task.job.style_mask[1] == "" and (load_mask(task.job.style_mask[0])[0] == LEFT).all()
    assert task.config.loss.mask_weight == (1.0, 0.5) and not task.config.loss.style_blend


def test_a_brush_replaces_regions_that_match_and_weights_do_not_go_with_them(request_of, two_styles, base):
    def matched(**first):
        request = two_styles(**first)
        return dataclasses.replace(request, settings=request.settings | {"match": "regions"})

    for drawn in ({"region": LEFT}, {"origin": LEFT}):
        assert plan(matched(**drawn), base).config.loss.match == "none"
    assert requested_settings(matched(weight=0.5)).loss.match == "regions"
    with pytest.raises(UserError, match="make the weights equal"):
        plan(matched(), base)
    # Before the regions are found, memory for the most that there can be.
    memory, plain = (plan(request_of({"match": match}), base).memory for match in ("regions", "none"))
    assert memory > plain


def test_regions_without_a_style_stay_a_photo_and_styles_without_a_region_are_said():
    assert len(fill_regions([LEFT])) == 1 and fill_regions([None, None]) == []
    with pytest.raises(UserError, match="style 2"):
        fill_regions([np.ones((4, 4), bool), None])


def test_settings_of_an_earlier_run_stand_where_the_page_has_none(request_of):
    earlier = PRESETS["balanced"].replace(history=7, tile="none", strength=1.0, style_blend=(1.0, 2.0))
    config = requested_settings(request_of(base=earlier))
    assert config.optimization.history == 7 and config.tile == "auto"
    assert config.loss.strength == 0.5 and config.loss.style_blend == ()
    other = requested_settings(request_of({"preset": "gatys"}, base=earlier))
    assert other.optimization.history == PRESETS["gatys"].optimization.history


@pytest.mark.parametrize("preset", PRESETS)
def test_the_picture_is_saved_often_enough(request_of, preset):
    config = requested_settings(request_of({"preset": preset}))
    planned = config.iterations + sum(config.sizes.scale_iterations)
    assert 30 <= planned / config.saving.save_every <= 80
    assert config.saving.save_every % config.saving.log_every == 0
    few = requested_settings(request_of({"preset": "gatys", "iterations": 3}))
    assert few.iterations == 3 and few.saving.log_every == 1


def test_a_folder_is_claimed_once(tmp_path):
    (tmp_path / "a").write_text("a file")
    assert [claim_folder(tmp_path / "a").name for _ in range(3)] == ["a-2", "a-3", "a-4"]
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert claim_folder(tmp_path / "link").name == "link-2"


def test_memory_is_checked_before_the_start(request_of, base, monkeypatch):
    task = plan(request_of(), base)
    assert task.memory > 0
    monkeypatch.setattr(requests, "nvidia_devices", list)
    monkeypatch.setattr(requests, "available_bytes", lambda: task.memory)
    check_fits(task)
    monkeypatch.setattr(requests, "available_bytes", lambda: task.memory - 1)
    with pytest.raises(UserError, match=r"needs about [\d.]+ GB .* GB are free"):
        check_fits(task)
    monkeypatch.setattr(requests, "nvidia_devices", lambda: ["0"])
    check_fits(task)
