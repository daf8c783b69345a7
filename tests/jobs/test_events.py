"""From pages that are newest first and may repeat, to lines of a log: each once, in order."""

from __future__ import annotations

from itertools import count as count_up
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_finetune.jobs.events import (
    LOG_CHARACTERS,
    LOG_CHARACTERS_AN_HOUR,
    MOST_CHARACTERS,
    MOST_EVENTS,
    MOST_MARKS,
    Event,
    LogVolume,
    Unseen,
)
from airflow_provider_finetune.jobs.payload import items

if TYPE_CHECKING:
    import random


def listed(*numbers: int) -> list[dict[str, object]]:
    """A page as the API answers it: event 3 happened after event 2."""
    return [{"id": f"ftevent-{n}", "created_at": 100 + n, "message": f"event {n}"} for n in numbers]


def messages(unseen: Unseen) -> list[str]:
    return [event.message for event in unseen.in_order()]


def test_a_page_that_repeats_items_shows_each_once() -> None:
    unseen = Unseen()
    assert unseen.add(listed(5, 4, 3))
    assert unseen.add(listed(3, 2, 1))
    assert messages(unseen) == [f"event {n}" for n in (1, 2, 3, 4, 5)]


def test_a_server_that_repeats_the_same_page_for_ever_is_not_asked_for_ever() -> None:
    unseen = Unseen()
    assert unseen.add(listed(2, 1))
    assert not unseen.add(listed(2, 1))


def test_an_empty_page_ends_the_asking() -> None:
    assert not Unseen().add([])


def test_only_what_is_newer_than_the_last_one_seen_is_shown_and_no_older_page_is_asked_for() -> None:
    unseen = Unseen("ftevent-3", 103)
    assert not unseen.add(listed(5, 4, 3, 2))
    assert messages(unseen) == ["event 4", "event 5"]


def test_a_last_one_that_the_server_no_longer_lists_stops_by_its_time() -> None:
    unseen = Unseen("ftevent-gone", 103)
    assert not unseen.add(listed(5, 4, 2, 1))
    assert messages(unseen) == ["event 4", "event 5"]


def test_events_of_the_same_second_as_the_last_one_seen_are_not_lost() -> None:
    page = [{"id": name, "created_at": 103, "message": name} for name in ("c", "b", "a")]
    unseen = Unseen("a", 103)
    assert not unseen.add(page)
    assert messages(unseen) == ["b", "c"]


def test_nothing_new_is_nothing_to_show() -> None:
    unseen = Unseen("ftevent-5", 105)
    assert not unseen.add(listed(5, 4))
    assert messages(unseen) == []


@given(
    count=st.integers(0, 40),
    size=st.integers(1, 15),
    overlap=st.integers(0, 3),
    seen=st.integers(0, 40),
    per_second=st.integers(1, 5),
)
def test_any_pages_give_every_unseen_event_once_and_in_order(
    count: int, size: int, overlap: int, seen: int, per_second: int
) -> None:
    seen = min(seen, count)
    happened = [{"id": f"e{n}", "created_at": 1_000 + n // per_second, "message": f"e{n}"} for n in range(count)]
    unseen = Unseen(f"e{seen - 1}", 1_000 + (seen - 1) // per_second) if seen else Unseen()
    newest_first = happened[::-1]
    at = 0
    while at < count:
        page = newest_first[max(0, at - min(overlap, size - 1)) :][:size] if at else newest_first[:size]
        if not unseen.add(page):
            break
        at = newest_first.index(page[-1]) + 1
    assert messages(unseen) == [f"e{n}" for n in range(seen, count)]


def read_again(unseen: Unseen, *pages: list[dict[str, object]]) -> list[str]:
    """Read these pages, show what is new, and return it; ``unseen`` stands behind it then."""
    reading = unseen.afresh()
    for page in pages:
        if not reading.add(page):
            break
    for event in reading.in_order():
        unseen.saw(event)
    return [event.message for event in reading.in_order()]


@given(st.permutations(range(12)), st.integers(1, 12), st.integers(1, 4))
def test_events_in_no_order_are_shown_in_order(order: list[int], size: int, per_second: int) -> None:
    made = [{"id": f"e{n}", "created_at": 1_000 + n, "message": f"e{n}"} for n in order]
    pages = [made[n : n + size] for n in range(0, 12, size)]
    unseen = Unseen()
    assert read_again(unseen, *pages) == [f"e{n}" for n in range(12)]
    later = {"id": "e12", "created_at": 2_000, "message": "e12"}
    for place in (0, len(made) // 2, len(made)):
        assert read_again(unseen.afresh(), [*made[:place], later, *made[place:]]) == ["e12"]


@given(
    seen=st.integers(0, 30), count=st.integers(0, 30), per_second=st.integers(1, 5), size=st.integers(1, 10),
    shuffle=st.randoms(), in_order=st.booleans(),
)  # fmt: skip
def test_events_whose_ids_change_with_every_call_are_shown_once(
    seen: int, count: int, per_second: int, size: int, shuffle: random.Random, in_order: bool
) -> None:
    ids = count_up()

    def listed(upto: int) -> list[list[dict[str, object]]]:
        events = [
            {"id": f"call-{next(ids)}", "created_at": 1_000 + n // per_second, "message": f"e{n}"}
            for n in reversed(range(upto))
        ]
        if not in_order:  # which only a whole list can show
            shuffle.shuffle(events)
            return [events]
        return [events[n : n + size] for n in range(0, upto, size)]

    unseen = Unseen()
    shown = read_again(unseen, *listed(seen))
    # A second that is over gets no more events.
    later = -(-seen // per_second) * per_second + count
    shown += read_again(unseen, *listed(seen))
    assert sorted(shown) == sorted(f"e{n}" for n in range(seen))
    shown += read_again(unseen, *listed(later))
    assert sorted(shown) == sorted(f"e{n}" for n in range(later))


def test_metrics_without_words_are_told_apart_by_their_step() -> None:
    page = [{"created_at": 103, "data": {"step": step, "train_loss": 0.5}} for step in (3, 2, 1)]
    unseen = Unseen()
    unseen.add([*page, *page])
    assert [event.data for event in unseen.in_order()] == [{"step": n, "train_loss": 0.5} for n in (1, 2, 3)]


def test_a_second_with_more_events_than_are_kept_is_not_shown_again_where_the_list_is_in_order() -> None:
    page = [{"id": f"e{n}", "created_at": 103, "message": f"e{n}"} for n in reversed(range(MOST_MARKS + 30))]
    unseen = Unseen()
    assert len(read_again(unseen, page)) == MOST_MARKS + 30
    assert read_again(unseen, page) == []
    assert len(unseen.marks) == MOST_MARKS


def test_a_job_that_calls_itself_cancelled_is_no_event_of_a_list() -> None:
    assert items({"id": "ftjob-1", "status": "cancelled", "data": "text"}) == []
    assert items({"data": [None, 1, "a", {"id": "e"}]}) == [{"id": "e"}]
    assert items({"jobs": [{"id": "ftjob-1"}]}) == [{"id": "ftjob-1"}]


def test_a_server_that_invents_events_for_ever_is_not_asked_for_ever() -> None:
    unseen = Unseen()
    pages = 0
    while unseen.add(listed(*range(pages * 100 + 99, pages * 100 - 1, -1))):
        pages += 1
        assert pages <= MOST_EVENTS / 100
    assert len(unseen.in_order()) == MOST_EVENTS


def test_a_key_in_a_message_is_not_shown() -> None:
    event = Event.from_api({"message": "wandb refused key sk-abcdef1234567890abcd"})
    assert "abcdef" not in event.message
    assert event.message.startswith("wandb refused")


def test_events_are_collected_up_to_so_many_characters_and_no_more() -> None:
    unseen = Unseen()
    page = [{"id": f"e{n}", "created_at": n + 1, "message": f"{n} " + "x" * 3000} for n in range(1000)]
    assert not unseen.add(page)
    assert unseen.is_full
    assert sum(len(event.message) for event in unseen.in_order()) <= MOST_CHARACTERS + 4000


def test_an_id_that_is_longer_than_any_is_none_and_its_event_is_seen_once_all_the_same() -> None:
    event = {"id": "x" * 3_000_000, "created_at": 7, "message": "once"}
    unseen = Unseen()
    unseen.add([event, event])
    (seen,) = unseen.in_order()
    unseen.saw(seen)
    again = unseen.afresh()
    again.add([event])
    assert (seen.id, again.in_order()) == ("", [])


def test_of_an_events_data_its_numbers_are_kept() -> None:
    data = {"step": 1, "loss": 0.5, "text": "x" * 1_000_000, "n" * 1000: 1, "list": [1] * 100_000}
    assert Event.from_api({"data": data}).data == {"step": 1, "loss": 0.5}
    many = Event.from_api({"data": {str(n): n for n in range(100_000)}}).data
    assert many is not None
    assert len(many) == 40


def test_a_log_takes_so_much_at_once_and_some_more_each_hour() -> None:
    volume, event = LogVolume(), Event("e", 1, 20, "x" * 900)
    taken = sum(volume.takes(event, 1.0) for _ in range(10_000))
    assert taken == LOG_CHARACTERS // 1000
    assert not volume.takes(event, 2.0)
    assert sum(volume.takes(event, 3602.0) for _ in range(10_000)) == pytest.approx(
        LOG_CHARACTERS_AN_HOUR / 1000, abs=1
    )


def test_a_training_of_ten_thousand_steps_fits_into_the_log_at_once() -> None:
    volume = LogVolume()
    assert all(
        volume.takes(Event("e", n, 20, f"Step {n}/10000: training loss=0.123456, validation loss=0.123456"), 1.0)
        for n in range(10_000)
    )
