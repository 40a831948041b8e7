"""Singular values against a plain SVD: small and large, tall and wide, of full rank and of low."""

from dataclasses import dataclass

import numpy as np
import pytest

from spillover.spectrum import singular
from spillover.spectrum.singular import singular_values, spectrum, values_of_product

SHAPES = [(300, 40), (40, 300), (57, 57), (1, 90), (90, 1)]


@dataclass(frozen=True)
class Held:
    """A matrix that tells the largest part that was asked of it."""

    numbers: np.ndarray
    asked: list[int]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.numbers.shape

    def piece(self, rows: slice, columns: slice) -> np.ndarray:
        part = self.numbers[rows, columns]
        self.asked.append(part.size)
        return part


def matrix(shape: tuple[int, int], rank: int | None = None) -> Held:
    rng = np.random.default_rng(0)
    if rank is None:
        return Held(rng.normal(size=shape), [])
    return Held(rng.normal(size=(shape[0], rank)) @ rng.normal(size=(rank, shape[1])), [])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("piece", [1 << 20, 500])
def test_values_are_those_of_a_plain_svd(
    shape: tuple[int, int], piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(singular, "PIECE", piece)
    held = matrix(shape)
    found = np.sort(singular_values(held))[::-1]
    np.testing.assert_allclose(found, np.linalg.svd(held.numbers, compute_uv=False), rtol=1e-9)
    assert len(held.asked) == (1 if held.numbers.size <= piece else -(-max(shape) // (500 // min(shape))))
    assert max(held.asked) <= piece


@pytest.mark.parametrize(("rank", "error"), [(None, 1e-6), (1, 1e-4), (5, 1e-4)])
@pytest.mark.parametrize("shape", [(900, 400), (400, 900)])
def test_the_grams_error_is_what_is_said(
    shape: tuple[int, int], rank: int | None, error: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = matrix(shape, rank)
    exact = spectrum(singular_values(held))
    monkeypatch.setattr(singular, "PIECE", 100_000)
    found = spectrum(singular_values(held))
    assert len(held.asked) > 2
    assert found.nuclear == pytest.approx(exact.nuclear, rel=error)
    assert found.frobenius == pytest.approx(np.linalg.norm(held.numbers), rel=1e-12)
    assert found.spectral == pytest.approx(exact.spectral, rel=1e-12)
    assert found.effective_rank == pytest.approx(exact.effective_rank, rel=100 * error)


@pytest.mark.parametrize(("m", "r", "n"), [(30, 4, 20), (6, 10, 7), (5, 1, 5)])
def test_a_product_has_the_values_of_its_matrix(m: int, r: int, n: int) -> None:
    rng = np.random.default_rng(1)
    left, right = rng.normal(size=(m, r)), rng.normal(size=(r, n))
    whole = np.linalg.svd(left @ right, compute_uv=False)
    found = values_of_product(left, right)
    assert len(found) == min(m, r, n)
    np.testing.assert_allclose(found, whole[: len(found)], rtol=1e-10)
    np.testing.assert_allclose(whole[len(found) :], 0, atol=1e-12)


def test_the_numbers_of_known_values() -> None:
    equal = spectrum(np.full(7, 2.0))
    assert (equal.nuclear, equal.spectral) == (14.0, 2.0)
    assert equal.effective_rank == pytest.approx(7)
    assert equal.frobenius == pytest.approx(2 * 7**0.5)
    assert spectrum(np.array([3.0, 0.0])).effective_rank == pytest.approx(1)
    p = np.array([0.5, 0.25, 0.25])
    assert spectrum(8 * p).effective_rank == pytest.approx(2**1.5)  # entropy: 1.5 bits
    nothing = spectrum(np.zeros(3))
    assert nothing.nuclear == 0
    assert np.isnan(nothing.effective_rank)
