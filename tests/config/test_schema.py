"""Settings and presets: checks, suggestions, and every published number."""

import dataclasses
import json

import numpy as np
import pytest

from neural_style_tf.config.fields import flat, leaves
from neural_style_tf.config.parsing import format_layer_weights, parse_layer_weights
from neural_style_tf.config.presets import PRESETS, preset
from neural_style_tf.config.schema import LONGEST_TITLE, Config, Job, OptimizerConfig
from neural_style_tf.errors import UserError
from neural_style_tf.utils.text import shortened

RELU = tuple((f"relu{block}_1", 1.0) for block in (1, 2, 3, 4, 5))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"iterations": -1}, "--iterations must be at least 0, not -1"),
        ({"content_weight": -1}, "--content_weight must be at least 0"),
        ({"learning_rate": 0}, "--learning_rate must be more than 0"),
        ({"learning_rate": float("nan")}, "finite"),
        ({"style_weight": float("inf")}, "finite"),
        ({"pooling": "avg"}, r"must be one of max, average, not 'avg' \(did you mean 'average'\?\)"),
        ({"content_layers": (("block4_conv2", 1.0),)}, r"did you mean 'relu4_2'.*Keras.*after the ReLU"),
        ({"content_layers": (("Block1_Pool", 1.0),)}, r"did you mean 'pool1'"),
        ({"content_layers": (("block5_pool", 1.0),)}, r"this one ends at relu5_4"),
        ({"content_layers": (("21", 1.0),)}, r"did you mean 'conv4_2', number 21 of torchvision's"),
        ({"content_layers": (("features.0", 1.0),)}, r"did you mean 'conv1_1', number 0 of torchvision's"),
        ({"content_layers": (("36", 1.0),)}, r"names here, not torchvision's numbers"),
        ({"content_layers": (("9" * 5000, 1.0),)}, r"no layer"),
        ({"enlarge": True, "image_size": 0}, "--enlarge needs the size"),
        ({"style_layers": (("relu6_1", 1.0),)}, r"no layer 'relu6_1'.*did you mean 'relu"),
        ({"style_layers": (("relu1_1", -1.0),)}, "weight of relu1_1 must be a number ≥ 0"),
        ({"style_layers": (("relu1_1", 1.0), ("relu1_1", 2.0))}, "relu1_1 twice"),
        ({"style_layers": (), "content_layers": ()}, "nothing to optimise"),
        ({"adam_beta1": 1.0}, "--adam_beta1 must be below 1"),
        ({"content_weight": 0, "style_weight": 0, "tv_weight": 0}, "leave nothing to optimise"),
        ({"strength": 1.5}, "--strength must be at most 1, not 1.5"),
        ({"tile": "8"}, "--tile must be at least 16 with these layers, not 8"),
        ({"scales": 10**9}, "--scales must be at most 32"),
        ({"seed": -1}, "--seed must be at least 0"),
        ({"log_every": 0}, "--log_every must be at least 1"),
        ({"iterations": 1.5}, "must be of type int, not float 1.5"),
        ({"pooling": None}, "must be of type str"),
    ],
)
def test_config_refuses(change, message):
    with pytest.raises(UserError, match=message):
        Config(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"content_layers": None}, "--content_layers must be a list of layers such as relu1_1"),
        ({"content_layers": ("relu4_2", 0.5)}, "must be a list of layers"),
        ({"content_layers": [("relu4_2", "x")]}, "must be a list of layers"),
        ({"content_layers": [("relu4_2", True)]}, "must be a list of layers"),
        ({"style_layers": [["relu4_2"]]}, "--style_layers must be a list of layers"),
        ({"style_layers": b"relu4_2"}, "must be a list of layers"),
        ({"style_layers": ["relu4_2:x"]}, "weight of layer 'relu4_2' must be a number"),
        ({"style_blend": [True]}, "--style_blend must be numbers such as 3,7, not"),
        ({"style_scale": None}, "--style_scale must be numbers"),
        ({"scales": 2, "scale_iterations": (1.5,)}, "--scale_iterations must be whole numbers"),
        ({"long_term": ["a"]}, "--long_term must be whole numbers"),
        ({"learning_rate": True}, "must be of type float, not bool True"),
        ({"learning_rate": np.bool_(True)}, "must be of type float, not bool True"),
        ({"learning_rate": 10**400}, "--learning_rate must be a finite number"),
        ({"iterations": np.array([5, 6])}, "must be of type int"),
        ({"iterations": np.float64(5)}, "must be of type int"),
        ({"loss": {"tv_weight": 1}}, "loss must be a LossConfig"),
        ({"preset": "orignal"}, "did you mean 'original'"),
        ({"preset": ["balanced"]}, "no preset"),
        ({"preset": "balanced", "scales": 2, "scale_iterations": (1, 2)}, "--scale_iterations must name 1"),
        ({"preset": "balanced", "scales": -1}, "--scales must be at least 0, not -1"),
    ],
)
def test_what_cannot_be_is_refused_whatever_its_type(change, message):
    with pytest.raises(UserError, match=message):
        Config(**change)


@pytest.mark.parametrize(
    ("given", "same"),
    [
        ({"learning_rate": np.float64(3)}, {"learning_rate": 3.0}),
        (
            {"learning_rate": np.float32(3), "tv_weight": np.int64(2)},
            {"learning_rate": 3.0, "tv_weight": 2.0},
        ),
        ({"iterations": np.int64(5), "clamp": np.bool_(True)}, {"iterations": 5, "clamp": True}),
        (
            {"style_blend": np.array([1, 2]), "style_scale": 2},
            {"style_blend": (1.0, 2.0), "style_scale": (2.0,)},
        ),
        ({"content_layers": "relu4_2:0.5"}, {"content_layers": (("relu4_2", 0.5),)}),
        ({"content_layers": ("relu4_2",)}, {"content_layers": (("relu4_2", 1.0),)}),
        ({"content_layers": ["relu4_2", ["relu3_1", 2]]}, {"content_layers": "relu4_2,relu3_1:2"}),
        ({"content_layers": {"relu4_2": np.float32(0.5)}}, {"content_layers": "relu4_2:0.5"}),
        ({"scales": 2, "scale_iterations": np.array([5])}, {"scales": 2, "scale_iterations": (5,)}),
    ],
)
def test_numbers_and_lists_of_any_kind_are_the_same_settings(given, same):
    config = Config(**given)
    assert config == Config(**same) and hash(config) == hash(Config(**same))
    # As they are written to run.json.
    assert Config(**json.loads(json.dumps(flat(config)))) == config
    assert all(type(value) in (str, bool, int, float, tuple) for value in flat(config).values())


def test_a_preset_is_looked_up_and_what_is_given_wins():
    balanced = PRESETS["balanced"]
    assert Config(preset="balanced") == balanced == Config().replace(preset="balanced")
    assert Config(preset="balanced", seed=3, loss=Config().loss) == balanced.replace(
        seed=3, loss=Config().loss
    )
    assert PRESETS["gatys"].replace(seed=3).replace(preset="balanced", scales=1).seed == 3
    assert all(Config(**flat(config)) == config for config in PRESETS.values())


@pytest.mark.parametrize(
    ("scales", "counts"), [(0, (60, 60, 40)), (1, ()), (2, (40,)), (5, (60, 60, 60, 40))]
)
def test_iterations_of_a_preset_follow_the_number_of_scales(scales, counts):
    changed = Config(preset="balanced", scales=scales)
    assert changed.sizes.scale_iterations == counts
    assert changed == PRESETS["balanced"].replace(scales=scales)
    assert PRESETS["balanced"].replace(scales=2, scale_iterations=(7,)).sizes.scale_iterations == (7,)


def test_names_are_shortened_by_bytes_and_stay_unlike():
    """Some file systems take 143 bytes, most 255; scripts have up to four a letter."""
    for letter in ("x", "é", "写", "🎨"):
        job = Job(content=f"a/{letter * 150}.png", style=(f"{letter * 149}y.jpg", "b.jpg"))
        titles = {
            job.title,
            job.replace(style=f"{letter * 149}z.jpg").title,
            job.replace(content="c.png").title,
        }
        assert len(titles) == 3 and "�" not in "".join(titles)
        assert all(len(title.encode()) <= LONGEST_TITLE and title.count(letter) > 5 for title in titles)
    assert Job(content="p.jpg", style=("a.jpg", "b.jpg")).title == "p-a+b"
    assert shortened("\udcff" * 200, 30) != shortened("\udcfe" * 200, 30)


def test_whole_numbers_are_taken_for_floats():
    assert Config(learning_rate=1) == Config(learning_rate=1.0)


def test_job_refuses():
    with pytest.raises(UserError, match="--max_pixels must be at least 1"):
        Job(max_pixels=0)


def test_layer_weights_go_both_ways():
    pairs = parse_layer_weights(" relu1_1, conv2_1:0.2 ,relu3_1:1e-3,")
    assert pairs == (("relu1_1", 1.0), ("conv2_1", 0.2), ("relu3_1", 0.001))
    assert parse_layer_weights(format_layer_weights(pairs)) == pairs
    with pytest.raises(UserError, match="weight of layer 'relu1_1' must be a number, not 'x'"):
        parse_layer_weights("relu1_1:x")


def test_layers_come_in_network_order():
    config = Config(content_layers=(("conv4_2", 1.0),), style_layers=(("relu5_1", 1.0), ("relu1_1", 1.0)))
    assert config.loss.layers == ("relu1_1", "conv4_2", "relu5_1")


def test_records():
    config = Config(log_every=20, save_every=30)
    assert [step for step in range(0, 70, 10) if config.saving.logs(step)] == [0, 20, 30, 40, 60]
    assert [step for step in range(0, 70, 10) if config.saving.saves(step)] == [0, 30, 60]
    assert not Config(save_every=0).saving.saves(0)


def test_every_setting_is_explained():
    for settings in (Config, Job):
        for field in leaves(settings):
            assert len(field.metadata["help"]) > 10, field.name


def test_original_is_the_default_and_has_the_repository_s_numbers():
    p = PRESETS["original"]
    assert p == Config()
    assert (p.loss.content_weight, p.loss.style_weight, p.loss.tv_weight) == (5, 100, 100)
    assert (p.loss.content_layers, p.loss.style_layers) == ((("relu4_2", 1.0),), RELU)
    assert (p.loss.content_loss, p.loss.style_loss, p.loss.gram) == ("mean", "mean", "elements")
    assert (
        p.optimization.learning_rate,
        p.optimization.adam_beta1,
        p.optimization.adam_beta2,
        p.optimization.adam_epsilon,
    ) == (10, 0.9, 0.999, 1e-8)
    assert (p.init, p.network.pooling, p.iterations, p.saving.log_every, p.saving.save_every) == (
        "noise",
        "max",
        1000,
        20,
        20,
    )
    assert not p.network.transpose_kernels


def test_slides_has_the_slides_numbers():
    p = PRESETS["slides"]
    assert p.loss.content_layers == (("conv4_4", 1.0),)
    assert p.loss.style_layers == tuple((f"conv{block}_1", 0.2) for block in (1, 2, 3, 4, 5))
    assert (p.loss.content_loss, p.loss.style_loss, p.loss.gram) == ("gatys", "gatys", "positions")
    assert (p.loss.content_weight, p.loss.style_weight) == (1, 1)
    assert (p.loss.tv_weight, p.init, p.network.pooling) == (0, "noise", "max")


def test_gatys_has_the_notebook_s_numbers():
    p = PRESETS["gatys"]
    assert (p.optimization.optimizer, p.optimization.history, p.optimization.preconditioner) == (
        "lbfgs",
        100,
        "scalar",
    )
    assert (p.loss.content_layers, p.loss.style_layers) == ((("relu4_2", 1.0),), RELU)
    assert (p.loss.content_weight, p.loss.style_weight, p.loss.tv_weight) == (1, 1000, 0)
    assert (p.loss.content_loss, p.loss.style_loss, p.loss.gram) == ("mean", "mean", "elements")
    assert (p.init, p.iterations, p.sizes.image_size) == ("content", 500, 512)


def test_unknown_preset_suggests():
    with pytest.raises(
        UserError, match=r"no preset 'orignal' \(did you mean 'original'\?\); there are original"
    ):
        preset("orignal")


def test_settings_are_given_flat_or_in_groups():
    config = Config(style_weight=7, image_size=256, optimizer="lbfgs")
    assert (config.loss.style_weight, config.sizes.image_size) == (7.0, 256)
    assert config.optimization == OptimizerConfig(optimizer="lbfgs")
    assert Config(loss=config.loss, optimization=config.optimization, image_size=256) == config
    changed = config.replace(style_weight=8)
    assert changed.loss == dataclasses.replace(config.loss, style_weight=8.0)
    assert changed.optimization == config.optimization
    assert hash(changed) != hash(config)
    with pytest.raises(TypeError, match="no such settings: styel_weight"):
        Config(styel_weight=1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.iterations = 3


def test_no_two_settings_have_one_name():
    names = [leaf.name for settings in (Config, Job) for leaf in leaves(settings)]
    assert len(names) == len(set(names)) and list(flat(Config())) == [leaf.name for leaf in leaves(Config)]


def test_strength_turns_the_style_weight_by_its_range():
    weights = [
        Config(style_weight=3.0, strength=strength, strength_range=4.0).loss.weighted_style
        for strength in (0, 0.25, 0.5, 0.75, 1)
    ]
    assert weights == pytest.approx([0.75, 1.5, 3, 6, 12])
    assert Config(style_weight=3.0, strength=1.0).loss.weighted_style == pytest.approx(300)
