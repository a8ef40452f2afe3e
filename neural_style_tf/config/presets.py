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


# The settings of the 2017 TensorFlow repository that this project reproduces: the defaults in schema.py.
# It sums five style layers of weight 1. `temporal_weight` is this project's own in every preset: a frame that
# differs from the warped frame by one grey level adds 1/300 of the loss of a finished picture.
ORIGINAL = Config()

SLIDES = Config(
    # The slides: content at conv4_4, before its ReLU, ½ Σ (F−P)².
    content_layers=(("conv4_4", 1.0),),
    content_loss="gatys",
    # The slides: style at conv1_1 … conv5_1, 1/(4 N² M²) Σ (G−A)². Paper, section 4: w_l = 1/5.
    style_layers=_first_of_each_block("conv", 1 / 5),
    gram="positions",
    style_loss="gatys",
    # Only the ratio α/β decides where the minimum lies, and Adam ignores a common factor, so β is 1. The
    # paper (figure 2) has α/β of 1e-3 to 1e-4 for a network rescaled to a mean activation of 1. The published
    # weights are not rescaled. If activations are s times larger, the content loss grows as s² and the style
    # loss as s⁴, so the same balance needs an α/β that is s² times larger. The value was chosen by eye
    # (chelsea, starry_night): with 0.5 at 320 pixels only the eyes show through; with 1 at 512 pixels the
    # whole animal is visible and its surroundings are painted.
    content_weight=1.0,
    style_weight=1.0,
    # The slides name denoising only as a possible improvement, so it is off by default.
    tv_weight=0.0,
    temporal_weight=7e7,
    pooling="max",
    init="noise",
    # The slides use Adam without a learning rate; this is the original repository's.
    learning_rate=10.0,
    iterations=1000,
)

GATYS = Config(
    # The authors' notebook (leongatys/PytorchNeuralStyleTransfer, MIT): content 1 · MSE at relu4_2.
    content_layers=(("relu4_2", 1.0),),
    content_loss="mean",
    content_weight=1.0,
    # The notebook: (1e3/N²) · MSE of FᵀF/M at relu1_1 … relu5_1. With 1/N² moved into the Gram matrices, 1e3
    # remains.
    style_layers=_first_of_each_block("relu", 1.0),
    gram="elements",
    style_loss="mean",
    style_weight=1e3,
    tv_weight=0.0,
    temporal_weight=4e4,
    pooling="max",
    # The notebook starts from the content picture and runs 500 iterations at 512 pixels.
    init="content",
    iterations=500,
    image_size=512,
    # As PyTorch's L-BFGS, which the notebook uses: its history length, and one curvature for all pixels.
    optimizer="lbfgs",
    history=100,
    preconditioner="scalar",
)

BALANCED = Config(
    # This project's own. Each loss is divided by the sum of squares of its target, so that the same weights
    # suit every network, picture and size. The numbers were chosen by eye on many pairs of pictures.
    content_layers=(("relu4_2", 1.0),),
    content_loss="relative",
    content_weight=1.0,
    # Purer colours and bolder strokes than with Gram matrices.
    style_loss="wasserstein",
    # Between equal weights and the proportions of crowsonkb/style-transfer-pytorch (MIT). Its weights 256,
    # 64, 16, 4 and 1 are for losses that are means over channels; for relative losses they correspond to
    # 0.05, 0.28, 0.11, 0.56 and 0.001. Chosen by eye: with more weight on relu4_1, whole objects of the style
    # picture appear in flat areas. relu5_1 is left out, so the network is computed only up to relu4_1.
    style_layers=(("relu1_1", 0.1), ("relu2_1", 0.36), ("relu3_1", 0.2), ("relu4_1", 0.34)),
    gram="positions",
    style_weight=6.7,
    # Chosen by eye: --strength=0 gives a hint of the style, 1 the strokes of crowsonkb's 2500 iterations, in
    # which the subject is still recognisable. At such style weights relu4_1, which represents objects, has to
    # weigh less. Otherwise its loss dominates, and eyes and houses appear in the sky.
    strength_range=10.0,
    strength_deepest=0.3,
    tv_weight=3e-4,
    # Chosen by eye: with more, areas that come into view are hardly painted; with less, strokes flicker.
    temporal_weight=2e-3,
    padding="edge",
    init="content",
    optimizer="lbfgs",
    clamp=True,
    keep_gray=True,
    # Start at about 64 pixels, so that small and large paintings of the same pictures look alike.
    scales=0,
    # Chosen by eye: at 64 to 128 pixels a whole face lies in the receptive field of relu4_1. The style loss
    # is then lowered most easily by eyes where the photo is empty: an eye in a cup, a collar on a saucer.
    # With this factor the coarse scales lay out the photo in the style's colours, and the finer ones paint.
    coarse_content=16.0,
    # Faces stay recognisable, and fewer iterations are needed: twice as many change hardly anything that is
    # visible or that `benchmarks/tradeoff.py` measures.
    scale_detail=1.0,
    # Chosen by eye and by measures: the loss that the last scale reaches hardly depends on the iterations
    # before it. With 60 at each coarser scale the strokes are a little bolder, and less of the photo is left;
    # `style_weight` makes up for that.
    scale_iterations=(20, 20, 16),
    iterations=22,
    precision="auto",
    convolution="auto",
)

PRESETS: Mapping[str, Config] = MappingProxyType(
    {"original": ORIGINAL, "slides": SLIDES, "gatys": GATYS, "balanced": BALANCED}
)
"""Name of each preset → its settings. The default preset is `original`."""
for _name, _config in PRESETS.items():
    # `Config(preset=…)` would look up the name in `PRESETS`, which is not complete yet.
    object.__setattr__(_config, "preset", _name)


def preset(name: str) -> Config:
    """Return the settings of the preset `name`."""
    if not isinstance(name, str) or name not in PRESETS:
        guess = did_you_mean(str(name), PRESETS)
        raise UserError(f"no preset {name!r}{guess}; there are {', '.join(PRESETS)}")
    return PRESETS[name]


def table() -> str:
    """Return a Markdown table of the settings that differ between presets, for docs/presets.md."""
    lines = ["| setting | " + " | ".join(f"`{name}`" for name in PRESETS) + " |"]
    lines.append("|---" * (len(PRESETS) + 1) + "|")
    for row in zip(*(flat(config).items() for config in PRESETS.values()), strict=True):
        texts = [to_text(value).replace(",", ", ") for _, value in row]
        if len(set(texts)) > 1 and row[0][0] != "preset":
            lines.append(f"| `{row[0][0]}` | " + " | ".join(texts) + " |")
    return "\n".join(lines) + "\n"
