"""Two people's Spark drivers on one machine: neither reaches the other's Spark, however close the ports are."""

import json
import socket
import ssl
from pathlib import Path

import httpx
import pytest

from sparkyard_gateway.backends.processes import listening_ports, members
from sparkyard_gateway.ui_keys import UiKeys, server_name

from .conftest import AWKWARD, Neighbours, Tenant

pytestmark = pytest.mark.spark


def python_pid(tenant: Tenant) -> int:
    return int(tenant.text("import os; print(os.getpid())"))


def ports(tenant: Tenant) -> set[int]:
    found = listening_ports(python_pid(tenant))
    assert len(found) >= 4, "Spark's RPC, block manager, UI, and Py4J"
    return found


def ui_port(tenant: Tenant) -> int:
    address = tenant.text("print(sc.uiWebUrl)")
    assert address.startswith("https://127.0.0.1:"), address
    return int(address.rpartition(":")[2])


def test_spark_works_within_its_fence(neighbours: Neighbours) -> None:
    alice = neighbours.alice
    assert alice.text("print(spark.range(1000).selectExpr('sum(id)').first()[0])") == "499500"
    # With Python workers, which are processes of their own.
    assert alice.text("print(sc.parallelize(range(10), 2).map(lambda x: x * x).sum())") == "285"
    limits = alice.text("print(open('/proc/self/limits').read())")
    assert "Max data size             unlimited" not in limits
    if neighbours.own_uids:
        assert alice.text("import os; print(os.getuid())") == "61001"
        assert neighbours.bob.text("import os; print(os.getuid())") == "61002"


def test_everything_listens_on_the_loopback_interface_alone(neighbours: Neighbours) -> None:
    mine = {f"{port:04X}" for port in ports(neighbours.alice) | ports(neighbours.bob)}
    loopback = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            address, port = fields[1].split(":")
            if fields[3] == "0A" and port in mine:
                assert address in loopback, line


def test_no_secret_is_in_a_command_line_or_an_environment(neighbours: Neighbours) -> None:
    bob = neighbours.bob
    secret = bob.text("print(sc._conf.get('spark.ssl.ui.keyStorePassword'))")
    py4j = bob.text("print(sc._gateway.gateway_parameters.auth_token)")
    assert len(secret) == 32
    assert len(py4j) >= 32
    pids = members(python_pid(bob))
    assert len(pids) >= 2, "the driver and its JVM"
    for pid in pids:
        # The command line is for everybody to read.
        shown = Path(f"/proc/{pid}/cmdline").read_text() + Path(f"/proc/{pid}/environ").read_text()
        for hidden in (secret, py4j, "token-of-bob", "t" * 64):
            assert hidden not in shown, f"{pid}: {shown}"


def test_the_neighbours_spark_ui_shows_itself_to_the_gateway_alone(neighbours: Neighbours) -> None:
    alice, bob = neighbours.alice, neighbours.bob
    port = ui_port(bob)
    probe = (
        "import http.client, ssl\n"
        "def ask(context=None, secure=True):\n"
        "    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection\n"
        f"    line = kind('127.0.0.1', {port}, timeout=20, **(dict(context=context) if secure else {{}}))\n"
        "    try:\n"
        "        line.request('GET', '/environment/')\n"
        "        return line.getresponse().status\n"
        "    except (OSError, http.client.HTTPException) as error:\n"
        "        return type(error).__name__\n"
        "open_eyed = ssl.create_default_context(); open_eyed.check_hostname = False\n"
        "open_eyed.verify_mode = ssl.CERT_NONE\n"
    )
    for attempt in ("ask(open_eyed)", "ask(secure=False)"):
        answer = alice.text(f"{probe}print({attempt})")
        assert not answer.isdecimal(), f"{attempt} was answered with {answer}"
    # Her own Spark UI's key, which she can read, is no key to Bob's.
    own = (
        "import os, tempfile\n"
        "from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12\n"
        "conf = sc.getConf()\n"
        "sealed = open(conf.get('spark.ssl.ui.keyStore'), 'rb').read()\n"
        "password = conf.get('spark.ssl.ui.keyStorePassword').encode()\n"
        "key, certificate, _ = pkcs12.load_key_and_certificates(sealed, password)\n"
        "with open('stolen.pem', 'wb') as file:\n"
        "    file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))\n"
        "    file.write(certificate.public_bytes(Encoding.PEM))\n"
        "open_eyed.load_cert_chain('stolen.pem')\n"
    )
    answer = alice.text(f"{probe}{own}print(ask(open_eyed))")
    assert not answer.isdecimal(), f"with her own key she was answered with {answer}"
    # One that only looks like the gateway's.
    with pytest.raises((ssl.SSLError, httpx.HTTPError, OSError)):
        httpx.get(f"https://127.0.0.1:{port}/environment/", verify=_forged(), timeout=20)
    # And the plain port beside it does nothing but send on to the guarded one.
    for other in ports(bob) - {port}:
        answer = _plain(other)
        assert b"spark.app.name" not in answer
        assert b" 200 " not in answer.split(b"\r\n")[0]
    # Through the gateway it shows itself to its owner and the team's lead.
    for caller, status in ((bob, 200), (neighbours.lee, 200), (alice, 404), (neighbours.olaf, 404)):
        assert caller.http.get(f"/spark-ui/{bob.session}/environment/").status_code == status


def _forged() -> ssl.SSLContext:
    context = UiKeys("another gateway's secret").context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _plain(port: int) -> bytes:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
            line.sendall(b"GET /environment/ HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            return line.recv(65536)
    except OSError:
        return b""


def test_a_gateway_does_not_take_another_sessions_ui_for_this_ones(neighbours: Neighbours) -> None:
    """Should a port change hands between a look at whose it is and the request."""
    context = UiKeys("t" * 64).context()
    port = ui_port(neighbours.bob)

    def ask(number: int) -> int:
        with httpx.Client(verify=context, timeout=20) as client:
            extensions = {"sni_hostname": server_name(number)}
            return client.get(f"https://127.0.0.1:{port}/environment/", extensions=extensions).status_code

    assert ask(neighbours.bob.session) == 200
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        ask(neighbours.alice.session)


def test_the_neighbours_jvm_takes_no_commands(neighbours: Neighbours) -> None:
    alice, bob = neighbours.alice, neighbours.bob
    port = int(bob.text("print(sc._gateway.gateway_parameters.port)"))
    attempt = (
        "import socket\n"
        "def say(*lines):\n"
        f"    with socket.create_connection(('127.0.0.1', {port}), timeout=20) as line:\n"
        "        answers = []\n"
        "        for each in lines:\n"
        "            try:\n"
        "                line.sendall(each.encode()); answers.append(line.recv(1000).decode())\n"
        "            except OSError as error:\n"
        "                answers.append(type(error).__name__)\n"
        "        return answers\n"
        "call = 'c\\nz:java.lang.System\\ngetProperty\\nsuser.name\\ne\\n'\n"
        "print(say(call), say('A\\n' + 'x' * 43 + '\\ne\\n', call))\n"
    )
    answer = alice.text(attempt)
    assert "!y" not in answer, f"the JVM obeyed: {answer}"
    assert "bob" not in answer


def test_the_neighbours_rpc_wants_sparks_own_secret(neighbours: Neighbours) -> None:
    alice, bob = neighbours.alice, neighbours.bob
    assert bob.text("print(sc.getConf().get('spark.authenticate'))") == "true"
    driver = int(bob.text("print(sc.getConf().get('spark.driver.port'))"))
    # Her own Spark's transport, with her own secret, asks Bob's for its endpoint.
    attempt = (
        "jvm = sc._jvm\n"
        "try:\n"
        "    env = jvm.org.apache.spark.SparkEnv.get().rpcEnv()\n"
        f"    address = jvm.org.apache.spark.rpc.RpcAddress('127.0.0.1', {driver})\n"
        "    print('reached', env.setupEndpointRef(address, 'HeartbeatReceiver').name())\n"
        "except Exception as error:\n"
        "    print('refused', error.java_exception.toString() if hasattr(error, 'java_exception') else error)\n"
    )
    answer = alice.text(attempt)
    assert answer.startswith("refused"), answer
    # To her own, the very same is possible: what stood in the way is the secret.
    own = alice.text("print(sc.getConf().get('spark.driver.port'))")
    assert alice.text(attempt.replace(str(driver), own)).startswith("reached")


def test_awkward_values_arrive_as_they_were_sent(neighbours: Neighbours) -> None:
    arrived = neighbours.alice.text("import json; print(json.dumps(spark.conf.get('spark.sql.note')))")
    assert json.loads(arrived) == AWKWARD
