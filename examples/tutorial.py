# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Neural style transfer, from two pictures to a sweep
#
# This notebook paints a photo in the style of a painting, then takes the method apart: what the network
# sees, what the two losses measure, and what each setting does. It follows Gatys, Ecker and Bethge,
# [*A Neural Algorithm of Artistic Style*](https://arxiv.org/abs/1508.06576).
#
# You need Python and a little deep learning. Work from a clone of the repository:
#
# ```bash
# pip install ".[demo,notebook]"
# ```
#
# The extra `demo` contains a network, so nothing else is downloaded. In Colab, clone the repository in a
# first cell, change into it with `%cd`, and install `".[demo]"` with `%pip`. A GPU helps but is not needed.
#
# `SIZE` is the longest side of the first painting, in pixels. With 256 expect ten minutes or so on two
# cores without a GPU, and with 128 less than half of that. The variable `TUTORIAL_SIZE` of the environment
# changes it.

# %% [markdown]
# ## 1. A painting in five cells
#
# **Import.** TensorFlow may print lines about its devices. They are harmless.

# %%
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from IPython.display import Markdown, display

import neural_style_tf as nst

# Each kind of run is compiled once. TensorFlow counts all kinds as one, and would warn of compiling it again.
tf.get_logger().setLevel("ERROR")
SIZE = int(os.environ.get("TUTORIAL_SIZE", "256"))
# A small size only tests that the notebook runs, with fewer columns in its figures.
QUICK = SIZE < 64
ROOT = Path.cwd() if Path("examples").is_dir() else Path.cwd().parent
EXAMPLES = ROOT / "examples"

# %% [markdown]
# **Load the pictures.** A picture is an array $[H, W, 3]$: red, green, blue, from 0 to 255.

# %%
photo = nst.load_image(EXAMPLES / "chelsea.jpg").pixels
painting = nst.load_image(EXAMPLES / "starry_night.jpg").pixels

# %% [markdown]
# **Choose a preset.** `balanced` works for most pairs of pictures. `replace` changes single settings: here
# the size, and as many iterations at one scale as at the next.

# %%
STEPS = max(3, SIZE // 6)
config = nst.PRESETS["balanced"].replace(
    image_size=SIZE, iterations=STEPS, scale_iterations=(STEPS,), log_every=max(1, STEPS // 8)
)

# %% [markdown]
# **Paint.** `Session.run` is a generator of records. Each record has the losses and the best picture so
# far, so that you can watch the picture grow. It begins small and is enlarged twice: from coarse to fine.
#
# The network `bundled` comes with the extra `demo`. With `auto` in its place, VGG-19 itself is downloaded
# (80 MB).

# %%
weights = nst.load_weights("bundled", folder=ROOT / "weights", log=print)
session = nst.Session(weights)
canvas = display(nst.to_picture(photo), display_id=True)
for record in session.run(nst.Inputs(photo, painting), config):
    canvas.update(nst.to_picture(record.best))

# %% [markdown]
# **Show and save.**

# %%
OUTPUT = ROOT / "output"
OUTPUT.mkdir(exist_ok=True)
painted = record.best
nst.save_image(OUTPUT / "tutorial.png", painted)


def show(pictures: list[np.ndarray], titles: list[str], *, columns: int = 0) -> None:
    """Draw pictures [H, W, 3], RGB 0–255, in one row, or in rows of so many columns of one width."""
    ratios = [picture.shape[1] / picture.shape[0] for picture in pictures]
    if columns:
        ratios = [max(ratios)] * columns
    rows = -(-len(pictures) // len(ratios))
    size = (12, rows * (12 / sum(ratios) + 0.3))
    _, axes = plt.subplots(
        rows, len(ratios), figsize=size, width_ratios=ratios, layout="constrained", squeeze=False
    )
    for axis in axes.flat:
        axis.axis("off")
    for axis, picture, title in zip(axes.flat, pictures, titles, strict=False):
        axis.imshow(nst.to_picture(picture))
        axis.set_title(title, fontsize=10)
    plt.show()


show([photo, painting, painted], ["photo", "style", "painting"])

# %% [markdown]
# ## 2. What the losses mean
#
# ### Features
#
# VGG-19 was trained to name what is in a photo. Its layers turn a picture into *feature maps*. Layer $l$
# has $N_l$ filters, and each filter answers at $M_l$ positions. Its features are a matrix $F_l$ of
# $M_l \times N_l$ numbers.
#
# Each column below is one layer, each row one filter: those whose answers vary most.

# %%
LAYERS = ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"][:: 4 if QUICK else 1]
ROWS = 3
photo_features = nst.extract_features(
    nst.load_image(EXAMPLES / "chelsea.jpg", longest=SIZE).pixels, LAYERS, weights, config.network
)

figure, axes = plt.subplots(ROWS, len(LAYERS), figsize=(12, 5.4), layout="constrained")
for column, layer in zip(axes.T, LAYERS, strict=True):
    maps = photo_features[layer]
    strongest = np.argsort(maps.std((0, 1)))[::-1][:ROWS]
    for axis, channel in zip(column, strongest, strict=True):
        axis.imshow(maps[..., channel], cmap="magma")
        axis.axis("off")
    height, width, channels = maps.shape
    column[0].set_title(f"{layer}\n{width}×{height} positions, {channels} filters", fontsize=9)
plt.show()

# %% [markdown]
# *What to see:* early layers answer to edges and colours at exact places. Deep layers answer to parts of
# the animal, such as the eyes, and hardly know where within a block of 16 pixels.
#
# ### The content loss
#
# Let $P_l$ be the features of the photo and $F_l$ those of the image that is painted. Content is kept where
# both are alike (Eq. 1 of the paper):
#
# $$L_{\text{content}} = \tfrac12 \sum_{k,i} \left(F_{l,ki} - P_{l,ki}\right)^2$$
#
# The preset `balanced` uses the *relative* form, $\sum (F_l - P_l)^2 / \sum P_l^2$. Then 0 means equal, and
# 1 means as far as an image whose features are all 0.
#
# What does a layer keep? Begin with noise and minimise the content loss of that layer alone.

# %%
SMALL = max(32, SIZE // 2)
RECONSTRUCTION = nst.Config(
    content_loss="relative",
    style_loss="relative",
    gram="positions",
    tv_weight=0.0,
    padding="edge",
    init="noise",
    optimizer="lbfgs",
    clamp=True,
    image_size=SMALL,
    iterations=4 * STEPS,
    save_every=0,
)


def reconstruct(**settings: object) -> nst.StepRecord:
    """Return the last record of a run from noise with losses of some layers only."""
    *_, record = session.run(nst.Inputs(photo, painting), RECONSTRUCTION.replace(**settings))
    return record


small_photo = nst.load_image(EXAMPLES / "chelsea.jpg", longest=SMALL).pixels
contents = [reconstruct(content_layers=((layer, 1.0),), style_layers=()) for layer in LAYERS]
show(
    [small_photo, *(record.best for record in contents)],
    [
        "photo",
        *(f"{layer}: {record.terms['content']:.2g}" for layer, record in zip(LAYERS, contents, strict=True)),
    ],
    columns=3,
)

# %% [markdown]
# *What to see:* each title has the layer and the relative content loss that is left. From the first layers
# the photo comes back almost pixel by pixel. From deeper ones its parts and their arrangement come back,
# while colours and fine texture are free. That freedom is where a style has room, so content is compared in
# a deep layer: `relu4_2`.
#
# ### Gram matrices and the style loss
#
# Style should not depend on where things are. So positions are summed away: the Gram matrix $G_l$ says how
# strongly each pair of filters answers at the same places (Eq. 3). The package divides it by the number of
# positions, so that pictures of different sizes can be compared:
#
# $$G_l = \tfrac{1}{M_l} F_l^{\mathsf T} F_l, \qquad G_{l,ij} = \tfrac{1}{M_l} \sum_k F_{l,ki} F_{l,kj}$$
#
# With $A_l$ for the Gram matrix of the style picture, the loss of a layer is (Eq. 4)
#
# $$E_l = \frac{1}{4 N_l^2} \sum_{i,j} \left(G_{l,ij} - A_{l,ij}\right)^2.$$
#
# The layers are summed with weights $w_l$, and both losses with $\alpha$ and $\beta$ (Eq. 5 and 7):
#
# $$L_{\text{style}} = \sum_l w_l E_l, \qquad L = \alpha L_{\text{content}} + \beta L_{\text{style}}.$$
#
# In the relative form, $E_l = \sum (G_l - A_l)^2 / \sum A_l^2$.

# %%
painting_features = nst.extract_features(
    nst.load_image(EXAMPLES / "starry_night.jpg", longest=SIZE).pixels, LAYERS, weights, config.network
)
painted_features = nst.extract_features(painted, LAYERS, weights, config.network)
SHOWN = 24

figure, axes = plt.subplots(3, len(LAYERS), figsize=(12, 8.2), layout="constrained")
for column, layer in zip(axes.T, LAYERS, strict=True):
    grams = [
        nst.gram_matrix(features[layer]) for features in (photo_features, painted_features, painting_features)
    ]
    target = grams[-1]
    strongest = np.argsort(np.diag(target))[::-1][:SHOWN]
    brightest = np.percentile(target[np.ix_(strongest, strongest)], 99)
    for axis, gram in zip(column, grams, strict=True):
        axis.imshow(gram[np.ix_(strongest, strongest)], cmap="magma", vmin=0, vmax=brightest)
        axis.set(xticks=[], yticks=[])
        axis.set_xlabel(
            f"relative $E_l$ = {np.sum((gram - target) ** 2) / np.sum(target**2):.2f}", fontsize=9
        )
    column[0].set_title(layer, fontsize=10)
for axis, name in zip(axes[:, 0], ["photo", "painting, $G_l$", "style, $A_l$"], strict=True):
    axis.set_ylabel(name)
plt.show()

# %% [markdown]
# *What to see:* each square is a Gram matrix, of the filters that answer most to the style picture. All
# squares of a column have one scale of colours. On the diagonal is how strong a filter is; beside it, which
# filters work together. The photo's squares look unlike those of the style; the painting's have moved
# towards them. In `relu5_1` least so: it is not among the style layers of `balanced`.
#
# The Gram matrix really does not know where things are. Shuffle all positions, and it stays the same:

# %%
features = photo_features[LAYERS[0]]
positions = features.reshape(-1, features.shape[-1])
shuffled = np.random.default_rng(0).permutation(positions).reshape(features.shape)
print(np.allclose(nst.gram_matrix(shuffled), nst.gram_matrix(features), rtol=1e-3))

# %% [markdown]
# Now begin with noise again and minimise the style loss alone, with one layer more in each picture.

# %%
styles = [
    reconstruct(content_layers=(), style_layers=tuple((layer, 1.0) for layer in LAYERS[: count + 1]))
    for count in range(len(LAYERS))
]
small_painting = nst.load_image(EXAMPLES / "starry_night.jpg", longest=SMALL).pixels
show(
    [small_painting, *(record.best for record in styles)],
    ["style", LAYERS[0], *(f"… and {layer}" for layer in LAYERS[1:])],
    columns=3,
)

# %% [markdown]
# *What to see:* the first layer alone gives the colours and the finest grain. Each further layer adds
# larger structures: strokes, then whirls, then parts of things, never in their places. This is the row of
# style reconstructions in figure 1 of the paper.
#
# The preset `balanced` replaces $E_l$ by another distance of the same statistics, a Wasserstein distance
# between the Gaussians with the features' means and covariances. Its colours are purer; all that is said
# above holds for it.

# %% [markdown]
# ## 3. Direct it
#
# ### How much style
#
# `strength` multiplies $\beta$: 0.5 leaves it, 0 divides it, 1 multiplies it by `strength_range`.

# %%
STUDY = config.replace(image_size=max(32, SIZE * 3 // 4), save_every=0, log_every=1000)


def paint(inputs: nst.Inputs, **settings: object) -> nst.StepRecord:
    """Return the last record of a run of the study's settings, some of them changed."""
    *_, record = session.run(inputs, STUDY.replace(**settings))
    return record


inputs = nst.Inputs(photo, painting)
STRENGTHS = [0.0, 0.25, 0.5, 0.75, 1.0][:: 2 if QUICK else 1]
show(
    [paint(inputs, strength=strength).best for strength in STRENGTHS],
    [f"strength {strength}" for strength in STRENGTHS],
)

# %% [markdown]
# *What to see:* from the photo with a hint of brushwork to brushwork with a hint of the photo.
#
# ### How large the strokes are
#
# `style_scale` enlarges the style picture before the network looks at it, and the strokes with it.

# %%
SCALES = [0.5, 1.0, 2.0][:: 2 if QUICK else 1]
show(
    [paint(inputs, style_scale=(scale,)).best for scale in SCALES],
    [f"style_scale {scale}" for scale in SCALES],
)

# %% [markdown]
# *What to see:* with 0.5 the network sees whole stars and the cypress at once, and paints with them. With 2
# it sees single strokes of the brush.
#
# ### Several styles
#
# Gram matrices, and the raw moments in general, are linear: they can be averaged. So two styles make one
# target, in any proportion.

# %%
mosaic = nst.load_image(EXAMPLES / "mosaic.jpg").pixels
both = nst.Inputs(photo, (painting, mosaic))
SHARES = [1.0, 0.75, 0.5, 0.25, 0.0][:: 2 if QUICK else 1]
show(
    [paint(both, style_blend=(share, 1 - share)).best for share in SHARES],
    [f"{share:.0%} starry night" for share in SHARES],
)

# %% [markdown]
# *What to see:* the left picture has one style, the right one the other. Between them colours and strokes
# change together.
#
# ### Masks
#
# A mask says where a style goes. Statistics are then taken over the mask's positions only.

# %%
astronaut = nst.load_image(EXAMPLES / "astronaut.jpg").pixels
person, _ = nst.load_mask(EXAMPLES / "astronaut_person.png")
background, _ = nst.load_mask(EXAMPLES / "astronaut_background.png")
masks = nst.Masks(content=(background, person))
directed = paint(nst.Inputs(astronaut, (mosaic, painting), masks=masks), image_size=SIZE)
covered = astronaut * (0.2 + 0.8 * person[..., np.newaxis])
show(
    [astronaut, covered, painting, mosaic, directed.best],
    ["photo", "where the mask is white", "style of the person", "style of the rest", "painting"],
)

# %% [markdown]
# *What to see:* the person has the blues and the strokes of the night, all else the colours and the grain
# of the mosaic. The border between them is sharp.

# %% [markdown]
# ## 4. A small sweep
#
# Weights of losses are arguments of the compiled step, not part of it. Runs of one session that differ only
# in weights compile nothing. The two weights below are `strength` and `tv_weight`, which smooths.

# %%
VARIATIONS = [3e-4, 1e-2]
sweep = {
    (strength, variation): paint(inputs, strength=strength, tv_weight=variation)
    for variation in VARIATIONS
    for strength in STRENGTHS
}
rows = [
    f"| {strength} | {variation:g} | {record.terms['content']:.3f} | {record.terms['style']:.3f} "
    f"| {record.seconds:.1f} |"
    for (strength, variation), record in sweep.items()
]
heading = ["| strength | tv_weight | content loss | style loss | seconds |", "|---|---|---|---|---|"]
display(Markdown("\n".join([*heading, *rows])))

# %% [markdown]
# The losses in the table are without $\alpha$ and $\beta$, so that runs of different weights can be
# compared.

# %%
figure, axis = plt.subplots(figsize=(6.5, 4.5), layout="constrained")
for variation, marker in zip(VARIATIONS, "os", strict=True):
    records = [sweep[strength, variation] for strength in STRENGTHS]
    points = np.array([[record.terms["content"], record.terms["style"]] for record in records])
    axis.plot(*points.T, marker=marker, label=f"tv_weight {variation:g}")
    for strength, point in zip(STRENGTHS, points, strict=True):
        axis.annotate(f"{strength}", point, xytext=(5, 5), textcoords="offset points", fontsize=8)
axis.set(xlabel="content loss (relative)", ylabel="style loss (relative)")
axis.set_title("Each point is a painting; its number is the strength", fontsize=10)
axis.margins(0.08)
axis.legend()
plt.show()

# %% [markdown]
# *What to see:* a curve of compromises. To gain style a run pays with content. With more smoothing the
# curve lies further from the corner: for the same content loss, the style loss is higher.

# %% [markdown]
# ## 5. Log to an experiment tracker
#
# A run is a generator, so a callback is a generator around it: it takes each record, does something, and
# hands it on. Here is one for MLflow. For Weights & Biases replace its calls by `wandb.init`, `wandb.log`
# and `wandb.Image`.


# %%
def with_mlflow(records: Iterator[nst.StepRecord], settings: nst.Config) -> Iterator[nst.StepRecord]:
    """Log the losses of a run to MLflow, and its result."""
    import mlflow

    with mlflow.start_run():
        mlflow.log_params({"preset": settings.preset, "strength": settings.loss.strength})
        for record in records:
            mlflow.log_metrics(dict(record.terms), step=record.step)
            yield record
        mlflow.log_image(nst.to_picture(record.best), artifact_file="result.png")


def with_list(records: Iterator[nst.StepRecord], losses: list) -> Iterator[nst.StepRecord]:
    """Append the losses of each step to a list."""
    for record in records:
        losses.append({"step": record.step, **record.terms})
        yield record


# %% [markdown]
# The next cell logs to MLflow if it is installed, and to a plain list in any case. Callbacks can be
# stacked.

# %%
logged = STUDY.replace(log_every=1)
losses = []
records = with_list(session.run(inputs, logged), losses)
if importlib.util.find_spec("mlflow"):
    records = with_mlflow(records, logged)
*_, record = records

figure, axis = plt.subplots(figsize=(6.5, 4), layout="constrained")
for name in ("total", "content", "style"):
    axis.plot([row["step"] for row in losses], [row[name] for row in losses], label=name)
axis.set(xlabel="step", ylabel="loss", yscale="log")
axis.legend()
plt.show()

# %% [markdown]
# *What to see:* the total falls within each scale, and jumps at the start of a finer one, since there is
# more to see. The content loss begins at 0, because the run begins with the photo; it rises to pay for
# style.
#
# ## Where to go on
#
# - [Presets](../docs/presets.md), with the source of each number
# - [Directing](../docs/directing.md): masks of styles, colours of the photo, 16 bits
# - [Sweeps](../docs/sweeps.md) from the command line, with a contact sheet and TensorBoard
# - [Faithfulness](../docs/faithfulness.md): the equations, and every deviation
# - [Architecture](../docs/architecture.md): where to add a loss of your own
