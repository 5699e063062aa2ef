"""The catalog's service accounts as services of the hub: only with a token, and with one scope."""

import tempfile
from pathlib import Path

import pytest
from jupyterhub.app import JupyterHub
from traitlets.config import Config

from sparkyard_hub.configuration import configure
from sparkyard_hub.service_accounts import configure_service_accounts
from support import uids
from support.running_gateway import ROOT

TOKEN = "0123456789abcdef" * 4


@pytest.fixture
def tokens(tmp_path):
    folder = tmp_path / "tokens"
    folder.mkdir()
    return folder


def configured(tokens, homes=None, services=()):
    c = Config()
    c.JupyterHub.services = list(services)
    c.JupyterHub.load_roles = []
    configure_service_accounts(c, ROOT / "catalog.yaml", tokens, homes)
    return c.JupyterHub


def test_an_account_with_a_token_is_a_service_with_one_scope(tokens):
    (tokens / "nightly").write_text(TOKEN + "\n")
    hub = configured(tokens)
    assert hub.services == [{"name": "nightly", "api_token": TOKEN, "display": False}]
    [role] = hub.load_roles
    assert (role["services"], role["scopes"]) == (["nightly"], ["access:services!service=gateway"])


def test_an_account_without_a_token_is_none_and_the_log_says_so(tokens, caplog):
    hub = configured(tokens)
    assert (hub.services, hub.load_roles) == ([], [])
    assert str(tokens / "nightly") in caplog.text


def test_a_file_for_an_account_that_the_catalog_lacks_makes_no_service(tokens):
    (tokens / "mallory").write_text(TOKEN)
    assert configured(tokens).services == []


@pytest.mark.parametrize(("token", "says"), [("short", "too short"), ("  \n", "empty")])
def test_a_token_that_anybody_could_guess_is_refused(tokens, token, says):
    (tokens / "nightly").write_text(token)
    with pytest.raises(ValueError, match=says):
        configured(tokens)


def test_an_account_called_like_another_service_is_refused(tokens):
    (tokens / "nightly").write_text(TOKEN)
    with pytest.raises(ValueError, match="a service 'nightly' already"):
        configured(tokens, services=[{"name": "nightly"}])


def test_the_hub_that_is_made_of_it(tokens, settings):
    (tokens / "nightly").write_text(TOKEN)
    c = Config()
    configure(c, settings(catalog=ROOT / "catalog.yaml", service_tokens_dir=tokens))
    hub = JupyterHub(config=c)
    assert [service["name"] for service in hub.services] == ["gateway", "nightly"]
    assert [role["name"] for role in hub.load_roles] == ["sparkyard-service-accounts"]
    # JupyterHub merges a configuration into itself as it starts, and takes no role twice.
    hub.update_config(c)
    assert [role["name"] for role in hub.load_roles] == ["sparkyard-service-accounts"]


def test_roles_of_the_deployments_stay(tokens, settings):
    (tokens / "nightly").write_text(TOKEN)
    for given in ("set", "appended"):
        c = Config()
        if given == "set":
            c.JupyterHub.load_roles = [{"name": "theirs"}]
        else:
            c.JupyterHub.load_roles.append({"name": "theirs"})
        configure(c, settings(catalog=ROOT / "catalog.yaml", service_tokens_dir=tokens))
        names = [role["name"] for role in JupyterHub(config=c).load_roles]
        assert names == ["theirs", "sparkyard-service-accounts"]


@pytest.mark.skipif(uids.why_not() is not None, reason=f"users have no uids of their own here: {uids.why_not()}")
def test_on_one_machine_it_has_a_home_and_a_uid_of_its_own(tokens, tmp_path_factory):
    (tokens / "nightly").write_text(TOKEN)
    homes = tmp_path_factory.mktemp("homes")
    for folder in (homes, *homes.parents):
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(0o711)
    configured(tokens, homes)
    found = (homes / "service~~nightly").stat()
    assert (found.st_mode & 0o777, found.st_uid >= 61000) == (0o700, True)
    assert [entry.name for entry in homes.iterdir()] == ["service~~nightly"]
