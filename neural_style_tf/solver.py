"""The compiled heart of a run: an image, its optimiser, and several steps per call."""

from __future__ import annotations

import tensorflow as tf

from neural_style_tf.objective import Objective, Terms
from neural_style_tf.optim import Optimizer


class Solver(tf.Module):
    """The state of a run at one size, and the one `@tf.function` that advances it.

    The loop keeps the gradient at the current image, so that the terms it reports are those of the image
    it holds: step k is the image after k updates, without an evaluation more.

    Args:
        objective: image → (terms, gradient).
        optimizer: Built for `image`.
        image: The initial image [1, H, W, 3], mean-subtracted.
        names: The objective's terms, `total` first.

    Attributes:
        image: The current image; always one whose loss and gradient are finite.
        values: Its terms [T].
        step: How many updates made it; −1 before `start`.
        best_image, best_total, best_step: The image of least total loss of all steps so far.
        rejected: Terms of the last image that was refused because they, or its gradient, were not finite.
    """

    def __init__(
        self, objective: Objective, optimizer: Optimizer, image: tf.Variable, names: tuple[str, ...]
    ) -> None:
        super().__init__(name="solver")
        self._objective = objective
        self.names = names
        self.optimizer = optimizer
        self.image = image
        self.gradient = tf.Variable(tf.zeros_like(image))
        self.values = tf.Variable(tf.zeros([len(names)], image.dtype))
        self.rejected = tf.Variable(tf.zeros([len(names)], image.dtype))
        self.step = tf.Variable(-1, dtype=tf.int64)
        self.best_image = tf.Variable(tf.zeros_like(image))
        self.best_total = tf.Variable(float("inf"), dtype=image.dtype)
        self.best_step = tf.Variable(-1, dtype=tf.int64)

    @tf.function(autograph=False)
    def start(self) -> tf.Tensor:
        """Evaluate the initial image; return whether its terms and gradient are finite."""
        terms, gradient = self._objective(tf.convert_to_tensor(self.image))
        return self._accept_or_reject(terms, gradient, tf.convert_to_tensor(self.image))

    @tf.function(autograph=False)
    def advance(self, count: tf.Tensor) -> tf.Tensor:
        """Make up to `count` updates.

        Args:
            count: int64 scalar tensor.

        Returns:
            False if an update led to terms or a gradient that are not finite. The image is then the last
            good one, and the steps before it have been made.
        """

        def update(done: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            previous = tf.identity(self.image)
            here = dict(zip(self.names, tf.unstack(self.values), strict=True))
            terms, gradient = self.optimizer.step(
                self._objective, self.image, here, tf.convert_to_tensor(self.gradient)
            )
            return done + 1, self._accept_or_reject(terms, gradient, previous)

        _, good = tf.while_loop(
            lambda done, good: (done < count) & good, update, (tf.zeros([], tf.int64), tf.constant(True))
        )
        return good

    @tf.function(autograph=False)
    def retreat(self) -> None:
        """Give the optimiser a fresh start at the current image, with half its learning rate."""
        self.optimizer.reset(tf.constant(0.5))

    @tf.function(autograph=False)
    def rewind(self) -> tf.Tensor:
        """Go back to the best image and its step, where the current one has itself gone bad."""
        self.image.assign(self.best_image)
        self.step.assign(self.best_step - 1)
        return self.start()

    def _accept_or_reject(self, terms: Terms, gradient: tf.Tensor, previous: tf.Tensor) -> tf.Tensor:
        values = tf.stack([terms[name] for name in self.names])
        # The image, too: a solver that finds no better point gives back the terms it was given.
        checked = (values, gradient, tf.convert_to_tensor(self.image))
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(tensor)) for tensor in checked])

        def accept() -> tf.Tensor:
            self.values.assign(values)
            self.gradient.assign(gradient)
            self.step.assign_add(1)
            tf.cond(values[0] < self.best_total, keep_as_best, lambda: None)
            return tf.constant(True)

        def keep_as_best() -> None:
            self.best_image.assign(self.image)
            self.best_total.assign(values[0])
            self.best_step.assign(self.step)

        def reject() -> tf.Tensor:
            self.rejected.assign(values)
            self.image.assign(previous)
            return tf.constant(False)

        return tf.cond(finite, accept, reject)
