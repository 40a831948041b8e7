import pytest

from .fixture import write_run


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "demo")


@pytest.fixture(scope="session")
def page(run, tmp_path_factory):
    from spillover.report.page import write_report

    return write_report([run], tmp_path_factory.mktemp("out") / "new" / "report.html").read_text("utf-8")
