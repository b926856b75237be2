"""What holds for every plan of retention, over histories with outages, damage, pins, foreign files and wrong clocks."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.backup import Backup, Origin, Tier
from app.domain.retention import Plan, Retention, plan_retention
from tests.fix_histories import DAY, backup
from tests.tiers import examples

# A busy machine is no failure.
PROPERTY = settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.too_slow])
ALWAYS = re.compile(r"newest verified (full )?backup|pinned(: .+)?|no manifest of this service")
BY_NUMBER = re.compile(rf"({'|'.join(Tier)}) (\d+) of (\d+)")


@st.composite
def one_history(draw: st.DrawFn, tiers: tuple[Tier, ...] = tuple(Tier)) -> list[Backup]:
    """Backups of some years with gaps and outages, each id once, in any order."""
    # Around the turn of 2020, which had a week 53.
    when = draw(st.datetimes(datetime(2020, 10, 1), datetime(2021, 1, 20))).replace(tzinfo=UTC)  # noqa: DTZ001
    history: dict[str, Backup] = {}
    for _ in range(draw(st.integers(0, 35))):
        when += DAY * draw(st.sampled_from([0, 0, 1, 1, 1, 1, 2, 7, 7, 31, 120, 400]))
        made = backup(
            draw(st.sampled_from(tiers)),
            when,
            verified=draw(st.booleans()),
            problem=draw(st.sampled_from([None, None, None, "a digest differs"])),
            pinned_reason=draw(st.sampled_from([None, None, None, None, "", "before the move"])),
            origin=draw(st.sampled_from([Origin.DUMP, Origin.DUMP, Origin.DUMP, Origin.SCAN])),
            clock=draw(st.sampled_from([timedelta(0), timedelta(0), timedelta(0), 3 * DAY, -3 * DAY, 3000 * DAY])),
        )
        history[made.id] = made
    return draw(st.permutations(list(history.values())))


HISTORIES = one_history()
POLICIES = st.dictionaries(st.sampled_from(Tier), st.integers(0, 20)).map(Retention)
SMALL = st.fixed_dictionaries({tier: st.integers(0, 4) for tier in Tier}).map(Retention)


def ids(backups: Iterable[Backup]) -> set[str]:
    return {each.id for each in backups}


def by_number(plan: Plan) -> dict[Tier, set[str]]:
    """The sound periods that each tier keeps for the sake of its number."""
    found: dict[Tier, set[str]] = {tier: set() for tier in Tier}
    for each in plan.kept:
        if each.problem is None and any(BY_NUMBER.fullmatch(why) for why in plan.reasons[each.id]):
            found[each.tier].add(each.period)
    return found


def newest_verified(history: list[Backup], *, full: bool = False) -> Backup | None:
    """A full backup stands in for no plain one, nor the other way round."""
    ours = [each for each in history if each.origin is Origin.DUMP and (each.tier is Tier.FULL) is full]
    good = [each for each in ours if each.verified_at is not None and each.problem is None]
    return max(good, key=lambda each: (each.created_at, each.id), default=None)


@PROPERTY
@given(HISTORIES, POLICIES)
def test_every_backup_is_either_kept_or_pruned(history: list[Backup], policy: Retention) -> None:
    plan = plan_retention(history, policy)
    assert sorted(ids(plan.kept) | ids(plan.pruned)) == sorted(ids(history))
    assert len(plan.kept) + len(plan.pruned) == len(history)
    for stretch in (plan.kept, plan.pruned):
        assert list(stretch) == sorted(stretch, key=lambda each: (each.created_at, each.id), reverse=True)


@PROPERTY
@given(HISTORIES, POLICIES)
def test_each_kept_backup_has_a_reason_and_no_other_has(history: list[Backup], policy: Retention) -> None:
    plan = plan_retention(history, policy)
    assert set(plan.reasons) == ids(plan.kept)
    assert all(plan.reasons.values())
    assert all(why for reasons in plan.reasons.values() for why in reasons)


@PROPERTY
@given(HISTORIES, SMALL)
def test_the_newest_verified_backup_is_never_pruned(history: list[Backup], policy: Retention) -> None:
    newest = newest_verified(history)
    plan = plan_retention(history, policy)
    named = {name for name, reasons in plan.reasons.items() if "newest verified backup" in reasons}
    assert named == ({newest.id} if newest else set())
    newest = newest_verified(history, full=True)
    named = {name for name, reasons in plan.reasons.items() if "newest verified full backup" in reasons}
    assert named == ({newest.id} if newest else set())


@PROPERTY
@given(HISTORIES, SMALL)
def test_a_pinned_backup_is_never_pruned(history: list[Backup], policy: Retention) -> None:
    plan = plan_retention(history, policy)
    assert not [each for each in plan.pruned if each.pinned_reason is not None]
    for each in plan.kept:
        wanted = (
            None if each.pinned_reason is None else f"pinned: {each.pinned_reason}" if each.pinned_reason else "pinned"
        )
        assert [why for why in plan.reasons[each.id] if why.startswith("pinned")] == ([wanted] if wanted else [])


@PROPERTY
@given(HISTORIES, SMALL)
def test_a_file_that_the_service_did_not_make_is_never_pruned_and_takes_no_place(
    history: list[Backup], policy: Retention
) -> None:
    plan = plan_retention(history, policy)
    assert not [each for each in plan.pruned if each.origin is Origin.SCAN]
    for each in plan.kept:
        assert ("no manifest of this service" in plan.reasons[each.id]) == (each.origin is Origin.SCAN)
    own = [each for each in history if each.origin is not Origin.SCAN]
    assert by_number(plan) == by_number(plan_retention(own, policy))


@PROPERTY
@given(HISTORIES, POLICIES)
def test_each_tier_keeps_its_newest_periods_that_have_a_sound_backup(history: list[Backup], policy: Retention) -> None:
    kept = by_number(plan_retention(history, policy))
    for tier in Tier:
        own = [each for each in history if each.tier is tier and each.origin is Origin.DUMP]
        # By what the backups show, not by their names: a clock that was wrong for a week must not cost the next one.
        newest_first = sorted(own, key=lambda each: (each.created_at, each.id), reverse=True)
        sound = list(dict.fromkeys(each.period for each in newest_first if each.problem is None))
        assert kept[tier] == set(sound[: policy.keep.get(tier, 0)])


@PROPERTY
@given(HISTORIES, POLICIES)
def test_places_are_numbered_from_the_newest_on(history: list[Backup], policy: Retention) -> None:
    plan = plan_retention(history, policy)
    for tier, limit in policy.keep.items():
        places: dict[str, int] = {}
        for each in plan.kept:
            for why in plan.reasons[each.id]:
                if each.tier is tier and (found := BY_NUMBER.fullmatch(why)):
                    assert (found[1], int(found[3])) == (tier.value, limit)
                    places.setdefault(each.period, int(found[2]))
        # What is kept stands newest first, by what it shows: a clock that jumped puts names out of order.
        assert list(places.values()) == list(range(1, len(places) + 1))


@PROPERTY
@given(HISTORIES, SMALL)
def test_damaged_backups_never_count(history: list[Backup], policy: Retention) -> None:
    sound = [each for each in history if each.problem is None]
    assert ids(plan_retention(sound, policy).kept) == ids(plan_retention(history, policy).kept) & ids(sound)


@PROPERTY
@given(HISTORIES, SMALL, st.sampled_from(Tier))
def test_zero_switches_a_tier_off(history: list[Backup], policy: Retention, off: Tier) -> None:
    plan = plan_retention(history, Retention({**policy.keep, off: 0}))
    for each in plan.kept:
        if each.tier is off:
            assert all(ALWAYS.fullmatch(why) for why in plan.reasons[each.id])
    for each in plan.pruned:
        assert each.pinned_reason is None
        assert each.origin is Origin.DUMP


@PROPERTY
@given(HISTORIES, SMALL, st.sampled_from(Tier))
def test_a_tier_without_a_number_is_not_pruned(history: list[Backup], policy: Retention, free: Tier) -> None:
    plan = plan_retention(history, Retention({tier: limit for tier, limit in policy.keep.items() if tier is not free}))
    assert not [each for each in plan.pruned if each.tier is free]


@PROPERTY
@given(HISTORIES)
def test_no_policy_prunes_nothing(history: list[Backup]) -> None:
    assert plan_retention(history, Retention({})).pruned == ()


@PROPERTY
@given(HISTORIES, SMALL)
def test_while_nothing_new_is_made_nothing_more_is_pruned(history: list[Backup], policy: Retention) -> None:
    plan = plan_retention(history, policy)
    again = plan_retention(plan.kept, policy)
    assert again.pruned == ()
    assert again.reasons == plan.reasons


@PROPERTY
@given(one_history((Tier.DAILY,)), SMALL, st.integers(-1000, 1000))
def test_how_long_ago_it_all_was_does_not_matter(history: list[Backup], policy: Retention, days: int) -> None:
    def moved(each: Backup) -> Backup:
        day = datetime.strptime(each.period, "%Y-%m-%d").replace(tzinfo=UTC) + DAY * days
        return replace(each, period=f"{day:%Y-%m-%d}", created_at=each.created_at + DAY * days)

    later = plan_retention([moved(each) for each in history], policy)
    assert later.reasons == plan_retention(history, policy).reasons


@PROPERTY
@given(HISTORIES, SMALL, st.randoms(use_true_random=False))
def test_the_order_of_the_list_does_not_matter(history: list[Backup], policy: Retention, random: Random) -> None:
    shuffled = list(history)
    random.shuffle(shuffled)
    assert plan_retention(shuffled, policy) == plan_retention(history, policy)


@PROPERTY
@given(HISTORIES, SMALL, st.sampled_from(Tier))
def test_a_higher_number_prunes_nothing_that_a_lower_one_keeps(
    history: list[Backup], policy: Retention, tier: Tier
) -> None:
    more = Retention({**policy.keep, tier: policy.keep[tier] + 1})
    assert ids(plan_retention(history, policy).kept) <= ids(plan_retention(history, more).kept)


@PROPERTY
@given(HISTORIES, SMALL, st.data())
def test_pinning_one_backup_prunes_no_other(history: list[Backup], policy: Retention, data: st.DataObject) -> None:
    if not history:
        return
    pinned = data.draw(st.sampled_from(history))
    after = [replace(each, pinned_reason="wanted") if each is pinned else each for each in history]
    assert ids(plan_retention(history, policy).kept) | {pinned.id} == ids(plan_retention(after, policy).kept)


@PROPERTY
@given(HISTORIES, SMALL, st.sampled_from(Tier))
def test_a_new_backup_costs_its_own_tier_one_period_at_most(
    history: list[Backup], policy: Retention, tier: Tier
) -> None:
    """What else may go is the one backup that was kept only for being the newest verified, and damaged ones."""
    before = plan_retention(history, policy)
    latest = datetime(2200, 1, 1, tzinfo=UTC)
    after = plan_retention([*history, backup(tier, latest)], policy)
    lost = [each for each in before.kept if each.id in ids(after.pruned) and each.problem is None]
    was_newest = [each for each in lost if before.reasons[each.id][0].startswith("newest verified")]
    assert {each.tier for each in lost if each not in was_newest} <= {tier}
    assert len({each.period for each in lost if each not in was_newest}) <= 1
    assert len(was_newest) <= 1
    for each in Tier:
        assert len(by_number(after)[each]) >= len(by_number(before)[each])


@settings(PROPERTY, max_examples=examples(20))
@given(st.integers(0, 6), st.integers(0, 60))
def test_three_years_of_daily_backups_come_down_to_the_numbers(first: int, last: int) -> None:
    days = [datetime(2023, 1, 1, 2, tzinfo=UTC) + DAY * number for number in range(first, 3 * 365 - last)]
    history = [backup(Tier.DAILY, day) for day in days]
    history += {each.id: each for day in days for each in [backup(Tier.WEEKLY, day)]}.values()
    history += {each.id: each for day in days for each in [backup(Tier.MONTHLY, day)]}.values()
    kept = plan_retention(history, Retention({Tier.DAILY: 7, Tier.WEEKLY: 4, Tier.MONTHLY: 12})).kept
    assert [sum(each.tier is tier for each in kept) for tier in Tier] == [7, 4, 12, 0, 0, 0]
