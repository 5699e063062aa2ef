"""What is told of a statement that its driver never answered."""

import json
from collections.abc import Sequence

from sparkyard_gateway.live import LiveStatement
from sparkyard_gateway.states import StatementState


def not_run(statement: LiveStatement, reason: str, last_words: Sequence[str] = ()) -> str:
    """The output of a statement whose driver is gone: whether it ran, why there is no result, and the log's end."""
    began = statement.state is not StatementState.WAITING
    what = "The statement was running when its session ended." if began else "The statement did not run."
    output = {
        "status": "error",
        "execution_count": statement.id,
        "ename": "SessionDied" if began else "SessionNotActive",
        "evalue": f"{what} {reason}",
        "traceback": [f"{line}\n" for line in last_words] if began else [],
    }
    return json.dumps(output, ensure_ascii=False)
