"""The hub is asked about each caller, seldom, and believed no longer than was promised."""

import asyncio

import httpx
import pytest

from sparkyard_catalog import CatalogFile
from sparkyard_gateway.auth import OVERSEE, Identities, token_in
from sparkyard_gateway.errors import Forbidden, HubUnreachable, Unauthenticated
from support import hub_stand_in

from .conftest import CATALOG, admit_people, client


@pytest.fixture
def fresh_hub():
    with hub_stand_in.running() as running:
        admit_people(running)
        yield running


@pytest.fixture
def catalog(tmp_path):
    (tmp_path / "catalog.yaml").write_text(CATALOG)
    return CatalogFile(tmp_path / "catalog.yaml")


@pytest.fixture
async def identities(fresh_hub, catalog):
    async with httpx.AsyncClient(timeout=0.5) as made:
        yield Identities(made, fresh_hub.url, "gateway", ttl=0.3, size=4, catalog=catalog)


async def test_a_caller_with_groups(identities, fresh_hub):
    alice = await identities.caller("token-of-alice")
    assert (alice.name, alice.groups, alice.admin, alice.sees_all) == ("alice", frozenset({"people"}), False, False)


async def test_only_an_administrators_token_sees_all(identities):
    assert (await identities.caller("token-of-ada")).sees_all
    notebook = await identities.caller("token-of-adas-notebook")
    assert notebook.admin
    assert not notebook.sees_all


async def test_scopes_without_the_admin_flag_do_not_make_an_admin(identities, fresh_hub):
    fresh_hub.admit("t", "mallory", scopes=("access:services", "admin:users"), admin=False)
    assert not (await identities.caller("t")).sees_all


async def test_a_filtered_admin_scope_does_not_see_all(identities, fresh_hub):
    fresh_hub.admit("t", "lead", scopes=("access:services", "admin:users!group=team"), admin=True)
    assert not (await identities.caller("t")).sees_all


@pytest.mark.parametrize(
    "scope", ["access:services!service=other", "access:services!service=gateway2", "access:servers", "read:services"]
)
async def test_another_scope_is_not_ours(identities, fresh_hub, scope):
    fresh_hub.admit("t", "eve", scopes=(scope,))
    with pytest.raises(Forbidden, match="access:services!service=gateway"):
        await identities.caller("t")


async def test_a_service_that_is_no_account_of_the_catalogs_has_no_sessions(identities, fresh_hub):
    fresh_hub.admit("t", "culler", scopes=("access:services",), kind="service")
    with pytest.raises(Forbidden, match=r"'culler' of the hub is no service account .* use a person's token"):
        await identities.caller("t")


async def test_a_service_account_belongs_to_its_team_and_neither_leads_nor_administers(identities):
    # The hub calls it an admin, its token oversees, and the catalog counts it as a lead of others: none of it matters.
    etl = await identities.caller("token-of-etl")
    assert (etl.name, etl.account, etl.team, etl.groups) == ("service:etl", "etl", "crew", frozenset({"other-leads"}))
    assert (etl.admin, etl.sees_all, etl.leads) == (False, False, frozenset())


async def test_a_service_account_that_is_struck_from_the_catalog_is_refused_within_the_time(identities, catalog):
    await identities.caller("token-of-etl")
    catalog.path.write_text(CATALOG.replace("etl: {title", "load: {title"))
    await asyncio.sleep(0.35)
    with pytest.raises(Forbidden, match="no service account"):
        await identities.caller("token-of-etl")
    # What the hub said is still remembered, and yet the catalog has the last word at each request.
    catalog.path.write_text(CATALOG)
    catalog.refresh()
    assert (await identities.caller("token-of-etl")).team == "crew"


async def test_no_person_can_be_called_like_a_service_account(identities, fresh_hub):
    fresh_hub.admit("t", "service:etl", ("people",))
    with pytest.raises(Forbidden, match="Only service accounts are called"):
        await identities.caller("t")


@pytest.mark.parametrize("kind", ["group", "", None, "Service"])
async def test_what_is_neither_person_nor_service_is_refused(identities, fresh_hub, kind):
    fresh_hub.admit("t", "etl", ("people",), kind=kind)
    with pytest.raises(Forbidden, match="neither a person's nor a service's"):
        await identities.caller("t")


async def test_a_lead_leads_by_a_token_that_oversees_and_not_by_the_notebooks(identities):
    assert (await identities.caller("token-of-lee")).leads == {"crew"}
    assert (await identities.caller("token-of-lees-notebook")).leads == frozenset()
    assert (await identities.caller("token-of-olga")).leads == {"others"}


async def test_the_scope_to_oversee_gives_nothing_to_who_leads_nobody(identities, fresh_hub):
    fresh_hub.admit("t", "mallory", ("people",), scopes=("access:services", OVERSEE))
    caller = await identities.caller("t")
    assert (caller.leads, caller.sees_all) == (frozenset(), False)


async def test_an_admin_oversees_all_by_the_same_scope(identities, fresh_hub):
    fresh_hub.admit("t", "ada", scopes=("access:services", OVERSEE), admin=True)
    assert (await identities.caller("t")).sees_all


@pytest.mark.parametrize("scope", [f"{OVERSEE}!user=lee", f"{OVERSEE}!group=crew", f"{OVERSEE}2", OVERSEE.upper()])
async def test_a_filtered_or_similar_scope_does_not_oversee(identities, fresh_hub, scope):
    fresh_hub.admit("t", "lee", ("leads",), scopes=("access:services", scope))
    assert (await identities.caller("t")).leads == frozenset()


async def test_who_left_the_leads_leads_nobody_within_the_time(identities, fresh_hub, catalog):
    assert (await identities.caller("token-of-lee")).leads == {"crew"}
    fresh_hub.people["token-of-lee"]["groups"] = ["people"]
    await asyncio.sleep(0.35)
    assert (await identities.caller("token-of-lee")).leads == frozenset()
    # Or whose group leads no more.
    fresh_hub.people["token-of-lee"]["groups"] = ["leads"]
    catalog.path.write_text(CATALOG.replace("leads: [leads]", "leads: [others]"))
    await asyncio.sleep(0.35)
    assert (await identities.caller("token-of-lee")).leads == frozenset()


async def test_the_hub_is_asked_once_for_many_and_again_after_the_time(identities, fresh_hub):
    fresh_hub.delay = 0.05
    callers = await asyncio.gather(*(identities.caller("token-of-alice") for _ in range(20)))
    assert {caller.name for caller in callers} == {"alice"}
    assert fresh_hub.asked == 1
    await identities.caller("token-of-alice")
    assert fresh_hub.asked == 1
    await asyncio.sleep(0.35)
    await identities.caller("token-of-alice")
    assert fresh_hub.asked == 2


async def test_a_caller_that_hangs_up_does_not_take_the_answer_from_the_others(identities, fresh_hub):
    fresh_hub.delay = 0.1
    first = asyncio.create_task(identities.caller("token-of-alice"))
    second = asyncio.create_task(identities.caller("token-of-alice"))
    await asyncio.sleep(0.03)
    first.cancel()
    assert (await second).name == "alice"
    assert fresh_hub.asked == 1


async def test_a_revoked_token_stops_within_the_time(identities, fresh_hub):
    await identities.caller("token-of-alice")
    del fresh_hub.people["token-of-alice"]
    await identities.caller("token-of-alice")
    await asyncio.sleep(0.35)
    with pytest.raises(Unauthenticated, match="wrong, expired or revoked"):
        await identities.caller("token-of-alice")


async def test_refused_tokens_are_remembered_too_but_never_displace_the_known(identities, fresh_hub):
    identities._ttl = 60
    await identities.caller("token-of-alice")
    for number in range(50):
        with pytest.raises(Unauthenticated):
            await identities.caller(f"junk-{number}")
    asked = fresh_hub.asked
    with pytest.raises(Unauthenticated):
        await identities.caller("junk-49")
    await identities.caller("token-of-alice")
    assert fresh_hub.asked == asked
    assert len(identities._refused._entries) <= 1
    assert len(identities._accepted._entries) <= 4


@pytest.mark.parametrize("status", [500, 502, 503, 404, 429, 302])
async def test_a_hub_that_errs_is_unreachable_and_not_remembered(identities, fresh_hub, status):
    fresh_hub.status = status
    with pytest.raises(HubUnreachable):
        await identities.caller("token-of-alice")
    fresh_hub.status = None
    assert (await identities.caller("token-of-alice")).name == "alice"


async def test_a_hub_that_is_too_slow_or_gone_is_unreachable(identities, fresh_hub):
    fresh_hub.delay = 1.0
    with pytest.raises(HubUnreachable, match="cannot tell who you are"):
        await identities.caller("token-of-alice")
    async with httpx.AsyncClient() as made:
        nowhere = Identities(made, "http://127.0.0.1:9/hub/api", "gateway", ttl=1, size=4)
        with pytest.raises(HubUnreachable):
            await nowhere.caller("token-of-alice")


def test_over_http_a_hub_that_is_gone_is_a_503_with_a_sentence(start_gateway, fresh_hub):
    gateway = start_gateway("--hub-api-url", fresh_hub.url)
    with client(gateway, "token-of-alice") as alice:
        fresh_hub.status = 503
        answer = alice.get("/sessions")
        assert answer.status_code == 503
        assert "JupyterHub" in answer.json()["msg"]
        assert answer.headers["Retry-After"] == "2"
        assert alice.get("/health/live").status_code == 200


def test_no_token_is_kept_in_the_clear(identities):
    identities._accepted.put(b"k", None)  # type: ignore[arg-type]
    assert not any(b"token-of" in key for key in identities._accepted._entries)


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("token abc", "abc"),
        ("Bearer abc", "abc"),
        ("bearer abc", "abc"),
        ("TOKEN  abc ", "abc"),
        ("Basic abc", None),
        ("abc", None),
        ("token a b", None),
        ("token é", None),
        ("", None),
        (None, None),
    ],
)
def test_the_token_of_a_header(header, token):
    assert token_in(header) == token
