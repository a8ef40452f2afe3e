"""Regions that match: clusters of pictures that are plain to see, and what becomes of them in a run."""

import dataclasses
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from clips import moving_frames, write_video
from command_line import SMALL
from PIL import Image

from neural_style_tf.config.schema import Config, Job
from neural_style_tf.errors import UserError
from neural_style_tf.runs.region_files import read_regions
from neural_style_tf.runs.resume import continued
from neural_style_tf.transfer import plan, regions
from neural_style_tf.transfer.masks import Masks
from neural_style_tf.transfer.plan import Inputs, plan_run, with_regions

RNG = np.random.default_rng(2)


def extract(picture):
    """Features that say how much of each colour is here."""
    height, width = (side // 8 * 8 for side in picture.shape[:2])
    cells = picture[:height, :width].reshape(height // 8, 8, width // 8, 8, 3).mean((1, 3))
    return {"relu3_1": cells.repeat(2, 0).repeat(2, 1), "relu4_1": cells}


def picture(colors, size=(96, 128)):
    """Return vertical stripes of colours, with noise."""
    width = size[1] // len(colors)
    row = np.concatenate([np.tile(np.array(color, float), (width, 1)) for color in colors])
    noise = np.random.default_rng(0).normal(0, 4, (size[0], width * len(colors), 3))
    return np.tile(row, (size[0], 1, 1)) + noise


RED, GREEN, BLUE = (200, 30, 30), (30, 200, 30), (30, 30, 200)


def test_regions_of_one_kind_match_wherever_they_are():
    photo, style = picture((RED, GREEN, BLUE), (96, 120)), picture((BLUE, RED, GREEN), (80, 120))
    found = regions.find_regions(photo, [style], extract)
    assert found.count == 3 and found.pairs == ((0, 0), (1, 0), (2, 0))
    assert found.photo.shape == photo.shape[:2] and found.styles[0].shape == style.shape[:2]
    red, green, blue = (found.photo[40, column] for column in (20, 60, 100))
    assert {red, green, blue} == {0, 1, 2}
    assert [found.styles[0][40, column] for column in (20, 60, 100)] == [blue, red, green]
    # Each pixel belongs to one region.
    assert np.array_equal(sum(found.content_masks()), np.ones(photo.shape[:2]))
    again = regions.find_regions(photo, [style], extract)
    assert np.array_equal(again.photo, found.photo)
    # A further frame, by the same clusters.
    turned = found.clusters.regions_of(photo[:, ::-1], extract)
    assert np.mean(turned == found.photo[:, ::-1]) > 0.97


def test_what_one_picture_alone_has_is_no_region():
    found = regions.find_regions(picture((RED, BLUE)), [picture((RED, BLUE, RED, BLUE))], extract)
    assert found.count == 2
    flat = np.full((64, 64, 3), 7.0)
    for photo, style in ((flat, flat), (flat, picture((RED, BLUE)))):
        alone = regions.find_regions(photo, [style], extract)
        assert alone.count >= 1 and len(alone.pairs) == alone.count
    points = np.array([[0.0], [0.1], [9.0], [9.1]])
    centroids = np.array([[0.0], [9.0], [50.0]])
    np.testing.assert_array_equal(regions.merge(centroids, points, points), centroids[:2])
    assert len(regions.merge(centroids, points, points[:2])) == 1


def test_what_is_not_visible_is_not_clustered():
    photo, style = picture((RED, GREEN)), picture((RED, GREEN, BLUE), (96, 120))
    visible = np.ones((96, 120), np.float32)
    visible[:, 80:] = 0
    whole, seen = (regions.find_regions(photo, [style], extract, (None, mask)) for mask in (None, visible))
    part = regions.find_regions(photo, [style[:, :80]], extract)
    # The same as of the part alone, but for the blur at its border.
    red = [found.styles[0][:, :80] == found.styles[0][40, 20] for found in (seen, part)]
    assert np.mean(red[0] == red[1]) > 0.95
    assert not np.allclose(whole.clusters.directions, seen.clusters.directions)


def test_each_region_has_a_style():
    # Of all pixels, hidden ones included, the green ones are less than 2 %.
    photo, style = np.full((96, 128, 3), RED), np.full((384, 384, 3), RED)
    photo[:, 64:] = style[:40, :40] = GREEN
    visible = np.zeros((384, 384), np.float32)
    visible[:, :128] = 1
    found = regions.find_regions(photo, [style], extract, (None, visible))
    assert min(np.mean(found.styles[0] == region) for region in range(found.count)) < regions.LEAST_SHARE
    assert found.pairs == tuple((region, 0) for region in range(found.count))
    assert np.all(sum(found.content_masks()) == 1)
    assert regions.pairs_of(np.array([[0.995, 0.005], [0.991, 0.009]])) == ((0, 0), (0, 1), (1, 1))
    labels = np.array([[0, 1], [2, 2]])
    shares = regions.shares_of([labels], [np.array([[1.0, 1.0], [0.0, 0.0]])], 3)
    np.testing.assert_allclose(shares, [[0.5, 0.5, 0]])


def test_a_region_that_vanishes_when_it_is_enlarged_joins_the_others(monkeypatch):
    photo, style = picture((RED, GREEN)), picture((RED, GREEN))
    far = [[1e6] * 6]
    cluster = regions.cluster
    monkeypatch.setattr(regions, "cluster", lambda *points: np.concatenate([cluster(*points), far]))
    found = regions.find_regions(photo, [style], extract)
    assert found.count == 2 and all(mask.any() for mask in found.style_masks())


def test_a_very_narrow_picture_has_regions():
    found = regions.find_regions(picture((RED, GREEN), (4, 400)), [picture((RED, GREEN))], extract)
    assert found.count == 2 and found.photo.shape == (regions.LEAST_SIDE, regions.SIDE)


def test_guides_of_masks_wait_for_them():
    photo = picture((RED, GREEN))
    inputs, config = Inputs(photo, (photo,)), Config(match="regions", mask_guides="inside")
    assert plan_run(inputs, config).config.loss.mask_guides == "inside"
    flat = np.full((64, 64, 3), 7.0)
    for style, guides in ((photo, "inside"), (flat, "simple")):
        found = regions.find_regions(photo if style is photo else flat, [style], extract)
        matched, settings = with_regions(dataclasses.replace(inputs, style=style), config, found)
        assert plan_run(matched, settings).config.loss.mask_guides == guides


def test_several_styles_share_each_region_that_they_have():
    styles = [picture((RED, GREEN)), picture((GREEN,) * 3 + (RED,))]
    inputs = Inputs(picture((RED, GREEN)), tuple(styles))
    config = Config(match="regions", style_scale=(1.0, 0.5))
    found = regions.find_regions(inputs.content, styles, extract)
    assert found.pairs == ((0, 0), (0, 1), (1, 0), (1, 1))
    matched, settings = with_regions(inputs, config, found)
    assert settings.loss.match == "none" and settings.sizes.style_scale == (1.0, 0.5, 1.0, 0.5)
    assert [style is styles[number % 2] for number, style in enumerate(matched.styles)] == [True] * 4
    guidance = plan_run(matched, settings).masks.at((96, 128), [(96, 128)] * 4, settings)
    np.testing.assert_allclose(sum(region.mask for region in guidance.regions), 1)


def test_the_silhouette_is_the_twins():
    points, labels = RNG.normal(size=(30, 3)), RNG.integers(0, 3, 30)
    expected = []
    for number, point in enumerate(points):
        distances = np.linalg.norm(points - point, axis=1)
        own = labels == labels[number]
        inside = distances[own].sum() / (own.sum() - 1)
        outside = min(distances[labels == other].mean() for other in set(labels) - {labels[number]})
        expected.append((outside - inside) / max(inside, outside))
    assert regions.silhouette(points, labels) == pytest.approx(np.mean(expected))
    assert regions.silhouette(points, np.zeros(30, int)) == -1


@pytest.mark.parametrize(
    ("masks", "settings", "said"),
    [
        (Masks(content=(np.eye(8),)), {}, "--match=regions finds the masks itself"),
        (Masks(), {"style_blend": (1.0, 2.0)}, "leave out --style_blend"),
        (Masks(), {"mask_weight": (1.0, 2.0)}, "leave out --mask_weight"),
    ],
)
def test_what_does_not_go_with_it_is_refused(masks, settings, said):
    photo = picture((RED, GREEN))
    with pytest.raises(UserError, match=said):
        plan_run(Inputs(photo, (photo,), masks=masks), Config(match="regions", **settings))


FLAGS = (*SMALL, "--save_every=2", "--match=regions", "--content=wide.png", "--style=high.png")


@pytest.fixture
def pictures_of_two_kinds(tmp_path):
    """Write a photo and a style, each with a flat and a lively part."""
    for name, size in (("wide.png", (48, 96)), ("high.png", (96, 64))):
        pixels = np.full((*size, 3), 120.0)
        pixels[: size[0] // 2] += RNG.normal(0, 60, (size[0] // 2, size[1], 3))
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(tmp_path / name)
    return tmp_path


def test_the_written_masks_paint_the_same_picture_and_a_run_goes_on_with_them(
    job, pictures_of_two_kinds, capsys
):
    def result(folder):
        return Path(folder, "result.png").read_bytes()

    assert job(*FLAGS, "--iterations=4", "--output_dir=whole") == 0
    said = capsys.readouterr().out
    flags = shlex.split(re.search(r"to paint with corrected masks: (.*)", said)[1])
    assert "--content_mask=whole/regions/content_1.png" in flags and flags.count("--style=high.png") == 2
    assert Path("whole/regions/regions.png").exists()
    plain = [flag for flag in FLAGS if not flag.startswith("--style=")]
    assert job(*plain, *flags, "--iterations=4", "--output_dir=by_masks") == 0
    assert result("by_masks") == result("whole")
    assert job(*FLAGS, "--match=none", "--iterations=4", "--output_dir=without") == 0
    assert result("without") != result("whole")
    assert job(*FLAGS, "--iterations=2", "--output_dir=parts") == 0
    corrected = Path("parts/regions/style_1.png")
    Image.new("L", (64, 96), 255).save(corrected)
    written = corrected.read_bytes()
    assert job(*FLAGS, "--iterations=4", "--output_dir=parts", "--resume") == 0
    assert result("parts") == result("whole") and corrected.read_bytes() == written
    np.testing.assert_array_equal(read_regions(Path("parts")).photo, read_regions(Path("whole")).photo)
    assert job(*FLAGS, "--iterations=0", "--output_dir=whole", "--overwrite", "--match=none") == 0
    assert not Path("whole/regions").exists()
    Path("parts/regions/regions.npz").write_bytes(b"no")
    capsys.readouterr()
    assert job(*FLAGS, "--iterations=6", "--output_dir=parts", "--resume") == 2
    assert "which says where each region is" in capsys.readouterr().err


def test_runs_of_a_sweep_say_what_regions_say_and_are_measured(
    job, pictures_of_two_kinds, monkeypatch, capsys
):
    said = "a region is too small"
    monkeypatch.setattr(plan, "check_masks", lambda masks, *rest: (said,) if masks.content else ())
    assert job(*FLAGS, "--iterations=1", "--sweep=seed=1", "--output_dir=sweep") == 0
    assert capsys.readouterr().out.count(said) == 1
    folder = Path("sweep/seed=1")
    facts = json.loads((folder / "run.json").read_text())
    assert "patches" in facts["measures"]
    # Killed before its first checkpoint, it begins anew.
    (folder / "run.json").write_text(json.dumps(facts | {"status": "running"}))
    assert continued(Job(output_dir=str(folder))).resume
    shutil.rmtree(folder / "checkpoints")
    assert (folder / "regions/regions.npz").exists() and continued(Job(output_dir=str(folder))).overwrite


def test_regions_of_a_clip_are_told_by_those_of_its_first_frame(job, pictures_of_two_kinds, capsys):
    write_video("clip.mp4", moving_frames(3, 48, 64))
    flags = ("--content=clip.mp4", "--style=high.png", "--content_layers=relu1_2", "--style_layers=relu1_1")
    flags += ("--optimizer=adam", "--init=content", "--iterations=2", "--save_every=1")
    assert job(*flags, "--match=regions", "--output_dir=whole") == 0
    said = re.search(r"to paint with corrected masks: (.*)", capsys.readouterr().out)[1]
    found = read_regions(Path("whole"))
    masks = sorted(Path("whole/regions").glob("content_*/*.png"))
    assert len(masks) == 3 * len(found.pairs) > 3
    frames = [path.read_bytes() for path in sorted(Path("whole/frames").iterdir())]
    # By the written masks, which move; and in two parts.
    plain = [flag for flag in flags if not flag.startswith("--style=")]
    assert job(*plain, *shlex.split(said), "--output_dir=by_masks") == 0
    assert [path.read_bytes() for path in sorted(Path("by_masks/frames").iterdir())] == frames
    assert job(*flags, "--match=regions", "--end_frame=2", "--output_dir=parts") == 0
    assert job(*flags, "--match=regions", "--output_dir=parts", "--resume") == 0
    assert [path.read_bytes() for path in sorted(Path("parts/frames").iterdir())] == frames


def test_masks_beside_it_are_refused_in_one_line(job, pictures_of_two_kinds, capsys):
    assert job(*FLAGS, "--style_mask=high.png") == 2
    error = capsys.readouterr().err
    assert "--match=regions finds the masks itself" in error and error.count("\n") == 1
