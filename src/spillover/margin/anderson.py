"""Anderson acceleration of a fixed-point iteration, with a way back.

Type II, after Walker and Ni (2011), "Anderson acceleration for fixed-point iterations": of the last steps,
the combination whose residual is the least is taken instead of the plain step.
"""

import numpy as np
from jaxtyping import Float

MEMORY = 10  # steps
_RIDGE = 1e-10  # relative, keeps the small system solvable
_WORSE = 2.0  # a residual this many times the best is taken back


class Anderson:
    """Where to go on from, given where the iteration was and where it has come.

    `scale` weighs the coordinates so that the Euclidean norm is the iteration's own; `memory` is how many
    steps are remembered, each by two numbers for a coordinate.
    """

    def __init__(self, scale: Float[np.ndarray, " size"], memory: int = MEMORY) -> None:
        self._scale, self._memory = scale, memory
        self._residuals = np.empty((memory, scale.size))
        self._images = np.empty((memory, scale.size))
        self._gram = np.empty((memory, memory))
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
        residual = self._scale * (image - before)
        length = float(np.linalg.norm(residual))
        if self._last is not None and not length <= _WORSE * self._best:  # NaN is worse, too
            _, safe = self._last
            self.clear()
            return safe
        self._best = min(self._best, length)
        if self._last is not None:
            slot = self._count % self._memory
            np.subtract(residual, self._last[0], out=self._residuals[slot])
            np.subtract(image, self._last[1], out=self._images[slot])
            self._count += 1
            used = min(self._count, self._memory)
            self._gram[slot, :used] = self._gram[:used, slot] = self._residuals[:used] @ self._residuals[slot]
        self._last = residual, image
        if self._count < 2:
            return image.copy()  # what is remembered must not change with the iteration
        used = min(self._count, self._memory)
        gram = self._gram[:used, :used]
        ridge = _RIDGE * np.trace(gram)
        if not np.finfo(np.float64).tiny < ridge < np.inf:  # nothing moves any more, or nothing holds it
            return image.copy()
        gram = gram + ridge * np.eye(used)
        return image - np.linalg.solve(gram, self._residuals[:used] @ residual) @ self._images[:used]
