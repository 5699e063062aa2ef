"""Every way by which a choice reaches a spawn, in a real JupyterHub: what the catalog does not grant is refused.

No server is started here: a test that finds one started has found a hole.
"""

import html
import re
from typing import Any

import pytest

from support.running_hub import Hub

DIGEST = "@sha256:" + "a" * 64
OWN = "an image of your own under registry.example.com/science/, pinned by @sha256:..."

# What sam, a scientist with the profiles small and large, is refused; each with what the sentence must name.
UNGRANTED: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"profile": "large", "driver_memory": "64g"}, ("driver_memory '64g'", "'large'", "512m to 8g")),
    ({"profile": "large", "driver_memory": "1.5g"}, ("driver_memory '1.5g'", "'large'", "1536m")),
    ({"profile": "large", "driver_memory": "4"}, ("driver_memory '4'", "'large'", "4g")),
    ({"profile": "large", "driver_cores": "0"}, ("driver_cores '0'", "'large'", "1 to 4")),
    ({"profile": "large", "driver_cores": "-1"}, ("driver_cores", "whole number")),
    ({"profile": "large", "executors": "9"}, ("executors '9'", "'large'", "1 to 8")),
    ({"profile": "large", "executors": "99999999999999999999"}, ("executors", "whole number")),
    ({"profile": "large", "driver_image": "spark-m"}, ("driver_image 'spark-m'", "'large'", "spark, spark-ml", OWN)),
    ({"profile": "large", "executor_image": "spark-ml"}, ("executor_image 'spark-ml'", "'large'", "it allows spark")),
    (
        {"profile": "large", "driver_image": "registry.example.com/science/x:1"},
        ("not pinned by its digest", "'large'", OWN),
    ),
    (
        {"profile": "large", "driver_image": f"registry.example.com/science-evil/x{DIGEST}"},
        ("science-evil", "'large'", OWN),
    ),
    ({"profile": "large", "driver_image": f"evil.io/registry.example.com/science/x{DIGEST}"}, ("evil.io", OWN)),
    ({"profile": "small", "driver_memory": "2g"}, ("driver_memory '2g'", "'small'", "512m to 1g")),
    ({"profile": "reserved"}, ("Profile 'reserved' is not open to you", "small", "large")),
    ({"profile": "nowhere"}, ("Profile 'nowhere' is not open to you", "small", "large")),
    # KubeSpawner's ways, by which its own validation is passed.
    ({"image--unlisted-choice": "evil.io/x:1"}, ("no option 'image--unlisted-choice'", "known: ")),
    ({"image": "evil.io/x:1"}, ("no option 'image'", "known: ")),
    ({"profile": "small", "profile-option-small--image": "x"}, ("no option 'profile-option-small--image'",)),
    ({"profile": "small", "mem_limit": "64G"}, ("no option 'mem_limit'",)),
    ({"profile": "small", "cmd": "sh"}, ("no option 'cmd'",)),
]

# What only JSON can say.
ODD_JSON: list[tuple[Any, int, tuple[str, ...]]] = [
    ({"profile": ["large"]}, 403, ("profile takes one text",)),
    ({"profile": {"name": "large"}}, 403, ("profile takes one text",)),
    ({"profile": 3}, 403, ("profile takes one text",)),
    ({"profile": "large", "driver_cores": True}, 403, ("driver_cores takes one whole number",)),
    ({"profile": "large", "driver_cores": 2.5}, 403, ("driver_cores takes one whole number",)),
    ({"profile": "large", "driver_memory": ["4g"]}, 403, ("driver_memory takes one text",)),
    ({"profile": "large", "driver_memory": 4}, 403, ("driver_memory takes one text",)),
    ({"profile": "large", "conf": {"spark.jars": "x"}}, 403, ("no option 'conf'",)),
    ({"": ""}, 403, ("no option",)),
    ({"user_options": {"image": "x"}}, 403, ("no option 'image'",)),
    ({"user_options": ["image"]}, 400, ("user_options must be an object or null",)),
    (["profile"], 400, ("Body must be a JSON object",)),
]


def refusal_on(page: str) -> str:
    """The sentence above the form."""
    found = re.search(r'role="alert" id="sy-refusal"[^>]*>(.*?)</div>', page, re.DOTALL)
    assert found, page
    return html.unescape(found[1]).strip()


def nothing_started(hub: Hub, user: str) -> bool:
    return (
        hub.stopped(user) and not list((hub.folder / "logs").glob("*")) and not list((hub.folder / "users").glob("*"))
    )


@pytest.mark.parametrize(("options", "words"), UNGRANTED)
def test_the_rest_api_refuses(quiet_hub: Hub, options: dict[str, Any], words: tuple[str, ...]) -> None:
    answer = quiet_hub.api("POST", "/users/sam/server", json=options)

    assert answer.status_code == 403, answer.text
    assert all(word in answer.json()["message"] for word in words), answer.json()["message"]
    assert nothing_started(quiet_hub, "sam")


@pytest.mark.parametrize(("body", "status", "words"), ODD_JSON)
def test_the_rest_api_refuses_odd_json(quiet_hub: Hub, body: Any, status: int, words: tuple[str, ...]) -> None:
    answer = quiet_hub.api("POST", "/users/sam/server", json=body)

    assert answer.status_code == status, answer.text
    assert all(word in answer.json()["message"] for word in words), answer.json()["message"]
    assert nothing_started(quiet_hub, "sam")


@pytest.mark.parametrize(("options", "words"), UNGRANTED)
def test_the_form_refuses(quiet_hub: Hub, options: dict[str, Any], words: tuple[str, ...]) -> None:
    sam = quiet_hub.sign_in("sam")

    answer = sam.start(**options)

    assert answer.status_code == 403
    assert all(word in refusal_on(answer.text) for word in words), refusal_on(answer.text)
    assert nothing_started(quiet_hub, "sam")


@pytest.mark.parametrize("prefix", ["", "opt-"])
@pytest.mark.parametrize(("options", "words"), UNGRANTED)
def test_a_url_is_refused(quiet_hub: Hub, prefix: str, options: dict[str, Any], words: tuple[str, ...]) -> None:
    sam = quiet_hub.sign_in("sam")

    answer = sam.get("/spawn", params={f"{prefix}{key}": value for key, value in options.items()})

    assert answer.status_code == 403
    assert all(word in refusal_on(answer.text) for word in words), refusal_on(answer.text)
    assert nothing_started(quiet_hub, "sam")


def test_options_given_twice_are_refused(quiet_hub: Hub) -> None:
    sam = quiet_hub.sign_in("sam")

    answer = sam.get("/spawn", params=[("profile", "small"), ("profile", "large")])

    assert answer.status_code == 403
    assert "profile takes one text" in refusal_on(answer.text)


def test_a_file_in_the_form_is_refused(quiet_hub: Hub) -> None:
    sam = quiet_hub.sign_in("sam")

    answer = sam.start(files={"image": ("image", b"evil")}, profile="small")

    assert answer.status_code == 403
    assert "no option 'image_file'" in refusal_on(answer.text)


def test_a_field_of_another_persons_profile_is_refused(quiet_hub: Hub) -> None:
    ann = quiet_hub.sign_in("ann")

    answer = ann.start(**{"profile": "small", "large.driver_memory": "1g"})

    assert answer.status_code == 403
    assert "no option 'large.driver_memory'" in refusal_on(answer.text)


def test_a_refused_form_comes_back_as_it_was_filled_in(quiet_hub: Hub) -> None:
    sam = quiet_hub.sign_in("sam")

    page = sam.start(**{"profile": "large", "large.driver_memory": '64g"<b>', "large.executors": "3"}).text

    assert re.search(r'id="profile-large"[^>]*checked', page)
    assert re.search(r'name="large.executors"[^>]*value="3"', page)
    wrong = re.search(r'<input[^>]*name="large.driver_memory"[^>]*>', page)
    assert wrong
    assert 'value="64g&#34;&lt;b&gt;"' in wrong[0]
    assert 'aria-invalid="true"' in wrong[0]
    assert 'aria-describedby="field-large-driver_memory-error field-large-driver_memory-hint"' in wrong[0]
    assert re.search(r'id="field-large-driver_memory-error">.*?driver_memory.*?</div>', page)
    assert "<b>" not in page
    # It is shown once; the next visit starts afresh.
    assert "64g" not in sam.get("/spawn").text


def test_an_address_left_by_a_refused_form_shows_the_form(quiet_hub: Hub) -> None:
    """The form posts to /hub/spawn?_xsrf=...; loading that again is no wish for a server."""
    sam = quiet_hub.sign_in("sam")

    answer = sam.get("/spawn", params={"_xsrf": "whatever"})

    assert answer.status_code == 200
    assert "sy-refusal" not in answer.text
    assert nothing_started(quiet_hub, "sam")


def test_a_person_without_a_profile_reads_whom_to_ask(quiet_hub: Hub) -> None:
    olaf = quiet_hub.sign_in("olaf")
    sentence = (
        "You are signed in as olaf, but no profile is open to you, so no server can be started. Ask the data team"
    )

    for page in (olaf.get("/spawn"), olaf.get("/spawn", params={"profile": "small"})):
        assert page.status_code == 403
        assert sentence in html.unescape(page.text)
    for body in ({}, {"profile": "small"}, None):
        answer = quiet_hub.api("POST", "/users/olaf/server", json=body)
        assert answer.status_code == 403
        assert answer.json()["message"].startswith(sentence)
    assert nothing_started(quiet_hub, "olaf")


def test_an_admin_starts_for_another_with_the_others_profiles(quiet_hub: Hub) -> None:
    ada = quiet_hub.sign_in("ada")

    assert "profile-reserved" in ada.get("/spawn").text
    others = ada.get("/spawn/ann").text
    assert "profile-small" in others
    assert "profile-large" not in others
    assert "profile-reserved" not in others

    answer = ada.get("/spawn/ann", params={"profile": "reserved"})
    assert answer.status_code == 403
    assert refusal_on(answer.text) == "Profile 'reserved' is not open to you; yours: small."


def test_a_refused_choice_of_the_rest_api_is_not_remembered(quiet_hub: Hub) -> None:
    assert quiet_hub.api("POST", "/users/mia/server", json={"image": "evil.io/x:1"}).status_code == 403

    assert quiet_hub.server("mia").get("user_options") in (None, {})
    assert "not available any more" not in quiet_hub.sign_in("mia").get("/spawn").text


def test_a_planted_last_choice_is_refused(quiet_hub: Hub) -> None:
    """JupyterHub lets a server's stored options be set without starting it; they are judged when they are used."""
    assert (
        quiet_hub.api("PATCH", "/users/mia/server", json={"user_options": {"profile": "reserved"}}).status_code == 200
    )

    answer = quiet_hub.api("POST", "/users/mia/server")
    assert answer.status_code == 403
    assert answer.json()["message"] == "Profile 'reserved' is not open to you; yours: small, large."

    assert quiet_hub.server("mia").get("user_options") in (None, {}), "it was never granted, so it is forgotten"
    assert nothing_started(quiet_hub, "mia")


def test_a_group_lost_is_a_profile_lost(quiet_hub: Hub) -> None:
    sam = quiet_hub.sign_in("sam")
    assert "profile-large" in sam.get("/spawn").text
    try:
        quiet_hub.api("DELETE", "/groups/scientists/users", json={"users": ["sam"]})
        assert sam.get("/spawn").status_code == 403
        assert quiet_hub.api("POST", "/users/sam/server", json={"profile": "large"}).status_code == 403
    finally:
        quiet_hub.api("POST", "/groups/scientists/users", json={"users": ["sam"]})


def test_a_changed_catalog_is_in_force_at_the_next_page(quiet_hub: Hub) -> None:
    ann = quiet_hub.sign_in("ann")
    good = quiet_hub.catalog.read_text()
    try:
        quiet_hub.catalog.write_text(good.replace("title: Small", "title: Tiny"))
        assert ">Tiny</label>" in ann.get("/spawn").text
    finally:
        quiet_hub.catalog.write_text(good)
    assert ">Small</label>" in ann.get("/spawn").text


def test_a_broken_catalog_changes_nothing_and_only_admins_read_why(quiet_hub: Hub) -> None:
    ann, ada = quiet_hub.sign_in("ann"), quiet_hub.sign_in("ada")
    good = quiet_hub.catalog.read_text()
    line = 1 + good.splitlines().index("    title: Small")
    try:
        quiet_hub.catalog.write_text(good.replace("    title: Small", "    titel: Small"))
        users_page, admins_page = ann.get("/spawn").text, html.unescape(ada.get("/spawn").text)
    finally:
        quiet_hub.catalog.write_text(good)
    assert ">Small</label>" in users_page
    assert "catalog.yaml" not in users_page
    assert "The catalog file is refused" in admins_page
    assert f"catalog.yaml:{line}:5: profiles.small.titel: " in admins_page
    assert "did you mean 'title'" in admins_page
    assert "The catalog file is refused" not in ada.get("/spawn").text
