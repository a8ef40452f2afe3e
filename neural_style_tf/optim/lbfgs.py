"""L-BFGS with its line search (Nocedal, "Updating quasi-Newton matrices with limited storage", 1980).

Notation of Nocedal and Wright, "Numerical Optimization", chapters 3 and 7:

    x, f, g   the image, its total loss, its gradient
    d         the direction of search
    t         the length of the step along d
    s, y      a difference of images and of gradients, a pair of the history
    H₀        what the inverse Hessian is taken for before the history; see `preconditioner`
    φ(t)      f(x + t d); φ'(t) = g(x + t d)·d

With bounds x + t d is clipped to them, φ' is without the pixels that are, and g, d, s and y are 0 for pixels
that the bounds hold; see `projections`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from neural_style_tf.config.schema import OptimizerConfig
from neural_style_tf.losses.evaluate import Losses
from neural_style_tf.optim import Evaluate
from neural_style_tf.optim.history import History
from neural_style_tf.optim.preconditioner import PRECONDITIONERS
from neural_style_tf.optim.projections import make_bounds

ARMIJO, CURVATURE = 1e-4, 0.9
EVALUATIONS_PER_STEP = 12
# Largest growth of t from one trial to the next, and smallest distance to the ends of the bracket.
EXPANSION, MARGIN = 4.0, 0.1
# Share of the loss that rounding may hide. A step that rises less and meets the curvature condition
# counts as a descent (Hager and Zhang's approximate Wolfe condition, 2005).
NOISE = {"float32": 1e-6, "float64": 1e-14}
FIRST_CHANGE = 1.0
"""Root mean square change of a pixel, in grey levels, that the first step tries."""
STALLED, SHORTENED = 5e-3, 0.1
"""After a search that gains nothing the next first step is shorter by the factor `SHORTENED`. The run has
stalled when it falls below `STALLED` grey levels, which takes three such searches."""
SHORTEST, MEMORY = 0.5, 0.8
"""Smallest first t of a line search, and the decay of what earlier searches have taught about it."""


class _Trial(NamedTuple):
    """A point of the line search that was accepted or may yet be: its t, terms, gradient and φ'."""

    t: tf.Tensor
    terms: Losses
    gradient: tf.Tensor
    slope: tf.Tensor


class LBFGS(tf.Module):
    """L-BFGS with a line search that ends at the best point it saw, never above the point it began from.

    All state is in variables: the history (`s`, `y`, newest at `newest`, and `products`, every s_i·y_j),
    its length, what H₀ has learnt, where a line search begins, and the number of evaluations made.

    The first t of a line search is learnt from earlier searches: where φ' would have been 0, at most 1. Units
    of the network switch along d, which curves φ more than the history shows, so that the usual 1 is too far.

    Args:
        config: `history`, the number of pairs kept; `preconditioner`, the kind of H₀; `clamp`.
        image: The variable it will move.
        agree: Tensor → that by which all workers go; see `make_optimizer`. The directions and what decides.
    """

    moves_first, average = False, None

    def __init__(
        self,
        config: OptimizerConfig,
        image: tf.Variable,
        agree: Callable[[tf.Tensor], tf.Tensor] = tf.identity,
    ) -> None:
        super().__init__(name="lbfgs")
        self._agree = agree
        self._bounds = make_bounds(image.dtype, clamp=config.clamp)
        dtype = image.dtype
        self._size = config.history
        self.s = History(config.history, image, name="s")
        self.y = History(config.history, image, name="y")
        self.products = tf.Variable(tf.zeros([config.history, config.history], dtype))
        self.preconditioner = PRECONDITIONERS[config.preconditioner](image)
        self.count = tf.Variable(0)
        self.newest = tf.Variable(-1)
        self.beginning = tf.Variable(1.0, dtype=dtype)
        self.first_change = tf.Variable(FIRST_CHANGE, dtype=dtype)
        self.evaluations = tf.Variable(0, dtype=tf.int64)
        self._noise = NOISE[dtype.name]

    def step(
        self, objective: Evaluate, image: tf.Variable, terms: Losses, gradient: tf.Tensor
    ) -> tuple[Losses, tf.Tensor]:
        """Move the image along a quasi-Newton direction; see `optim.Optimizer`."""
        x, downhill = tf.identity(image), -gradient
        free = self._bounds.free_part(gradient, x, downhill)
        # H₀ spreads over all pixels; one on which the loss does not depend, or that is held, stays.
        direction = tf.where(tf.equal(free, 0), tf.zeros_like(free), self._direction(free))
        direction = self._agree(self._bounds.free_part(direction, x, direction))
        slope = self._dot(direction, free)
        # Rounding can spoil the history; the steepest descent cannot fail.
        direction, slope = tf.cond(slope < 0, lambda: (direction, slope), lambda: self._steepest(free))
        found = self._search(objective, x, direction, _Trial(tf.zeros([], x.dtype), terms, gradient, slope))
        self._learn_beginning(found, slope)
        step = found.t * direction
        image.assign(self._bounds.project(x + step))
        s = self._bounds.projected_step(step, x + step)
        lower = found.terms["total"] < terms["total"]
        self._remember(s, self._bounds.moved_part(found.gradient - gradient, s), lower=lower)
        return found.terms, found.gradient

    def stalled(self) -> tf.Tensor:
        """Return whether searches along the steepest descent gained nothing; see `optim.Optimizer`."""
        return (self.count == 0) & (self.first_change < STALLED)

    def learnt(self) -> tuple[tf.Tensor, ...]:
        """Return what `inherit` takes; see `optim.Optimizer`."""
        return (*map(tf.identity, (self.beginning, self.first_change)), *self.preconditioner.learnt())

    def inherit(self, learnt: tuple[tf.Tensor, ...]) -> None:
        """Begin a new history: that of another size, resampled, would not fit the losses of this one.

        What H₀ learnt stays, and where line searches begin; and the first step is as long as the one that a
        fault may have shortened, but long enough to be tried.
        """
        beginning, first_change, *of_preconditioner = learnt
        self.preconditioner.inherit(tuple(of_preconditioner))
        self.beginning.assign(beginning)
        self.first_change.assign(tf.maximum(first_change, SHORTENED * FIRST_CHANGE))

    def reset(self, rate_factor: tf.Tensor) -> None:
        """Forget the history and multiply the length of the next first step."""
        self._forget()
        self.first_change.assign(self.first_change * tf.cast(rate_factor, self.first_change.dtype))

    def restart(self, image: tf.Variable, config: OptimizerConfig) -> None:
        """Return to the state of a new optimiser; see `optim.Optimizer`."""
        self._forget(image)
        self.beginning.assign(1.0)
        self.first_change.assign(FIRST_CHANGE)
        self.evaluations.assign(0)

    def _dot(self, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        return self._agree(tf.reduce_sum(a * b))

    def _forget(self, image: tf.Variable | None = None) -> None:
        self.s.clear(image)
        self.y.clear(image)
        self.products.assign(tf.zeros_like(self.products))
        self.count.assign(0)
        self.newest.assign(-1)
        self.preconditioner.forget()

    def _steepest(self, gradient: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        self._forget()
        direction = self._agree(-self._first(gradient))
        return direction, self._dot(direction, gradient)

    def _first(self, direction: tf.Tensor) -> tf.Tensor:
        """Return a direction, scaled to the length of a first step."""
        size = tf.sqrt(tf.reduce_mean(tf.square(direction)))
        return direction * tf.math.divide_no_nan(self.first_change, size)

    def _direction(self, gradient: tf.Tensor) -> tf.Tensor:
        """Return −H g in the compact form of Byrd, Nocedal and Schnabel (1994, theorem 2.2).

        The two loops of Nocedal and Wright's algorithm 7.4 are two triangular systems with R, the part of
        (s_i·y_j) in which i is no newer than j; so the history is read four times in all, as a matrix.
        """
        s, y, g = self.s.read(), self.y.read(), tf.reshape(gradient, [-1])
        r, order, used = self._triangle()
        alpha = _solve(r, used * tf.gather(tf.linalg.matvec(s, g), order))
        alpha_in_place = tf.scatter_nd(order[:, tf.newaxis], alpha, [self._size])
        q = g - tf.linalg.matvec(y, alpha_in_place, transpose_a=True)
        p = tf.reshape(self.preconditioner.apply(tf.reshape(q, tf.shape(gradient))), [-1])
        p = tf.cond(self.count > 0, lambda: p, lambda: self._first(p))
        beta = used * tf.gather(tf.linalg.matvec(y, p), order)
        c = _solve(r, tf.linalg.diag_part(r) * alpha - beta, transposed=True)
        c_in_place = tf.scatter_nd(order[:, tf.newaxis], c, [self._size])
        return -tf.reshape(p + tf.linalg.matvec(s, c_in_place, transpose_a=True), tf.shape(gradient))

    def _triangle(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return R, oldest pair first; where in the history each row is; and 1 for each in use, else 0.

        A row and column that are not in use are those of the identity.
        """
        order = tf.math.floormod(self.newest + 1 + tf.range(self._size), self._size)
        used = tf.cast(tf.range(self._size) >= self._size - self.count, self.products.dtype)
        r = tf.gather(tf.gather(self.products, order), order, axis=1)
        r = tf.linalg.band_part(r * used * used[:, tf.newaxis], 0, -1)
        return r + tf.linalg.diag(1 - used), order, used

    def _remember(self, s: tf.Tensor, y: tf.Tensor, *, lower: tf.Tensor) -> None:
        """Add a pair if it has positive curvature; after a step that gained nothing, go a shorter way.

        A step within the loss's rounding gains nothing either, and yet may teach the curvature.
        """
        curvature = self._dot(s, y)

        def add() -> None:
            i = tf.math.floormod(self.newest + 1, self._size)
            # First, since it takes memory: while a pair is put into the history it must not run out.
            with tf.control_dependencies([self.preconditioner.learn(s, y)]):
                all_s, all_y = self.s.put(i, s), self.y.put(i, y)
            self.products[i].assign(tf.linalg.matvec(all_y, tf.reshape(s, [-1])))
            self.products[:, i].assign(tf.linalg.matvec(all_s, tf.reshape(y, [-1])))
            self.newest.assign(i)
            self.count.assign(tf.minimum(self.count + 1, self._size))

        worth = curvature > 1e-10 * tf.sqrt(self._dot(s, s) * self._dot(y, y))
        tf.cond(worth, add, lambda: None)
        tf.cond(lower | worth, lambda: None, lambda: self.reset(tf.constant(SHORTENED)))

    def _learn_beginning(self, found: _Trial, slope: tf.Tensor) -> None:
        """Take in where φ', `slope` at 0, would be 0 if it went straight to the point found and on."""
        level = tf.clip_by_value(found.t * slope / (slope - found.slope), SHORTEST, 1)
        learnt = self.beginning**MEMORY * level ** (1 - MEMORY)
        self.beginning.assign(tf.where((found.t > 0) & (found.slope > slope), learnt, self.beginning))

    def _search(self, objective: Evaluate, x: tf.Tensor, d: tf.Tensor, start: _Trial) -> _Trial:
        """Find a t that meets the Wolfe conditions; else return the best point seen."""
        f0, slope, infinity = start.terms["total"], start.slope, tf.constant(float("inf"), x.dtype)
        ends = (start.t, f0, slope, infinity, infinity, start.t)

        def try_one(tries: tf.Tensor, done: tf.Tensor, t: tf.Tensor, ends: tuple, best: _Trial) -> tuple:
            there = x + t * d
            terms, gradient = objective(self._bounds.project(there))
            f, df = terms["total"], self._dot(gradient, self._bounds.derivative(d, there))
            usable = tf.math.is_finite(f) & tf.math.is_finite(df)
            low_enough = usable & (f <= f0 + tf.maximum(ARMIJO * t * slope, -self._noise * tf.abs(f0)))
            flat_enough = df >= CURVATURE * slope
            better = low_enough & ((f <= best.terms["total"]) | (best.t == 0))
            best = tf.nest.map_structure(
                lambda new, old: tf.where(better, new, old), _Trial(t, terms, gradient, df), best
            )
            ends = _narrow(ends, t, f, df, low_enough=low_enough)
            return tries + 1, low_enough & flat_enough, _next_length(ends), ends, best

        tries, _, _, _, best = tf.while_loop(
            lambda tries, done, *_: ~done & (tries < EVALUATIONS_PER_STEP),
            try_one,
            (tf.constant(0), tf.constant(False), self.beginning.read_value(), ends, start),
        )
        self.evaluations.assign_add(tf.cast(tries, tf.int64))
        return best


def _solve(r: tf.Tensor, right: tf.Tensor, *, transposed: bool = False) -> tf.Tensor:
    """Solve R x = `right` or Rᵀ x = `right`, R upper triangular; in float64, which costs nothing here."""
    matrix, column = tf.cast(r, tf.float64), tf.cast(right, tf.float64)[:, tf.newaxis]
    x = tf.linalg.triangular_solve(matrix, column, lower=False, adjoint=transposed)
    return tf.cast(x[:, 0], right.dtype)


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
