"""The declaration of every setting: its default, range, help text and tags (`fields.TAGS`).

`Config` has the settings of an optimisation, in groups such as `LossConfig`. A function that needs only one
group takes only that group. `Job` names the files that a run reads and writes. Flags and `--help` are made
from these fields. Flags, `Config(…)` and `Config.replace` name settings without their groups.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from neural_style_tf.config.fields import Settings, assign, flat, group, leaves, setting, tagged
from neural_style_tf.config.optimizers import OPTIMIZERS
from neural_style_tf.config.parsing import FLOATS, INTS, LAYERS, LayerWeights, any_file, names_a_class
from neural_style_tf.errors import UserError
from neural_style_tf.models.architecture import VGG19
from neural_style_tf.utils.files import shortened
from neural_style_tf.utils.numbered import is_numbered
from neural_style_tf.weights.registry import NETWORKS, SPECS


@dataclasses.dataclass(frozen=True)
class NetworkConfig(Settings):
    """Settings of the network: pooling, padding, kernels, and number format and algorithm of convolutions."""

    pooling: str = setting("max", "pooling of the network: max or average", choices=("max", "average"))
    padding: str = setting(
        "zero",
        "padding of the convolutions: zero, as the network was trained, or edge, the picture's edge "
        "repeated, which leaves no frame around the result",
        choices=("zero", "edge"),
    )
    transpose_kernels: bool = setting(
        False, "swap rows and columns of every kernel, as the original repository did by mistake"
    )
    precision: str = setting(
        "float32",
        "number format of the convolutions: float32; tf32, float32 with the products of 10 bits of NVIDIA's "
        "GPUs since Ampere; bfloat16; auto: bfloat16 where the hardware has it, else float32",
        tags="auto",
        choices=("auto", "float32", "tf32", "bfloat16"),
    )
    convolution: str = setting(
        "direct",
        "algorithm of the convolutions: direct, or Winograd's in blocks 3 and 4, with a quarter of the "
        "multiplications and more rounding (winograd); large: winograd at all but small scales; auto: "
        "winograd in float32 on a CPU, except for small results",
        tags="auto",
        choices=("auto", "direct", "winograd", "large"),
    )


RELATIVE = ("relative", "moments", "wasserstein", "nearest")
"""Losses whose values do not depend on the magnitude of the features."""
MUCH_TV = 0.01
"""With relative losses, a larger ratio of `tv_weight` to the other weights makes the result flat."""


@dataclasses.dataclass(frozen=True)
class LossConfig(Settings):
    """Settings of the loss: weights, layers, and the form of each term."""

    content_weight: float = setting(5.0, "α, weight of the content loss", tags="argument", low=0)
    style_weight: float = setting(100.0, "β, weight of the style loss", tags="argument", low=0)
    tv_weight: float = setting(
        100.0, "weight of the total variation, which smooths noise", tags="argument", low=0
    )
    temporal_weight: float = setting(
        2e4,
        "of a clip: weight of the distance of a frame from the frame before, warped to it; 0: the warped "
        "frame is only the initial image",
        low=0,
    )
    content_layers: LayerWeights = setting(
        (("relu4_2", 1.0),),
        "layers whose features are kept, as name or name:weight, comma-separated",
        kind=LAYERS,
        low=0,
    )
    style_layers: LayerWeights = setting(
        tuple((f"relu{block}_1", 1.0) for block in range(1, 6)),
        "layers whose Gram matrices are matched, as name or name:weight (w_l), comma-separated",
        kind=LAYERS,
        low=0,
    )
    content_loss: str = setting(
        "mean",
        "mean: mean of (F−P)²; gatys: ½ Σ (F−P)² (Eq. 1); relative: Σ (F−P)² / Σ P²",
        choices=("mean", "gatys", "relative"),
    )
    gram: str = setting(
        "elements",
        "normalisation of Gram matrices: divide by elements (M_l N_l) or positions (M_l)",
        choices=("elements", "positions"),
    )
    style_loss: str = setting(
        "mean",
        "mean: mean of (G−A)²; gatys: a quarter of it (Eq. 4); relative: Σ (G−A)² / Σ A²; moments: relative, "
        "with the means and standard deviations of the features; wasserstein: distance of the features' "
        "Gaussians, relative; nearest: 1 − cosine to the nearest of 4096 features of the style; "
        "package.module:Class: a Term of your own",
        choices=("mean", "gatys", "relative", "moments", "wasserstein", "nearest"),
        is_own=names_a_class,
    )
    style_blend: tuple[float, ...] = setting(
        (),
        "weight of each of several styles, comma-separated, in the order of --style; divided by their sum; "
        "default: all alike",
        value="W,W,…",
        kind=FLOATS,
        low=0,
    )
    mask_weight: tuple[float, ...] = setting(
        (),
        "weight of the style in each region of --content_mask, comma-separated; default: 1 each, with which "
        "strokes are as strong in a small region as in a large one",
        value="W,W,…",
        kind=FLOATS,
        low=0,
    )
    mask_guides: str = setting(
        "simple",
        "which features count in a region: each by the share of its area that the mask covers (simple), or "
        "only those whose receptive field lies inside (inside)",
        choices=("simple", "inside"),
    )
    match: str = setting(
        "none",
        "none; regions: find regions of photo and style picture that match, such as sky and plain wall, "
        "and paint each with its own; writes them to the folder regions, as masks that can be corrected",
        choices=("none", "regions"),
    )
    strength: float = setting(
        0.5,
        "how much style, 0 to 1: multiplies --style_weight by 1/--strength_range up to --strength_range; 0.5 "
        "leaves it",
        tags="argument",
        low=0,
        high=1,
    )
    strength_range: float = setting(
        100.0,
        "factor by which --strength=1 multiplies --style_weight, and --strength=0 divides it",
        tags="argument",
        low=1,
    )
    strength_deepest: float = setting(
        1.0,
        "factor by which --strength=1 multiplies the weight of the deepest of --style_layers, for bolder "
        "strokes without objects; up to --strength=0.5 it has no effect",
        tags="argument",
        above=0,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("style_blend", "mask_weight"):
            if getattr(self, name) and not any(getattr(self, name)):
                raise UserError(f"--{name} has only zeros: one must be more than 0")
        for name in ("content_layers", "style_layers"):
            layers = [VGG19.check(layer) for layer, _ in getattr(self, name)]
            if twice := [layer for layer in layers if layers.count(layer) > 1]:
                raise UserError(f"--{name} names {twice[0]} twice")
        if not self.content_layers and not self.style_layers:
            raise UserError("--content_layers and --style_layers are both empty: nothing to optimise")
        contents = self.content_weight * sum(weight for _, weight in self.content_layers)
        styles = self.weighted_style * sum(weight for _, weight in self.style_layers)
        if contents + styles + self.tv_weight <= 0:
            raise UserError("--content_weight, --style_weight and --tv_weight leave nothing to optimise")

    @property
    def weighted_style(self) -> float:
        """β: `style_weight`, multiplied by the factor that `strength` stands for."""
        return self.style_weight * self.strength_range ** (2 * self.strength - 1)

    @property
    def weighted_style_layers(self) -> LayerWeights:
        """The pairs (layer, w_l) of `style_layers`; `strength` changes the weight of the deepest layer."""
        deepest = max((layer for layer, _ in self.style_layers), key=VGG19.layers.index, default=None)
        factor = self.strength_deepest ** max(0.0, 2 * self.strength - 1)
        return tuple(
            (layer, weight * factor if layer == deepest else weight) for layer, weight in self.style_layers
        )

    @property
    def drowns_in_tv(self) -> bool:
        """Whether `tv_weight` is so large that the total variation outweighs relative losses.

        Relative losses are about 1; the total variation is in squared grey levels.
        """
        relative = self.content_loss == "relative" or self.style_loss in RELATIVE
        return relative and self.tv_weight > MUCH_TV * max(self.content_weight, self.weighted_style)

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers of the content and style losses, in network order."""
        used = dict(self.content_layers + self.style_layers)
        return tuple(layer for layer in VGG19.layers if layer in used)


@dataclasses.dataclass(frozen=True)
class OptimizerConfig(Settings):
    """Settings of the optimiser."""

    optimizer: str = setting(
        "adam",
        f"optimiser of the pixels: {' or '.join(OPTIMIZERS)}; package.module:Class: an Optimizer of your own",
        choices=tuple(OPTIMIZERS),
        is_own=names_a_class,
    )
    clamp: bool = setting(
        False, "keep each pixel within 0–255 throughout, instead of clipping only what is saved"
    )
    keep_gray: bool = setting(
        False, "keep the result grey where the photo and the style picture are grey, without coloured noise"
    )
    history: int = setting(20, "number of step and gradient pairs that L-BFGS keeps", low=1, high=1000)
    preconditioner: str = setting(
        "spectral",
        "initial inverse Hessian of L-BFGS: one curvature for each band of frequencies and colour "
        "(spectral), or one for all (scalar), as published",
        choices=("spectral", "scalar"),
    )
    learning_rate: float = setting(
        10.0, "learning rate of Adam, in grey levels (of 255)", tags="argument", above=0
    )
    learning_rate_schedule: str = setting(
        "constant",
        "learning rate of Adam over the iterations of a scale: constant, or cosine, which falls to 0",
        choices=("constant", "cosine"),
    )
    adam_beta1: float = setting(0.9, "Adam's decay of the mean gradient", low=0, below=1)
    adam_beta2: float = setting(0.999, "Adam's decay of the mean squared gradient", low=0, below=1)
    adam_epsilon: float = setting(1e-8, "Adam's ε, added to √v", above=0)
    averaging: float = setting(
        0.0,
        "decay of an average over Adam's images, such as 0.8; the average becomes the result if its loss is "
        "the lowest; 0: no average",
        low=0,
        below=1,
    )


MOST_SCALES = 32
"""Largest number of scales."""
QUALITIES = {"draft": 0.3, "normal": 1.0, "fine": 3.0}
"""Value of `--quality` → factor by which the iterations of every scale are multiplied."""
MOST_ITERATIONS = 10**15
"""Steps are counted in 64 bits."""


@dataclasses.dataclass(frozen=True)
class ScaleConfig(Settings):
    """Settings of the picture sizes, and of the scales from coarse to fine."""

    image_size: int = setting(
        512,
        "longest side of the result in pixels; a smaller photo keeps its size, unless --enlarge is given; 0: "
        "the photo's own size",
        low=0,
    )
    enlarge: bool = setting(False, "paint --image_size pixels also from a smaller photo, as for a print")
    style_size: int = setting(
        -1,
        "longest side of the style picture as the network sees it; a smaller one keeps its size; 0: its own "
        "size; -1: that of the result",
        low=-1,
    )
    style_scale: tuple[float, ...] = setting(
        (1.0,),
        "size of the strokes: factor by which the style picture is enlarged before the network sees it; of "
        "several styles one for all, or one for each, comma-separated",
        kind=FLOATS,
        above=0,
        high=16,
    )
    scales: int = setting(
        1,
        "number of sizes, coarse to fine; 1: the final size only; 0: as many as it takes to begin at about "
        "64 pixels",
        low=0,
        high=MOST_SCALES,
    )
    scale_ratio: float = setting(2.0, "factor between the sizes of two scales", above=1)
    scale_detail: float = setting(
        0.0,
        "share, 0 to 1, of the photo's finer detail that is added when the painting of a smaller size is "
        "enlarged to the next",
        tags="argument",
        low=0,
        high=1,
    )
    coarse_content: float = setting(
        1.0,
        "factor of --content_weight at the coarsest of --scales, which falls to 1 at the last: with more, "
        "objects of the style picture do not settle where the photo is empty",
        tags="argument",
        above=0,
    )
    scale_iterations: tuple[int, ...] = setting(
        (),
        "iterations at each coarser scale, coarsest first, comma-separated; default: --iterations. With "
        "--scales=0 the numbers are those of the last coarser scales: the first also counts for all scales "
        "before, and a small picture with fewer scales leaves out the first ones",
        value="N,N,…",
        kind=INTS,
        low=0,
        high=MOST_ITERATIONS,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.style_scale:
            raise UserError("--style_scale is empty: leave it out for 1")
        if self.enlarge and not self.image_size:
            raise UserError("--enlarge needs the size of the result: give --image_size, more than 0")
        counts = self.scale_iterations
        if counts and self.scales and len(counts) != self.scales - 1:
            raise UserError(
                f"--scale_iterations must name {self.scales - 1} counts, one for each of "
                f"--scales={self.scales} but the last, not {len(counts)}"
            )

    def counts(self, coarser: int) -> tuple[int, ...]:
        """Return `scale_iterations` for `coarser` scales before the last; empty if the setting is empty.

        If it has too many numbers, the first ones are dropped. If it has too few, the first is repeated.
        """
        last = self.scale_iterations[-coarser:] if coarser else ()
        return (*last[:1] * (coarser - len(last)), *last)

    def replace(self, **changes: Any) -> ScaleConfig:
        """Return a copy with `changes`. If it has other `scales`, `scale_iterations` are adapted to them."""
        changed = dataclasses.replace(self, **{"scale_iterations": ()} | changes)
        if "scale_iterations" in changes:
            return changed
        counts = self.counts(changed.scales - 1) if changed.scales else self.scale_iterations
        return dataclasses.replace(changed, scale_iterations=counts)


@dataclasses.dataclass(frozen=True)
class VideoConfig(Settings):
    """Settings of a clip: which frames are painted, and with which earlier ones each is compared."""

    start_frame: int = setting(1, "of a clip: the first frame to paint, from 1", tags="clip", low=1)
    end_frame: int = setting(
        0, "of a clip: the last frame to paint; 0: the last there is", tags="clip resume", low=0
    )
    every: int = setting(1, "of a clip: paint only every so many frames", tags="clip", low=1)
    long_term: tuple[int, ...] = setting(
        (1, 2, 4),
        "of a clip: which earlier frames each frame is compared with, as distances in frames, "
        "comma-separated; for each pixel the nearest frame in which it was visible counts",
        tags="clip",
        value="N,N,…",
        kind=INTS,
        low=1,
        high=100,
    )
    first_iterations: int = setting(
        0,
        "of a clip: iterations of the first frame of each scene; 0: as --iterations",
        tags="clip",
        low=0,
        high=MOST_ITERATIONS,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.long_term:
            raise UserError("--long_term is empty: leave it out for 1,2,4")
        if self.end_frame and self.end_frame < self.start_frame:
            raise UserError(f"--end_frame={self.end_frame} is before --start_frame={self.start_frame}")


@dataclasses.dataclass(frozen=True)
class SaveConfig(Settings):
    """Settings of how often losses are logged, and pictures and checkpoints saved."""

    log_every: int = setting(20, "iterations between two logged losses", tags="resume", low=1)
    save_every: int = setting(
        20,
        "iterations between two saved pictures and checkpoints; 0 saves only the result",
        tags="resume",
        low=0,
    )
    save_minutes: float = setting(
        10.0,
        "minutes after which a checkpoint is saved before --save_every asks for it; 0: never",
        tags="resume",
        low=0,
    )
    checkpoints: bool = setting(
        True,
        "save a checkpoint, from which --resume goes on, with each picture; with L-BFGS it is much larger "
        "than the picture; a clip always has them",
        tags="resume",
    )

    def logs(self, step: int) -> bool:
        """Return whether the losses of `step` are logged. Those of a saved step always are."""
        return step % self.log_every == 0 or self.saves(step)

    def saves(self, step: int) -> bool:
        """Return whether the picture and the checkpoint of `step` are saved."""
        return self.save_every > 0 and step % self.save_every == 0


@dataclasses.dataclass(frozen=True, init=False)
class Config(Settings):
    """All settings of an optimisation; the defaults are the original repository's.

    Args:
        **settings: Single settings, also those inside groups, or whole groups. All others come from `preset`.

    Raises:
        UserError: A value is out of range or not a choice, or VGG-19 lacks a layer.
        TypeError: There is no setting of that name.
    """

    preset: str = setting(
        "original", "named collection of settings, which other flags override: {presets}", tags="resume"
    )
    iterations: int = setting(
        1000,
        "number of updates of the pixels, at the last of --scales",
        tags="argument resume",
        low=0,
        high=MOST_ITERATIONS,
    )
    quality: str = setting(
        "normal",
        "multiplies the iterations of every size: draft by 0.3, to look at; normal by 1; fine by 3, for the "
        "wall",
        tags="argument page",
        choices=tuple(QUALITIES),
    )
    loss: LossConfig = group(LossConfig)
    network: NetworkConfig = group(NetworkConfig)
    init: str = setting(
        "noise",
        "initial image: noise, content, style, a picture file, or a .npy float array [H, W, 3], RGB 0–255, "
        "used exactly",
        tags="reads",
        choices=("noise", "content", "style"),
        is_own=any_file,
        value="FILE",
    )
    seed: int = setting(0, "seed of the initial noise", tags="argument", low=0)
    optimization: OptimizerConfig = group(OptimizerConfig)
    sizes: ScaleConfig = group(ScaleConfig)
    colors: str = setting(
        "style",
        "colours of the result: those of the style (style), or those of the photo, applied to the finished "
        "painting (content), to the style picture beforehand (match), or to a painting in grey (luminance)",
        choices=("style", "content", "match", "luminance"),
    )
    profile: str = setting(
        "srgb",
        "colour space of the painting: srgb, or that of the photo (content), such as Display P3",
        choices=("srgb", "content"),
    )
    deterministic: bool = setting(
        False, "give the same bits each time, on a GPU too; not across thread counts, processors or versions"
    )
    tile: str = setting(
        "auto",
        "longest side of the tiles in which the gradient is computed, exactly, to bound memory; none: no "
        "tiles; auto: tiles only if memory would not suffice",
        tags="auto resume",
    )
    video: VideoConfig = group(VideoConfig)
    saving: SaveConfig = group(SaveConfig)

    def __init__(self, **settings: Any) -> None:
        if settings.get("preset", Config.preset) != Config.preset:
            from neural_style_tf.config.presets import preset

            settings = vars(preset(settings["preset"])) | settings
        assign(self, settings)
        super().__post_init__()
        if self.tile not in ("auto", "none") and not (self.tile.isascii() and self.tile.isdigit()):
            raise UserError(f"--tile must be auto, none or a number of pixels, not {self.tile!r}")
        smallest = VGG19.stride(VGG19.deepest(self.loss.layers))
        if self.tile.isdigit() and int(self.tile) < smallest:
            raise UserError(f"--tile must be at least {smallest} with these layers, not {self.tile}")

    def replace(self, **changes: Any) -> Config:
        """Return a copy with `changes`, named as in `Config(…)`, and check it.

        If `preset` changes, settings that equal those of the former preset become those of the new one.
        """
        if changes.get("preset", self.preset) == self.preset:
            return dataclasses.replace(self, **changes)
        before = flat(Config(preset=self.preset))
        own = {name: value for name, value in flat(self).items() if value != before[name]}
        return Config(preset=changes.pop("preset"), **own).replace(**changes)


@dataclasses.dataclass(frozen=True)
class Job(Settings):
    """Settings of one run that `Config` does not have: its files, the machine, and the output formats."""

    content: str = setting(
        "",
        "content picture, such as a photo (required); a video or an animation is painted frame by frame, "
        "and so is a folder with --frames",
        tags="reads picture repeated swept page request",
        value="FILE",
    )
    style: tuple[str, ...] = setting(
        (),
        "style picture, such as a painting (required); of several --style the styles are blended (to try one "
        "after the other use --sweep=style=…)",
        tags="reads picture repeated swept page request",
        value="FILE",
    )
    content_mask: tuple[str, ...] = setting(
        (),
        "picture that is white in the region of the photo that the style paints; one for each --style, in "
        "the same order; the photo stays as it is outside of all masks. Of a clip it may be a clip, too, or "
        "a folder of frames",
        tags="reads picture repeated swept page request",
        value="FILE",
    )
    style_mask: tuple[str, ...] = setting(
        (),
        "picture that is white in the part of the style picture that counts; one for each --style; empty: "
        "all of it",
        tags="reads picture repeated swept page request",
        value="FILE",
    )
    content_weight_mask: str = setting(
        "",
        "picture that multiplies the content loss at each pixel, white by 1 and black by 0, so that a white "
        "face keeps its likeness and all else is painted more freely; of a clip a clip, too",
        tags="reads picture swept request",
        value="FILE",
    )
    output_dir: str = setting(
        "",
        "folder for everything the run writes; default output/<content>-<style>",
        tags="anew",
        value="FOLDER",
    )
    output: str = setting(
        "",
        "also write the result here: .png, .jpg, .webp, .tiff or .exr; a clip: .mp4, .mov, .mkv, .webp, .gif "
        "or, for each frame, out.%04d.exr",
        tags="anew",
        value="FILE",
    )
    from_run: str = setting(
        "", "repeat the run of this run.json; other flags change single settings", tags="anew", value="FILE"
    )
    overwrite: bool = setting(
        False, "replace what an earlier run left in --output_dir and --output", tags="anew"
    )
    resume: bool = setting(
        False,
        "go on with the run in --output_dir where it was interrupted, or add --iterations to it",
        tags="anew",
    )
    weights: str = setting(
        "auto",
        "auto, mat, keras, bundled, or a .mat, .h5 or .npz file of VGG-19 or VGG-16 (see weights/README.md)",
        tags="reads swept page",
        choices=SPECS,
        is_own=any_file,
        value="FILE",
    )
    network: str = setting(
        "auto",
        "vgg19 or vgg16; auto: that of the file that --weights names, and VGG-19 where there is a choice",
        choices=("auto", *NETWORKS),
        tags="swept page",
    )
    trust_weights: bool = setting(
        False,
        "also parse a weight file whose hash is not that of a published one; a crafted file could take over "
        "this program, so trust only a file of which you know where it comes from",
        # Not recorded in run.json: that of somebody else must not switch it on.
        tags="anew",
    )
    weights_dir: str = setting(
        "weights",
        "folder where weight files are looked for and downloaded to",
        tags="reads page",
        value="FOLDER",
    )
    max_pixels: int = setting(
        100_000_000,
        "refuse input pictures of more pixels than this; WebP, which takes more memory, of six tenths of it",
        low=1,
    )
    allow_truncated: bool = setting(False, "accept pictures whose files end too early")
    stretch_contrast: bool = setting(
        False,
        "stretch each saved picture to 0…255 instead of clipping, as the original repository did",
        tags="swept request",
    )
    bits: str = setting(
        "8",
        "bits a channel of result.png, and of --output as .png or .tiff: 8, or 16 with the extra deep",
        tags="page request",
        choices=("8", "16"),
    )
    dpi: float = setting(
        0.0,
        "pixels an inch, for a print, written to the result; 0: what the photo says",
        tags="request",
        low=0,
        high=30_000,
    )
    frames: bool = setting(
        False,
        "paint the pictures that --content names, as a folder or a pattern such as frame.%04d.exr, as the "
        "frames of one clip, in the order of their numbers",
        tags="page",
    )
    frame_rate: float = setting(0.0, "frames a second of --frames; 0: 24", tags="clip", low=0, high=1000)
    pixel_format: str = setting(
        "yuv420p",
        "of result.mp4: colours at half the resolution, which every player shows (yuv420p), or at full "
        "(yuv444p)",
        tags="clip",
        choices=("yuv420p", "yuv444p"),
    )
    flow: str = setting(
        "",
        "of a clip: folder of optical flow that another program computed, as backward_<this>_<earlier>.flo "
        "and forward_<earlier>_<this>.flo; default: computed here",
        tags="clip reads",
        value="FOLDER",
    )
    threads: int = setting(
        0,
        "threads that compute on the CPU, so that it is free for other things; 0: all cores",
        tags="page",
        low=0,
        high=1024,
    )
    distribute: str = setting(
        "auto",
        "how to parallelise: mirrored: all local GPUs; multiworker: the machines of TF_CONFIG or Slurm; "
        "auto: multiworker if TF_CONFIG is set, else mirrored; none: one device",
        tags="anew",
        choices=("auto", "none", "mirrored", "multiworker"),
    )
    worker_timeout: float = setting(
        600.0, "seconds to wait for another worker before the run ends", tags="anew", above=0
    )
    cache: bool = setting(
        True,
        "keep the times of steps in the user's cache folder, so that later runs say how long they will take",
        tags="anew",
    )
    quiet: bool = setting(False, "print nothing but errors", tags="anew")
    verbose: bool = setting(False, "show TensorFlow's own messages", tags="anew")

    def __post_init__(self) -> None:
        super().__post_init__()
        if 0 < self.dpi < 1:
            raise UserError(f"--dpi must be at least 1, or 0 for what the photo says, not {self.dpi:g}")
        if 0 < self.frame_rate < 0.001:
            raise UserError(f"--frame_rate must be at least 0.001, or 0 for 24, not {self.frame_rate:g}")

    @property
    def pictures(self) -> dict[str, str]:
        """Role → file name of every picture that the run reads. The role of the second style is `style_2`."""
        files: dict[str, str] = {}
        for name in tagged("picture", Job):
            value = getattr(self, name)
            paths = (value,) if isinstance(value, str) else value
            files |= dict(zip(numbered(name, len(paths)), paths, strict=True))
        # An empty mask stands for the whole picture.
        return {role: path for role, path in files.items() if path or "mask" not in role}

    @property
    def reading(self) -> dict[str, Any]:
        """Keyword arguments for `images.load_image` and `video.open_clip`."""
        return {"max_pixels": self.max_pixels, "allow_truncated": self.allow_truncated}

    @property
    def title(self) -> str:
        """Name of the run, such as `photo-painting`, or `photo-painting+other` with two styles."""
        styles = "+".join(Path(path).stem for path in self.style)
        content = Path(self.content)
        # Frames that a pattern names are called after their folder.
        named = self.frames and ("*" in content.name or is_numbered(self.content))
        first = content.absolute().parent.name if named else content.stem
        title = "-".join(filter(None, (first, styles)))
        if shortened(title, LONGEST_TITLE) == title:
            return title
        return "-".join(shortened(part, (LONGEST_TITLE - 1) // 2) for part in (first, styles) if part)


def numbered(name: str, count: int) -> list[str]:
    """Return the roles of `count` pictures: for three styles `style`, `style_2` and `style_3`."""
    return [name, *(f"{name}_{number}" for number in range(2, count + 1))][:count]


LONGEST_TITLE = 120
"""Longest `Job.title`, in bytes. Some file systems limit names to 143 bytes."""


@dataclasses.dataclass(frozen=True)
class SweepConfig(Settings):
    """Settings of a sweep: several runs from one command line, and how they are distributed."""

    sweep: tuple[str, ...] = setting(
        (),
        "run with each of these values; of several --sweep, with each combination. Also "
        "NAME=linspace(a,b,n), logspace(a,b,n), uniform(a,b), loguniform(a,b), or files by a glob. A ; in a "
        "value stands for the comma of a list",
        tags="repeated",
        value="NAME=V,V,…",
    )
    sweep_zip: str = setting("", "swept settings that advance together, comma-separated", value="NAME,NAME")
    sweep_samples: int = setting(
        0,
        "number of draws for uniform and loguniform, made with --seed; such settings advance together",
        low=0,
    )
    skip_unreadable: bool = setting(
        False, "leave out runs whose pictures cannot be read, list them, and paint the others; exit code 1"
    )
    retry_failed: bool = setting(False, "also try the runs of the sweep that failed before")
    dry_run: bool = setting(False, "check everything, print the command of each run, and write nothing")
    jobs: int = setting(
        1,
        "runs side by side, in processes that share out the cores, or have a GPU each",
        tags="shares",
        low=1,
        high=256,
    )
    shard: str = setting(
        "auto",
        "I/N: paint only the I-th of N parts of the sweep, 1 to N, so that N machines share it; auto: as "
        "Slurm's array says, if this is a task of one; none: all of it",
        tags="shares",
    )
    ray: str = setting(
        "",
        "hand the runs to a Ray cluster: auto, for the one this machine is part of; HOST:PORT; or local, for "
        "one on this machine",
        tags="shares",
        value="ADDRESS",
    )
    ray_cpus: int = setting(4, "processor cores that each run takes of the cluster of --ray", low=1)
    shared_output: bool = setting(
        False,
        "with --ray: the machines of the cluster write to --output_dir themselves; all must see it",
        tags="shares",
    )


def _as_in(kind: type, name: str) -> Any:
    """Declare the same setting as `name` of the dataclass `kind`."""
    field = next(leaf for leaf in leaves(kind) if leaf.name == name)
    return dataclasses.field(default=field.default, metadata=field.metadata)


@dataclasses.dataclass(frozen=True)
class EvaluationConfig(Settings):
    """Settings of `neural-style-tf-evaluate`."""

    compare: tuple[str, ...] = setting(
        (),
        "results of another system, in any form that RESULTS may have; may be repeated",
        tags="repeated",
        value="RESULTS",
    )
    content: tuple[str, ...] = setting(
        (),
        "photos: a file, a folder or a pattern; may be repeated; runs of this program name theirs",
        tags="repeated",
        value="PHOTOS",
    )
    style: tuple[str, ...] = setting((), "style pictures, likewise", tags="repeated", value="PAINTINGS")
    size: int = setting(512, "longest side, in pixels, at which pictures are compared", low=1)
    scores: tuple[str, ...] = setting(
        (),
        "columns that another program computed, such as LPIPS: a CSV with the columns result and NAME:less "
        "or NAME:more, for what is better; may be repeated",
        tags="repeated",
        value="FILE",
    )
    votes: tuple[str, ...] = setting(
        (),
        "votes of people, as the page of benchmarks/compare.py saves them; may be repeated",
        tags="repeated",
        value="FILE",
    )
    output_dir: str = setting("", "folder of the report; default: that of RESULTS", value="FOLDER")
    overwrite: bool = setting(False, "replace an earlier report")
    weights: str = _as_in(Job, "weights")
    network: str = _as_in(Job, "network")
    trust_weights: bool = _as_in(Job, "trust_weights")
    weights_dir: str = _as_in(Job, "weights_dir")
    threads: int = _as_in(Job, "threads")
    quiet: bool = _as_in(Job, "quiet")
    verbose: bool = _as_in(Job, "verbose")


SETTINGS = {leaf.name: leaf for kind in (Job, Config, SweepConfig) for leaf in leaves(kind)}
"""Name → field of every setting of a run."""
EVALUATION = {leaf.name: leaf for leaf in leaves(EvaluationConfig)}
"""Name → field of every setting of `neural-style-tf-evaluate`."""
