"""From pages that are newest first and may repeat, to lines of a log: each once, in order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_finetune.jobs.events import MOST_EVENTS, Event, Unseen


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
