"""Singular values of a change, block by block and from factors, against NumPy's of the whole matrix."""

import numpy as np
import pytest
import torch

from spillover.spectrum import singular
from spillover.spectrum.singular import norms, of_difference, of_product


@pytest.mark.parametrize("shape", [(40, 7), (7, 40), (12, 12), (1, 9), (9,)])
@pytest.mark.parametrize("block", [1, 50, 1 << 20])
def test_a_difference_is_summed_up_in_blocks(
    shape: tuple[int, ...], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(singular, "_NUMBERS", block)
    generator = torch.Generator().manual_seed(0)
    before, after = (torch.randn(shape, generator=generator) for _ in range(2))
    change = (after.double() - before.double()).numpy()
    expected = np.linalg.svd(change.reshape(shape[0], -1), compute_uv=False)
    np.testing.assert_allclose(np.sort(of_difference(before, after))[::-1], expected, rtol=1e-7, atol=1e-7)


def test_nuclear_norm_is_as_accurate_as_said() -> None:
    """Of a change of low rank the Gram matrix loses the small values, which are many."""
    generator = torch.Generator().manual_seed(1)
    left, right = (torch.randn(300, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    change = left @ right.T
    exact = np.linalg.svd(change.numpy(), compute_uv=False)
    found = norms(of_difference(torch.zeros_like(change), change))
    assert abs(found.nuclear - exact.sum()) < 300 * 2e-8 * exact[0]
    assert found.effective_rank == pytest.approx(norms(exact).effective_rank, rel=1e-3)


@pytest.mark.parametrize(("rows", "columns", "rank"), [(20, 30, 4), (5, 6, 8)])
def test_a_product_is_never_made(rows: int, columns: int, rank: int) -> None:
    generator = torch.Generator().manual_seed(2)
    left, right = (
        torch.randn(rows, rank, generator=generator),
        torch.randn(columns, rank, generator=generator),
    )
    expected = np.linalg.svd((left.double() @ right.double().T).numpy(), compute_uv=False)
    found = np.sort(of_product(left, right))[::-1]
    assert len(found) == min(rows, columns, rank)
    np.testing.assert_allclose(found, expected[: len(found)], rtol=1e-10)


def test_norms() -> None:
    flat = norms(np.full(5, 2.0))
    assert (flat.nuclear, flat.frobenius, flat.spectral) == (10.0, pytest.approx(20**0.5), 2.0)
    assert flat.effective_rank == pytest.approx(5)
    assert norms(np.array([3.0, 0.0])).effective_rank == 1
    nothing = norms(np.zeros(3))
    assert (nothing.nuclear, nothing.spectral) == (0, 0)
    assert np.isnan(nothing.effective_rank)
