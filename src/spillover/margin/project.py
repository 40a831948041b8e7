"""The logits nearest to given ones that keep every margin: one row at a time, warm-started.

Shapes: N rows, A alternatives (the label among them). Rows are done in pieces that fit the processor's cache.
"""

import numpy as np
from jaxtyping import Float, Int, Real

_PIECE = 32_768  # entries of a piece: 256 KiB of float64
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
        self, v_NA: Float[np.ndarray, "N A"], rows: slice, cap_N1: Float[np.ndarray, "N 1"] | None
    ) -> Float[np.ndarray, "N A"]:
        """v − z for the examples `rows`: the multipliers d, and at the label −Σ m d.

        `cap_N1` holds each row's c; None is infinite.
        """
        d_NA = np.empty_like(v_NA)
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
        labels = self._labels[piece]
        copies = None if self._copies is None else self._copies[piece]
        row = np.arange(len(v))
        target = v[row, labels] - 1.0
        tau = self._thresholds[piece]
        low, high, total = target, np.full_like(target, np.inf), target
        for number in range(_PASSES):
            total, slope = _excess(v, d, tau, row, labels, copies, cap)
            error = tau - target - total
            done = np.abs(error) <= _CLOSE * (1 + np.abs(tau))
            if done.all():
                break
            step = tau - error / (1.0 + slope)
            if cap is not None:  # a capped equation is not concave: Newton's steps need a bracket that halves
                low, high = np.where(error < 0, tau, low), np.where(error > 0, tau, high)
                middle = np.where(np.isfinite(high), 0.5 * (low + high), step)
                inside = (step > low) & (step < high) & (number % 3 < 2)
                step = np.where(inside, step, middle)
            tau = np.where(done, tau, step)
        self._thresholds[piece] = tau
        d[row, labels] = -total


def _excess(
    v: Float[np.ndarray, "N A"],
    d: Float[np.ndarray, "N A"],
    tau: Float[np.ndarray, " N"],
    row: Int[np.ndarray, " N"],
    labels: Int[np.ndarray, " N"],
    copies: Float[np.ndarray, "N A"] | None,
    cap: Float[np.ndarray, "N 1"] | None,
) -> tuple[Float[np.ndarray, " N"], Real[np.ndarray, " N"]]:
    """Fill d with the multipliers at τ; Σ m d of every row and minus its slope in τ."""
    np.subtract(v, tau[:, None], out=d)
    d[row, labels] = 0.0
    moving = d > 0
    if cap is None:
        np.maximum(d, 0.0, out=d)
    else:
        moving &= d < cap
        np.clip(d, 0.0, cap, out=d)
    if copies is None:
        return np.einsum("na->n", d), moving.sum(axis=1)
    return np.einsum("na,na->n", d, copies), np.einsum("na,na->n", moving, copies)
