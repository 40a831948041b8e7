"""The page's section on a spectrum: its numbers, and that nothing is cut on a phone, a desk or paper."""

import math

import pyarrow as pa
import pytest
from pyarrow import parquet

from spillover.report.page import write_report
from spillover.report.spectrum import size
from spillover.spectrum.table import HEADS, KINDS, SPECTRA, by_kind, by_layer, whole, with_shares

from .browser import Browser
from .fixture import write_run
from .test_layout import DESK, MARGIN, MEASURE, PHONE, printed

LAYERS, PER_LAYER = 42, 32


def spectra(seed=0):
    """Rows of a model of 42 layers of 32 heads; the later a layer, the larger its change."""

    def row(layer, module, kind, size, head=None, limit: int | None = 64):
        known = {"nuclear": 3 * size, "spectral": size / 2, "effective_rank": 16.0, "rank_limit": limit}
        known = known if limit else dict.fromkeys(known)
        where = {"layer": layer, "module": module, "head": head, "kind": kind, "shape": [64, 64]}
        return {**where, "frobenius": float(size), **known}

    rows = [row(None, "embed_tokens.weight", "embedding", 10)]
    for layer in range(LAYERS):
        rows += [
            row(layer, f"layers.{layer}.{kind}", kind, 1 + layer)
            for kind in ("q", "k", "v", "o", "gate", "up", "down")
        ]
        rows.append(row(layer, f"layers.{layer}.norm", "norm", 0.01, limit=None))
        rows += [row(layer, f"layers.{layer}.attn", HEADS, 1 + head, head) for head in range(PER_LAYER)]
    return [{"seed": seed, **row} for row in with_shares(rows)]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = write_run(tmp_path_factory.mktemp("runs") / "large")
    table = pa.Table.from_pylist(spectra(0) + spectra(1), schema=SPECTRA)
    parquet.write_table(table, folder / "spectrum.parquet")
    return write_report([folder], folder / "report.html")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.mark.parametrize(
    "change",
    [
        {"frobenius": None}, {"frobenius": 0.0}, {"share": math.nan}, {"kind": "x"}, {"module": None},
        {"seed": None}, {"nuclear": None}, {"rank_limit": 0}, {"effective_rank": math.inf},
        {"spectral": -1.0},
    ],
)  # fmt: skip
def test_a_row_that_is_none_is_a_gap(tmp_path, change):
    folder = write_run(tmp_path / "run")
    good = spectra()[:3]
    for rows, faults in ((good, 0), ([*good, {**good[0], **change}], 1)):
        parquet.write_table(pa.Table.from_pylist(rows, schema=SPECTRA), folder / "spectrum.parquet")
        text = write_report([folder], tmp_path / "page.html").read_text("utf-8")
        assert text.count("spectrum.parquet is damaged: row 3 is none of a weight or a head") == faults


def test_numbers_of_kinds_and_layers():
    rows = spectra()
    total = 7 * sum(layer**2 for layer in range(1, LAYERS + 1)) + 100 + LAYERS * 1e-4
    kinds = {entry["kind"]: entry for entry in by_kind(rows + spectra(1))}
    assert list(kinds) == [kind for kind in KINDS if kind in kinds]
    assert kinds["q"]["share"] == pytest.approx((total - 100 - LAYERS * 1e-4) / 7 / total)
    assert kinds["q"]["weights"] == LAYERS
    assert kinds["q"]["nuclear"] == 3 * sum(range(1, LAYERS + 1))
    assert kinds["q"]["spectral"] == LAYERS / 2
    assert math.isnan(kinds["norm"]["effective_rank"])
    assert sum(kind["share"] for name, kind in kinds.items() if name != HEADS) == pytest.approx(1)
    last = by_layer(rows)[-1]
    assert (last["layer"], last["ov_rank"]) == (LAYERS - 1, 16)
    assert last["share"] == pytest.approx((7 * LAYERS**2 + 1e-4) / total)
    assert whole(rows) == pytest.approx(
        {"frobenius": total**0.5, "effective_rank": 16, "ratio": 3, "ov_rank": 16, "ov_ratio": 3}
    )
    assert whole([]) == pytest.approx(
        {"frobenius": 0.0, **dict.fromkeys(("effective_rank", "ratio", "ov_rank", "ov_ratio"), math.nan)},
        nan_ok=True,
    )


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_nothing_is_cut(browser, page, tmp_path, width):
    browser.open(page, width=width)
    found = browser.run(MEASURE)
    assert found["faults"] == []
    assert found["needs"] <= found["width"] == width
    assert found["charts"] == 5 + 4
    if width == DESK:
        assert found["scrolling"] == []
    pages = printed(browser.pdf(tmp_path / "report.pdf"))
    for paper, words in pages:
        assert [word for word in words if word.left < MARGIN - 1 or word.right > paper - MARGIN + 1] == []
    said = " ".join(word.text for _, words in pages for word in words)
    assert "What tuning changed inside" in said
    assert "Heads: effective rank" in said


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.000123, "0.000123"), (12.345, "12.3"), (576.0, "576"), (99999.0, "99,999"), (0.0, "0.00"),
        (None, "–"), (math.nan, "–"),  # noqa: RUF001
    ],
)  # fmt: skip
def test_sizes(value, text):
    assert size(value) == text
