"""Presets: published settings as values, with the source of each number beside it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from neural_style_tf.config.fields import flat
from neural_style_tf.config.parsing import LayerWeights, to_text
from neural_style_tf.config.schema import Config
from neural_style_tf.errors import UserError, did_you_mean


def _first_of_each_block(kind: str, weight: float) -> LayerWeights:
    return tuple((f"{kind}{block}_1", weight) for block in range(1, 6))


# The 2017 TensorFlow repository that this project is faithful to: the defaults in schema.py.
# Its five style layers count 1 each, and are summed. `temporal_weight` is this project's, in all presets: a
# 300th of the loss of a finished picture, for an error of one level.
ORIGINAL = Config()

SLIDES = Config(
    # The slides: content at conv4_4, before its ReLU, ½ Σ (F−P)².
    content_layers=(("conv4_4", 1.0),),
    content_loss="gatys",
    # The slides: style at conv1_1 … conv5_1, 1/(4 N² M²) Σ (G−A)². Paper, section 4: w_l = 1/5.
    style_layers=_first_of_each_block("conv", 1 / 5),
    gram="positions",
    style_loss="gatys",
    # Only the ratio decides where the minimum lies, and Adam is blind to a common factor, so β is 1. The
    # paper (figure 2) has α/β of 1e-3 to 1e-4 for a network rescaled to a mean activation of 1; the
    # published weights are not, and with activations s times larger content grows as s², style as s⁴, so
    # that the same balance needs α/β s² times larger. Found by looking (chelsea, starry_night): with 0.5 at
    # 320 pixels only the eyes show through; with 1 at 512 the animal is whole and its surroundings painted.
    content_weight=1.0,
    style_weight=1.0,
    # The slides name denoising as the improvement to make; it is off until --tv_weight is given.
    tv_weight=0.0,
    temporal_weight=7e7,
    pooling="max",
    init="noise",
    # The slides say Adam; its rate is the original repository's.
    learning_rate=10.0,
    iterations=1000,
)

GATYS = Config(
    # The authors' notebook (leongatys/PytorchNeuralStyleTransfer, MIT): content 1 · MSE at relu4_2.
    content_layers=(("relu4_2", 1.0),),
    content_loss="mean",
    content_weight=1.0,
    # There: (1e3/N²) · MSE of FᵀF/M at relu1_1 … relu5_1; 1/N² moved into the Gram matrices leaves 1e3.
    style_layers=_first_of_each_block("relu", 1.0),
    gram="elements",
    style_loss="mean",
    style_weight=1e3,
    tv_weight=0.0,
    temporal_weight=4e4,
    pooling="max",
    # There: from the content picture, 500 iterations at 512 pixels.
    init="content",
    iterations=500,
    image_size=512,
    # The notebook has PyTorch's L-BFGS: its history, one curvature for all.
    optimizer="lbfgs",
    history=100,
    preconditioner="scalar",
)

BALANCED = Config(
    # This project's own: every term relative to the energy of its target, so that one setting serves every
    # network, picture and size. The numbers were chosen by looking at many pairs.
    content_layers=(("relu4_2", 1.0),),
    content_loss="relative",
    content_weight=1.0,
    # Purer colours and bolder strokes than with Gram matrices.
    style_loss="wasserstein",
    # Between equal weights and the proportions of crowsonkb/style-transfer-pytorch (MIT), whose 256, 64, 16,
    # 4 and 1 for losses that are means over channels are 0.05, 0.28, 0.11, 0.56 and 0.001 for losses
    # relative to the energy of a layer. Found by looking: with more of relu4_1 whole figures of the style
    # picture appear in flat areas. Without relu5_1 the network ends before it.
    style_layers=(("relu1_1", 0.1), ("relu2_1", 0.36), ("relu3_1", 0.2), ("relu4_1", 0.34)),
    gram="positions",
    style_weight=6.0,
    # Found by looking: from a hint of the style to the strokes of crowsonkb's 2500 iterations, in which the
    # subject is still there. At such weights relu4_1, which holds objects, has to weigh less: else its loss
    # alone is lowered, by eyes and houses in the sky.
    strength_range=10.0,
    strength_deepest=0.3,
    tv_weight=3e-4,
    # Found by looking: with more, what comes into view hardly gets painted; with less, strokes swim.
    temporal_weight=2e-3,
    padding="edge",
    init="content",
    optimizer="lbfgs",
    clamp=True,
    keep_gray=True,
    # From about 64 pixels, so that small and large paintings of one pair look alike.
    scales=0,
    # Found by looking: at 64 to 128 pixels a whole face lies in the receptive field of relu4_1, and the
    # statistics of its eyes are cheapest where the photo is empty. With this the coarse scales lay out the
    # photo, in the style's colours, and the later ones paint. Without: an eye in a cup, a collar on a saucer.
    coarse_content=16.0,
    # Faces stay faces, and it takes fewer iterations: twice as many change hardly anything that can be seen
    # or that `benchmarks/tradeoff.py` measures.
    scale_detail=1.0,
    # Coarse scales are cheap, but each iteration has the roots of the covariances to take.
    scale_iterations=(60, 60, 40),
    iterations=25,
    precision="auto",
    convolution="auto",
)

PRESETS: Mapping[str, Config] = MappingProxyType(
    {"original": ORIGINAL, "slides": SLIDES, "gatys": GATYS, "balanced": BALANCED}
)
"""Name → settings; `original` is the default."""
for _name, _config in PRESETS.items():
    # An argument `preset` would look the name up here.
    object.__setattr__(_config, "preset", _name)


def preset(name: str) -> Config:
    """Return a preset by its name."""
    if not isinstance(name, str) or name not in PRESETS:
        guess = did_you_mean(str(name), PRESETS)
        raise UserError(f"no preset {name!r}{guess}; there are {', '.join(PRESETS)}")
    return PRESETS[name]


def table() -> str:
    """Return the settings in which presets differ as a Markdown table, for docs/presets.md."""
    lines = ["| setting | " + " | ".join(f"`{name}`" for name in PRESETS) + " |"]
    lines.append("|---" * (len(PRESETS) + 1) + "|")
    for row in zip(*(flat(config).items() for config in PRESETS.values()), strict=True):
        texts = [to_text(value).replace(",", ", ") for _, value in row]
        if len(set(texts)) > 1 and row[0][0] != "preset":
            lines.append(f"| `{row[0][0]}` | " + " | ".join(texts) + " |")
    return "\n".join(lines) + "\n"
