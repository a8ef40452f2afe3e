"""From the page's values to a checked run."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from command_line import WEIGHTS_DIR, write_picture

from neural_style_tf.app import requests
from neural_style_tf.app.queue import PlannedRun
from neural_style_tf.app.requests import (
    Place,
    Request,
    Style,
    check_memory,
    claim_folder,
    fill_regions,
    plan,
    settings,
)
from neural_style_tf.config.presets import PRESETS
from neural_style_tf.config.schema import Config, Job
from neural_style_tf.errors import UserError
from neural_style_tf.images.masks import load_mask
from neural_style_tf.jobs.task import Task
from neural_style_tf.transfer.scales import Scale


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "out", "bundled", str(WEIGHTS_DIR))


@pytest.fixture
def asked(tmp_path):
    """Return a request of a photo and a style."""
    photo = write_picture(tmp_path / "cat.png", (80, 96))
    style = write_picture(tmp_path / "sea.png", (90, 90), seed=1)
    return Request(str(photo), (Style(str(style)),), image_size=80)


def half(left=True):
    mask = np.zeros((40, 48), bool)
    mask[:, :24] = True
    return mask if left else ~mask


def test_a_run_of_the_page_is_one_of_the_command_line(asked, place):
    run = plan(dataclasses.replace(asked, strength=0.75, stroke_size=2, colors="match", seed=3.0), place)
    config, job = run.task.config, run.task.job
    assert (config.preset, config.loss.strength, config.sizes.style_scale) == ("balanced", 0.75, (2.0,))
    assert (config.colors, config.seed, config.sizes.image_size) == ("match", 3, 80)
    assert config.iterations == PRESETS["balanced"].iterations
    assert Path(job.output_dir) == place.output_dir / "cat-sea" and run.name == "cat-sea"
    # The pictures are kept, so that the command gives the same bits later.
    for path, name in zip((job.content, *job.style), ("cat.png", "sea.png"), strict=True):
        assert Path(path).parent == place.output_dir / "pictures" and path.endswith(f"-{name}")
    assert run.scales[-1].content == (67, 80)


def test_names_are_numbered(asked, place):
    assert [plan(asked, place).name for _ in range(3)] == ["cat-sea", "cat-sea-2", "cat-sea-3"]


def test_a_request_that_cannot_be_leaves_no_folder(asked, place):
    with pytest.raises(UserError, match="at least"):
        plan(dataclasses.replace(asked, image_size=4), place)
    assert not (place.output_dir / "cat-sea").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"photo": ""}, "no photo yet"),
        ({"styles": ()}, "no style yet"),
        ({"photo": "/nowhere.png"}, "nowhere.png"),
        ({"iterations": -1}, "Iterations must be a whole number"),
        ({"iterations": 1.5}, "Iterations must be a whole number"),
        ({"seed": float("nan")}, "Seed must be a whole number"),
        ({"seed": float("inf")}, "Seed must be a whole number"),
        ({"image_size": -8}, "Size must be"),
        ({"strength": 7.0}, "--strength"),
        ({"stroke_size": 0.0}, "--style_scale"),
        ({"preset": "nobody's"}, "no preset"),
        ({"colors": "mine"}, "--colors"),
        ({"bits": "32"}, "--bits"),
    ],
)
def test_what_cannot_be_is_said(asked, place, changes, message):
    with pytest.raises(UserError, match=message):
        plan(dataclasses.replace(asked, **changes), place)


def test_weights_blend_styles(asked, tmp_path, place):
    other = str(write_picture(tmp_path / "sky.png", (90, 90), seed=2))
    styles = (*asked.styles, Style(other, 0.5))
    run = plan(dataclasses.replace(asked, styles=styles), place)
    assert run.task.config.loss.style_blend == (1.0, 0.5) and run.name == "cat-sea_sky".replace("_", "+")
    alike = dataclasses.replace(asked, styles=(*asked.styles, Style(other)))
    assert settings(alike).loss.style_blend == ()


def test_regions_of_a_brush_become_masks(asked, tmp_path, place):
    other = str(write_picture(tmp_path / "sky.png", (90, 90), seed=2))
    drawn = dataclasses.replace(asked.styles[0], region=half(), origin=half())
    run = plan(dataclasses.replace(asked, styles=(drawn, Style(other, 0.5))), place)
    job = run.task.job
    # The style that is not drawn gets the rest.
    found = [load_mask(path)[0] for path in job.content_mask]
    assert (found[0] == half()).all() and (found[1] == ~half()).all()
    assert job.style_mask[1] == "" and (load_mask(job.style_mask[0])[0] == half()).all()
    assert run.task.config.loss.mask_weight == (1.0, 0.5) and not run.task.config.loss.style_blend


def test_one_region_leaves_the_rest_a_photo(asked, place):
    drawn = (dataclasses.replace(asked.styles[0], region=half()),)
    assert len(plan(dataclasses.replace(asked, styles=drawn), place).task.job.content_mask) == 1


def test_a_style_without_a_place_is_said():
    with pytest.raises(UserError, match="style 2"):
        fill_regions([np.ones((4, 4), bool), None])
    assert fill_regions([None, None]) == []


def test_settings_of_an_earlier_run_stand_where_the_page_has_none(asked):
    base = PRESETS["balanced"].replace(history=7, tile="none", strength=1.0, style_blend=(1.0, 2.0))
    config = settings(dataclasses.replace(asked, base=base))
    assert config.optimization.history == 7 and config.tile == "auto"
    assert config.loss.strength == 0.5 and config.loss.style_blend == ()
    other = settings(dataclasses.replace(asked, base=base, preset="gatys"))
    assert other.optimization.history == PRESETS["gatys"].optimization.history


@pytest.mark.parametrize("preset", PRESETS)
def test_the_picture_is_saved_often_enough(asked, preset):
    config = settings(dataclasses.replace(asked, preset=preset))
    planned = config.iterations + sum(config.sizes.scale_iterations)
    assert 30 <= planned / config.saving.save_every <= 80
    assert config.saving.save_every % config.saving.log_every == 0


def test_few_iterations_are_all_saved(asked):
    config = settings(dataclasses.replace(asked, preset="gatys", iterations=3))
    assert config.iterations == 3 and config.saving.log_every == 1


def test_a_folder_is_claimed_once(tmp_path):
    (tmp_path / "a").write_text("a file")
    assert [claim_folder(tmp_path / "a").name for _ in range(3)] == ["a-2", "a-3", "a-4"]
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert claim_folder(tmp_path / "link").name == "link-2"


def test_memory_is_checked_before_the_start(monkeypatch):
    def run(size, style=0, **settings):
        scale = Scale(0, (size, size), ((style or size,) * 2,), 1, 0)
        return PlannedRun(Task("a", Config(**settings), Job()), (scale,))

    monkeypatch.setattr(requests, "nvidia_devices", list)
    monkeypatch.setattr(requests, "available_bytes", lambda: 4_000_000_000)
    check_memory(run(512))
    # In tiles, so that it fits.
    check_memory(run(2048))
    with pytest.raises(UserError, match=r"2048×2048 pixels need about [\d.]+ GB .* 4.0 GB are free"):
        check_memory(run(2048, tile="none"))
    with pytest.raises(UserError, match=r"512×512 pixels need about [\d.]+ GB .* 4.0 GB are free"):
        check_memory(run(512, style=20_000))
    monkeypatch.setattr(requests, "nvidia_devices", lambda: ["0"])
    check_memory(run(2048, tile="none"))
