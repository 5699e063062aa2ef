"""Settings: from command line, environment and file; documented; never with a password in sight."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from sparkyard_gateway.command import read_settings
from sparkyard_gateway.config import Settings
from sparkyard_gateway.settings_reference import reference
from support.running_gateway import ROOT


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path):
    monkeypatch.delenv("SPARKYARD_GATEWAY_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)


def test_each_setting_is_documented():
    undocumented = [name for name, field in Settings.model_fields.items() if not field.description]
    assert undocumented == []
    assert (ROOT / "docs" / "gateway-settings.md").read_text() == reference()


def test_command_line_beats_environment_beats_file(monkeypatch, tmp_path):
    (tmp_path / "gateway.toml").write_text('port = 1\nhost = "127.0.0.2"\nlog_level = "debug"\n')
    monkeypatch.setenv("SPARKYARD_GATEWAY_HOST", "127.0.0.3")
    monkeypatch.setenv("SPARKYARD_GATEWAY_LOG_LEVEL", "error")
    read = read_settings(["--config", str(tmp_path / "gateway.toml"), "--log-level", "warning"])
    assert (read.port, read.host, read.log_level) == (1, "127.0.0.3", "warning")


def test_by_default_it_listens_on_this_machine_alone():
    assert Settings().host == "127.0.0.1"


def test_flags_and_lists():
    read = read_settings(["--no-drop-privileges", "--stop-drivers-on-exit", "--metrics-from", "10.0.0.0/8", "::1/128"])
    assert (read.drop_privileges, read.stop_drivers_on_exit) == (False, True)
    assert read.metrics_from == ("10.0.0.0/8", "::1/128")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port", "99999"], "port"),
        (["--identity-ttl-seconds", "3600"], "identity_ttl_seconds"),
        (["--base-path", "gateway"], "must start with a slash"),
        (["--database-url", "postgresql://u:p@h/d"], "database_password_file"),
        (["--metrics-from", "everywhere"], "metrics_from"),
        (["--config", "/nosuch.toml"], "/nosuch.toml"),
        (["--log-level", "loud"], "log_level"),
        (["--backend", "livy"], "needs livy_url"),
        (["--backend", "livy", "--livy-url", "http://emr:8998", "--host", "0.0.0.0"], "needs driver_url"),
        (["--backend", "livy", "--livy-url", "http://emr:8998", "--driver-url", "ws://gateway:8711"], "wss://"),
        (["--livy-url", "http://u:p@emr:8998"], "livy_authorization_file"),
        (["--livy-namespace", "A/B"], "livy_namespace"),
    ],
)
def test_a_wrong_setting_is_a_sentence_and_exit_code_2(arguments, said, capsys):
    with pytest.raises(SystemExit) as ended:
        read_settings(arguments)
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize("url", ["wss://gateway.example.com", "ws://127.0.0.1:1", "ws://[::1]:1", "ws://localhost:1"])
def test_tokens_reach_an_upstreams_drivers_by_tls_or_on_this_machine(url):
    assert Settings(backend="livy", livy_url="http://emr:8998", driver_url=url).driver_url == url


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_an_upstream_on_this_machine_needs_no_driver_url(host):
    assert Settings(backend="livy", livy_url="http://127.0.0.1:8998", host=host).driver_url is None


def test_an_unknown_key_in_the_file_is_refused(tmp_path, capsys):
    (tmp_path / "gateway.toml").write_text("prot = 1\n")
    with pytest.raises(SystemExit):
        read_settings(["--config", str(tmp_path / "gateway.toml")])
    assert "prot" in capsys.readouterr().err


def test_settings_do_not_change():
    with pytest.raises(ValidationError):
        Settings().port = 5  # type: ignore[misc]


def test_paths_are_derived():
    settings = Settings(base_path="/services/gateway", state_dir=Path("state"))
    assert (settings.base_path, settings.prefix) == ("/services/gateway/", "/services/gateway")
    assert settings.sessions_dir.is_absolute()
