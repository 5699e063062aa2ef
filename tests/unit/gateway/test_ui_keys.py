"""The gateway and a UI know each other by their keys, and nobody else is let in or taken for one of them."""

import re
import socket
import ssl
import subprocess
import threading

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12

from sparkyard_gateway.backends.ui_keys import UiKeys


class Ui(threading.Thread):
    """A TLS server with the stores that a UI is given, which answers one word to whom it lets in."""

    def __init__(self, folder, conf) -> None:
        super().__init__(daemon=True)
        password = conf["keyStorePassword"].encode()
        key, certificate, _ = pkcs12.load_key_and_certificates((folder / "key.p12").read_bytes(), password)
        trusted = pkcs12.load_pkcs12((folder / "trust.p12").read_bytes(), password).additional_certs
        pem = folder / "ui.pem"
        pem.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            + certificate.public_bytes(Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(
            cadata="".join(each.certificate.public_bytes(Encoding.PEM).decode() for each in trusted)
        )
        self.context = context
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.start()

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            try:
                with self.context.wrap_socket(connection, server_side=True) as secure:
                    secure.sendall(b"welcome")
            except (ssl.SSLError, OSError):
                connection.close()


def ask(port: int, context: ssl.SSLContext) -> bytes:
    with socket.create_connection(("127.0.0.1", port)) as plain, context.wrap_socket(plain) as secure:
        return secure.recv(100)


@pytest.fixture
def ui(tmp_path):
    keys = UiKeys()
    conf, context = keys.for_ui(tmp_path)
    server = Ui(tmp_path, conf)
    yield keys, server.port, context
    server.listener.close()


def test_the_gateway_is_let_in(ui):
    _, port, context = ui
    assert ask(port, context) == b"welcome"


def test_others_are_not(ui, tmp_path):
    _, port, _ = ui
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    with pytest.raises((ssl.SSLError, ConnectionError)):
        ask(port, anybody)
    # Nor one with another key, be it the UI's own.
    anybody.load_cert_chain(tmp_path / "ui.pem")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        ask(port, anybody)


def test_nobody_is_taken_for_a_ui(ui, tmp_path):
    keys, port, _ = ui
    (tmp_path / "another").mkdir()
    _, others = keys.for_ui(tmp_path / "another")
    with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        ask(port, others)


def test_the_stores_are_private_and_java_reads_them(tmp_path):
    conf, _ = UiKeys().for_ui(tmp_path)
    assert {each.stat().st_mode & 0o777 for each in tmp_path.iterdir()} == {0o600}
    for name, entry in (("key.p12", "PrivateKeyEntry"), ("trust.p12", "trustedCertEntry")):
        listed = subprocess.run(
            ["keytool", "-list", "-keystore", str(tmp_path / name), "-storepass", conf["keyPassword"]],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert re.search(entry, listed.stdout)
