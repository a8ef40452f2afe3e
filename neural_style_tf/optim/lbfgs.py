"""L-BFGS with its line search (Nocedal, "Updating quasi-Newton matrices with limited storage", 1980).

Notation of Nocedal and Wright, "Numerical Optimization", chapters 3 and 7:

    x, f, g   the image, its total loss, its gradient
    d         the search direction
    t         the step length along d
    s, y      the change of the image in a step, and the change of the gradient: a pair of the history
    H         the approximate inverse Hessian, from the history
    H₀        the initial inverse Hessian, which H is without a history; see `preconditioner`
    φ(t)      f(x + t d); φ'(t) = g(x + t d)·d

If pixels have bounds, x + t d is clipped to them, and φ' leaves out the clipped pixels. In g, d, s and y,
pixels that a bound holds back are 0; see `projections`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from neural_style_tf.optim import Evaluate, Losses, Optimizer, State
from neural_style_tf.optim.history import clear, make_history, put_row, read_rows
from neural_style_tf.optim.preconditioner import PRECONDITIONERS, Scalar
from neural_style_tf.optim.projections import Unbounded, make_bounds

ARMIJO, CURVATURE = 1e-4, 0.9
"""Constants of the Wolfe conditions (Nocedal and Wright, eq. 3.6)."""
EVALUATIONS_PER_STEP = 12
EXPANSION, MARGIN = 4.0, 0.1
"""Largest factor by which t grows from one trial to the next. Smallest distance of a trial from the ends of
the bracket, divided by the length of the bracket."""
LOSS_NOISE = {"float32": 1e-6, "float64": 1e-14}
"""Relative rounding error of the loss. A step that raises the loss by no more than this counts as a descent
if it meets the curvature condition (Hager and Zhang's approximate Wolfe condition, 2005)."""
FIRST_CHANGE = 16.0
"""Length of the first step: the root mean square change of the pixels, in grey levels."""
STALLED_BELOW, SHORTENED = 5e-3, 0.1
"""After a search without gain, the next first step is `SHORTENED` times as long. If it falls below
`STALLED_BELOW` grey levels, which takes four such searches, the run has stalled."""
SHORTEST_START, START_DECAY = 0.5, 0.8
"""Smallest t that a line search tries first. Decay rate of the running mean that gives this t (see
`LBFGS`)."""


class _Trial(NamedTuple):
    """A point that a line search has tried: its t, losses, gradient and φ'."""

    t: tf.Tensor
    losses: Losses
    gradient: tf.Tensor
    slope: tf.Tensor


@dataclasses.dataclass(frozen=True)
class LBFGS(Optimizer):
    """L-BFGS. Its line search returns the best point, which is never worse than its starting point.

    The state has the history (`s`, `y`, and `products`, every s_i·y_j), the row of the newest pair
    (`newest`), the number of pairs (`count`), the state of H₀ (`h0`), the t that a line search tries first
    (`beginning`), the length of a first step (`first_change`), and the numbers of `steps` and `evaluations`.

    A line search first tries a running mean of the t, at most 1, at which φ' was 0 in earlier searches. The
    usual t = 1 is too far: ReLUs switch on or off along d, which curves φ more than the history shows.

    Args:
        history: Number of pairs to keep.
        preconditioner: Which H₀ to use: `spectral` or `scalar`.
        clamp: Whether to keep pixels within 0–255.
        agree: Returns the chief's value of a tensor, so that several workers take the same branches.
    """

    history: int = 20
    preconditioner: str = "spectral"
    clamp: bool = False
    agree: Callable[[tf.Tensor], tf.Tensor] = tf.identity

    @property
    def _h0(self) -> Scalar:
        return PRECONDITIONERS[self.preconditioner]

    def init(self, image: tf.Variable) -> State:
        """Return the initial state, with an empty history."""
        return {
            "s": make_history(self.history, image),
            "y": make_history(self.history, image),
            "products": tf.Variable(tf.zeros([self.history, self.history], image.dtype)),
            "h0": self._h0.init(image),
            "count": tf.Variable(0),
            "newest": tf.Variable(-1),
            "beginning": tf.Variable(1.0, dtype=image.dtype),
            "first_change": tf.Variable(FIRST_CHANGE, dtype=image.dtype),
            "steps": tf.Variable(0, dtype=tf.int64),
            "evaluations": tf.Variable(0, dtype=tf.int64),
        }

    def update(
        self, evaluate: Evaluate, state: State, image: tf.Variable, losses: Losses, gradient: tf.Tensor
    ) -> tuple[Losses, tf.Tensor]:
        """Move the image along d = −H g; return the losses and the gradient of the new image."""
        bounds = make_bounds(image.dtype, clamp=self.clamp)
        x, downhill = tf.identity(image), -gradient
        free = bounds.free_part(gradient, x, downhill)
        # H₀ g changes all pixels. Those without gradient, or at a bound that holds them back, must not move.
        direction = tf.where(tf.equal(free, 0), tf.zeros_like(free), self._direction(state, image, free))
        direction = self.agree(bounds.free_part(direction, x, direction))
        slope = self._dot(direction, free)
        # If rounding has spoilt the history, d may lead uphill: then take the steepest descent.
        direction, slope = tf.cond(slope < 0, lambda: (direction, slope), lambda: self._steepest(state, free))
        start = _Trial(tf.zeros([], x.dtype), losses, gradient, slope)
        best = self._search(evaluate, state, bounds, x, direction, start)
        self._learn_beginning(state, best, slope)
        step = best.t * direction
        image.assign(bounds.project(x + step))
        state["steps"].assign_add(1)
        s = bounds.projected_step(step, x + step)
        lower = best.losses["total"] < losses["total"]
        self._remember(state, s, bounds.moved_part(best.gradient - gradient, s), lower=lower)
        return best.losses, best.gradient

    def stalled(self, state: State) -> tf.Tensor:
        """Return whether line searches along the steepest descent no longer lower the loss."""
        return (state["count"] == 0) & (state["first_change"] < STALLED_BELOW)

    def inherit(self, state: State, coarser: State) -> None:
        """Take over H₀, the t that a line search tries first, and the length of a first step.

        The history starts empty: pairs of another scale, resized, would not fit the losses at this one. If
        faults have shortened the first step, it is raised to a length above `STALLED_BELOW`.
        """
        self._h0.inherit(state["h0"], coarser["h0"])
        state["beginning"].assign(coarser["beginning"])
        state["first_change"].assign(tf.maximum(coarser["first_change"], SHORTENED * FIRST_CHANGE))

    def reset(self, state: State, rate_factor: tf.Tensor) -> None:
        """Forget the history, and multiply the length of the first step after it by `rate_factor`."""
        self._forget(state)
        shorter = state["first_change"] * tf.cast(rate_factor, state["first_change"].dtype)
        state["first_change"].assign(shorter)

    def _dot(self, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        return self.agree(tf.reduce_sum(a * b))

    def _forget(self, state: State) -> None:
        clear(state["s"], self.history)
        clear(state["y"], self.history)
        state["products"].assign(tf.zeros_like(state["products"]))
        state["count"].assign(0)
        state["newest"].assign(-1)
        self._h0.forget(state["h0"])

    def _steepest(self, state: State, gradient: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        self._forget(state)
        direction = self.agree(-_scaled_to(state["first_change"], gradient))
        return direction, self._dot(direction, gradient)

    def _direction(self, state: State, image: tf.Variable, gradient: tf.Tensor) -> tf.Tensor:
        """Return d = −H g in the compact form of Byrd, Nocedal and Schnabel (1994, theorem 2.2).

        The two loops of Nocedal and Wright's algorithm 7.4 become two triangular systems. Their matrix R has
        s_i·y_j where pair i is at least as old as pair j, and 0 elsewhere. So the history is read only four
        times, as a matrix.
        """
        s, y = (read_rows(state[name], self.history, image) for name in ("s", "y"))
        g = tf.reshape(gradient, [-1])
        r, order, used = self._triangle(state)
        alpha = _solve(r, used * tf.gather(tf.linalg.matvec(s, g), order))
        alpha_in_place = tf.scatter_nd(order[:, tf.newaxis], alpha, [self.history])
        q = g - tf.linalg.matvec(y, alpha_in_place, transpose_a=True)
        p = tf.reshape(self._h0.apply(state["h0"], tf.reshape(q, tf.shape(gradient))), [-1])
        p = tf.cond(state["count"] > 0, lambda: p, lambda: _scaled_to(state["first_change"], p))
        beta = used * tf.gather(tf.linalg.matvec(y, p), order)
        c = _solve(r, tf.linalg.diag_part(r) * alpha - beta, transposed=True)
        c_in_place = tf.scatter_nd(order[:, tf.newaxis], c, [self.history])
        return -tf.reshape(p + tf.linalg.matvec(s, c_in_place, transpose_a=True), tf.shape(gradient))

    def _triangle(self, state: State) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return R, the row of the history for each row of R, and 1 for each row of R in use, else 0.

        In R the oldest pair comes first. Rows and columns that are not in use are those of the identity
        matrix.
        """
        order = tf.math.floormod(state["newest"] + 1 + tf.range(self.history), self.history)
        used = tf.range(self.history) >= self.history - state["count"]
        used = tf.cast(used, state["products"].dtype)
        r = tf.gather(tf.gather(state["products"], order), order, axis=1)
        r = tf.linalg.band_part(r * used * used[:, tf.newaxis], 0, -1)
        return r + tf.linalg.diag(1 - used), order, used

    def _remember(self, state: State, s: tf.Tensor, y: tf.Tensor, *, lower: tf.Tensor) -> None:
        """Add a pair to the history if its curvature s·y is positive.

        `s` is the change of the image, `y` that of the gradient. Such a pair is worth keeping even if
        rounding hides its gain. Without positive curvature, `reset` the state if the loss has not become
        `lower`.
        """
        curvature = self._dot(s, y)

        def add() -> None:
            i = tf.math.floormod(state["newest"] + 1, self.history)
            # H₀ learns first, because it takes memory: memory must not run out while a row of the history is
            # replaced.
            with tf.control_dependencies([self._h0.learn(state["h0"], s, y)]):
                all_s, _ = put_row(state["s"], i, s), put_row(state["y"], i, y)
            # R has no products of this s with the older y, so only the column is needed.
            state["products"][:, i].assign(tf.linalg.matvec(all_s, tf.reshape(y, [-1])))
            state["newest"].assign(i)
            state["count"].assign(tf.minimum(state["count"] + 1, self.history))

        worth = curvature > 1e-10 * tf.sqrt(self._dot(s, s) * self._dot(y, y))
        tf.cond(worth, add, lambda: None)
        tf.cond(lower | worth, lambda: None, lambda: self.reset(state, tf.constant(SHORTENED)))

    def _learn_beginning(self, state: State, best: _Trial, slope: tf.Tensor) -> None:
        """Update the t that a line search tries first.

        The secant through φ'(0), which is `slope`, and φ' at the accepted point `best` gives the t at which
        φ' is 0.
        """
        root = tf.clip_by_value(best.t * slope / (slope - best.slope), SHORTEST_START, 1)
        learnt = state["beginning"] ** START_DECAY * root ** (1 - START_DECAY)
        better = (best.t > 0) & (best.slope > slope)
        state["beginning"].assign(tf.where(better, learnt, state["beginning"]))

    def _search(
        self,
        evaluate: Evaluate,
        state: State,
        bounds: Unbounded,
        x: tf.Tensor,
        d: tf.Tensor,
        start: _Trial,
    ) -> _Trial:
        """Search along `d`; return the first point that meets the Wolfe conditions.

        If there is none within `EVALUATIONS_PER_STEP`, return the best of all trials, which may be `start`.
        """
        f0, slope, infinity = start.losses["total"], start.slope, tf.constant(float("inf"), x.dtype)
        ends, noise = (start.t, f0, slope, infinity, infinity, start.t), LOSS_NOISE[x.dtype.name]

        def next_trial(tries: tf.Tensor, done: tf.Tensor, t: tf.Tensor, ends: tuple, best: _Trial) -> tuple:
            there = x + t * d
            losses, gradient = evaluate(bounds.project(there))
            f, df = losses["total"], self._dot(gradient, bounds.derivative(d, there))
            usable = tf.math.is_finite(f) & tf.math.is_finite(df)
            low_enough = usable & (f <= f0 + tf.maximum(ARMIJO * t * slope, -noise * tf.abs(f0)))
            flat_enough = df >= CURVATURE * slope
            better = low_enough & ((f <= best.losses["total"]) | (best.t == 0))
            best = tf.nest.map_structure(
                lambda new, old: tf.where(better, new, old), _Trial(t, losses, gradient, df), best
            )
            ends = _narrow(ends, t, f, df, low_enough=low_enough)
            return tries + 1, low_enough & flat_enough, _next_length(ends), ends, best

        tries, _, _, _, best = tf.while_loop(
            lambda tries, done, *_: ~done & (tries < EVALUATIONS_PER_STEP),
            next_trial,
            (tf.constant(0), tf.constant(False), state["beginning"].read_value(), ends, start),
        )
        state["evaluations"].assign_add(tf.cast(tries, tf.int64))
        return best


def _scaled_to(size: tf.Tensor, direction: tf.Tensor) -> tf.Tensor:
    """Scale `direction` to the root mean square `size`."""
    return direction * tf.math.divide_no_nan(size, tf.sqrt(tf.reduce_mean(tf.square(direction))))


def _solve(r: tf.Tensor, right: tf.Tensor, *, transposed: bool = False) -> tf.Tensor:
    """Solve R x = `right`, or Rᵀ x = `right` if `transposed`, for an upper triangular matrix R.

    This is done in float64, which takes hardly any time for so small a matrix.
    """
    matrix, column = tf.cast(r, tf.float64), tf.cast(right, tf.float64)[:, tf.newaxis]
    x = tf.linalg.triangular_solve(matrix, column, lower=False, adjoint=transposed)
    return tf.cast(x[:, 0], right.dtype)


def _narrow(ends: tuple, t: tf.Tensor, f: tf.Tensor, df: tf.Tensor, *, low_enough: tf.Tensor) -> tuple:
    """Replace the lower end of the bracket by a trial point if it is `low_enough`, else the upper end.

    `ends` are t, φ and φ' of the lower end, then of the upper end; the trial point has `t`, `f` and `df`.
    """
    lower = [tf.where(low_enough, new, old) for new, old in zip((t, f, df), ends[:3], strict=True)]
    upper = [tf.where(low_enough, old, new) for new, old in zip((t, f, df), ends[3:], strict=True)]
    return (*lower, *upper)


def _next_length(ends: tuple) -> tf.Tensor:
    """Return the next t: the minimum of the cubic through both ends of the bracket, kept between them.

    See Nocedal and Wright, eq. 3.59. Without an upper end, t is multiplied by `EXPANSION`. If φ is not finite
    at the upper end, t goes a tenth of the way to it.
    """
    a, fa, da, b, fb, db = ends
    d1 = da + db - 3 * (fa - fb) / (a - b)
    d2 = tf.sqrt(tf.maximum(d1 * d1 - da * db, 0))
    cubic = b - (b - a) * tf.math.divide_no_nan(db + d2 - d1, db - da + 2 * d2)
    middle = (a + b) / 2
    margin = MARGIN * (b - a)
    inside = tf.clip_by_value(tf.where(tf.math.is_finite(cubic), cubic, middle), a + margin, b - margin)
    beyond = EXPANSION * tf.where(a > 0, a, tf.ones_like(a))
    return tf.where(tf.math.is_inf(b), beyond, tf.where(tf.math.is_finite(fb), inside, a + (b - a) / 10))
