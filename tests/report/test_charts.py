import json

import pytest
import vl_convert

from spillover.report.charts import answer_chart, loss_chart, rank_chart
from spillover.report.scores import Scores

from .fixture import metrics, scores

EVIL = "</script><script>alert(1)</script>'\"\\ datum.x {{ 7 * 7 }}"


@pytest.fixture(scope="module")
def evil():
    return Scores(scores(rename={"France": EVIL, "Python": EVIL + "2", "Mara Sato": EVIL}))


def svg(chart) -> str:
    return vl_convert.vegalite_to_svg(json.dumps(chart.to_dict()), vl_version="6.4")


@pytest.mark.parametrize("kind", ["causal", "spurious"])
def test_rank_chart_draws_both_phases_and_chance(evil, kind):
    picture = svg(rank_chart(evil.ranks(1), kind))
    for text in ("Before fine-tuning", "After fine-tuning", "chance: groups shuffled", "first choice"):
        assert text in picture


def test_answer_chart_draws_every_group(evil):
    picture = svg(answer_chart(evil.answers(1), "spurious"))
    for text in ("Peru", "Rust", "Haskell", "the rule's answer"):
        assert text in picture
    assert "<script" not in picture


def test_names_are_data_and_nothing_else(evil):
    def walk(node, path):
        if isinstance(node, dict):
            for key, value in node.items():
                assert EVIL not in key
                walk(value, (*path, key))
        elif isinstance(node, list):
            for value in node:
                walk(value, path)
        elif isinstance(node, str) and EVIL in node:
            assert "datasets" in path or path[-2] == "values"

    spec = answer_chart(evil.answers(1), "spurious").to_dict()
    assert EVIL in json.dumps(spec, ensure_ascii=False).replace('\\"', '"').replace("\\\\", "\\")
    walk(spec, ())


@pytest.mark.parametrize("seeds", [1, 3, 8])
def test_loss_chart_draws_every_seed(seeds):
    picture = svg(loss_chart(metrics(seeds=seeds)))
    assert "training step" in picture
    assert picture.count('aria-roledescription="line mark"') == seeds


def test_a_long_log_is_thinned_and_keeps_its_ends():
    rows = [{"seed": 0, "step": step, "loss": 1.0 if step < 9999 else 0.0} for step in range(10_000)]
    rows.append({"seed": 0, "step": 10_000, "loss": None})
    (data,) = (
        loss_chart(rows).to_dict()["datasets"].values() if "datasets" in loss_chart(rows).to_dict() else [[]]
    )
    data = data or loss_chart(rows).to_dict()["data"]["values"]
    assert len(data) <= 1300
    assert (data[0]["step"], data[-1]["step"]) == (0, 9999)
