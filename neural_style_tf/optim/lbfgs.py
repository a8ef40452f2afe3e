"""L-BFGS (Nocedal, "Updating quasi-Newton matrices with limited storage", 1980), on the device.

Notation of Nocedal and Wright, "Numerical Optimization", chapters 3 and 7:

    x, f, g   the image, its total loss, its gradient
    d         the direction of search
    t         the length of the step along d
    s, y      a difference of images and of gradients, a pair of the history
    φ(t)      f(x + t d); φ'(t) = g(x + t d)·d
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from neural_style_tf.config import Config
from neural_style_tf.objective import Objective, Terms

ARMIJO, CURVATURE = 1e-4, 0.9
EVALUATIONS_PER_STEP = 12
# How far one trial may go beyond the last, and how near to the ends of its bracket.
EXPANSION, MARGIN = 4.0, 0.1
# Of the loss itself: what rounding may hide. A step that rises less and meets the curvature condition
# counts as a descent (Hager and Zhang's approximate Wolfe condition, 2005).
NOISE = {"float32": 1e-6, "float64": 1e-14}
FIRST_CHANGE = 1.0
"""Root mean square change of a pixel, in grey levels, that the first step tries."""


class _Trial(NamedTuple):
    """A point of the line search that was accepted or may yet be: its t, its terms and its gradient."""

    t: tf.Tensor
    terms: Terms
    gradient: tf.Tensor


class LBFGS(tf.Module):
    """L-BFGS with a line search that ends at the best point it saw, never above the point it began from.

    All state is in variables: the history (`s`, `y`, newest at `newest`), its length, and the number of
    evaluations made.

    Args:
        config: `history`, the number of pairs kept.
        image: The variable it will move.
    """

    def __init__(self, config: Config, image: tf.Variable) -> None:
        super().__init__(name="lbfgs")
        dtype = image.dtype
        self._size = config.history
        shape = [config.history, *image.shape]
        self.s = tf.Variable(tf.zeros(shape, dtype))
        self.y = tf.Variable(tf.zeros(shape, dtype))
        self.rho = tf.Variable(tf.zeros([config.history], dtype))
        self.count = tf.Variable(0)
        self.newest = tf.Variable(-1)
        self.first_change = tf.Variable(FIRST_CHANGE, dtype=dtype)
        self.evaluations = tf.Variable(0, dtype=tf.int64)
        self._noise = NOISE[dtype.name]

    def step(
        self, objective: Objective, image: tf.Variable, terms: Terms, gradient: tf.Tensor
    ) -> tuple[Terms, tf.Tensor]:
        """Move the image along a quasi-Newton direction; see `optim.Optimizer`."""
        x = tf.identity(image)
        direction = self._direction(gradient)
        slope = _dot(direction, gradient)
        # Rounding can spoil the history; the steepest descent cannot fail.
        direction, slope = tf.cond(slope < 0, lambda: (direction, slope), lambda: self._steepest(gradient))
        start = _Trial(tf.zeros([], x.dtype), terms, gradient)
        found = self._search(objective, x, direction, slope, start)
        image.assign(x + found.t * direction)
        self._remember(found.t * direction, found.gradient - gradient, moved=found.t > 0)
        return found.terms, found.gradient

    def inherit(self, coarser: LBFGS) -> None:
        """Begin anew: the curvature of another size is of no use, nor would its resampled history be.

        The first step is as long as the one that a fault may have shortened.
        """
        self.first_change.assign(coarser.first_change)

    def reset(self, rate_factor: tf.Tensor) -> None:
        """Forget the history and multiply the length of the next first step."""
        self.count.assign(0)
        self.newest.assign(-1)
        self.first_change.assign(self.first_change * tf.cast(rate_factor, self.first_change.dtype))

    def _steepest(self, gradient: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        self.count.assign(0)
        self.newest.assign(-1)
        direction = -gradient * self._first_scale(gradient)
        return direction, _dot(direction, gradient)

    def _first_scale(self, gradient: tf.Tensor) -> tf.Tensor:
        size = tf.sqrt(tf.reduce_mean(tf.square(gradient)))
        return tf.math.divide_no_nan(self.first_change, size)

    def _direction(self, gradient: tf.Tensor) -> tf.Tensor:
        """Return −H g by the two-loop recursion (Nocedal and Wright, algorithm 7.4)."""
        count, newest = tf.identity(self.count), tf.identity(self.newest)

        def place(age: tf.Tensor) -> tf.Tensor:
            return tf.math.floormod(newest - age, self._size)

        def backward(age: tf.Tensor, q: tf.Tensor, alphas: tf.Tensor) -> tuple[tf.Tensor, ...]:
            i = place(age)
            alpha = self.rho[i] * _dot(self.s[i], q)
            return age + 1, q - alpha * self.y[i], tf.tensor_scatter_nd_update(alphas, [[i]], [alpha])

        _, q, alphas = tf.while_loop(
            lambda age, q, alphas: age < count,
            backward,
            (0, gradient, tf.zeros([self._size], gradient.dtype)),
        )
        latest = self.y[tf.maximum(newest, 0)]
        curvature = self.rho[tf.maximum(newest, 0)] * _dot(latest, latest)
        r = q * tf.cond(count > 0, lambda: 1 / curvature, lambda: self._first_scale(gradient))

        def forward(age: tf.Tensor, r: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            i = place(age)
            beta = self.rho[i] * _dot(self.y[i], r)
            return age - 1, r + (alphas[i] - beta) * self.s[i]

        _, r = tf.while_loop(lambda age, r: age >= 0, forward, (count - 1, r))
        return -r

    def _remember(self, s: tf.Tensor, y: tf.Tensor, *, moved: tf.Tensor) -> None:
        """Add a pair if it has positive curvature; after a step that failed, forget all and go shorter."""
        curvature = _dot(s, y)

        def add() -> None:
            i = tf.math.floormod(self.newest + 1, self._size)
            tf.raw_ops.ResourceScatterUpdate(resource=self.s.handle, indices=[i], updates=s[tf.newaxis])
            tf.raw_ops.ResourceScatterUpdate(resource=self.y.handle, indices=[i], updates=y[tf.newaxis])
            tf.raw_ops.ResourceScatterUpdate(resource=self.rho.handle, indices=[i], updates=[1 / curvature])
            self.newest.assign(i)
            self.count.assign(tf.minimum(self.count + 1, self._size))

        worth = curvature > 1e-10 * tf.sqrt(_dot(s, s) * _dot(y, y))
        tf.cond(worth, add, lambda: None)
        tf.cond(moved, lambda: None, lambda: self.reset(tf.constant(0.1)))

    def _search(
        self, objective: Objective, x: tf.Tensor, d: tf.Tensor, slope: tf.Tensor, start: _Trial
    ) -> _Trial:
        """Find a t that meets the Wolfe conditions, beginning with 1; else return the best point seen."""
        f0, zero, infinity = start.terms["total"], tf.zeros([], x.dtype), tf.constant(float("inf"), x.dtype)
        ends = (zero, f0, slope, infinity, infinity, zero)

        def try_one(tries: tf.Tensor, done: tf.Tensor, t: tf.Tensor, ends: tuple, best: _Trial) -> tuple:
            terms, gradient = objective(x + t * d)
            f, df = terms["total"], _dot(gradient, d)
            usable = tf.math.is_finite(f) & tf.math.is_finite(df)
            low_enough = usable & (f <= f0 + tf.maximum(ARMIJO * t * slope, -self._noise * tf.abs(f0)))
            flat_enough = df >= CURVATURE * slope
            better = low_enough & ((f <= best.terms["total"]) | (best.t == 0))
            best = tf.nest.map_structure(
                lambda new, old: tf.where(better, new, old), _Trial(t, terms, gradient), best
            )
            ends = _narrow(ends, t, f, df, low_enough=low_enough)
            return tries + 1, low_enough & flat_enough, _next_length(ends), ends, best

        tries, _, _, _, best = tf.while_loop(
            lambda tries, done, *_: ~done & (tries < EVALUATIONS_PER_STEP),
            try_one,
            (tf.constant(0), tf.constant(False), tf.ones([], x.dtype), ends, start),
        )
        self.evaluations.assign_add(tf.cast(tries, tf.int64))
        return best


def _dot(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(a * b)


def _narrow(ends: tuple, t: tf.Tensor, f: tf.Tensor, df: tf.Tensor, *, low_enough: tf.Tensor) -> tuple:
    """Move the lower or the upper end (t, φ, φ') of the bracket to a trial point."""
    lower = [tf.where(low_enough, new, old) for new, old in zip((t, f, df), ends[:3], strict=True)]
    upper = [tf.where(low_enough, old, new) for new, old in zip((t, f, df), ends[3:], strict=True)]
    return (*lower, *upper)


def _next_length(ends: tuple) -> tf.Tensor:
    """Return the minimum of the cubic through both ends (Nocedal and Wright, eq. 3.59), kept inside them."""
    a, fa, da, b, fb, db = ends
    d1 = da + db - 3 * (fa - fb) / (a - b)
    d2 = tf.sqrt(tf.maximum(d1 * d1 - da * db, 0))
    cubic = b - (b - a) * tf.math.divide_no_nan(db + d2 - d1, db - da + 2 * d2)
    middle = (a + b) / 2
    margin = MARGIN * (b - a)
    inside = tf.clip_by_value(tf.where(tf.math.is_finite(cubic), cubic, middle), a + margin, b - margin)
    beyond = EXPANSION * tf.where(a > 0, a, tf.ones_like(a))
    return tf.where(tf.math.is_inf(b), beyond, tf.where(tf.math.is_finite(fb), inside, a + (b - a) / 10))
