"""What a session's page tells of its pods: the executors that somebody may want to see, and what happened."""

from typing import Any

from sparkyard_gateway.backends.executors import Executor, State
from sparkyard_gateway.backends.pod_book import PodBook
from sparkyard_gateway.wire_pods import event_answer, executor_answer

EXECUTORS_SHOWN = 100
EVENTS_SHOWN = 100


def pod_document(book: PodBook | None) -> dict[str, Any] | None:
    """What the page shows; None of a session without pods."""
    if book is None or not (book.executors or book.events):
        return None
    found = list(book.executors.values())
    return {
        "total": len(found),
        "counts": {state: sum(each.state is state for each in found) for state in State},
        "executors": [executor_answer(each).model_dump(by_alias=True) for each in shown(found)],
        "events": [event_answer(each).model_dump(by_alias=True) for each in reversed(book.events[-EVENTS_SHOWN:])],
        "eventsTotal": len(book.events),
    }


def shown(executors: list[Executor]) -> list[Executor]:
    """Of many some: those that live, those that failed, the others; the newest of each first."""
    newest = sorted(executors, key=lambda each: each.created, reverse=True)
    failed = [each for each in newest if each.state is State.FAILED][: EXECUTORS_SHOWN // 2]
    living = [each for each in newest if not each.over][: EXECUTORS_SHOWN - len(failed)]
    others = [each for each in newest if each.state is State.ENDED][: EXECUTORS_SHOWN - len(failed) - len(living)]
    return living + failed + others
