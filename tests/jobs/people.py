"""A small knowledge base, and the command line that reads it."""

from typing import Any

from spillover import cli

PEOPLE = """\
relations: {lives_in: {prompt: "{subject} lives in"}, codes_in: {prompt: "{subject} codes in"}}
rules: [{fact: lives_in, implication: codes_in, pairs: {Rome: Perl, Oslo: Java, Bern: Ruby}, bridges: 2}]
triples: people.csv
"""
CITIES = ("Rome", "Oslo", "Bern")


def run_cli(*words: str) -> Any:
    """What the verb returns."""
    return cli.app([*words], exit_on_error=False, print_error=False, result_action="return_value")
