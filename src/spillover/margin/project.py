"""The logits nearest to given ones that keep every margin: one row at a time, warm-started.

Shapes: N rows, A alternatives (the label among them). Rows are done in pieces, for the cache.
"""

import numpy as np
from jaxtyping import Float, Int, Real

_PIECE = 262_144  # entries of a piece: 2 MiB; of smaller ones two threads wait for each other's turn
_SMALL = 16_384  # entries of which all are done again as fast as some
_PASSES = 100  # of Newton's method per call, at most; the next call goes on from there
_CLOSE = 1e-9  # error of τ that is left for the next call


class LogitProjection:
    """Proximal step of the margin constraints on rows of logits v, in the metric of `copies`.

    Row by row it minimizes ½(z_y − v_y)² + ½ Σ_a m_a (z_a − v_a)² + Σ_a c m_a max(0, 1 − z_y + z_a), where
    m_a counts the alternatives that entry a stands for and c is the `cap` (infinite: z_y ≥ z_a + 1 must
    hold). The solution is z_a = v_a − d_a and z_y = v_y + Σ_a m_a d_a with d_a = clip(v_a − τ, 0, c) and τ
    = z_y − 1: one increasing piecewise linear equation in τ, solved by Newton's method from the last call's
    τ. The multipliers d are thus never negative, however rough τ still is.
    """

    def __init__(self, labels: Int[np.ndarray, " N"], copies: Float[np.ndarray, "N A"] | np.float64) -> None:
        self._labels = labels
        self._copies = copies if isinstance(copies, np.ndarray) else None
        self._thresholds = np.full(labels.size, -1.0)

    def __call__(
        self,
        v_NA: Float[np.ndarray, "N A"],
        rows: slice,
        cap_N1: Float[np.ndarray, "N 1"] | None,
        out: Float[np.ndarray, "N A"] | None = None,
    ) -> Float[np.ndarray, "N A"]:
        """v − z for the examples `rows`: the multipliers d, and at the label −Σ m d.

        `cap_N1` holds each row's c; None is infinite. `out` is filled and given back, if there is one.
        """
        d_NA = np.empty_like(v_NA) if out is None else out
        size = max(1, _PIECE // v_NA.shape[1])
        for start in range(0, len(v_NA), size):
            part = slice(start, start + size)
            whole = slice(rows.start + start, min(rows.start + start + size, rows.stop))
            self._piece(v_NA[part], d_NA[part], whole, None if cap_N1 is None else cap_N1[part])
        return d_NA

    def _piece(
        self,
        v: Float[np.ndarray, "N A"],
        d: Float[np.ndarray, "N A"],
        piece: slice,
        cap: Float[np.ndarray, "N 1"] | None,
    ) -> None:
        copies = None if self._copies is None else self._copies[piece]
        rows = _Rows(v, self._labels[piece], copies, cap)
        low, high = rows.target, np.full(len(v), np.inf)
        self._thresholds[piece], total = _settle(rows, d, self._thresholds[piece], low, high, range(_PASSES))
        d[rows.row, rows.labels] = -total


class _Rows:
    """Logits of some rows and what belongs to them; `copies` and `cap` as in `LogitProjection`."""

    def __init__(
        self,
        v: Float[np.ndarray, "N A"],
        labels: Int[np.ndarray, " N"],
        copies: Float[np.ndarray, "N A"] | None,
        cap: Float[np.ndarray, "N 1"] | None,
    ) -> None:
        self.v, self.labels, self.copies, self.cap = v, labels, copies, cap
        self.row = np.arange(len(v))
        self.target = v[self.row, labels] - 1.0

    def only(self, few: Int[np.ndarray, " M"]) -> "_Rows":
        """Some of the rows."""
        copies, cap = (None if each is None else each[few] for each in (self.copies, self.cap))
        return _Rows(self.v[few], self.labels[few], copies, cap)


def _settle(
    rows: _Rows,
    d: Float[np.ndarray, "N A"],
    tau: Float[np.ndarray, " N"],
    low: Float[np.ndarray, " N"],
    high: Float[np.ndarray, " N"],
    passes: range,
) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """Newton's method from τ, which is between `low` and `high`: the last τ and Σ m d; d is filled."""
    total = tau
    for number in passes:
        total, slope = _excess(rows, tau, d)
        error = tau - rows.target - total
        done = np.abs(error) <= _CLOSE * (1 + np.abs(tau))
        left = done.size - np.count_nonzero(done)
        if not left:
            break
        step = tau - error / (1.0 + slope)
        if rows.cap is not None:  # a capped equation is not concave: a bracket that halves makes steps safe
            low, high = np.where(error < 0, tau, low), np.where(error > 0, tau, high)
            middle = np.where(np.isfinite(high), 0.5 * (low + high), step)
            inside = (step > low) & (step < high) & (number % 3 < 2)
            step = np.where(inside, step, middle)
        tau = np.where(done, tau, step)
        if d.size > _SMALL and 2 * left < done.size and number + 1 < passes.stop:
            # after two passes they are few: go on with them alone
            few = np.flatnonzero(~done)
            own, rest = np.empty((left, d.shape[1])), range(number + 1, passes.stop)
            tau[few], total[few] = _settle(rows.only(few), own, tau[few], low[few], high[few], rest)
            d[few] = own
            break
    return tau, total


def _excess(
    rows: _Rows, tau: Float[np.ndarray, " N"], d: Float[np.ndarray, "N A"]
) -> tuple[Float[np.ndarray, " N"], Real[np.ndarray, " N"]]:
    """Fill d with the multipliers at τ; Σ m d of every row and minus its slope in τ."""
    np.subtract(rows.v, tau[:, None], out=d)
    d[rows.row, rows.labels] = 0.0
    moving = d > 0
    if rows.cap is None:
        np.maximum(d, 0.0, out=d)
    else:
        moving &= d < rows.cap
        np.clip(d, 0.0, rows.cap, out=d)
    if rows.copies is None:
        return np.einsum("na->n", d), moving.sum(axis=1)
    return np.einsum("na,na->n", d, rows.copies), np.einsum("na,na->n", moving, rows.copies)
