"""Whom a client of the gateway's trusts."""

import ssl

import pytest

from sparkyard_gateway.authorities import authorities_for
from support import tls


def test_the_authorities_of_a_file_hold_for_https(tmp_path):
    authority = tls.identity(tmp_path).authority
    (found,) = authorities_for("https://livy.example.com", authority).get_ca_certs(binary_form=True)
    assert ssl.DER_cert_to_PEM_cert(found).strip() == authority.read_text().strip()


@pytest.mark.parametrize("url", ["http://127.0.0.1:8081/hub/api", "http://", ""])
def test_without_tls_nobody_is_trusted(url):
    context = authorities_for(url)
    assert context.cert_store_stats()["x509_ca"] == 0
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
