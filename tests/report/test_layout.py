"""The report as a phone, a desk and a sheet of paper show it: laid out by a real browser, then measured."""

import html
import re
import shutil
import subprocess
from typing import NamedTuple

import pyarrow as pa
import pytest
from pyarrow import parquet

from spillover.report.page import write_report

from .browser import MISSING, Browser
from .fixture import SCHEMA, results, write_run

PHONE, DESK = 390, 1440
MARGIN = 15 / 25.4 * 72  # of a printed page, in points

# Every text that cannot be seen, every word or number in two pieces, every chart missing or too small.
MEASURE = r"""
(() => {
  const faults = [], scrolling = new Set();
  const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  const lines = range =>
    new Set([...range.getClientRects()].filter(box => box.width).map(box => box.top)).size;
  const within = (inner, outer) => inner.left > outer.left - 1 && inner.right < outer.right + 1;

  function hidden(box, element) {  // by a box around it that cuts off, or by the edge of the window
    for (let around = element.parentElement; around; around = around.parentElement) {
      const overflow = getComputedStyle(around).overflowX, edge = around.getBoundingClientRect();
      if (overflow === "visible" || around === document.documentElement) continue;
      if (!within(box, edge) && ["auto", "scroll"].includes(overflow)) {
        const left = edge.left - around.scrollLeft;
        if (!within(box, {left, right: left + around.scrollWidth})) return true;
        scrolling.add(around);
        box = edge;
      } else if (!within(box, edge) || (around.matches("svg") && box.bottom > edge.bottom + 1)) return true;
    }
    return !within(box, {left: 0, right: innerWidth});
  }

  while (walker.nextNode()) {
    const text = walker.currentNode, element = text.parentElement, range = document.createRange();
    range.selectNodeContents(text);
    const box = range.getBoundingClientRect();
    if (!text.data.trim() || !box.width) continue;
    if (hidden(box, element) || (element.closest("svg") && text.data.endsWith("…")))
      faults.push("cut: " + text.data);
    if (element.closest("svg, pre")) continue;
    if (element.matches("td.right, td.right *, .numbers dd, .change") && lines(range) > 1)
      faults.push("number in pieces: " + text.data);
    for (const word of text.data.matchAll(/[^\s\u2013-]+/g)) {
      range.setStart(text, word.index);
      range.setEnd(text, word.index + word[0].length);
      if (word[0].length <= 20 && lines(range) > 1) faults.push("word in pieces: " + word[0]);
    }
  }
  for (const place of document.querySelectorAll(".chart")) {
    const svg = place.querySelector("svg");
    if (!svg) faults.push("not drawn: " + place.textContent);
    else if (12 * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width < 8.9)
      faults.push("labels too small to read");
  }
  for (const box of scrolling)
    if (getComputedStyle(box, "::before").content === "none") faults.push("scrolls and does not say so");
  return {
    faults, width: innerWidth, needs: document.documentElement.scrollWidth,
    charts: document.querySelectorAll(".chart svg").length,
    scrolling: [...scrolling].map(box => box.querySelector("table, figcaption").tagName),
  };
})()
"""

TEXTS = """
({
  headings: [...document.querySelectorAll("h1, h2, h3, h4, .kind, .hint:not(.fine), thead, figcaption")]
    .map(heading => heading.textContent),
  labels: [...document.querySelectorAll(".chart svg text:not([opacity='0'])")]
    .flatMap(text => text.children.length ? [...text.children] : [text]).map(line => line.textContent),
  words: [...document.querySelectorAll("h1, h2, h3, h4, p, li, th, td, dt, dd, pre, figcaption, footer")]
    .flatMap(text => text.innerText.split(/[\\s\\u2013-]+/)).filter(word => word.length <= 20),
})
"""


class Word(NamedTuple):
    """A word on a printed page: its box in points from the upper left corner."""

    left: float
    top: float
    right: float
    bottom: float
    text: str


def printed(pdf) -> list[tuple[float, list[Word]]]:
    """The width and the words of every page."""
    if shutil.which("pdftotext") is None:
        pytest.fail(MISSING.replace("chromium:", "pdftotext:", 1), pytrace=False)
    text = subprocess.run(
        ["pdftotext", "-bbox", str(pdf), "-"], check=True, capture_output=True, text=True, encoding="utf-8"
    ).stdout
    word = re.compile(r'<word xMin="(.+?)" yMin="(.+?)" xMax="(.+?)" yMax="(.+?)">(.*?)</word>')
    return [
        (
            float(re.findall(r'width="(.+?)"', page)[0]),
            [
                Word(float(left), float(top), float(right), float(bottom), html.unescape(said))
                for left, top, right, bottom, said in word.findall(page)
            ],
        )
        for page in text.split("<page ")[1:]
    ]


def squeezed(text: str) -> str:
    return "".join(text.split())


def test_without_a_browser_one_line_says_how_to_get_one(tmp_path, monkeypatch):
    monkeypatch.setenv("SPILLOVER_CHROMIUM", str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError, match="apt-get install chromium"):
        Browser(tmp_path)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    try:
        browser = Browser(tmp_path_factory.mktemp("browser"))
    except FileNotFoundError as error:
        pytest.fail(str(error), pytrace=False)
    with browser:
        yield browser


@pytest.fixture(scope="module")
def demo(run, tmp_path_factory):
    return write_report([run], tmp_path_factory.mktemp("demo") / "report.html")


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """24 groups and 24 answers, some with names of 60 letters without a space, and three seeds."""
    folder, size = tmp_path_factory.mktemp("runs") / ("long-" + "n" * 55), 24
    found = results()
    found["rules"][1] |= {"fact": "lives_in_" + "x" * 51, "implication": "w" * 60, "candidates": size}
    write_run(folder, seeds=3, results=found)

    def names(kind: str) -> list[str]:
        return [f"{kind}_{n}".ljust(60, "m") if n % 5 == 0 else f"{kind} {n}" for n in range(size)]

    rows = [
        (0, phase, size * rule + n, "held_out", rule, "r", f"s{n}", group, f"s{n} r", answer, m == n, -m, m)
        for phase in ("before", "after")
        for rule in (0, 1)
        for n, group in enumerate(names("Group"))
        for m, answer in enumerate(names("Answer"))
    ]
    table = pa.Table.from_pylist([dict(zip(SCHEMA.names, row, strict=True)) for row in rows], schema=SCHEMA)
    parquet.write_table(table, folder / "scores.parquet")
    return write_report([folder], tmp_path_factory.mktemp("large") / "report.html")


@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("name", ["demo", "large"])
def test_nothing_is_cut_on_a_screen(browser, request, name, width):
    browser.open(request.getfixturevalue(name), width=width)
    found = browser.run(MEASURE)
    assert found["faults"] == []
    assert found["width"] == width
    assert found["needs"] <= width
    assert found["charts"] == 5
    if width == DESK:
        assert found["scrolling"] == []
    elif name == "demo":
        assert "FIGCAPTION" not in found["scrolling"]  # charts of that size are drawn to fit a phone


@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("name", ["demo", "large"])
def test_paper_has_all_that_the_screen_had(browser, request, tmp_path, name, width):
    browser.open(request.getfixturevalue(name), width=width)
    texts = browser.run(TEXTS)
    pages = printed(browser.pdf(tmp_path / "report.pdf"))
    for paper, words in pages:
        assert [word for word in words if word.left < MARGIN - 1 or word.right > paper - MARGIN + 1] == []
    said = squeezed("".join(word.text for _, words in pages for word in words))
    for text in {*texts["labels"]}:
        assert said.count(squeezed(text)) >= texts["labels"].count(text), text
    assert [word for word in texts["words"] if word not in said] == []


@pytest.mark.parametrize("name", ["demo", "large"])
def test_no_heading_ends_a_printed_page(browser, request, tmp_path, name):
    browser.open(request.getfixturevalue(name), width=DESK)
    headings = [squeezed(text) for text in browser.run(TEXTS)["headings"]]
    for height in range(250, 350, 20):  # pages end elsewhere on every paper
        for _, words in printed(browser.pdf(tmp_path / "report.pdf", height=height)):
            low = max(word.bottom for word in words)
            last = "".join(word.text for word in words if word.bottom > low - 2)
            assert not [heading for heading in headings if heading.endswith(last)]
