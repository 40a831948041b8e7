"""Symbolic training, reference setting: the plain loop against ours, one run and 7 ranks x 8 seeds.

The plain loop draws sequences one by one in Python and computes attention at every position, T by T, as the
field writes it; `plain-last` asks at the last position alone, which is all that is read. Batch, steps,
optimizer and starts are alike in distribution, not in their draws. The plain loop cannot train the sweep
whole: a few steps of each rank are timed, and 8 seeds count 8 times. Its time is the better one of one
thread and all. Ours is timed whole, records included, on one thread.
Held-out losses are compared over seeds, after as many steps as the plain loop has time for here.
"""

import json
import random
import sys
import time
from statistics import median

import torch
from torch import nn

from benchmarks.side_by_side import ratio, rounds
from spillover.symbolic.experiment import reference
from spillover.symbolic.task import KINDS, Task
from spillover.symbolic.train import train

RANKS = (3, 4, 8, 16, 32, 64, 128)
SEEDS, STEPS, PLAIN_STEPS, COMPARED = 8, 2000, 40, 300
LR, WEIGHT_DECAY, BATCH, D = 5e-3, 0.03, 252, 128


class PlainTask:
    """Sequences, one by one."""

    def __init__(self, task: Task, seed: int) -> None:
        self.rng, self.length = random.Random(seed), task.length  # noqa: S311 - no secret
        self.noise, self.eos = list(task.tokens["noise"]), task.tokens["eos"][0]
        triples = zip(
            task.triples.subject, task.triples.relation, task.triples.answer, task.triples.kind, strict=True
        )
        self.pools: dict[str, list[tuple[int, int, int]]] = {kind: [] for kind in KINDS}
        for subject, relation, answer, kind in triples:
            token = task.tokens["relations"][relation]
            self.pools[KINDS[kind]].append((int(subject), token, int(answer)))

    def sequence(self, subject: int, relation: int) -> list[int]:
        """One subject, later one relation, noise elsewhere, EOS last."""
        sequence = self.rng.choices(self.noise, k=self.length - 3)
        place = self.rng.randint(0, len(sequence))
        sequence.insert(place, subject)
        sequence.insert(self.rng.randint(place + 1, len(sequence)), relation)
        sequence.append(self.eos)
        return sequence

    def batch(self, kinds: tuple[str, ...], size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """`size` sequences of each kind and their labels."""
        drawn = [self.rng.choice(self.pools[kind]) for kind in kinds for _ in range(size)]
        sequences = [self.sequence(subject, relation) for subject, relation, _ in drawn]
        return torch.tensor(sequences), torch.tensor([answer for *_, answer in drawn])


class PlainModel(nn.Module):
    """Linear attention, one head, one-hot embeddings."""

    def __init__(self, d_h: int, task: Task, last: bool) -> None:
        super().__init__()
        self.key_query = nn.Linear(D, D, bias=False)
        self.value, self.output = nn.Linear(D, d_h, bias=False), nn.Linear(d_h, D, bias=False)
        for weight in self.parameters():
            nn.init.normal_(weight, std=D**-0.5)
        self.embedding, self.mask = torch.eye(D), torch.tril(torch.ones(task.length, task.length))
        self.answers, self.last = slice(task.tokens["answers"].start, task.tokens["answers"].stop), last

    def forward(self, tokens_BT: torch.Tensor) -> torch.Tensor:
        """Logits of the answers at the last position."""
        x_BTD = self.embedding[tokens_BT]
        if self.last:
            scores = self.key_query(x_BTD[:, -1:]) @ x_BTD.mT
        else:
            scores = (self.key_query(x_BTD) @ x_BTD.mT) * self.mask
        f = self.output(scores @ self.value(x_BTD))
        return (f @ self.embedding[self.answers].T)[:, -1]


def plain(d_h: int, seed: int, steps: int, last: bool) -> tuple[float, float]:
    """Seconds per step of the plain loop, and its held-out loss at the end."""
    task = reference().task
    torch.manual_seed(seed)
    data, model = PlainTask(task, seed), PlainModel(d_h, task, last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
    warm = min(10, steps // 4)
    started = time.perf_counter()
    for step in range(steps):
        if step == warm:
            started = time.perf_counter()
        tokens_BT, label_B = data.batch(KINDS[:3], BATCH // 3)
        loss = nn.functional.cross_entropy(model(tokens_BT), label_B)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    seconds = (time.perf_counter() - started) / (steps - warm)
    with torch.no_grad():
        tokens_BT, label_B = data.batch(KINDS[3:], 2000)
        held_out = nn.functional.cross_entropy(model(tokens_BT), label_B).item()
    return seconds, held_out


def plain_seconds(d_h: int, last: bool) -> float:
    """Seconds per step of the plain loop, with one thread or with all, whichever is faster at the time."""
    every, timed = torch.get_num_threads(), []
    for threads in {1, every}:
        torch.set_num_threads(threads)
        timed.append(plain(d_h, 0, PLAIN_STEPS, last)[0])
    torch.set_num_threads(every)
    return min(timed)


def side(name: str) -> dict[str, object]:
    """One round of one side: seconds per step of one run or of the sweep."""
    if name in ("plain", "plain-last"):
        return {"seconds": plain_seconds(128, name == "plain-last")}
    if name in ("plain-sweep", "plain-last-sweep"):
        return {"seconds": SEEDS * sum(plain_seconds(d_h, name == "plain-last-sweep") for d_h in RANKS)}
    if name == "plain-losses":
        return {"losses": [plain(128, seed, COMPARED, True)[1] for seed in range(SEEDS)]}
    if name == "our-losses":
        history = train(reference(seeds=SEEDS, steps=COMPARED))
        return {"losses": history.measures.held_out_loss[-1, 0].tolist()}
    sweep = name == "our-sweep"
    experiment = reference(d_h=RANKS if sweep else 128, seeds=SEEDS if sweep else 1, steps=STEPS)
    train(reference(steps=10))  # warm, as the plain loop is
    started = time.perf_counter()
    history = train(experiment)
    return {
        "seconds": (time.perf_counter() - started) / STEPS,
        "held_out_accuracy": history.measures.held_out_accuracy[-1].tolist(),
    }


def operations(ranks: tuple[int, ...]) -> float:
    """Floating-point operations of the products in one of our steps, one seed of each rank."""
    task = reference().task
    v, a, rest = len(task.inputs), task.answers, len(task.inputs) - task.subject_count
    table = sum(3 * 2 * v * a * d_h for d_h in ranks)  # W_V W_O^T and its two gradients
    return table + len(ranks) * 2 * 2 * BATCH * rest * a  # what is not a subject, forward and back


def matmul_rate() -> float:
    """Floating-point operations a second of a large product in float32 on one thread, as our steps run."""
    torch.set_num_threads(1)
    matrix = torch.randn(1500, 1500)
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        torch.matmul(matrix, matrix)
        seconds.append(time.perf_counter() - started)
    return 2 * 1500**3 / min(seconds)


def main() -> None:
    """Print both sides of both comparisons, the losses and the floor."""
    here = "benchmarks.symbolic"
    rate = matmul_rate()
    for title, sides, goal, ranks, count in (
        ("one run, d_h = 128", ("plain", "plain-last", "ours"), 30, (128,), 1),
        ("the sweep, 7 ranks x 8 seeds", ("plain-sweep", "plain-last-sweep", "our-sweep"), 40, RANKS, SEEDS),
    ):
        print(f"symbolic training, reference setting, {title} (goal: {goal}x)", flush=True)
        printed = rounds(here, sides, 3)
        for name, runs in printed.items():
            print(f"  {name:<18}" + "".join(f"{run['seconds'] * 1e3:9.2f} ms/step" for run in runs))
        ours = printed[sides[-1]]
        for name in sides[:-1]:
            print(f"  ratio to {name}: {ratio(printed[name], ours)}")
        floor = count * operations(ranks) / rate
        gap = median(run["seconds"] for run in ours) / floor
        print(
            f"  floor: {count * operations(ranks) / 1e6:.0f} MFLOP at {rate / 1e9:.0f} GFLOP/s, "
            f"{floor * 1e3:.3f} ms/step; ours is {gap:.1f} times that"
        )
    losses = {name: run[0]["losses"] for name, run in rounds(here, ("plain-losses", "our-losses"), 1).items()}
    print(f"held-out loss after {COMPARED} steps, d_h = 128, {SEEDS} seeds")
    for name, values in losses.items():
        print(f"  {name:<14}mean {sum(values) / SEEDS:.3f}, {min(values):.3f} to {max(values):.3f}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(side(sys.argv[1])))
    else:
        main()
