"""Adam (Kingma and Ba, arXiv 1412.6980).

Notation of the paper's algorithm 1:

    m, v     running means of the gradient and of its square
    β₁, β₂   the decay rates of m and v
    α        the learning rate
    ε        a small number that avoids division by 0
    t        the number of updates
"""

from __future__ import annotations

import dataclasses
import math

import tensorflow as tf

from neural_style_tf.optim import Evaluate, Losses, Optimizer, State
from neural_style_tf.optim.projections import make_bounds


@dataclasses.dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (algorithm 1). As in TensorFlow 1, α includes the bias corrections, and ε is added to √v.

    Differs from Gatys et al., who use L-BFGS; Adam is the slides' and the original repository's.

    Args:
        learning_rate: α, in grey levels.
        beta1: β₁.
        beta2: β₂.
        epsilon: ε.
        clamp: Whether to keep pixels within 0–255.
        averaging: Decay rate of a running mean of the images; 0 for no mean.
        learning_rate_schedule: `constant`, or `cosine`, which falls to 0 over `iterations` updates.
        iterations: Number of updates that the schedule is for.
    """

    learning_rate: float = 10.0
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    clamp: bool = False
    averaging: float = 0.0
    learning_rate_schedule: str = "constant"
    iterations: int = 1

    @property
    def static(self) -> Adam:
        """What is compiled: α = 1, since α is in the state, and `iterations` = 1 if no schedule needs it."""
        iterations = self.iterations if self.learning_rate_schedule == "cosine" else 1
        return dataclasses.replace(self, learning_rate=1.0, iterations=iterations)

    def init(self, image: tf.Variable) -> State:
        """Return the state with m = v = 0, t = 0, and α."""
        nothing = tf.zeros_like(tf.convert_to_tensor(image))
        state = {
            "m": tf.Variable(nothing, shape=image.shape),
            "v": tf.Variable(nothing, shape=image.shape),
            "t": tf.Variable(0, dtype=tf.int64),
            "rate": tf.Variable(self.learning_rate, dtype=image.dtype),
            "steps": tf.Variable(0, dtype=tf.int64),
            "evaluations": tf.Variable(0, dtype=tf.int64),
        }
        if self.averaging:
            state["average"] = tf.Variable(tf.convert_to_tensor(image), shape=image.shape)
            state["averaged"] = tf.Variable(0, dtype=tf.int64)
        return state

    def update(
        self, evaluate: Evaluate, state: State, image: tf.Variable, losses: Losses, gradient: tf.Tensor
    ) -> tuple[Losses, tf.Tensor]:
        """Make one update of algorithm 1; return the losses and the gradient of the new image."""
        dtype = image.dtype
        t = tf.cast(state["t"].assign_add(1), dtype)
        beta1, beta2 = tf.constant(self.beta1, dtype), tf.constant(self.beta2, dtype)
        # In place: separate assignments would each need a temporary copy of the image.
        tf.raw_ops.ResourceApplyAdam(
            var=image.handle,
            m=state["m"].handle,
            v=state["v"].handle,
            beta1_power=tf.pow(beta1, t),
            beta2_power=tf.pow(beta2, t),
            lr=self._rate(state),
            beta1=beta1,
            beta2=beta2,
            epsilon=tf.constant(self.epsilon, dtype),
            grad=gradient,
        )
        if self.clamp:
            image.assign(make_bounds(dtype, clamp=True).project(tf.convert_to_tensor(image)))
        state["steps"].assign_add(1)
        state["evaluations"].assign_add(1)
        if self.averaging:
            self._update_average(state, tf.convert_to_tensor(image))
        return evaluate(tf.convert_to_tensor(image))

    def _rate(self, state: State) -> tf.Tensor:
        rate = tf.convert_to_tensor(state["rate"])
        if self.learning_rate_schedule == "constant":
            return rate
        progress = tf.cast(state["evaluations"], rate.dtype) / max(self.iterations, 1)
        return rate * (1 + tf.cos(math.pi * tf.minimum(progress, 1))) / 2

    def _update_average(self, state: State, image: tf.Tensor) -> None:
        count = state["averaged"].assign_add(1)
        # At first, take a plain mean: a decaying mean would keep much of the initial image.
        weight = tf.maximum(1 - self.averaging, 1 / tf.cast(count, tf.float32))
        average = tf.convert_to_tensor(state["average"])
        moved = average + tf.cast(weight, image.dtype) * (image - average)
        # After a fault `averaged` starts again at 0, and the first image replaces the old average.
        state["average"].assign(tf.where(count == 1, image, moved))

    def average(self, state: State) -> tf.Variable | None:
        """Return the running mean of the images [1, H, W, 3]; None without `averaging`."""
        return state.get("average")

    def inherit(self, state: State, coarser: State) -> None:
        """Take over α and t from the coarser scale, and m and v, resized."""
        size = tf.shape(state["m"])[1:3]
        for name in ("m", "v"):
            state[name].assign(tf.image.resize(coarser[name], size))
        for name in ("t", "rate"):
            state[name].assign(coarser[name])

    def reset(self, state: State, rate_factor: tf.Tensor) -> None:
        """After a fault, set m, v, t and the count of averaged images to 0; multiply α by `rate_factor`."""
        state["rate"].assign(state["rate"] * tf.cast(rate_factor, state["rate"].dtype))
        for name in ("m", "v"):
            state[name].assign(tf.zeros_like(state[name]))
        state["t"].assign(0)
        if self.averaging:
            state["averaged"].assign(0)
