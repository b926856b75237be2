"""Strongly connected components of a graph, in topological order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.postgres.merge.strong_components import strong_components

Graph = list[set[int]]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    nodes = draw(st.integers(0, 9))
    to = st.sets(st.integers(0, nodes - 1), max_size=3) if nodes else st.just(set())
    return [draw(to) for _ in range(nodes)]


def reached(graph: Graph, start: int) -> set[int]:
    """All nodes that a path leads to from one, and itself."""
    found = {start}
    while more := {other for node in found for other in graph[node]} - found:
        found |= more
    return found


@given(graph=graphs())
def test_nodes_that_reach_each_other_are_one_component_and_edges_lead_forward(graph: Graph) -> None:
    components = strong_components(graph)
    place = {node: number for number, component in enumerate(components) for node in component}
    assert sorted(place) == list(range(len(graph))) == sorted(node for part in components for node in part)
    for node in range(len(graph)):
        for other in range(len(graph)):
            together = other in reached(graph, node) and node in reached(graph, other)
            assert (place[node] == place[other]) == together
        assert all(place[node] <= place[other] for other in graph[node])


def test_a_long_chain_needs_no_recursion() -> None:
    assert strong_components([{node + 1} for node in range(20_000)] + [set()]) == [[node] for node in range(20_001)]
