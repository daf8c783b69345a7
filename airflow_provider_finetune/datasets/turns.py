"""Calls and results: what is wrong between messages that are each right."""

from __future__ import annotations

from collections import defaultdict, deque
from itertools import islice
from typing import TYPE_CHECKING, Any

from airflow_provider_finetune.datasets.problem import ErrorKind, Fault, named

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


class Turns:
    """Follows a conversation, and knows which calls still have no result.

    A call wants its result before the next turn, as the chat API does; one that ends the conversation is what shall
    be learned, and wants none. The older ``function_call`` was never held to that.
    """

    def __init__(self) -> None:
        self._calls: set[str] = set()
        self._functions: set[str] = set()
        # The paths of calls without a result, as they are called, and by id, which may be missing: there may be many.
        self._open: dict[str, str | None] = {}
        self._open_by_id: defaultdict[str | None, deque[str]] = defaultdict(deque)
        self._has_results = False

    def copy(self) -> Turns:
        """Return the same state, to follow another continuation from here."""
        twin = Turns()
        twin._calls, twin._functions = set(self._calls), set(self._functions)
        twin._has_results = self._has_results
        twin._expect(self._open)
        return twin

    def follow(self, messages: Iterable[Any], path: str) -> Iterator[Fault]:
        """Yield what is wrong with the next messages.

        :param messages: models of messages.
        :param path: of their list.
        """
        for i, message in enumerate(messages):
            here = f"{path}[{i}]"
            match message.role:
                case "tool":
                    yield from self._result(message.tool_call_id, here)
                case "function":
                    if message.name not in self._functions:
                        yield _no_call(f"{here}.name", named(message.name), "the function of a call")
                case role:
                    yield from self._unanswered(f"before {here}")
                    if role == "assistant":
                        self._call(message, here)

    def end(self) -> Iterator[Fault]:
        """Yield what is wrong when the conversation ends here: some of several calls have a result, others none."""
        if self._has_results:
            yield from self._unanswered("although another call beside it has one")

    def _call(self, message: Any, here: str) -> None:
        calls = message.tool_calls or ()
        self._expect({f"{here}.tool_calls[{k}]": call.id for k, call in enumerate(calls)})
        self._has_results = False
        self._calls.update(call.id for call in calls if call.id is not None)
        if message.function_call:
            self._functions.add(message.function_call.name)

    def _result(self, id: str, here: str) -> Iterator[Fault]:
        if id in self._calls:
            answered = list(self._open_by_id.pop(id, ()))
        elif self._open_by_id[None]:
            # No result can name a call without an id: it is taken for the first of them.
            answered = [self._open_by_id[None].popleft()]
        else:
            yield _no_call(f"{here}.tool_call_id", named(id), "the id of a tool call")
            # It was meant for one of them: that is one mistake, not two.
            answered = list(islice(self._open, 1))
            for path in answered:
                self._open_by_id[self._open[path]].remove(path)
        for path in answered:
            del self._open[path]
        self._has_results = self._has_results or bool(answered)

    def _expect(self, calls: Mapping[str, str | None]) -> None:
        """Wait for the results of calls, and of no others.

        :param calls: their ids by their paths.
        """
        self._open = dict(calls)
        self._open_by_id.clear()
        for path, id in self._open.items():
            self._open_by_id[id].append(path)

    def _unanswered(self, where: str) -> Iterator[Fault]:
        for path in self._open:
            found = f"a call without a result {where}"
            expected = "a message of role tool with the result, directly behind the message with the call"
            yield Fault(ErrorKind.CALL_WITHOUT_RESULT, path, found, expected)
        self._expect({})


def _no_call(path: str, found: str, expected: str) -> Fault:
    return Fault(ErrorKind.RESULT_WITHOUT_CALL, path, found, f"{expected} in an assistant message before it")
