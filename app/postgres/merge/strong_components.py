"""The strongly connected components of a directed graph, in topological order.

Source: R. Tarjan, Depth-first search and linear graph algorithms, SIAM J. Comput. 1 (1972); without recursion, because
a chain may be longer than Python's stack.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence


def strong_components(successors: Sequence[Collection[int]]) -> list[list[int]]:
    """The components, each before those that edges lead to from it.

    Args:
        successors: of each node, by its number.
    """
    search = _Search(successors)
    for node in range(len(successors)):
        if search.order[node] is None:
            search.begin(node)
    return search.components[::-1]


class _Search:
    """One depth-first search.

    Attributes:
        order: when each node was reached; None if it was not.
        components: those that are finished, in reverse topological order.
    """

    def __init__(self, successors: Sequence[Collection[int]]) -> None:
        self.order: list[int | None] = [None] * len(successors)
        self.components: list[list[int]] = []
        self._successors = successors
        self._lowest = [0] * len(successors)
        self._open: list[int] = []
        self._is_open = [False] * len(successors)
        self._reached = 0

    def begin(self, root: int) -> None:
        """Search from a node that was not reached yet."""
        path = [self._enter(root)]
        while path:
            node, rest = path[-1]
            following = next(rest, None)
            if following is None:
                path.pop()
                self._leave(node, path[-1][0] if path else None)
            elif (order := self.order[following]) is None:
                path.append(self._enter(following))
            elif self._is_open[following]:
                self._lowest[node] = min(self._lowest[node], order)

    def _enter(self, node: int) -> tuple[int, Iterator[int]]:
        self.order[node] = self._lowest[node] = self._reached
        self._reached += 1
        self._open.append(node)
        self._is_open[node] = True
        return node, iter(self._successors[node])

    def _leave(self, node: int, parent: int | None) -> None:
        if parent is not None:
            self._lowest[parent] = min(self._lowest[parent], self._lowest[node])
        if self._lowest[node] != self.order[node]:
            return
        component: list[int] = []
        while not component or component[-1] != node:
            component.append(self._open.pop())
            self._is_open[component[-1]] = False
        self.components.append(sorted(component))
