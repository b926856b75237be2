"""Parts that are made when they are first used: once, by whoever comes first, and not for what is known beforehand."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from app.deferred import deferred


@dataclass
class Part:
    """A part as others see it."""

    name: str = "made"
    calls: list[str] = field(default_factory=list)

    def call(self, word: str) -> int:
        self.calls.append(word)
        return len(self.calls)


class Maker:
    """Makes a part, and knows how often it was asked; `fails` times it cannot."""

    def __init__(self, fails: int = 0) -> None:
        self.made: list[Part] = []
        self.asked = 0
        self._fails = fails

    def __call__(self) -> Part:
        self.asked += 1
        if self.asked <= self._fails:
            raise OSError("not yet")
        self.made.append(Part())
        return self.made[-1]


def test_a_part_is_made_when_it_is_first_used_and_once() -> None:
    maker = Maker()
    part = deferred(maker)
    assert maker.asked == 0
    assert [part.call("one"), part.call("two"), part.name] == [1, 2, "made"]
    assert [made.calls for made in maker.made] == [["one", "two"]]


def test_what_is_known_beforehand_is_read_without_making_it() -> None:
    maker = Maker()
    part = deferred(maker, name="known", nothing=None)
    assert part.name == "known"
    assert part.nothing is None
    assert maker.asked == 0
    assert part.calls == []
    assert maker.asked == 1
    assert part.name == "known"


def test_one_that_could_not_be_made_is_made_at_the_next_use() -> None:
    maker = Maker(fails=2)
    part = deferred(maker)
    for _ in range(2):
        with pytest.raises(OSError, match="not yet"):
            part.call("lost")
    assert part.call("kept") == 1
    assert maker.made[0].calls == ["kept"]
    assert maker.asked == 3


def test_what_the_part_lacks_is_missed_as_of_the_part_itself() -> None:
    part = deferred(Maker())
    with pytest.raises(AttributeError, match="'Part' object has no attribute 'other'"):
        _ = part.other


def test_threads_that_use_it_at_the_same_time_have_the_same_part() -> None:
    maker = Maker()
    both_came = threading.Barrier(2)

    def make() -> Part:
        with pytest.raises(threading.BrokenBarrierError):
            both_came.wait(0.05)  # a second maker would meet the first one here
        return maker()

    part = deferred(make)
    with ThreadPoolExecutor(2) as pool:
        counts = sorted(pool.map(part.call, ["one", "two"]))
    assert counts == [1, 2]
    assert maker.asked == 1
