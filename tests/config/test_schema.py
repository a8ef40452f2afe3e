"""Settings and presets: their texts, checks, suggestions, and every published number."""

import dataclasses
import json

import numpy as np
import pytest

from neural_style_tf.config import parsing
from neural_style_tf.config.fields import flat, from_text, leaves, setting, tagged, to_texts
from neural_style_tf.config.presets import PRESETS, preset
from neural_style_tf.config.schema import LONGEST_TITLE, SETTINGS, Config, Job, OptimizerConfig, SweepConfig
from neural_style_tf.errors import UserError
from neural_style_tf.utils.files import shortened

RELU = tuple((f"relu{block}_1", 1.0) for block in (1, 2, 3, 4, 5))
NAMES = (
    "it's.jpg",
    '"a".jpg',
    "a,b=c;d",
    " #1 ",
    "--style=x",
    "写真 1",
    "\udcff",
    "a\nb",
    "relu1_1:2",
    "true",
)
ODD = {
    parsing.BOOL: (True, False),
    parsing.INT: (1, 10**30),
    parsing.FLOAT: (1.0, 0.1 + 0.2, 1e-8, 5e15, 1e300, 1 / 3),
    parsing.TEXT: NAMES,
    parsing.TEXTS: (NAMES, NAMES[:1], ("",), ()),
    parsing.INTS: ((), (60,), (60, 40)),
    parsing.FLOATS: ((), (1.0,), (0.1 + 0.2, 1e-8)),
    parsing.LAYERS: ((), (("relu1_1", 1.0), ("conv2_1", 1 / 3), ("pool1", 2.0))),
}
"""Kind → values that are hard to write."""


@pytest.mark.parametrize("field", SETTINGS.values(), ids=SETTINGS)
def test_texts_are_read_back(field):
    odd = () if field.metadata["limits"] else ODD[field.metadata["kind"]]
    for value in (field.default, *(field.metadata["choices"] or odd)):
        again = from_text(field, *to_texts(field, value))
        assert again == value and type(again) is type(value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"iterations": -1}, "--iterations must be at least 0, not -1"),
        ({"learning_rate": 0}, "--learning_rate must be more than 0"),
        ({"learning_rate": float("nan")}, "finite"),
        ({"pooling": "avg"}, r"must be one of max, average, not 'avg' \(did you mean 'average'\?\)"),
        ({"content_layers": (("block4_conv2", 1.0),)}, r"did you mean 'relu4_2'.*Keras.*after the ReLU"),
        ({"content_layers": "block5_pool"}, r"this one ends at relu5_4"),
        ({"content_layers": "21"}, r"did you mean 'conv4_2', number 21 of torchvision's"),
        ({"content_layers": "36"}, r"names here, not torchvision's numbers"),
        ({"content_layers": "9" * 500}, r"no layer"),
        ({"style_layers": "relu6_1"}, r"no layer 'relu6_1'.*did you mean 'relu"),
        ({"style_blend": "1,nan"}, "each number of --style_blend must be a finite number, not nan"),
        ({"style_blend": "1;2"}, "--style_blend must be numbers such as 3,7"),
        ({"style_scale": ()}, "--style_scale is empty: leave it out for 1"),
        ({"style_blend": "0,0"}, "--style_blend has only zeros"),
        ({"init": ""}, "--init is empty: leave it out for 'noise'"),
        ({"enlarge": True, "image_size": 0}, "--enlarge needs the size"),
        ({"style_layers": (("relu1_1", -1.0),)}, "each number of --style_layers must be at least 0, not -1"),
        ({"style_layers": (("relu1_1", 1.0), ("relu1_1", 2.0))}, "relu1_1 twice"),
        ({"style_layers": (), "content_layers": ()}, "nothing to optimise"),
        ({"adam_beta1": 1.0}, "--adam_beta1 must be below 1"),
        ({"content_weight": 0, "style_weight": 0, "tv_weight": 0}, "leave nothing to optimise"),
        ({"strength": 1.5}, "--strength must be at most 1, not 1.5"),
        ({"tile": "8"}, "--tile must be at least 16 with these layers, not 8"),
        ({"tile": "big"}, "--tile must be auto, none or a number of pixels, not 'big'"),
        # Values of the wrong type.
        ({"iterations": 1.5}, "--iterations must be a whole number such as 3, not 1.5"),
        ({"iterations": "many"}, "--iterations must be a whole number such as 3, not 'many'"),
        ({"iterations": np.array([5, 6])}, "must be a whole number"),
        ({"iterations": "9" * 5000}, "must be a whole number such as 3, not '999"),
        ({"pooling": None}, "--pooling must be a text, not None"),
        ({"clamp": 1}, "--clamp must be true or false, not 1"),
        ({"learning_rate": True}, "--learning_rate must be a number such as 0.5, not True"),
        ({"learning_rate": 10**400}, "must be a number"),
        ({"content_layers": None}, "--content_layers must be layers such as relu1_1,relu2_1:0.5"),
        ({"content_layers": [("relu4_2", "x")]}, "must be layers"),
        ({"style_layers": [["relu4_2"]]}, "--style_layers must be layers"),
        ({"style_layers": "relu4_2:x"}, "must be layers such as .*, not 'relu4_2:x'"),
        ({"style_blend": [True]}, "--style_blend must be numbers such as 3,7, not"),
        ({"style_scale": None}, "--style_scale must be numbers"),
        ({"scales": 2, "scale_iterations": (1.5,)}, "--scale_iterations must be whole numbers"),
        ({"scale_iterations": "1,,2"}, "--scale_iterations must be whole numbers"),
        ({"start_frame": 3, "end_frame": 2}, "--end_frame=2 is before --start_frame=3"),
        ({"long_term": ()}, "--long_term is empty: leave it out for 1,2,4"),
        ({"loss": {"tv_weight": 1}}, "loss must be a LossConfig"),
        ({"preset": "orignal"}, r"no preset 'orignal' \(did you mean 'original'\?\); there are original"),
        ({"preset": ["balanced"]}, "no preset"),
        ({"preset": "balanced", "scales": 2, "scale_iterations": (1, 2)}, "--scale_iterations must name 1"),
    ],
)
def test_what_cannot_be_is_refused(change, message):
    with pytest.raises(UserError, match=message) as error:
        Config(**change)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"style": [3]}, "--style must be a text or a list of texts, not"),
        ({"output": "a\0b"}, "--output: a name cannot hold a zero byte"),
        ({"weights": ""}, "--weights is empty: leave it out for 'auto'"),
        ({"dpi": 0.5}, "--dpi must be at least 1, or 0"),
        ({"frame_rate": 1e-4}, "--frame_rate must be at least 0.001, or 0"),
    ],
)
def test_files_that_cannot_be_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        Job(**change)


@pytest.mark.parametrize(
    ("settings", "same"),
    [
        ({"learning_rate": np.float32(3), "tv_weight": np.int64(2)}, {"learning_rate": 3, "tv_weight": 2.0}),
        ({"iterations": np.int64(5), "clamp": np.bool_(True)}, {"iterations": 5, "clamp": True}),
        (
            {"style_blend": np.array([1, 2]), "style_scale": 2},
            {"style_blend": (1.0, 2.0), "style_scale": (2.0,)},
        ),
        ({"content_layers": " relu4_2, conv3_1:.5,"}, {"content_layers": (("relu4_2", 1), ("conv3_1", 0.5))}),
        ({"content_layers": ["relu4_2", ["relu3_1", 2]]}, {"content_layers": "relu4_2,relu3_1:2"}),
        ({"content_layers": {"relu4_2": np.float32(0.5)}}, {"content_layers": "relu4_2:0.5"}),
        ({"scales": 2, "scale_iterations": np.array([5])}, {"scales": 2, "scale_iterations": (5,)}),
        ({"iterations": "5", "clamp": "True", "seed": " 3"}, {"iterations": 5, "clamp": True, "seed": 3}),
    ],
)
def test_numbers_and_lists_of_any_type_are_the_same_settings(settings, same):
    config = Config(**settings)
    assert config == Config(**same) and hash(config) == hash(Config(**same))
    # As they are written to run.json.
    assert Config(**json.loads(json.dumps(flat(config)))) == config
    assert all(type(value) in (str, bool, int, float, tuple) for value in flat(config).values())


def test_a_preset_is_looked_up_and_named_settings_win():
    balanced = PRESETS["balanced"]
    assert preset("balanced") == Config(preset="balanced") == balanced == Config().replace(preset="balanced")
    assert Config(preset="balanced", seed=3, loss=Config().loss) == balanced.replace(
        seed=3, loss=Config().loss
    )
    assert PRESETS["gatys"].replace(seed=3).replace(preset="balanced", scales=1).seed == 3
    assert all(Config(**flat(config)) == config for config in PRESETS.values())


@pytest.mark.parametrize(
    ("scales", "counts"), [(0, (20, 20, 16)), (1, ()), (2, (16,)), (5, (20, 20, 20, 16))]
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
        others = job.replace(style=f"{letter * 149}z.jpg"), job.replace(content="c.png")
        titles = {job.title, *(other.title for other in others)}
        assert len(titles) == 3 and "�" not in "".join(titles)
        assert all(len(title.encode()) <= LONGEST_TITLE and title.count(letter) > 5 for title in titles)
    assert Job(content="p.jpg", style=("a.jpg", "b.jpg")).title == "p-a+b"
    assert shortened("\udcff" * 200, 30) != shortened("\udcfe" * 200, 30)


def test_pictures_by_role():
    job = Job(content="c", style=("a", "b"), content_mask=("m", "n"), style_mask=("", "o"))
    roles = {"content": "c", "style": "a", "style_2": "b", "content_mask": "m", "content_mask_2": "n"}
    assert job.pictures == roles | {"style_mask_2": "o"}


def test_layers_come_in_network_order():
    config = Config(content_layers=(("conv4_2", 1.0),), style_layers=(("relu5_1", 1.0), ("relu1_1", 1.0)))
    assert config.loss.layers == ("relu1_1", "conv4_2", "relu5_1")


def test_records():
    config = Config(log_every=20, save_every=30)
    assert [step for step in range(0, 70, 10) if config.saving.logs(step)] == [0, 20, 30, 40, 60]
    assert [step for step in range(0, 70, 10) if config.saving.saves(step)] == [0, 30, 60]
    assert not Config(save_every=0).saving.saves(0)


def test_every_setting_is_explained_under_a_name_of_its_own():
    kinds = (Job, Config, SweepConfig)
    assert len(SETTINGS) == sum(len(leaves(kind)) for kind in kinds)
    assert all(len(field.metadata["help"]) > 10 for field in SETTINGS.values())
    # `--help` says what a value is where its default does not.
    assert all(field.metadata["value"] for field in SETTINGS.values() if field.default in ("", ()))


def test_a_tag_that_is_none_is_an_error_of_the_code():
    assert "tile" in tagged("auto", Job, Config)
    with pytest.raises(TypeError, match="no such tags or limits: {'clips'}"):
        setting(1, "a number", tags="clips")


NUMBERS = {
    "original": {
        **{"content_weight": 5, "style_weight": 100, "tv_weight": 100, "transpose_kernels": False},
        **{"content_layers": "relu4_2", "style_layers": RELU, "gram": "elements"},
        **{"content_loss": "mean", "style_loss": "mean", "pooling": "max", "init": "noise"},
        **{"learning_rate": 10, "adam_beta1": 0.9, "adam_beta2": 0.999, "adam_epsilon": 1e-8},
        **{"iterations": 1000, "log_every": 20, "save_every": 20},
    },
    "slides": {
        **{"content_layers": "conv4_4", "style_layers": [(f"conv{block}_1", 0.2) for block in range(1, 6)]},
        **{"content_loss": "gatys", "style_loss": "gatys", "gram": "positions", "pooling": "max"},
        **{"content_weight": 1, "style_weight": 1, "tv_weight": 0, "init": "noise"},
    },
    "gatys": {
        **{"optimizer": "lbfgs", "history": 100, "preconditioner": "scalar", "init": "content"},
        **{"content_layers": "relu4_2", "style_layers": RELU, "gram": "elements"},
        **{"content_loss": "mean", "style_loss": "mean", "iterations": 500, "image_size": 512},
        **{"content_weight": 1, "style_weight": 1000, "tv_weight": 0},
    },
}
"""Of the 2017 repository, the slides and the authors' notebook."""


@pytest.mark.parametrize("name", NUMBERS)
def test_a_preset_has_the_published_numbers(name):
    assert PRESETS[name].replace(**NUMBERS[name]) == PRESETS[name]


def test_settings_are_given_flat_or_in_groups():
    config = Config(style_weight=7, image_size=256, optimizer="lbfgs")
    assert Config.preset == "original" and Config() == PRESETS["original"]
    assert (config.loss.style_weight, config.sizes.image_size) == (7.0, 256)
    assert config.optimization == OptimizerConfig(optimizer="lbfgs")
    assert Config(loss=config.loss, optimization=config.optimization, image_size=256) == config
    changed = config.replace(style_weight=8)
    assert changed.loss == dataclasses.replace(config.loss, style_weight=8.0)
    assert changed.optimization == config.optimization and hash(changed) != hash(config)
    with pytest.raises(TypeError, match="no such settings: styel_weight"):
        Config(styel_weight=1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.iterations = 3


def test_strength_turns_the_style_weight_by_its_range():
    weights = [
        Config(style_weight=3.0, strength=strength, strength_range=4.0).loss.weighted_style
        for strength in (0, 0.25, 0.5, 0.75, 1)
    ]
    assert weights == pytest.approx([0.75, 1.5, 3, 6, 12])
    assert Config(style_weight=3.0, strength=1.0).loss.weighted_style == pytest.approx(300)


def test_strength_above_one_half_turns_the_deepest_layer_down():
    settings = {"style_layers": (("relu4_1", 0.5), ("relu1_1", 0.25)), "strength_deepest": 0.36}
    weights = [
        dict(Config(**settings, strength=strength).loss.weighted_style_layers)
        for strength in (0, 0.5, 0.75, 1)
    ]
    assert [weight["relu4_1"] for weight in weights] == pytest.approx([0.5, 0.5, 0.3, 0.18])
    assert {weight["relu1_1"] for weight in weights} == {0.25}
