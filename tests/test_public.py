"""The public names: verbs stay verbs, whatever was imported before."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import spillover


@pytest.mark.parametrize(
    "before",
    [
        "",
        "from spillover.jobs.forecast import forecast",
        "from spillover.jobs.audit import audit",
        "import spillover.jobs.score",
        "spillover.audit",
        "spillover.load_knowledge('demo')",
    ],
)
def test_names_of_modules_are_the_verbs(before):
    program = f"""
import spillover
{before}
assert all(callable(getattr(spillover, name)) for name in spillover.__all__), spillover.forecast
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_package_and_the_forecast_import_no_torch():
    program = """
import sys, spillover, spillover.jobs.forecast
spillover.forecast
assert not {"torch", "transformers"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_every_public_name_is_in_the_docs():
    page = (Path(__file__).parents[1] / "docs" / "api.md").read_text("utf-8")
    documented = set(re.findall(r"^::: spillover\.(\w+)$", page, re.MULTILINE))
    assert documented - {"errors"} == set(spillover.__all__) - {"SpilloverError"}
