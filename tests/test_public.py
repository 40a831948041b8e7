"""The public names: verbs stay verbs, whatever was imported before."""

import re
import subprocess
import sys
from pathlib import Path

import spillover


def test_names_of_modules_are_the_verbs():
    program = """
import os, sys, traceback
import spillover
[getattr(spillover, name) for name in spillover.__all__]
for name in [name for name in sys.modules if name.partition(".")[0] == "spillover"]:
    del sys.modules[name]  # but not what it imports, which takes the time
for before in sys.argv[1:]:
    if os.fork():
        assert os.wait()[1] == 0, before
        continue
    try:
        import spillover
        exec(before)
        assert all(callable(getattr(spillover, name)) for name in spillover.__all__), spillover.forecast
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
"""
    before = [
        "",
        "from spillover.jobs.forecast import forecast",
        "from spillover.jobs.audit import audit",
        "import spillover.jobs.score",
        "spillover.audit",
        "spillover.load_knowledge('demo')",
    ]
    subprocess.run([sys.executable, "-c", program, *before], check=True)


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
