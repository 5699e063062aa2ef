"""What is said of a start that goes on, and of one that took too long."""

import pytest

from sparkyard_gateway.starts import LAUNCHING, launched, too_late

UP = "The driver process is up; Spark is starting."
NO_NODE = "Waiting for a node that can take the driver: 0/3 nodes are available."


@pytest.mark.parametrize(("phase", "said"), [(None, UP), (LAUNCHING, UP), (NO_NODE, NO_NODE)])
def test_a_backend_that_knows_better_is_not_talked_over(phase, said):
    assert launched(phase) == said


@pytest.mark.parametrize(
    ("phase", "why"),
    [
        (None, "the log says how far it came."),
        (UP, "the log says how far it came."),
        ("The driver's pod runs; Spark is starting.", "the log says how far it came."),
        (NO_NODE, NO_NODE),
    ],
)
def test_a_start_that_took_too_long_says_what_it_waited_for(phase, why):
    assert too_late(300, phase) == f"Spark did not start within 300 s; {why}"
