"""The proof that nothing held out is trained on: run before every audit."""

from collections.abc import Iterable

from spillover.errors import DataError
from spillover.knowledge.alike import fold
from spillover.knowledge.prompts import Example, Query


def check_no_leak(examples: Iterable[Example], queries: Iterable[Query]) -> None:
    """Raise DataError if the implication of a held-out query, or of its paraphrase, is among the examples.

    A query is leaked by an example with the same prompt, or with the same subject and relation; what `fold`
    takes away makes no difference.
    """
    prompts: dict[str, Example] = {}
    asked: dict[tuple[str, str], Example] = {}
    for example in examples:
        prompts[fold(example.prompt)] = example
        asked[fold(example.subject), fold(example.relation)] = example
    for query in queries:
        if query.kind not in ("held_out", "paraphrase"):
            continue
        leak = prompts.get(fold(query.prompt))
        leak = leak or asked.get((fold(query.subject), fold(query.relation)))
        if leak is not None:
            raise DataError(
                f"held-out query {query.prompt!r} ({query.relation} of {query.subject!r}) is in training: "
                f"{leak.prompt + leak.completion!r} ({leak.relation} of {leak.subject!r}); "
                "spell subjects in one way, and give relations different prompts"
            )
