"""The compiled step: an image, its optimiser, and several updates in one call."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from neural_style_tf.config.schema import OptimizerConfig
from neural_style_tf.losses.evaluate import Losses
from neural_style_tf.losses.objective import Objective
from neural_style_tf.optim import Optimizer
from neural_style_tf.utils.gradient_registry import forget, known


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What an objective is called with beside the image: nests of tensors, such as targets and weights.

    No container that `tf.Module` would make part of a checkpoint.
    """

    values: tuple[Any, ...] = ()


class Solver(tf.Module):
    """The state of a run at one size, and the compiled loop that advances it.

    The compiled loop depends on the objective and on the shape of the image's variable alone. Runs that share
    both can use one solver after the other: `restart` gives it the next one's image and arguments, and
    nothing is compiled again. A variable of shape [1, None, None, 3] takes images of all sizes, and so does
    then the loop.

    The loop keeps the gradient at the current image: step k is the image after k updates, whose losses are
    reported without another evaluation. While the next gradient is computed, neither the previous one nor the
    previous image is kept in memory: at the size of a poster each takes as much as all else that the
    optimiser keeps. After losses that are not finite the best image is restored.

    Args:
        objective: (image, arguments …) → (terms, gradient).
        optimizer: Built for `image`.
        image: The initial image [1, H, W, 3], mean-subtracted.
        names: The objective's terms, `total` first.
        arguments: What else the objective takes.

    Attributes:
        objective: May be replaced by another form of itself; then `start` again.
        arguments: May be exchanged for others of the same kind; then `start` again.
        image: The current image; always one whose loss and gradient are finite.
        gradient: Of the total there; empty while it is not known.
        values: Its terms [T].
        step: How many updates made it; −1 before `start`.
        best_image, best_total, best_step: The image of least total loss of all steps so far.
        rejected: Losses of the last image that was refused because they, or its gradient, were not finite.
    """

    def __init__(
        self,
        objective: Objective,
        optimizer: Optimizer,
        image: tf.Variable,
        names: tuple[str, ...],
        arguments: Arguments | None = None,
    ) -> None:
        super().__init__(name="solver")
        self.objective = objective
        self.arguments = arguments or Arguments()
        self.names = names
        self.optimizer = optimizer
        self.image = image
        self._nothing = tf.zeros([0] * image.shape.rank, image.dtype)
        self.gradient = tf.Variable(self._nothing, shape=[None] * image.shape.rank)
        self.values = tf.Variable(tf.zeros([len(names)], image.dtype))
        self.rejected = tf.Variable(tf.zeros([len(names)], image.dtype))
        self.step = tf.Variable(-1, dtype=tf.int64)
        self.best_image = tf.Variable(tf.convert_to_tensor(image), shape=image.shape)
        self.best_total = tf.Variable(float("inf"), dtype=image.dtype)
        self.best_step = tf.Variable(-1, dtype=tf.int64)

    def start(self) -> tf.Tensor:
        """Evaluate the image as it stands; return whether its terms and gradient are finite."""
        return self._call(self._run, tf.constant(True), tf.constant(0, tf.int64))

    def advance(self, count: tf.Tensor) -> tf.Tensor:
        """Make up to `count` updates, fewer if none can lower the loss.

        Args:
            count: int64 scalar tensor.

        Returns:
            False if an update led to terms or a gradient that are not finite. The image is then the best
            so far, the steps before have been made, and `retreat` must follow.
        """
        return self._call(self._run, tf.constant(False), count)

    def retreat(self) -> tf.Tensor:
        """Give the optimiser a fresh start at the best image and its step, at half its rate; as `start`."""
        self._forget()
        return self.start()

    def score_average(self) -> tf.Tensor:
        """Return the total loss of `average`, a scalar; the run does not change."""
        return self._call(self._score)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the image."""
        height, width = tf.raw_ops.VariableShape(input=self.image.handle).numpy()[1:3].tolist()
        return height, width

    @property
    def average(self) -> tf.Variable | None:
        """The optimiser's average of the images so far."""
        return self.optimizer.average

    @property
    def stalled(self) -> bool:
        """Whether no further update can lower the loss."""
        return bool(self.optimizer.stalled())

    def recover(self, objective: Objective, *, moving: bool) -> None:
        """Take another form of the objective after an evaluation that was cut short; `start` must follow.

        Args:
            objective: The same function.
            moving: Whether it was `advance` that was cut short.
        """
        self.objective = objective
        if moving and self.optimizer.moves_first:
            # The image was moved, and is only yet to be looked at.
            self.step.assign_add(1)

    def restart(self, image: tf.Tensor, arguments: Arguments, config: OptimizerConfig) -> None:
        """Return to the state of a new solver, for a run of another image and other arguments.

        Args:
            image: [1, H, W, 3], the initial image.
            arguments: Of the same shapes as before, but for the size of the image.
            config: May differ from that of the optimiser in what `optim.static_settings` leaves out.
        """
        self.arguments = arguments
        self.image.assign(image)
        self.optimizer.restart(self.image, config)
        self.gradient.assign(self._nothing)
        self.values.assign(tf.zeros_like(self.values))
        self.rejected.assign(tf.zeros_like(self.rejected))
        self.step.assign(-1)
        self.best_image.assign(image)
        self.best_total.assign(float("inf"))
        self.best_step.assign(-1)

    def _call(self, function: Callable[..., tf.Tensor], *arguments: tf.Tensor) -> tf.Tensor:
        """Call a compiled function; free what TensorFlow's registry of gradients keeps of compiling it."""
        before = known()
        try:
            given = (self.arguments.values, *arguments)
            specs = tf.nest.map_structure(self._spec, given)
            return function.get_concrete_function(self.objective, *specs)(self.objective, *given)
        finally:
            forget(known() - before)

    def _spec(self, tensor: tf.Tensor) -> tf.TensorSpec:
        """Return what the compiled loop takes an argument for: maps are of any size if the image is."""
        maps = tensor.shape.rank == 4 and not self.image.shape.is_fully_defined()
        return tf.TensorSpec([1, None, None, tensor.shape[-1]] if maps else tensor.shape, tensor.dtype)

    @tf.function(autograph=False)
    def _score(self, objective: Objective, given: tuple[Any, ...]) -> tf.Tensor:
        return objective(tf.convert_to_tensor(self.average), *given)[0]["total"]

    @tf.function(autograph=False)
    def _run(
        self, objective: Objective, given: tuple[Any, ...], fresh: tf.Tensor, count: tf.Tensor
    ) -> tf.Tensor:
        """Evaluate the image where it is `fresh`, and make `count` updates; in one graph, compiled once."""

        def evaluate(image: tf.Tensor) -> tuple[Losses, tf.Tensor]:
            return objective(image, *given)

        def begin() -> tf.Tensor:
            self.gradient.assign(self._nothing)
            terms, gradient = evaluate(tf.convert_to_tensor(self.image))
            return self._accept_or_reject(terms, gradient, tf.maximum(self.step, 0))

        def update(done: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            here = dict(zip(self.names, tf.unstack(self.values), strict=True))
            gradient = tf.ensure_shape(self.gradient, self.image.shape)
            self.gradient.assign(self._nothing)
            terms, gradient = self.optimizer.step(evaluate, self.image, here, gradient)
            return done + 1, self._accept_or_reject(terms, gradient, self.step + 1)

        _, good = tf.while_loop(
            lambda done, good: (done < count) & good & ~self.optimizer.stalled(),
            update,
            (tf.zeros([], tf.int64), tf.cond(fresh, begin, lambda: tf.constant(True))),
        )
        return good

    @tf.function(autograph=False)
    def _forget(self) -> None:
        self.optimizer.reset(tf.constant(0.5))
        self.step.assign(self.best_step)

    def _accept_or_reject(self, terms: Losses, gradient: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        values = tf.stack([terms[name] for name in self.names])
        # The image, too: a solver that finds no better point gives back the terms it was given.
        checked = (values, gradient, tf.convert_to_tensor(self.image))
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(tensor)) for tensor in checked])

        def accept() -> tf.Tensor:
            self.values.assign(values)
            self.gradient.assign(gradient)
            self.step.assign(step)
            tf.cond(values[0] < self.best_total, keep_as_best, lambda: None)
            return tf.constant(True)

        def keep_as_best() -> None:
            self.best_image.assign(self.image)
            self.best_total.assign(values[0])
            self.best_step.assign(self.step)

        def reject() -> tf.Tensor:
            self.rejected.assign(values)
            self.image.assign(self.best_image)
            return tf.constant(False)

        return tf.cond(finite, accept, reject)
