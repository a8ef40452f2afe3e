"""`CompiledStep`, the compiled loop of updates; `Solver`, one image with its state and arguments."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import tensorflow as tf

from neural_style_tf.losses.evaluate import Arguments, released_gradients
from neural_style_tf.losses.objective import Evaluation
from neural_style_tf.optim import Losses, Optimizer, State


class CompiledStep:
    """The compiled loop that advances a state. It has no state itself.

    It depends on the evaluation and on the optimiser's static settings alone: all runs with the same two can
    share it, even at the same time. If the evaluation has no size, one compiled step serves all sizes.

    The loop keeps the gradient at the current image. Step k is the image after k updates, and its losses are
    reported without another evaluation. While the next gradient is computed, neither the previous gradient
    nor the previous image is in memory: for a poster each takes as much as everything else that the optimiser
    keeps. If losses or gradient are not finite, the best image is restored.

    `evaluation` maps (image, arguments) to (losses, gradient).
    """

    def __init__(self, evaluation: Evaluation, optimizer: Optimizer) -> None:
        self.evaluation, self.optimizer = evaluation, optimizer
        self._compiled: dict[Hashable, Callable[..., tf.Tensor]] = {}

    def init(self, image: tf.Tensor, optimizer: Optimizer) -> State:
        """Return the state that begins with an image [1, H, W, 3], mean-subtracted.

        `optimizer` has the settings that only its state depends on, such as the learning rate. The state has
        the `image`, whose losses and gradient are always finite; `gradient` of the total there, empty while
        it is unknown; `values`, the losses [T]; `best_image`, `best_total` and `best_step`, of the least
        total loss so far; `rejected`, the losses of the last image that was not finite; `optimizer`, the
        optimiser's state, whose `steps` counts the updates that made the image.
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
        """Change a state in place; return whether everything is finite.

        If the image is `fresh`, its losses and gradient are computed first. Then `count` updates are made, or
        fewer once none can lower the loss.
        """
        return self._call(self._run, state, arguments, tf.constant(fresh), tf.constant(count, tf.int64))

    def retreat(self, state: State) -> None:
        """Restart the optimiser at the best image and its step, at half its rate."""
        self._call(self._reset, state)

    def score_average(self, state: State, arguments: Arguments) -> tf.Tensor:
        """Return the total loss of the average of the images, a scalar; the state does not change."""
        return self._call(self._score, state, arguments)

    def _call(self, function: Callable[..., tf.Tensor], state: State, *arguments: Any) -> tf.Tensor:
        # Maps may have any size if the image may.
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
        """Evaluate and update in one graph, so that one compilation serves both."""
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
        # The image, too: an optimiser without a better point returns the losses that it received.
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
    """One image on its way to a minimum: a compiled step, and the state and arguments of this run.

    It begins with an image [1, H, W, 3], mean-subtracted. Other runs may share the step; `optimizer` has the
    settings of this one. `state` is as of `CompiledStep.init`.
    """

    def __init__(
        self, step: CompiledStep, image: tf.Tensor, optimizer: Optimizer, arguments: Arguments
    ) -> None:
        self.step, self.arguments = step, arguments
        self.state = step.init(image, optimizer)

    def start(self) -> bool:
        """Evaluate the image; return whether its losses and gradient are finite."""
        return bool(self.step.run(self.state, self.arguments, fresh=True))

    def advance(self, count: int = 1) -> bool:
        """Make up to `count` updates, fewer once none can lower the loss; return whether all are finite.

        If not, the image is the best so far, and `retreat` must follow.
        """
        return bool(self.step.run(self.state, self.arguments, fresh=False, count=count))

    def retreat(self) -> bool:
        """Restart the optimiser at the best image, at half its rate; return as `start`."""
        self.step.retreat(self.state)
        return self.start()

    def score_average(self) -> float:
        """Return the total loss of `average`; the state does not change."""
        return float(self.step.score_average(self.state, self.arguments))

    def go_smaller(self) -> int | None:
        """Go on in smaller tiles after memory ran out; return their longest side, None if there are none.

        `start` must follow.
        """
        smaller = self.step.evaluation.smaller(self.size)
        if smaller is None:
            return None
        self.step = CompiledStep(smaller, self.step.optimizer)
        return smaller.tile

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the image."""
        height, width = tf.raw_ops.VariableShape(input=self.image.handle).numpy()[1:3].tolist()
        return height, width

    @property
    def image(self) -> tf.Variable:
        """The current image [1, H, W, 3]."""
        return self.state["image"]

    @property
    def average(self) -> tf.Variable | None:
        """The optimiser's average of the images so far."""
        return self.step.optimizer.average(self.state["optimizer"])

    @property
    def steps(self) -> int:
        """The number of updates that made the image."""
        return int(self.state["optimizer"]["steps"])

    @property
    def losses(self) -> dict[str, float]:
        """The losses of the image, `total` first."""
        values = self.state["values"].numpy().tolist()
        return dict(zip(self.step.evaluation.names, values, strict=True))

    @property
    def stalled(self) -> bool:
        """Whether no further update can lower the loss."""
        return bool(self.step.optimizer.stalled(self.state["optimizer"]))


def _spec(tensor: tf.Tensor, *, any_size: bool) -> tf.TensorSpec:
    maps = any_size and tensor.shape.rank == 4
    return tf.TensorSpec([1, None, None, tensor.shape[-1]] if maps else tensor.shape, tensor.dtype)
