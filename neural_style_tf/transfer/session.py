"""`stylize`: paint, and yield records of steps. `Session`: runs that share networks and compiled steps."""

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
from neural_style_tf.transfer.solver import CompiledStep, Solver
from neural_style_tf.transfer.state import saved_scale
from neural_style_tf.weights import Weights
from neural_style_tf.weights.resolve import load_weights

KEPT_BYTES, KEPT_SHARE = 2**31, 0.25
"""Default size of the cache of a `Session`: at most so many bytes, and at most this share of the available
memory."""
GRAPH_BYTES = 12 * 2**20
"""Approximate size of a compiled function in bytes, without the network's kernels."""
KERNEL_COPIES = 2
"""Number of copies of the network's kernels, in oneDNN's layout, in a compiled step: forward and backward."""
Made = dict[Hashable, Any]
"""Key → network or compiled function that the present run uses."""


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
        style: The style picture [h, w, 3], RGB 0–255, reduced to the setting `style_size`; or a tuple of
            several, which are blended.
        config: The settings; default: the preset `original`.
        weights: The weights of the network; default: `load_weights("auto")`.
        tick: Called after each compiled call with the current step; returns True to stop the run.
        resume: Prefix of a checkpoint of the same run, to continue from it. If there are several workers,
            only the chief reads it.
        initial: A picture [h, w, 3], RGB 0–255, to begin with instead of the one that `config.init` names.
        cluster: The replicas that share the work; default: this process alone.

    Yields:
        A record of step 0, of each step that is logged or saved, and of the last step.

    Raises:
        UserError: A picture is not [H, W, 3], or is too small for the network.
        RunError: The loss was not finite, and restarting from the best image did not help. The last record
            was yielded before.
    """
    session = Session(weights, cluster=cluster, keep_bytes=0)
    return session.run(Inputs(content, style, initial), config, tick=tick, resume=resume)


class Session:
    """Several runs that share networks and compiled steps.

    A run compiles nothing if it differs from an earlier one only in the weights of losses, the learning rate,
    the seed or the pictures. With tiles or several replicas, the pictures must also have the same sizes. The
    result is the same, bit for bit, as in a session of its own.

    Runs of one session may be interleaved, since each has its own state. Two settings affect the whole
    process: `deterministic` cannot be switched off again, and `precision` is that of the run that began last.
    So runs that are interleaved must have the same precision.

    Args:
        weights: The weights of the network; default: `load_weights("auto")`.
        cluster: The replicas that share the work; default: this process alone.
        keep_bytes: Approximate size of the cache in bytes. The least recently used entries are dropped. 0 for
            no cache; default: 2 GiB, or a quarter of the available memory if that is less.
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
        """Paint; yields records and raises errors as `stylize` does.

        Args:
            inputs: The pictures, or a plan. The run drops its references to them early, to free memory.
            config: The settings, unless `inputs` is a plan; default: the preset `original`.
            tick: Called after each compiled call with the current step; returns True to stop the run.
            resume: Prefix of a checkpoint to continue from.
            until: Stopping rule of a scale: called after each record; returns True to end the scale, which
                then counts as finished.
            pace: Measures the speed of the run, and estimates the remaining time; default: a `Pace` that
                knows no earlier runs.
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

    def find_regions(self, inputs: Inputs, config: Config, known: Regions | None = None) -> Regions:
        """Return the regions of photo and styles for `--match=regions`; if `known` is given, return these.

        All workers get the regions of the chief, because each may round differently.
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
        """Return a function that computes the features of a picture; `find_regions` clusters them."""
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
        """Return the objective of a scale.

        Args:
            pictures: Content and style pictures, each [H, W, 3], RGB 0–255, in the sizes of the scale.
            config: The settings of the scale.
            guidance: The masks in the sizes of the scale.
            made: Networks and compiled functions of this run, to which new ones are added.
            warped: For a frame of a clip, the earlier painted frames, warped to this frame; else None.
        """
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
            look=functools.partial(self._look, made),
        )

    def _solver(
        self, objective: Objective, image: tf.Tensor, config: Config, coarser: Coarser | None
    ) -> Solver:
        """Return a solver for `objective` that starts at `image`.

        Its compiled step is that of the coarser scale or of an earlier run if it fits, else a new one.
        """
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
        made: Made,
        network: keras.Model,
        terms: tuple[Term, ...],
        dtype: tf.DType,
        guided: tuple[str, ...],
        *,
        tiled: bool,
    ) -> Callable[..., Any]:
        """Return the result of `targets.compile_look` for these arguments, from the cache if it is there."""
        static = tuple(dataclasses.replace(term, weight=1.0) for term in terms)
        key = (network, static, dtype, guided)
        make = functools.partial(compile_look, *key, tiled=tiled)
        return self._keep((*key, tiled), make, GRAPH_BYTES + bytes_of(network), made)

    def _network(self, config: Config, convolution: str, made: Made) -> keras.Model:
        """Return the network; `convolution` is `direct` or `winograd`."""
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
        """Return the value of `key`, from `made` (this run) or from the cache (earlier runs).

        Otherwise call `make`. The value is cached for later runs if `size`, in bytes, is not too large.
        """
        made = {} if made is None else made
        if key not in made:
            kept = self._kept.get(key) or (make(), size)
            if size <= self._kept.maxsize:
                self._kept[key] = kept
            made[key] = kept[0]
        return made[key]


class Coarser(NamedTuple):
    """What the next scale needs from a coarser scale."""

    pixels: np.ndarray  # its last image [H, W, 3], RGB
    state: State  # the optimiser's state
    step: CompiledStep


def layers_that_stand_for_others(config: Config, architecture: Architecture) -> list[str]:
    """Return a line for each layer of the settings that the network lacks, with the layer used instead."""
    pairs = [(layer, architecture.resolve(layer)) for layer in config.loss.layers]
    return [
        f"{architecture.name} has no {layer}: {substitute}, which ends its block, stands for it"
        for layer, substitute in pairs
        if layer != substitute
    ]


def bytes_of(network: keras.Model) -> int:
    """Return the size of a network's weights in bytes."""
    return 4 * network.count_params()


def first_image(
    pictures: Sequence[np.ndarray],
    config: Config,
    objective: Objective,
    cover: np.ndarray | None,
    initial: np.ndarray | None = None,
) -> tf.Tensor:
    """Return the initial image of a scale, [1, H, W, 3], mean-subtracted.

    Args:
        pictures: Content picture and style pictures of the scale.
        config: The settings.
        objective: The objective of the scale, whose size the image has.
        cover: `Guidance.cover`, the opacity of the image over the photo; None for 1 everywhere.
        initial: The picture to begin with, which is resized; None for the one that `config.init` names.
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
    """Return `config` with `auto` in precision and convolution replaced by what all workers support.

    The chief's settings are used, because the chief may have read them from the run that it resumes.

    Args:
        config: The settings.
        size: (H, W) of the result in pixels.
        cluster: The workers.

    Raises:
        UserError: The precision is tf32, and a worker does not support it.
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
        # At all scales: a graph for the coarse ones alone would take longer to trace than it would save.
        convolution = "direct" if "direct" in chosen else "winograd"
    return config.replace(precision=precision, convolution=convolution)
