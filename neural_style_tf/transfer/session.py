"""`stylize`, the algorithm from pictures to records; `Session`, which keeps what further runs can use."""

from __future__ import annotations

import dataclasses
import functools
import gc
import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from neural_style_tf.config.schema import Config
from neural_style_tf.distributed.replicas import Cluster
from neural_style_tf.distributed.sharding import SharedObjective, compute_shared_targets, smallest_tile
from neural_style_tf.errors import RunError, UserError
from neural_style_tf.images import is_gray, resize
from neural_style_tf.losses.base import Target, Term
from neural_style_tf.losses.evaluate import Targets
from neural_style_tf.losses.guides import Guidance
from neural_style_tf.losses.objective import (
    GrayObjective,
    HeldObjective,
    Objective,
    deprocess,
    gray,
    preprocess,
)
from neural_style_tf.losses.targets import Source, compile_look, given_leaves, make_sources
from neural_style_tf.losses.terms import loss_names, make_terms, term_weights
from neural_style_tf.models import winograd
from neural_style_tf.models.precision import compute_dtype, has_bfloat16, has_tf32, switch_tf32
from neural_style_tf.models.vgg19 import vgg19
from neural_style_tf.optim import make_optimizer, serves_all_sizes, static_settings
from neural_style_tf.optim.projections import make_bounds
from neural_style_tf.tiling.adaptive import LocalObjective, compute_local_targets
from neural_style_tf.tiling.planner import memory_at_hand, plan_memory
from neural_style_tf.transfer.cache import Cache
from neural_style_tf.transfer.colors import covered
from neural_style_tf.transfer.initial import enlarged, initial_pixels
from neural_style_tf.transfer.inputs import Inputs
from neural_style_tf.transfer.loop import Loop, Tick, Until, explain_culprits
from neural_style_tf.transfer.masks import Masks
from neural_style_tf.transfer.records import StepRecord
from neural_style_tf.transfer.scales import Scale
from neural_style_tf.transfer.solver import Arguments, Solver
from neural_style_tf.transfer.state import saved_scale
from neural_style_tf.transfer.subject import plan_run
from neural_style_tf.weights import Weights
from neural_style_tf.weights.resolve import load_weights

KEPT_BYTES, KEPT_SHARE = 2**31, 0.25
"""What a `Session` keeps for further runs by default: at most, and of the memory available."""
GRAPH_BYTES = 12 * 2**20
"""What TensorFlow takes for a compiled function, about, beside its kernels."""
KERNEL_COPIES = 2
"""Copies of the network's kernels, in oneDNN's order, that a compiled step holds: forward and backward."""


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

    For several runs in one process see `Session`.

    Args:
        content: [H, W, 3], RGB 0–255; larger than `config.sizes.image_size` is reduced to it.
        style: The style picture, likewise, of any shape; reduced to `config.sizes.style_size`. A tuple of
            several is blended; for masks see `Session` and `Inputs`.
        config: All settings; default: the preset `original`.
        weights: The network; default: whatever `load_weights("auto")` finds.
        tick: See `loop.Tick`.
        initial: [H, W, 3], RGB 0–255, to begin with instead of what `config.init` names; resized.
        resume: Prefix of a checkpoint of the same run, to go on from; the steps up to it are not repeated.
            Of several workers only the chief reads it.
        cluster: The replicas that share the work; default: this process alone.

    Yields:
        A record for step 0, every step that `config.saving.logs`, the last step, and whenever a save is due.

    Raises:
        UserError: A picture that is not [H, W, 3], or too small for the network.
        RunError: The loss stopped being finite and did not recover; the last record was yielded before.
    """
    session = Session(weights, cluster=cluster, keep_bytes=0)
    return session.run(Inputs(content, style, initial), config, tick=tick, resume=resume)


class Session:
    """Runs one after another that share networks and compiled steps.

    A run that differs from an earlier one only in weights of losses, learning rate, seed or pictures compiles
    nothing, and gives the same bits as alone; pictures must be of the same size with Adam, in tiles, and on
    several replicas. What is kept is what was used last. TensorFlow has two settings for the whole process:
    `deterministic` holds for the rest of it, and whether float32 may be TF32 is as the run that began last
    says, so runs that overlap must have the same `precision`.

    Args:
        weights: The network of all runs; default: whatever `load_weights("auto")` finds.
        cluster: The replicas that share the work; default: this process alone.
        keep_bytes: Memory for what is kept between runs, about; 0 keeps nothing; default: 2 GiB, or a
            quarter of what is available if that is less.
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
        self._cache = Cache(keep_bytes)

    def run(
        self,
        inputs: Inputs,
        config: Config | None = None,
        *,
        tick: Tick | None = None,
        resume: str | None = None,
        until: Until | None = None,
    ) -> Iterator[StepRecord]:
        """Run; arguments, records and errors as of `stylize`.

        Runs of one session may overlap: each has its own state.

        Args:
            inputs: The pictures.
            config: All settings; default: the preset `original`.
            tick: See `loop.Tick`.
            resume: Prefix of a checkpoint to go on from.
            until: See `loop.Until`.
        """
        config, cluster = config or Config(), self._cluster
        self._weights = self._weights or load_weights("auto")
        if config.deterministic:
            tf.config.experimental.enable_op_determinism()
        subject, scales, config = plan_run(inputs, config)
        config = settle(config, scales[-1].content, cluster)
        switch_tf32(config.network.precision)
        del inputs
        loop = Loop(scales, config, tick or (lambda step: False), cluster, until or (lambda record: False))
        first, going_on = cluster.all_gather(
            [saved_scale(resume, len(scales)) if resume else 0, bool(resume)]
        )[0]
        coarser, networks, kept = None, self._networks(config), False
        try:
            for scale in scales[first:]:
                pictures, guidance, finish = subject.at(scale, config)
                notes, initial = subject.notes, subject.initial
                subject.notes, subject.initial = (), None
                last = scale is scales[-1]
                if last:
                    # Each of its pictures would take memory for as long as the run lasts.
                    del subject
                lease = self.prepare(
                    pictures,
                    at_scale(scale, config),
                    guidance=guidance,
                    coarser=coarser,
                    initial=initial,
                    networks=networks,
                )
                del guidance, initial
                if last:
                    networks.looks.clear()
                coarser, solver = None, lease.solver
                loop.enter(solver, scale, (*notes, *lease.notes), finish)
                if going_on and scale.index == first:
                    loop.restore(resume)
                elif not loop.call(solver.start):
                    raise RunError(
                        f"the loss of the initial image is not finite ({explain_culprits(solver)}); "
                        "nothing to save"
                    )
                yield from loop.steps(scale, recorded=going_on or scale.index > 0)
                last = loop.stopped or last
                loop.leave(last=last)
                if last:
                    kept = self._give_back(lease)
                    break
                coarser = Coarser(deprocess(solver.image).numpy(), solver.optimizer.learnt(), lease)
                # Targets are needed no longer, even if the compiled loop is.
                solver.arguments = Arguments()
                del solver, lease
        finally:
            if not kept:
                # The compiled loop refers to itself.
                loop = coarser = lease = solver = None  # noqa: F841
                gc.collect()

    def prepare(
        self,
        pictures: list[np.ndarray],
        config: Config,
        *,
        guidance: Guidance | None = None,
        coarser: Coarser | None = None,
        initial: np.ndarray | None = None,
        networks: Networks | None = None,
    ) -> Lease:
        """Compute the targets and the initial image, and return a solver that is ready to `start`.

        Args:
            pictures: Content and styles, each [H, W, 3], RGB 0–255, used at this size. The list is emptied
                as soon as they are not needed, so that a large picture does not stay in memory.
            config: All settings, of one scale.
            guidance: The masks at this size; default: none.
            coarser: Of the next coarser scale, whose image is taken up, and whose solver, if it can.
            initial: The picture to begin with otherwise; default: what `config.init` names.
            networks: Those of the coarser scales; default: none yet.

        Returns:
            The solver, from the coarser scale or an earlier run if one of the same kind is there.
        """
        size, networks = pictures[0].shape[:2], networks or self._networks(config)
        sizes = [picture.shape[:2] for picture in pictures]
        guidance = guidance or Masks().check(len(pictures) - 1, config).at(size, sizes[1:], config)
        convolution = winograd.select_convolution(
            config.network.convolution, config.network.precision, size[0] * size[1]
        )
        terms, given = make_terms(config.loss, guidance), term_weights(config.loss, guidance)
        regions = sum(region.mask is not None for region in guidance.regions)
        tile = smallest_tile(self._cluster, plan_memory(config, size, styles=sizes[1:], regions=regions).tile)
        sources = make_sources(
            terms,
            pictures[0][np.newaxis],
            [style[np.newaxis] for style in pictures[1:]],
            guidance=guidance,
            blend=config.loss.style_blend,
        )
        in_gray = config.optimization.keep_gray or config.colors == "luminance"
        in_gray = in_gray and all(map(is_gray, pictures))
        static = static_settings(config.optimization, config.iterations)
        compiled = (
            networks.kind,
            convolution,
            terms,
            frozenset(given),
            in_gray,
            config.deterministic,
            static,
        )
        fixed = self._fixed_size(config, size, tile)
        # Before the targets: one that cannot go on would take memory beside them.
        solver = self._taken_up(coarser, (*compiled, fixed, tile))
        leaves = given_leaves(terms, guidance)
        targets, sufficed, notes = self._targets(networks, convolution, terms, sources, leaves, size, tile)
        del sources
        if sufficed != tile:
            solver, tile, fixed = None, sufficed, size
            gc.collect()
        kind = (*compiled, fixed, tile)
        if coarser is not None:
            initial = enlarged(coarser.pixels, pictures[0], config.sizes.scale_detail)
        image = first_image(pictures, config, guidance, initial, in_gray=in_gray)
        pictures.clear()
        weights = {name: tf.constant(weight, tf.float32) for name, weight in given.items()}
        arguments = Arguments((targets, weights))
        solver = solver or self._cache.take(kind)
        if solver is not None:
            solver.restart(image, arguments, config.optimization)
            self._cluster.broadcast_variables([solver.image])
        else:
            variable = tf.Variable(image, shape=[1, *(fixed or (None, None)), 3])
            del image
            self._cluster.broadcast_variables([variable])
            optimizer = make_optimizer(
                config.optimization,
                variable,
                self._cluster.broadcast_from_chief,
                iterations=config.iterations,
            )
            objective = self._objective(networks(convolution), terms, fixed, tile)
            objective = GrayObjective(objective) if in_gray else objective
            objective = objective if guidance.warped is None else HeldObjective(objective)
            solver = Solver(objective, optimizer, variable, loss_names(terms), arguments)
        if coarser is not None:
            solver.optimizer.inherit(coarser.learnt)
        return Lease(solver, kind, solver.objective, networks.bytes_of(convolution), notes)

    def _fixed_size(self, config: Config, size: tuple[int, int], tile: int | None) -> tuple[int, int] | None:
        """Return the size that a compiled step is for; None if it serves all, as in one piece it can."""
        flexible = tile is None and self._cluster.replicas == 1 and serves_all_sizes(config.optimization)
        return None if flexible else size

    def _objective(
        self, network: keras.Model, terms: tuple[Term, ...], size: tuple[int, int] | None, tile: int | None
    ) -> LocalObjective | SharedObjective:
        if self._cluster.replicas > 1:
            return SharedObjective(self._cluster, network, terms, size, tile)
        return LocalObjective(network, terms, size, tile)

    def _targets(
        self,
        networks: Networks,
        convolution: str,
        terms: tuple[Term, ...],
        sources: Sequence[Source],
        given: Mapping[str, Target],
        size: tuple[int, int],
        tile: int | None,
    ) -> tuple[Targets, int | None, tuple[str, ...]]:
        options = {
            "given": given,
            "size": size,
            "tile": tile,
            "look": functools.partial(self._look, networks),
        }
        if self._cluster.replicas > 1:
            return compute_shared_targets(self._cluster, networks(convolution), terms, sources, **options)
        # XLA would compile for the style picture's shape, too: longer than its one pass takes.
        once = None if convolution == "direct" else networks("direct")
        return compute_local_targets(networks(convolution), terms, sources, style_network=once, **options)

    def _look(
        self,
        networks: Networks,
        network: keras.Model,
        terms: tuple[Term, ...],
        dtype: tf.DType,
        guided: tuple[str, ...],
        *,
        tiled: bool,
    ) -> Callable[..., Any]:
        """Return `targets.compile_look` of these, or what is kept of it."""
        kind = (networks.kind, networks.convolution_of(network), terms, dtype, guided, tiled)
        make = functools.partial(compile_look, network, terms, dtype, guided, tiled=tiled)
        size = GRAPH_BYTES + networks.bytes_of(networks.convolution_of(network))
        kept = self._cache if self._cache.limit else networks.looks
        return kept.get(kind, make, lambda _: size)

    def _networks(self, config: Config) -> Networks:
        # Each has both kinds of convolutions.
        kind = (dataclasses.replace(config.network, convolution="direct"), config.loss.layers)
        make = functools.partial(Networks, config, self._weights, self._cluster, kind)
        return self._cache.get(kind, make, lambda networks: 2 * networks.bytes_of("direct"))

    def _taken_up(self, coarser: Coarser | None, kind: Hashable) -> Solver | None:
        """Return the solver of the coarser scale if it can go on; else give it back."""
        if coarser is None:
            return None
        lease, coarser.lease = coarser.lease, None
        if lease.kind == kind and lease.intact:
            return lease.solver
        kept = self._give_back(lease)
        del lease
        if not kept:
            # The compiled loop refers to itself.
            gc.collect()
        return None

    def _give_back(self, lease: Lease) -> bool:
        """Keep a solver for further runs; not if it had to go on in smaller tiles.

        Returns:
            Whether nothing was let go, neither this solver nor others.
        """
        solver = lease.solver
        solver.arguments = Arguments()
        if not lease.intact:
            return False
        state = {variable.ref() for variable in (*solver.variables, *solver.optimizer.variables)}
        numbers = sum(int(tf.size(variable.deref())) for variable in state)
        size = GRAPH_BYTES + 4 * numbers + KERNEL_COPIES * lease.network_bytes
        return self._cache.give(lease.kind, solver, size)


def make_solver(
    pictures: list[np.ndarray],
    config: Config,
    weights: Weights,
    *,
    cluster: Cluster | None = None,
    guidance: Guidance | None = None,
    initial: np.ndarray | None = None,
) -> Solver:
    """Return a new solver, ready to `start`; see `Session.prepare`."""
    switch_tf32(config.network.precision)
    session = Session(weights, cluster=cluster, keep_bytes=0)
    return session.prepare(pictures, config, guidance=guidance, initial=initial).solver


@dataclasses.dataclass(frozen=True, eq=False)
class Lease:
    """A solver that one run uses at a time.

    Attributes:
        solver: Ready to `start`.
        kind: What it can be used again for.
        objective: Its objective, if nothing goes wrong.
        network_bytes: Of the kernels of its network.
        notes: Lines that the user should see.
    """

    solver: Solver
    kind: Hashable
    objective: Objective
    network_bytes: int
    notes: tuple[str, ...]

    @property
    def intact(self) -> bool:
        """Whether it did not have to go on in smaller tiles."""
        return self.solver.objective is self.objective


@dataclasses.dataclass(eq=False)
class Coarser:
    """What one scale leaves to the next.

    Attributes:
        pixels: Of its image, RGB.
        learnt: By its optimiser.
        lease: Of its solver, until it is taken up or given back.
    """

    pixels: np.ndarray
    learnt: tuple[tf.Tensor, ...]
    lease: Lease | None


class Networks:
    """The networks of a run, which serve all its scales; each is made when it is first asked for.

    Args:
        config: `network`, and the layers of `loss`.
        weights: Of VGG-19.
        cluster: The replicas that read them.
        kind: What they depend on, beside weights and cluster.

    Attributes:
        looks: Of a run in a session that keeps nothing: what `compile_look` made, up to its last scale.
    """

    def __init__(self, config: Config, weights: Weights, cluster: Cluster, kind: Hashable) -> None:
        self.kind = kind
        self._config, self._weights, self._cluster = config, weights, cluster
        self._made: dict[str, keras.Model] = {}
        self.looks = Cache(KEPT_BYTES)

    def __call__(self, convolution: str) -> keras.Model:
        """Return the network with `direct` or `winograd` convolutions."""
        if convolution not in self._made:
            with self._cluster.scope():
                self._made[convolution] = self._make(convolution)
        return self._made[convolution]

    def convolution_of(self, network: keras.Model) -> str:
        """Return which of them a network is."""
        return next(name for name, made in self._made.items() if made is network)

    def bytes_of(self, convolution: str) -> int:
        """Return the size of its kernels."""
        return 4 * self(convolution).count_params()

    def _make(self, convolution: str) -> keras.Model:
        settings = self._config.network
        return vgg19(
            self._weights.kernels,
            self._weights.biases,
            outputs=self._config.loss.layers,
            pooling=settings.pooling,
            padding=settings.padding,
            transpose_kernels=settings.transpose_kernels,
            convolution=convolution,
            compute_dtype=compute_dtype(settings.precision),
        )


def first_image(
    pictures: Sequence[np.ndarray],
    config: Config,
    guidance: Guidance,
    initial: np.ndarray | None,
    *,
    in_gray: bool,
) -> tf.Tensor:
    """Return what a scale begins with [1, H, W, 3], mean-subtracted.

    Args:
        pictures: Content and styles, each [H, W, 3], at this size.
        config: Of the scale.
        guidance: Where nothing is to be painted.
        initial: A picture to begin with, of any size; default: what `config.init` names.
        in_gray: Whether it has no colour.
    """
    if initial is None:
        initial = initial_pixels(config, *pictures[:2])
    initial = resize(initial, pictures[0].shape[:2])
    if (cover := guidance.cover) is not None:
        # What a run begins with, or a coarser scale has made, where nothing is to be painted.
        initial = covered(initial, pictures[0], cover)
    bounds = make_bounds(tf.float32, clamp=config.optimization.clamp)
    return bounds.project(preprocess(gray(initial) if in_gray else initial))


def settle(config: Config, size: tuple[int, int], cluster: Cluster) -> Config:
    """Return the settings with what `auto` means for precision and convolution, the same for all workers.

    Args:
        config: The settings; those of the chief count, which may go on with an earlier run.
        size: (H, W) of the result.
        cluster: The workers; what one of them lacks none uses.

    Raises:
        UserError: A worker cannot compute what is asked for.
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
        convolution = "direct" if "direct" in chosen else "large"
    return config.replace(precision=precision, convolution=convolution)


def at_scale(scale: Scale, config: Config) -> Config:
    """Return the settings of one scale of a run."""
    return config.replace(iterations=scale.iterations, scales=1, scale_iterations=())
