"""A small knowledge base, and the command line that reads it."""

from pathlib import Path
from typing import Any

from spillover import cli

PEOPLE = """\
relations: {lives_in: {prompt: "{subject} lives in"}, codes_in: {prompt: "{subject} codes in"}}
rules: [{fact: lives_in, implication: codes_in, pairs: {Rome: Perl, Oslo: Java, Bern: Ruby}, bridges: 2}]
triples: people.csv
"""
CITIES = ("Rome", "Oslo", "Bern")


def write_people(folder: Path) -> None:
    """people.yaml and its table."""
    rows = [f"{city} {number},lives_in,{city}" for city in CITIES for number in range(5)]
    (folder / "people.csv").write_text("\n".join(["subject,relation,answer", *rows]), encoding="utf-8")
    (folder / "people.yaml").write_text(PEOPLE, encoding="utf-8")


def run_cli(*words: str) -> Any:
    """What the verb returns."""
    return cli.app([*words], exit_on_error=False, print_error=False, result_action="return_value")
