"""Anderson acceleration of a fixed-point iteration, with a way back.

Type II, after Walker and Ni (2011), "Anderson acceleration for fixed-point iterations": of the last steps,
the combination whose residual is the least is taken instead of the plain step.
"""

from concurrent.futures import Executor
from functools import reduce
from operator import add

import numpy as np
from jaxtyping import Float

from spillover.margin.threads import LARGE, in_halves

MEMORY = 10  # steps
_RIDGE = 1e-10  # relative, keeps the small system solvable
_WORSE = 2.0  # a residual this many times the best is taken back


class Anderson:
    """Where to go on from, given where the iteration was and where it has come.

    `scale` weighs the coordinates so that the Euclidean norm is the iteration's own; `memory` is how many
    steps are remembered, each by two numbers for a coordinate. Many coordinates are done in halves by the
    threads of `pool`.
    """

    def __init__(
        self, scale: Float[np.ndarray, " size"], memory: int = MEMORY, pool: Executor | None = None
    ) -> None:
        self._scale, self._memory = scale, memory
        self._residuals = np.empty((memory, scale.size))
        self._images = np.empty((memory, scale.size))
        self._gram = np.empty((memory, memory))
        self._along = np.empty(memory)
        """Products of the remembered residuals and the last one."""
        self._parts, self._each = in_halves(scale.size, pool if scale.size > LARGE else None)
        self.clear()

    def clear(self) -> None:
        """Forget the past: the iteration itself has changed."""
        self._count = 0
        self._last: tuple[np.ndarray, np.ndarray] | None = None
        self._best = np.inf

    def leap(
        self, before: Float[np.ndarray, " size"], image: Float[np.ndarray, " size"]
    ) -> Float[np.ndarray, " size"]:
        """The next point, after the iteration has led from `before` to `image`."""
        residual = np.empty_like(image)

        def lead(part: slice) -> float:
            np.subtract(image[part], before[part], out=residual[part])
            residual[part] *= self._scale[part]
            return float(residual[part] @ residual[part])

        length = float(np.sqrt(sum(self._each(lead, self._parts))))
        if self._last is not None and not length <= _WORSE * self._best:  # NaN is worse, too
            _, safe = self._last
            self.clear()
            return safe
        self._best = min(self._best, length)
        if self._last is not None:
            self._remember(residual, image, *self._last)
        self._last = residual, image
        if self._count < 2:
            return image.copy()  # what is remembered must not change with the iteration
        used = min(self._count, self._memory)
        gram = self._gram[:used, :used]
        ridge = _RIDGE * np.trace(gram)
        if not np.finfo(np.float64).tiny < ridge < np.inf:  # nothing moves any more, or nothing holds it
            return image.copy()
        share = np.linalg.solve(gram + ridge * np.eye(used), self._along[:used])
        leaped = np.empty_like(image)

        def combine(part: slice) -> None:
            np.subtract(image[part], share @ self._images[:used, part], out=leaped[part])

        list(self._each(combine, self._parts))
        return leaped

    def _remember(
        self,
        residual: Float[np.ndarray, " size"],
        image: Float[np.ndarray, " size"],
        last_residual: Float[np.ndarray, " size"],
        last_image: Float[np.ndarray, " size"],
    ) -> None:
        """Hold the last step in place of the oldest, and what all of them have in common with it."""
        slot = self._count % self._memory
        self._count += 1
        used = min(self._count, self._memory)
        step = self._residuals[slot]

        def hold(part: slice) -> Float[np.ndarray, " products"]:
            np.subtract(residual[part], last_residual[part], out=step[part])
            np.subtract(image[part], last_image[part], out=self._images[slot, part])
            products = np.empty(used + 1)
            products[:used] = self._residuals[:used, part] @ step[part]
            products[used] = residual[part] @ step[part]
            return products

        *products, own = reduce(add, self._each(hold, self._parts))
        self._gram[slot, :used] = self._gram[:used, slot] = products
        self._along[:used] += products  # the residual is the last one and the step
        self._along[slot] = own
