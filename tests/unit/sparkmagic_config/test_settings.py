"""The notebook server's environment."""

import pytest

from sparkyard_sparkmagic.errors import ConfigurationError
from sparkyard_sparkmagic.settings import Settings

URL = {"SPARKYARD_GATEWAY_URL": "http://127.0.0.1:8711/"}


def test_the_least_environment() -> None:
    settings = Settings.from_environ({**URL, "HOME": "/home/ada"})
    assert settings.gateway_url == "http://127.0.0.1:8711"
    assert settings.public_path == "/services/gateway"
    assert str(settings.user_file) == "/home/ada/sparkyard.toml"
    assert settings.defaults == {}


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({}, "SPARKYARD_GATEWAY_URL is not set"),
        ({"SPARKYARD_GATEWAY_URL": "file:///etc/passwd"}, "must be an http or https address"),
        ({**URL, "SPARKYARD_SESSION_DEFAULTS": "{"}, "SPARKYARD_SESSION_DEFAULTS is not JSON"),
        ({**URL, "SPARKYARD_SESSION_DEFAULTS": "[]"}, "must be a JSON object"),
    ],
)
def test_a_wrong_environment_is_named(environ: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        Settings.from_environ(environ)
