"""Components of a table without its hubs, and which of them seem alike: a proposal, proven elsewhere.

Take the hubs (the relations) away, and a table falls into components: columns and answers that hang
together. Color refinement over hashes says which components look alike, and which of their columns and
answers are of the same kind.

Shapes: n examples, d columns, A answers of the quotient; d + A nodes, the columns before the answers.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Int, UInt64
from scipy.sparse.csgraph import connected_components

from spillover.margin.hashing import group_sums, mix
from spillover.margin.normal import hub_columns
from spillover.margin.quotient import Quotient

_ROUNDS = 6  # of color refinement; alike components that it cannot tell apart inside are left as they are


@dataclass(frozen=True, kw_only=True)
class Components:
    """Which component and kind every column and answer has. A class's components hold the same kinds."""

    sizes: Int[np.ndarray, " classes"]
    """Components of each class."""
    column_kind: Int[np.ndarray, " d"]
    """A row of T's columns."""
    column_member: Int[np.ndarray, " d"]
    """Which component of its class; 0 for a hub."""
    column_class: Int[np.ndarray, " column_kinds"]
    """−1 for a hub."""
    answer_kind: Int[np.ndarray, " A"]
    answer_member: Int[np.ndarray, " A"]
    answer_class: Int[np.ndarray, " answer_kinds"]


def propose_components(quotient: Quotient) -> Components | None:
    """The components and their classes, by color; None where colors contradict one another."""
    x, columns = quotient.features, quotient.shape[0]
    hub = hub_columns(x)
    rows = np.repeat(np.arange(quotient.examples), np.diff(x.indptr))
    private = ~hub[x.indices]
    edges = x.indices[private], columns + quotient.labels[rows[private]]
    nodes = sum(quotient.shape)
    graph = sp.coo_array((np.ones(edges[0].size), edges), shape=(nodes, nodes))
    _, component = connected_components(graph, directed=False)
    return _classes(hub, component, _colors(quotient, private, rows, edges))


def _colors(
    quotient: Quotient,
    private: Bool[np.ndarray, " entries"],
    rows: Int[np.ndarray, " entries"],
    edges: tuple[Int[np.ndarray, " edges"], Int[np.ndarray, " edges"]],
) -> UInt64[np.ndarray, " nodes"]:
    """A hash of what is around each node; an edge joins a private entry's column and its example's answer."""
    x, columns = quotient.features, quotient.shape[0]
    values = x.data.view(np.uint64)
    at_hubs = mix(mix(x.indices[~private].astype(np.uint64)) + values[~private])
    around = group_sums(at_hubs, rows[~private], quotient.examples)
    around += mix(quotient.copies_n.view(np.uint64))
    edge = mix(around[rows[private]] + values[private])
    bare = np.setdiff1d(np.arange(quotient.examples), rows[private])  # examples without a private column
    color = np.repeat(np.array([0, 1], dtype=np.uint64), quotient.shape)
    for _ in range(_ROUNDS):
        to_columns = mix(edge + color[edges[1]])
        to_answers = mix(mix(edge) + color[edges[0]])
        fresh = group_sums(np.r_[to_columns, to_answers], np.r_[edges], color.size)
        fresh += group_sums(mix(around[bare]), columns + quotient.labels[bare], color.size)
        color = mix(mix(color) + fresh)
    return color


def _classes(
    hub: Bool[np.ndarray, " d"], component: Int[np.ndarray, " nodes"], color: UInt64[np.ndarray, " nodes"]
) -> Components | None:
    """Components with the same colors are a class; its nodes of the same color are a kind."""
    columns = hub.size
    node = np.flatnonzero(np.r_[~hub, np.ones(color.size - columns, dtype=bool)])
    order = node[np.lexsort((color[node], component[node]))]
    _, start = np.unique(component[order], return_index=True)
    classes: dict[tuple[int, ...], list[np.ndarray]] = {}
    for nodes in np.split(order, start[1:]):
        key = tuple(color[nodes].tolist())
        if len(set(key)) < len(key):
            key = (*key, int(nodes[0]))  # cannot be told apart inside: a class of its own
        classes.setdefault(key, []).append(nodes)
    class_of_kind: tuple[list[int], list[int]] = [], []  # of columns, of answers
    kind = np.zeros(color.size, dtype=np.intp)
    member = np.zeros(color.size, dtype=np.intp)
    for number, members in enumerate(classes.values()):
        for alike in np.stack(members, axis=1):  # one node of each member
            is_answer = alike >= columns
            if is_answer.any() != is_answer.all():
                return None
            kinds = class_of_kind[int(is_answer[0])]
            kind[alike], member[alike] = len(kinds), np.arange(len(members))
            kinds.append(number)
    hubs = np.flatnonzero(hub)
    kind[hubs] = len(class_of_kind[0]) + np.arange(hubs.size)
    return Components(
        sizes=np.array([len(members) for members in classes.values()]),
        column_kind=kind[:columns],
        column_member=member[:columns],
        column_class=np.array(class_of_kind[0] + [-1] * hubs.size, dtype=np.intp),
        answer_kind=kind[columns:],
        answer_member=member[columns:],
        answer_class=np.array(class_of_kind[1], dtype=np.intp),
    )
