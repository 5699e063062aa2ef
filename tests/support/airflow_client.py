"""Airflow's Livy provider at its work, run by the interpreter of its own environment (requirements/clients/airflow.in).

Standard input: one JSON object with the tasks, each the arguments of a LivyOperator. Standard output: its log,
a batch's log among it, and as its last line one JSON object with what became of each. It is a stock client.
"""

import json
import sys

from airflow.providers.apache.livy.hooks.livy import LivyHook
from airflow.providers.apache.livy.operators.livy import LivyOperator


class TaskInstance:
    """As much of Airflow's as the operator asks for: it leaves the application's id there."""

    def __init__(self) -> None:
        self.pushed: dict[str, object] = {}

    def xcom_push(self, key: str, value: object) -> None:
        self.pushed[key] = value


def perform(number: int, arguments: dict[str, object]) -> dict[str, object]:
    """Execute one operator as a worker would."""
    kill = arguments.pop("then_kill", False)
    instance = TaskInstance()
    operator = LivyOperator(task_id=f"task-{number}", durable=False, **arguments)
    told: dict[str, object] = {"outcome": "success"}
    try:
        operator.execute({"ti": instance})
        if kill:
            operator.on_kill()
    except Exception as error:  # noqa: BLE001 - what a task ends with is what is asked
        told["outcome"] = f"{type(error).__name__}: {error}"
    return {**told, "batch": operator._batch_id, "app_id": instance.pushed.get("app_id")}


def main() -> None:
    asked = json.load(sys.stdin)
    done = [perform(number, task) for number, task in enumerate(asked["tasks"])]
    state = LivyHook(extra_headers=asked["headers"]).get_batch_state(done[0]["batch"])
    sys.stdout.write("\n" + json.dumps({"done": done, "state": state.value}) + "\n")


if __name__ == "__main__":
    main()
