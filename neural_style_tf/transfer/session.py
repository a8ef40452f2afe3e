"""`stylize`: from pictures to records; `Session`: runs that share networks and compiled steps."""

from __future__ import annotations

import dataclasses
import functools
import gc
import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, NamedTuple

import cachetools
import keras
import numpy as np
import tensorflow as tf

from neural_style_tf.config.schema import Config
from neural_style_tf.distributed.replicas import Cluster
from neural_style_tf.errors import RunError, UserError
from neural_style_tf.images import is_gray, resize
from neural_style_tf.losses.catalogue import make_terms
from neural_style_tf.losses.features import FeatureExtractor
from neural_style_tf.losses.guides import Guidance
from neural_style_tf.losses.objective import Objective
from neural_style_tf.losses.pixels import deprocess, gray, keep_gray, preprocess
from neural_style_tf.losses.targets import compile_look
from neural_style_tf.losses.temporal import Temporal, Warped, hold_still
from neural_style_tf.losses.term import Term
from neural_style_tf.models import winograd
from neural_style_tf.models.architecture import Architecture
from neural_style_tf.models.network import build_network
from neural_style_tf.models.precision import compute_dtype, has_bfloat16, has_tf32, switch_tf32
from neural_style_tf.optim import State, make_optimizer
from neural_style_tf.optim.projections import make_bounds
from neural_style_tf.tiling.planner import memory_at_hand, plan_memory
from neural_style_tf.transfer.colors import covered
from neural_style_tf.transfer.initial import enlarged, initial_pixels
from neural_style_tf.transfer.loop import Loop, Tick, Until, explain_culprits
from neural_style_tf.transfer.pace import Pace
from neural_style_tf.transfer.plan import Inputs, Plan, plan_run, with_regions
from neural_style_tf.transfer.records import StepRecord
from neural_style_tf.transfer.regions import LAYERS, Extract, Regions, find_regions
from neural_style_tf.transfer.scales import Scale
from neural_style_tf.transfer.solver import CompiledStep, Solver
from neural_style_tf.transfer.state import saved_scale
from neural_style_tf.weights import Weights
from neural_style_tf.weights.resolve import load_weights

KEPT_BYTES, KEPT_SHARE = 2**31, 0.25
"""Memory that a `Session` keeps for further runs by default: at most so many bytes, and at most this share of
what is available."""
GRAPH_BYTES = 12 * 2**20
"""Bytes of a compiled function, about, without its kernels."""
KERNEL_COPIES = 2
"""Copies of the network's kernels, in oneDNN's order, that a compiled step holds: forward and backward."""
Made = dict[Hashable, Any]
"""Key of a network or a compiled function → what a run has made."""


def stylize(
    content: np.ndarray,
    style: np.ndarray | tuple[np.ndarray, ...],
    config: Config | None = None,
    *,
    weights: Weights | None = None,
    tick: Tick | None = None,
    resume: str | None = None,
    initial: np.ndarray | None = None,
    cluster: Cluster | None = None,
) -> Iterator[StepRecord]:
    """Paint `content` in the manner of `style`, one logged step at a time.

    For several runs in one process see `Session`; for masks see `Inputs`.

    Args:
        content: The content picture [H, W, 3], RGB 0–255; reduced to the setting `image_size`.
        style: The style picture [h, w, 3], RGB 0–255, reduced to `style_size`; a tuple of several is blended.
        config: The settings; default: the preset `original`.
        weights: The weights of the network; default: `load_weights("auto")`.
        tick: Called after each compiled call with the step that it reached; True ends the run early.
        resume: Prefix of a checkpoint of the same run to continue from. Of several workers only the chief
            reads it.
        initial: A picture [h, w, 3], RGB 0–255, to begin with instead of the one that `config.init` names.
        cluster: The replicas that share the work; default: this process alone.

    Yields:
        A record of step 0, of each step that is logged or saved, and of the last step.

    Raises:
        UserError: A picture is not [H, W, 3], or is too small for the network.
        RunError: The loss stopped being finite and did not recover; the last record was yielded before.
    """
    session = Session(weights, cluster=cluster, keep_bytes=0)
    return session.run(Inputs(content, style, initial), config, tick=tick, resume=resume)


class Session:
    """A sequence of runs that share networks and compiled steps.

    A run that differs from an earlier one only in weights of losses, learning rate, seed or pictures compiles
    nothing, and gives the same bits as alone; in tiles and on several replicas this holds for pictures of
    equal size. Runs of one session may overlap: each has its own state. Two settings of TensorFlow are of
    the whole process: `deterministic` cannot be unset, and `precision` is that of the run that began last, so
    runs that overlap must agree on it.

    Args:
        weights: The weights of the network; default: `load_weights("auto")`.
        cluster: The replicas that share the work; default: this process alone.
        keep_bytes: Approximate size of the cache, of which the least recently used is dropped; 0 for none;
            default: 2 GiB, or a quarter of the available memory if that is less.
    """

    def __init__(
        self,
        weights: Weights | None = None,
        *,
        cluster: Cluster | None = None,
        keep_bytes: int | None = None,
    ) -> None:
        self._weights, self._cluster = weights, cluster or Cluster()
        if keep_bytes is None:
            available = memory_at_hand()
            keep_bytes = KEPT_BYTES if available is None else min(KEPT_BYTES, int(KEPT_SHARE * available))
        # Key → (value, its size in bytes, about).
        self._kept = cachetools.LRUCache(max(keep_bytes, 1), getsizeof=lambda kept: kept[1])

    def run(
        self,
        inputs: Inputs | Plan,
        config: Config | None = None,
        *,
        tick: Tick | None = None,
        resume: str | None = None,
        until: Until | None = None,
        pace: Pace | None = None,
    ) -> Iterator[StepRecord]:
        """Paint; arguments, records and errors as of `stylize`.

        Args:
            inputs: The pictures, or a plan. The run drops them early; they stay in memory if the caller
                keeps them.
            config: The settings, unless `inputs` is a plan; default: the preset `original`.
            tick: Called after each compiled call with the step that it reached; True ends the run early.
            resume: Prefix of a checkpoint to continue from.
            until: Called after each record; True ends the scale, as if its iterations were done.
            pace: Measures the run and tells what is left of it; default: without earlier runs.
        """
        plan = inputs if isinstance(inputs, Plan) else plan_run(inputs, config or Config())
        del inputs
        cluster = self._cluster
        self._weights = self._weights or load_weights("auto")
        if plan.unmatched is not None:
            regions = self.find_regions(plan.unmatched, plan.config)
            plan = plan_run(*with_regions(plan.unmatched, plan.config, regions))
        plan = plan.prepared()
        if plan.config.deterministic:
            tf.config.experimental.enable_op_determinism()
        config = settle(plan.config, plan.scales[-1].content, cluster)
        scales = plan.scales
        switch_tf32(config.network.precision)
        self._trace_winograd(config, scales[-1])
        tick, until = tick or (lambda step: False), until or (lambda record: False)
        loop = Loop(scales, config, tick, cluster, until, pace)
        first, resumed = cluster.all_gather(
            [saved_scale(resume, len(scales)) if resume else 0, bool(resume)]
        )[0]
        # Networks and compiled functions for all scales.
        coarser, made = None, {}
        notes = (*plan.notes, *layers_that_stand_for_others(config, self._weights.architecture))
        try:
            for scale in scales[first:]:
                pictures, guidance, warped, finish = plan.at(scale)
                initial = plan.initial
                last = scale is scales[-1]
                if last:
                    # Its pictures would stay in memory until the run ends.
                    del plan
                settings = scale.settings(config)
                objective = self.prepare(pictures, settings, guidance, made, warped)
                if last:
                    made.clear()
                if coarser is not None:
                    initial = enlarged(coarser.pixels, pictures[0], config.sizes.scale_detail)
                image = first_image(pictures, settings, objective, guidance.cover, initial)
                del pictures, guidance, warped, initial
                solver, coarser = self._solver(objective, image, settings, coarser), None
                loop.enter(solver, scale, objective.terms, settings.loss, (*notes, *objective.notes), finish)
                del objective, image
                notes = ()
                if resumed and scale.index == first:
                    loop.restore(resume)
                elif not loop.call(solver.start):
                    raise RunError(
                        f"the loss of the initial image is not finite ({explain_culprits(solver)}); "
                        "nothing to save"
                    )
                yield from loop.steps(scale, recorded=resumed or scale.index > 0)
                last = loop.stopped or last
                loop.leave(last=last)
                if last:
                    break
                state = solver.state["optimizer"]
                coarser = Coarser(deprocess(solver.image).numpy(), state, solver.step)
                del solver, state
        finally:
            loop = coarser = solver = made = None  # noqa: F841
            if not self._kept:
                # A compiled step refers to itself.
                gc.collect()

    def _trace_winograd(self, config: Config, last: Scale) -> None:
        """Trace Winograd's method if the last scale will use it; see `winograd.trace`."""
        network, architecture = config.network, self._weights.architecture
        pixels = math.prod(last.content)
        if winograd.select_convolution(network.convolution, network.precision, pixels) == "direct":
            return
        deepest = architecture.deepest(tuple(map(architecture.resolve, config.loss.layers)))
        for layer in architecture.up_to(deepest):
            if layer in architecture.winograd:
                channels = self._weights.kernels[layer].shape[2:]
                winograd.trace(*channels, compute_dtype(network.precision), int(network.padding == "zero"))

    def find_regions(self, inputs: Inputs, config: Config, known: Regions | None = None) -> Regions:
        """Return the regions of photo and styles that `--match=regions` asks for, or those that are known.

        Those of the chief count: workers may round differently.
        """
        visible = (inputs.masks.alpha, *(inputs.masks.style or (None,) * len(inputs.styles)))
        regions = known or find_regions(inputs.content, inputs.styles, self.extractor(config), visible)
        if self._cluster.workers == 1:
            return regions
        leaves = [regions.photo, *regions.styles, regions.clusters.centroids, np.array(regions.pairs)]
        photo, *styles, centroids, pairs = self._cluster.all_gather([leaf.tolist() for leaf in leaves])[0]
        clusters = dataclasses.replace(regions.clusters, centroids=np.array(centroids))
        labels = [np.array(values, np.uint8) for values in (photo, *styles)]
        return Regions(labels[0], tuple(labels[1:]), clusters, tuple(map(tuple, pairs)))

    def extractor(self, config: Config) -> Extract:
        """Return picture → features, by which regions are found."""
        self._weights = self._weights or load_weights("auto")
        settings = dataclasses.replace(config.network, convolution="direct", precision="float32")
        make = functools.partial(FeatureExtractor, LAYERS, self._weights, settings)
        return self._keep(("regions", settings), make, self._weights.bytes)

    def prepare(
        self,
        pictures: Sequence[np.ndarray],
        config: Config,
        guidance: Guidance,
        made: Made,
        warped: Warped | None = None,
    ) -> Objective:
        """Return the objective of a scale; content and styles, [H, W, 3], RGB 0–255, have its sizes."""
        size, *style_sizes = (picture.shape[:2] for picture in pictures)
        architecture = self._weights.architecture
        guidance = dataclasses.replace(guidance, architecture=architecture)
        convolution = winograd.select_convolution(
            config.network.convolution, config.network.precision, math.prod(size)
        )
        terms = make_terms(config.loss, guidance, temporal=warped is not None)
        regions = sum(region.mask is not None for region in guidance.regions)
        tile = plan_memory(config, size, styles=style_sizes, regions=regions, architecture=architecture).tile
        in_gray = config.optimization.keep_gray or config.colors == "luminance"
        in_gray = in_gray and all(map(is_gray, pictures))
        held = any(isinstance(term, Temporal) for term in terms)
        return Objective(
            self._network(config, convolution, made),
            terms,
            content=pictures[0],
            styles=pictures[1:],
            tile=self._cluster.least(tile),
            guidance=guidance,
            blend=config.loss.style_blend,
            targets={Temporal().name: Temporal.target_of(warped)} if held else {},
            projections=((keep_gray,) if in_gray else ()) + ((hold_still,) if held else ()),
            replicas=self._cluster if self._cluster.replicas > 1 else None,
            look=functools.partial(self._look, config, made),
        )

    def _solver(
        self, objective: Objective, image: tf.Tensor, config: Config, coarser: Coarser | None
    ) -> Solver:
        """Return a solver with the compiled step of the coarser scale, of an earlier run, or a new one."""
        agree = self._cluster.broadcast_from_chief if self._cluster.workers > 1 else tf.identity
        optimizer = make_optimizer(config, agree)
        static = objective.evaluation, optimizer.static
        if coarser is not None and (coarser.step.evaluation, coarser.step.optimizer) == static:
            step = coarser.step
        else:
            size = GRAPH_BYTES + KERNEL_COPIES * bytes_of(objective.evaluation.network)
            step = self._keep((*static, config.deterministic), lambda: CompiledStep(*static), size)
        solver = Solver(step, image, optimizer, objective.arguments)
        self._cluster.broadcast_variables([solver.image])
        if coarser is not None:
            optimizer.inherit(solver.state["optimizer"], coarser.state)
        return solver

    def _look(
        self,
        config: Config,
        made: Made,
        network: keras.Model,
        terms: tuple[Term, ...],
        dtype: tf.DType,
        guided: tuple[str, ...],
        *,
        tiled: bool,
    ) -> Callable[..., Any]:
        """Return `targets.compile_look` of these arguments."""
        if terms[0].source == "style" and self._cluster.replicas == 1:
            # XLA would compile for the style picture's shape, too: longer than its one pass takes.
            network = self._network(config, "direct", made)
        static = tuple(dataclasses.replace(term, weight=1.0) for term in terms)
        key = (network, static, dtype, guided)
        make = functools.partial(compile_look, *key, tiled=tiled)
        return self._keep((*key, tiled), make, GRAPH_BYTES + bytes_of(network), made)

    def _network(self, config: Config, convolution: str, made: Made) -> keras.Model:
        """Return the network with `direct` or `winograd` convolutions."""
        weights, settings = self._weights, dataclasses.replace(config.network, convolution=convolution)
        layers = tuple(dict.fromkeys(map(weights.architecture.resolve, config.loss.layers)))

        def make() -> keras.Model:
            with self._cluster.scope():
                return build_network(
                    weights.kernels,
                    weights.biases,
                    architecture=weights.architecture,
                    outputs=layers,
                    pooling=settings.pooling,
                    padding=settings.padding,
                    transpose_kernels=settings.transpose_kernels,
                    convolution=convolution,
                    compute_dtype=compute_dtype(settings.precision),
                )

        return self._keep((settings, layers), make, weights.bytes, made)

    def _keep(self, key: Hashable, make: Callable[[], Any], size: int, made: Made | None = None) -> Any:
        """Return the value of a key that this run has `made`, or an earlier one; else make it.

        It is cached for later runs if its `size` in bytes fits.
        """
        made = {} if made is None else made
        if key not in made:
            kept = self._kept.get(key) or (make(), size)
            if size <= self._kept.maxsize:
                self._kept[key] = kept
            made[key] = kept[0]
        return made[key]


class Coarser(NamedTuple):
    """The result of a coarser scale: its image [H, W, 3] in RGB, optimiser's state and compiled step."""

    pixels: np.ndarray
    state: State
    step: CompiledStep


def layers_that_stand_for_others(config: Config, architecture: Architecture) -> list[str]:
    """Return a line for each layer of the settings that the network lacks and substitutes."""
    pairs = [(layer, architecture.resolve(layer)) for layer in config.loss.layers]
    return [
        f"{architecture.name} has no {layer}: {substitute}, which ends its block, stands for it"
        for layer, substitute in pairs
        if layer != substitute
    ]


def bytes_of(network: keras.Model) -> int:
    """Return the size of a network's kernels."""
    return 4 * network.count_params()


def first_image(
    pictures: Sequence[np.ndarray],
    config: Config,
    objective: Objective,
    cover: np.ndarray | None,
    initial: np.ndarray | None = None,
) -> tf.Tensor:
    """Return the initial image of a scale [1, H, W, 3], mean-subtracted.

    It is `initial`, resized, or the picture that `config.init` names, blended over the photo by `cover`
    (`Guidance.cover`).
    """
    if initial is None:
        initial = initial_pixels(config, *pictures[:2])
    initial = resize(initial, objective.size)
    if cover is not None:
        initial = covered(initial, pictures[0], cover)
    if keep_gray in objective.evaluation.projections:
        initial = gray(initial)
    return make_bounds(tf.float32, clamp=config.optimization.clamp).project(preprocess(initial))


def settle(config: Config, size: tuple[int, int], cluster: Cluster) -> Config:
    """Replace `auto` in precision and convolution by what all workers support, for a result of `size` (H, W).

    The settings of the chief count, which may have read them from a run that it resumes. A precision that a
    worker lacks is refused.
    """
    network = config.network
    precision, convolution = cluster.all_gather([network.precision, network.convolution])[0]
    bfloat16, tf32 = map(all, zip(*cluster.all_gather([has_bfloat16(), has_tf32()]), strict=True))
    if precision == "auto":
        precision = "bfloat16" if bfloat16 else "float32"
    if precision == "tf32" and not tf32:
        raise UserError(
            "--precision=tf32 needs an NVIDIA GPU of compute capability 8.0 or later, and no other device: "
            "take --precision=float32; a run that was begun in tf32 cannot be continued here"
        )
    chosen = cluster.all_gather(winograd.select_convolution(convolution, precision, math.prod(size)))
    if convolution == "auto":
        # In float32 a graph for the coarse scales alone would take longer to trace than it would save.
        fast = "winograd" if compute_dtype(precision) == "float32" else "large"
        convolution = "direct" if "direct" in chosen else fast
    return config.replace(precision=precision, convolution=convolution)
