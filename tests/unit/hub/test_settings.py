"""The hub's settings: what is refused, where they come from, and that each of them is documented."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from sparkyard_hub.settings import HubSettings, settings_table

OPERATOR_GUIDE = Path(__file__).parents[3] / "docs" / "operator.md"


def test_every_setting_is_described_and_the_operators_guide_lists_them_all():
    for name, field in HubSettings.model_fields.items():
        assert field.description, f"{name} has no description"
    assert settings_table() in OPERATOR_GUIDE.read_text(encoding="utf-8"), (
        "docs/operator.md lists other settings; put there what sparkyard_hub.settings.settings_table() returns"
    )


def test_okta_addresses(settings):
    okta = settings(
        okta_url="https://example.okta.com/", okta_server="aus1", public_url="https://spark.example.com"
    ).okta
    assert (okta.authorize, okta.token, okta.userinfo, okta.logout, okta.keys) == tuple(
        f"https://example.okta.com/oauth2/aus1/v1/{word}"
        for word in ("authorize", "token", "userinfo", "logout", "keys")
    )


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"allowed_groups": set(), "admin_groups": set()}, "nobody could sign in"),
        ({"allowed_groups": {" "}}, "empty group"),
        ({"public_url": "http://spark.example.com"}, "public_url must be https"),
        ({"okta_url": "http://example.okta.com"}, "okta_url must be https"),
        ({"okta_url": "https://user:secret@example.okta.com"}, "without user, query or fragment"),
        ({"okta_url": "example.okta.com"}, "must look like https://host"),
        ({"okta_server": "a/b"}, "okta_server"),
        ({"state_dir": None}, "needs state_dir"),
        ({"homes_dir": None}, "needs homes_dir"),
        ({"allowed_group": {"x"}}, "allowed_group"),
    ],
)
def test_what_cannot_be_is_refused_with_its_name(settings, changed, complaint):
    with pytest.raises(ValidationError, match=complaint):
        settings(**changed)


def test_settings_come_from_the_environment(monkeypatch, tmp_path):
    values = {
        "PUBLIC_URL": "https://spark.example.com",
        "CATALOG": "/etc/sparkyard/catalog.yaml",
        "OKTA_URL": "https://example.okta.com",
        "OKTA_CLIENT_ID": "0oa1",
        "OKTA_CLIENT_SECRET_FILE": str(tmp_path / "secret"),
        "ALLOWED_GROUPS": '["data-science"]',
        "GATEWAY_URL": "http://gateway:8711",
        "GATEWAY_TOKEN_FILE": str(tmp_path / "token"),
        "SPAWNER": "sparkyard_spawner.LocalSpawner",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"SPARKYARD_HUB_{name}", value)
    found = HubSettings()
    assert found.allowed_groups == {"data-science"}
    assert found.proxy == "deployment"


def test_settings_come_from_the_charts_custom_mapping(tmp_path):
    found = HubSettings.from_chart(
        {
            "public_url": "https://spark.example.com",
            "catalog": "/etc/sparkyard/catalog.yaml",
            "okta_url": "https://example.okta.com",
            "okta_client_id": "0oa1",
            "okta_client_secret_file": "/etc/sparkyard/okta",
            "allowed_groups": ["data-science"],
            "gateway_url": "http://gateway:8711",
            "gateway_token_file": "/etc/sparkyard/token",
            "spawner": "sparkyard_spawner.LocalSpawner",
        }
    )
    assert found.callback_url == "https://spark.example.com/hub/oauth_callback"
    assert found.after_logout_url == "https://spark.example.com/hub/logged-out"
