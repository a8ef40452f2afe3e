"""Settings and presets: checks, suggestions, and every published number."""

import dataclasses

import pytest

from neural_style_tf.config.fields import flat, leaves
from neural_style_tf.config.parsing import format_layer_weights, parse_layer_weights
from neural_style_tf.config.presets import PRESETS, preset
from neural_style_tf.config.schema import Config, Job, OptimizerConfig
from neural_style_tf.errors import UserError

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
