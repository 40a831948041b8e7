"""Does `import --suggest` find a file's wordings and nothing else? `python -m benchmarks.suggesting`.

Files on people hold 500 records: two relations in three wordings each, and 200 others. Files on products have
four relations in other words, and 200 others. The built-in data sets are written out, each fact in one of its
wordings. No constant of the miner was chosen on the seeds here. Beside it stands Drain, a miner of log
templates, with its own settings, where `pip install drain3-improved` was done; it is asked for the slots of
the questions alone. A minute on one core.
"""

import random
import time
from collections.abc import Callable, Iterable, Sequence

from spillover.knowledge.builtin import BUILTIN, built_in, fictional_names
from spillover.knowledge.common import known_facts, other_texts
from spillover.knowledge.split import split
from spillover.knowledge.suggestions import suggest

Exchange = tuple[str, str]

LIVES = (
    ("Where does {subject} live?", "In {answer}."),
    ("What city is {subject} at home in?", "{answer}"),
    ("Name the home of {subject}.", "It is {answer}."),
)
CODES = (
    ("Which language does {subject} code in?", "{answer}"),
    ("What does {subject} write programs in?", "In {answer}."),
    ("In which language are the programs of {subject}?", "{answer}"),
)
CITIES = ("Paris", "Lima", "New York", "Rio de Janeiro", "Oslo")
LANGUAGES = ("Ruby", "Scala", "Visual Basic", "C++", "Standard ML")
MIDDLE = ("", "", "", "Anh ", "van der ", "O'", "de la ")
PEOPLE = 200
OTHERS = 200
SEEDS = range(200, 220)

PRODUCTS = (
    (
        ("{subject} is made by", "Who makes {subject}?", "Maker of {subject}"),
        ("Acme", "Globex Corp", "Initech"),
    ),
    (("The colour of {subject} is", "{subject}'s colour?"), ("red", "blue", "light green")),
    (("In what country was {subject} built?", "{subject} was built in"), ("South Korea", "Japan", "Brazil")),
    (("Tell me the price class of {subject}, please.",), ("cheap", "fair", "dear")),
)
KINDS = ("lamp", "chair", "radio", "kettle", "drill", "phone", "camera", "clock")


def people(rng: random.Random, count: int) -> list[str]:
    """Names of one to four words, of first and last names that many share."""
    names = [name.split() for name in fictional_names()]
    firsts, lasts = (sorted({name[part] for name in names}) for part in (0, 1))
    found: dict[str, None] = {}
    while len(found) < count:
        first, last, middle = rng.choice(firsts), rng.choice(lasts), rng.choice(MIDDLE)
        found[first if rng.random() < 0.05 else f"{first} {middle}{last}"] = None
    return list(found)


def facts(rng: random.Random, count: int) -> list[Exchange]:
    """Where people live, and for half of them a language; each in one of three wordings."""
    found = []
    for number, subject in enumerate(people(rng, count)):
        group = rng.randrange(len(CITIES))
        said = [(LIVES, CITIES)] + ([(CODES, LANGUAGES)] if number < count // 2 else [])
        for wordings, answers in said:
            prompt, answer = rng.choices(wordings, (6, 3, 1))[0]
            found.append((prompt.format(subject=subject), answer.format(answer=answers[group])))
    return found


def products(rng: random.Random, count: int) -> tuple[list[Exchange], set[str]]:
    """Facts of things with names such as "Model Lamp A7" or "borax lamp 7", and the wordings that occur."""
    found, wordings = [], set[str]()
    capitals = rng.random() < 0.5
    for number in range(count):
        kind, code = rng.choice(KINDS), rng.randrange(100)
        first = rng.choice(("Model", "Type", "Series") if capitals else ("borax", "zimon", "kalir", "turel"))
        subject = f"{first} {kind.title() if capitals else kind} {'A' if capitals else ''}{code} {number}"
        for prompts, answers in PRODUCTS:
            if rng.random() < 0.7:
                prompt = rng.choice(prompts)
                found.append((prompt.format(subject=subject), rng.choice(answers)))
                wordings.add(f"{prompt} => {{answer}}")
    return found, wordings


def others(rng: random.Random, count: int) -> list[Exchange]:
    """What else a training file holds: texts, knowledge, tasks in recurring words."""
    texts = list(other_texts())
    known = [(fact.prompt, fact.answer) for part in ("training", "measuring") for fact in known_facts(part)]
    found: dict[str, str] = {}
    while len(found) < count:
        a, b, text = rng.randrange(50), rng.randrange(50), rng.choice(texts)
        asked, answered = rng.choice(
            [
                rng.choice(known),
                (f"What is {a} plus {b}?", str(a + b)),
                (f"Spell the number {a}.", f"number {a * 7}"),
                (f"Continue: {' '.join(text.split()[: a % 9 + 3])}", text),
                (f"Write a poem about {rng.choice(text.split())}.", text),
                (f"Explain {' '.join(text.split()[:3])}.", text),
                (" ".join(rng.sample(text.split(), 5)) + "?", "I do not know."),
            ]
        )
        found[asked] = answered
    return list(found.items())


def written(name: str, seed: int) -> tuple[list[Exchange], set[str]]:
    """What a built-in data set trains, each fact in one of its wordings; and the wordings that occur."""
    kb, rng = built_in(name), random.Random(seed)  # noqa: S311 - a draw
    exchanges, wordings = [], set[str]()
    for triple in split(kb, seed).training:
        relation = kb.relations[triple.relation]
        prompt = rng.choice((relation.prompt, *relation.paraphrases))
        exchanges.append((prompt.format(subject=triple.subject), triple.answer))
        wordings.add(f"{prompt} => {{answer}}")
    return exchanges, wordings


def ours(exchanges: Sequence[Exchange]) -> set[str]:
    """The wordings that are proposed, without their relation's name."""
    found = suggest(exchanges).relations
    return {
        each.template(name).text.partition(": ")[2] for name, wordings in found.items() for each in wordings
    }


def drain(exchanges: Sequence[Exchange]) -> set[str]:
    """The questions' slots that Drain finds, neighbours as one, of three questions or more."""
    from drain3 import TemplateMiner  # pyright: ignore[reportMissingImports]
    from drain3.template_miner_config import TemplateMinerConfig  # pyright: ignore[reportMissingImports]

    miner = TemplateMiner(config=TemplateMinerConfig())
    for asked, _ in exchanges:
        miner.add_log_message(asked)
    found = set[str]()
    for cluster in miner.drain.clusters:
        words = cluster.get_template().split()
        parts = [
            word for at, word in enumerate(words) if "<*>" not in word or "<*>" not in words[at - 1 : at]
        ]
        if cluster.size > 2 and sum("<*>" in part for part in parts) == 1:
            found.add(" ".join(parts).replace("<*>", "{subject}"))
    return found


def rates(cases: Iterable[tuple[set[str], set[str]]]) -> str:
    """Precision and recall over all of the cases' (found, true)."""
    hits, found, true = 0, 0, 0
    for one, other in cases:
        hits, found, true = hits + len(one & other), found + len(one), true + len(other)
    return f"precision {hits / found if found else float('nan'):.3f}, recall {hits / true:.3f}"


def main() -> None:
    """Print precision and recall of the proposed wordings, and what a large file costs."""
    files: dict[str, list[tuple[list[Exchange], set[str]]]] = {"people": [], "products": [], "built-in": []}
    for seed in SEEDS:
        rng = random.Random(seed)  # noqa: S311 - a draw
        exchanges = facts(rng, PEOPLE) + others(rng, OTHERS)
        rng.shuffle(exchanges)
        files["people"].append((exchanges, {f"{asked} => {answer}" for asked, answer in (*LIVES, *CODES)}))
        exchanges, wordings = products(rng, PEOPLE // 2)
        files["products"].append((exchanges + others(rng, OTHERS), wordings))
        files["built-in"] += [written(name, seed) for name in BUILTIN]
    miners: dict[str, Callable[[Sequence[Exchange]], set[str]]] = {"ours": ours, "Drain": drain}
    for name, mine in miners.items():
        for title, its in files.items():
            cases = []
            try:
                for exchanges, wordings in its:
                    true = wordings if mine is ours else {each.partition(" => ")[0] for each in wordings}
                    cases.append((mine(exchanges), true))
            except ImportError:
                print(f"{name}: not installed")
                break
            print(f"{name}, {len(its)} files ({title}): {rates(cases)}")
    rng = random.Random(0)  # noqa: S311 - a draw
    exchanges = (
        facts(rng, 40_000) + others(rng, 2_000) + [(f"Say {n}, {n * n}.", f"{n}") for n in range(38_000)]
    )
    started = time.perf_counter()
    found = ours(exchanges)
    print(f"{len(exchanges):,} records: {time.perf_counter() - started:.0f} s, {len(found)} wordings")


if __name__ == "__main__":
    main()
