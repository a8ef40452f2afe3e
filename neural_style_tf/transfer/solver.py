"""`CompiledStep`: the compiled loop of updates. `Solver`: the optimisation of one image by such a loop."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import tensorflow as tf

from neural_style_tf.losses.evaluate import Arguments, released_gradients
from neural_style_tf.losses.objective import Evaluation
from neural_style_tf.optim import Losses, Optimizer, State


class CompiledStep:
    """The compiled loop of updates. The state that it changes is passed to its methods.

    All runs with the same evaluation and the same static settings of the optimiser can share it, even at the
    same time. If the evaluation has no size, it serves images of all sizes.

    Step k is the image after k updates. The loop keeps the losses and the gradient at the current image, so
    they need not be evaluated again. While the next gradient is computed, the previous gradient and image are
    not in memory: for a poster each needs as much as everything else that the optimiser keeps. If losses or
    gradient are not finite, the best image is restored.

    Args:
        evaluation: Computes (losses, gradient) from (image, arguments).
        optimizer: The optimiser; only its static settings are used.
    """

    def __init__(self, evaluation: Evaluation, optimizer: Optimizer) -> None:
        self.evaluation, self.optimizer = evaluation, optimizer
        self._compiled: dict[Hashable, Callable[..., tf.Tensor]] = {}

    def init(self, image: tf.Tensor, optimizer: Optimizer) -> State:
        """Return the initial state of an optimisation.

        Args:
            image: The initial image [1, H, W, 3], mean-subtracted.
            optimizer: The optimiser with all settings of this run, such as its learning rate.

        Returns:
            A dict with these variables:
            `image`, the current image; its losses and gradient are finite;
            `gradient`, of the total loss at the image; empty while it is unknown;
            `values`, the losses of the image [T], where T is the number of losses;
            `best_image`, `best_total` and `best_step`, of the lowest total loss so far;
            `rejected`, the losses [T] of the last image that was not finite;
            `optimizer`, the optimiser's state, whose `steps` is the number of updates that made the image.
        """
        size = self.evaluation.size or (None, None)
        variable = tf.Variable(image, shape=[1, *size, image.shape[-1]])
        losses = tf.zeros([len(self.evaluation.names)], image.dtype)
        return {
            "image": variable,
            "gradient": tf.Variable(tf.zeros([0] * 4, image.dtype), shape=[None] * 4),
            "values": tf.Variable(losses),
            "rejected": tf.Variable(losses),
            "best_image": tf.Variable(image, shape=variable.shape),
            "best_total": tf.Variable(float("inf"), dtype=image.dtype),
            "best_step": tf.Variable(-1, dtype=tf.int64),
            "optimizer": optimizer.init(variable),
        }

    def run(self, state: State, arguments: Arguments, *, fresh: bool, count: int = 0) -> tf.Tensor:
        """Update `state` in place; return a bool tensor that is False if losses or gradient were not finite.

        Args:
            state: The state, from `init`.
            arguments: The arguments of the evaluation.
            fresh: Whether the losses and gradient of the image are unknown, and are evaluated first.
            count: Number of updates; fewer are made if no update can lower the loss.
        """
        return self._call(self._run, state, arguments, tf.constant(fresh), tf.constant(count, tf.int64))

    def retreat(self, state: State) -> None:
        """Restart the optimiser with half the learning rate, and set its step to that of the best image."""
        self._call(self._reset, state)

    def score_average(self, state: State, arguments: Arguments) -> tf.Tensor:
        """Return the total loss, a scalar, of the optimiser's average of images. `state` is not changed."""
        return self._call(self._score, state, arguments)

    def _call(self, function: Callable[..., tf.Tensor], state: State, *arguments: Any) -> tf.Tensor:
        # If the image may have any size, the maps among the arguments may have any size, too.
        any_size = self.evaluation.size is None
        specs = tf.nest.map_structure(lambda leaf: _spec(leaf, any_size=any_size), arguments)
        # The shape of a target may depend on the size of its picture.
        key = (function.__name__, *tf.nest.flatten(specs))
        if key not in self._compiled:
            with released_gradients():
                compiled = tf.function(function, autograph=False).get_concrete_function(state, *specs)
            self._compiled[key] = compiled
        return self._compiled[key](state, *arguments)

    def _score(self, state: State, arguments: Arguments) -> tf.Tensor:
        average = self.optimizer.average(state["optimizer"])
        return self.evaluation(tf.convert_to_tensor(average), arguments)[0]["total"]

    def _reset(self, state: State) -> None:
        self.optimizer.reset(state["optimizer"], tf.constant(0.5))
        state["optimizer"]["steps"].assign(state["best_step"])

    def _run(self, state: State, arguments: Arguments, fresh: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        """Run `run` as one graph, so that the first evaluation and the updates are compiled only once."""
        image, names = state["image"], self.evaluation.names

        def evaluate(pixels: tf.Tensor) -> tuple[Losses, tf.Tensor]:
            return self.evaluation(pixels, arguments)

        def begin() -> tf.Tensor:
            state["gradient"].assign(tf.zeros([0] * 4, image.dtype))
            losses, gradient = evaluate(tf.convert_to_tensor(image))
            return self._accept_or_reject(state, losses, gradient, updates=0)

        def update(done: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            here = dict(zip(names, tf.unstack(state["values"]), strict=True))
            gradient = tf.ensure_shape(state["gradient"], image.shape)
            state["gradient"].assign(tf.zeros([0] * 4, image.dtype))
            losses, gradient = self.optimizer.update(evaluate, state["optimizer"], image, here, gradient)
            return done + 1, self._accept_or_reject(state, losses, gradient, updates=1)

        _, good = tf.while_loop(
            lambda done, good: (done < count) & good & ~self.optimizer.stalled(state["optimizer"]),
            update,
            (tf.zeros([], tf.int64), tf.cond(fresh, begin, lambda: tf.constant(True))),
        )
        return good

    def _accept_or_reject(
        self, state: State, losses: Losses, gradient: tf.Tensor, *, updates: int
    ) -> tf.Tensor:
        values = tf.stack([losses[name] for name in self.evaluation.names])
        # Also check the image: an optimiser that finds no better point returns the losses that it received.
        checked = (values, gradient, tf.convert_to_tensor(state["image"]))
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(tensor)) for tensor in checked])

        def accept() -> tf.Tensor:
            state["values"].assign(values)
            state["gradient"].assign(gradient)
            tf.cond(values[0] < state["best_total"], keep_as_best, lambda: None)
            return tf.constant(True)

        def keep_as_best() -> None:
            state["best_image"].assign(state["image"])
            state["best_total"].assign(values[0])
            state["best_step"].assign(state["optimizer"]["steps"])

        def reject() -> tf.Tensor:
            state["rejected"].assign(values)
            state["image"].assign(state["best_image"])
            state["optimizer"]["steps"].assign_sub(updates)
            return tf.constant(False)

        return tf.cond(finite, accept, reject)


class Solver:
    """The optimisation of one image, by a compiled step that other runs may share.

    Args:
        step: The compiled step.
        image: The initial image [1, H, W, 3], mean-subtracted.
        optimizer: The optimiser with the settings of this run.
        arguments: The arguments of the evaluation for this run.

    Attributes:
        state: The state, as `CompiledStep.init` describes it.
    """

    def __init__(
        self, step: CompiledStep, image: tf.Tensor, optimizer: Optimizer, arguments: Arguments
    ) -> None:
        self.step, self.arguments = step, arguments
        self.state = step.init(image, optimizer)

    def start(self) -> bool:
        """Evaluate the current image; return whether its losses and gradient are finite."""
        return bool(self.step.run(self.state, self.arguments, fresh=True))

    def advance(self, count: int = 1) -> bool:
        """Make `count` updates, or fewer if no update can lower the loss; return whether all were finite.

        If this returns False, the best image so far is restored, and `retreat` must be called next.
        """
        return bool(self.step.run(self.state, self.arguments, fresh=False, count=count))

    def retreat(self) -> bool:
        """Restart from the best image with half the learning rate; return whether its losses are finite."""
        self.step.retreat(self.state)
        return self.start()

    def score_average(self) -> float:
        """Return the total loss of `average`. The state is not changed."""
        return float(self.step.score_average(self.state, self.arguments))

    def go_smaller(self) -> int | None:
        """Change to smaller tiles after memory ran out; `start` must be called next.

        Return the longest side of the tiles in pixels, or None if there are no smaller ones.
        """
        smaller = self.step.evaluation.smaller(self.size)
        if smaller is None:
            return None
        self.step = CompiledStep(smaller, self.step.optimizer)
        return smaller.tile

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the image in pixels."""
        height, width = tf.raw_ops.VariableShape(input=self.image.handle).numpy()[1:3].tolist()
        return height, width

    @property
    def image(self) -> tf.Variable:
        """The current image [1, H, W, 3], mean-subtracted."""
        return self.state["image"]

    @property
    def average(self) -> tf.Variable | None:
        """The optimiser's average of the images so far [1, H, W, 3]; None if it keeps none."""
        return self.step.optimizer.average(self.state["optimizer"])

    @property
    def steps(self) -> int:
        """The number of updates that made the current image."""
        return int(self.state["optimizer"]["steps"])

    @property
    def losses(self) -> dict[str, float]:
        """Name → value of the losses of the current image, `total` first."""
        values = self.state["values"].numpy().tolist()
        return dict(zip(self.step.evaluation.names, values, strict=True))

    @property
    def stalled(self) -> bool:
        """Whether no further update can lower the loss."""
        return bool(self.step.optimizer.stalled(self.state["optimizer"]))


def _spec(tensor: tf.Tensor, *, any_size: bool) -> tf.TensorSpec:
    maps = any_size and tensor.shape.rank == 4
    return tf.TensorSpec([1, None, None, tensor.shape[-1]] if maps else tensor.shape, tensor.dtype)
