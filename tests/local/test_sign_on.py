"""Signing in and out in a real browser, at a real OpenID provider with Okta's paths."""

import re

import httpx
from playwright.sync_api import Page, expect

from support.browser import give_name_and_password, sign_in
from support.standalone import Standalone, User


def test_a_person_signs_in_and_is_shown_the_profiles_of_their_groups(
    visitor: Page, stack: Standalone, dana: User
) -> None:
    sign_in(visitor, stack.address, dana.name, dana.password)

    expect(visitor.get_by_role("heading", name="Choose a profile")).to_be_visible()
    expect(visitor.get_by_role("radio")).to_have_count(4)
    expect(visitor.get_by_role("radio", name=re.compile("^Small"))).to_have_count(3)
    expect(visitor.get_by_role("radio", name=re.compile("^Large"))).to_be_visible()


def test_an_analyst_is_not_shown_the_profile_of_another_group(visitor: Page, stack: Standalone, ana: User) -> None:
    sign_in(visitor, stack.address, ana.name, ana.password)

    expect(visitor.get_by_role("radio")).to_have_count(3)
    expect(visitor.get_by_text("Large", exact=True)).to_have_count(0)


def test_a_wrong_password_is_refused_and_the_right_one_then_works(visitor: Page, stack: Standalone, dana: User) -> None:
    sign_in(visitor, stack.address, dana.name, "not-" + dana.password)

    expect(
        visitor.get_by_text(re.compile("login failed|wrong|incorrect|check your", re.IGNORECASE)).first
    ).to_be_visible()
    assert visitor.url.startswith(stack.provider), "still at the provider"
    assert httpx.get(f"{stack.address}/hub/api/user").status_code == 403

    visitor.get_by_label(re.compile("password", re.IGNORECASE)).first.fill(dana.password)
    visitor.keyboard.press("Enter")
    expect(visitor.get_by_role("heading", name="Choose a profile")).to_be_visible()


def test_a_person_in_no_group_reads_which_groups_would_do_and_whom_to_ask(
    visitor: Page, stack: Standalone, noor: User
) -> None:
    sign_in(visitor, stack.address, noor.name, noor.password)

    expect(visitor.get_by_role("heading", name="No access yet")).to_be_visible()
    expect(visitor.get_by_text("data-science", exact=True)).to_be_visible()
    expect(visitor.get_by_text(re.compile("Ask .* to add you"))).to_be_visible()
    assert visitor.request.get(f"{stack.address}/hub/home", max_redirects=0).status in (302, 403), "not signed in"


def test_signing_out_ends_the_providers_session_too(visitor: Page, stack: Standalone, dana: User) -> None:
    sign_in(visitor, stack.address, dana.name, dana.password)
    expect(visitor.get_by_role("heading", name="Choose a profile")).to_be_visible()

    visitor.get_by_role("button", name=re.compile("log ?out", re.IGNORECASE)).click()
    expect(visitor.get_by_text(re.compile("signed out", re.IGNORECASE)).first).to_be_visible()

    visitor.goto(stack.address)
    assert visitor.url.startswith(stack.provider), "the provider asks for name and password again"
    give_name_and_password(visitor, dana.name, dana.password)
    expect(visitor.get_by_role("heading", name="Choose a profile")).to_be_visible()
