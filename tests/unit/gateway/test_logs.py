"""Nothing that opens a door reaches the log."""

import pytest

from sparkyard_gateway.logs import strike_out


@pytest.mark.parametrize(
    ("event", "kept"),
    [
        ({"token": "abc"}, {"token": "***"}),
        ({"Authorization": "token abc"}, {"Authorization": "***"}),
        ({"event": "called with token 0123456789abcdef"}, {"event": "called with token ***"}),
        ({"error": "Bearer eyJhbGciOi.eyJzdWIi.sig-x_y"}, {"error": "Bearer ***"}),
        ({"event": "the token was refused", "session": 3}, {"event": "the token was refused", "session": 3}),
    ],
)
def test_struck_out(event, kept):
    assert strike_out(None, "info", dict(event)) == kept
