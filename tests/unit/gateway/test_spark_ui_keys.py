"""Keys for Spark UIs: every gateway of one secret is let in, nobody else, and the files are the driver's alone."""

import ssl

import pytest
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID

from sparkyard_gateway.ui_keys import Authority, UiKeys, server_name


def _served(keys: UiKeys, folder, number: int):
    conf, files = keys.equip(folder, number)
    content = (folder / "ui-key.p12").read_bytes()
    key, certificate, _ = pkcs12.load_key_and_certificates(content, conf["spark.ssl.ui.keyStorePassword"].encode())
    return conf, files, key, certificate


def test_a_driver_gets_settings_and_files_that_only_it_can_read(tmp_path):
    conf, files, key, certificate = _served(UiKeys("secret"), tmp_path, 12)
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert conf["spark.ssl.ui.needClientAuth"] == conf["spark.ssl.ui.enabled"] == "true"
    assert key is not None
    assert certificate is not None
    assert certificate.subject.rfc4514_string() == f"CN={server_name(12)}"
    again, _, _, other = _served(UiKeys("secret"), tmp_path, 13)
    assert other != certificate
    assert again["spark.ssl.ui.keyStorePassword"] != conf["spark.ssl.ui.keyStorePassword"]


def test_gateways_of_one_secret_are_one_authority_and_of_another_are_not():
    def made(secret: str, name: str = "x"):
        return Authority(secret, ExtendedKeyUsageOID.SERVER_AUTH, name)

    _, leaf = made("secret").make("a")
    leaf.verify_directly_issued_by(made("secret").certificate)  # another gateway, or the same after a restart
    for stranger in (made("other"), made("secret", "y")):
        with pytest.raises(Exception, match=r"[Ii]ssuer|^$"):
            leaf.verify_directly_issued_by(stranger.certificate)


def test_without_a_secret_it_is_one_that_nobody_knows(tmp_path):
    _, _, _, one = _served(UiKeys(""), tmp_path, 1)
    _, _, _, other = _served(UiKeys(""), tmp_path, 1)
    assert one is not None
    assert other is not None
    assert one.issuer == other.issuer
    assert one.signature != other.signature


def test_a_link_in_the_place_of_a_key_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "ui-key.p12").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic links"):
        UiKeys("secret").equip(tmp_path, 1)
    assert (tmp_path / "precious").read_text() == "precious"


def test_the_gateway_asks_nobody_whom_it_did_not_equip():
    context = UiKeys("secret").context()
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    [authority] = context.get_ca_certs()
    assert authority["subject"] == ((("commonName", "spark-uis"),),)
