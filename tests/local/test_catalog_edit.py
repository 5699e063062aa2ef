"""An admin edits the catalog while everything runs."""

import re

from playwright.sync_api import Browser, Page, expect

from support.browser import new_page, sign_in
from support.standalone import Standalone, User


def test_an_edit_appears_without_a_restart_and_a_broken_one_is_refused(
    visitor: Page, browser: Browser, stack: Standalone, ana: User, ada: User
) -> None:
    good = stack.catalog.read_text()
    sign_in(visitor, stack.address, ana.name, ana.password)
    visitor.wait_for_url("**/hub/spawn**")
    try:
        stack.catalog.write_text(good.replace("    title: Small\n", "    title: Compact\n", 1))
        visitor.goto(f"{stack.address}/hub/spawn")
        expect(visitor.get_by_role("radio", name=re.compile("^Compact"))).to_be_visible()

        stack.catalog.write_text(good.replace("default_profile: small", "default_profile: smal"))
        visitor.goto(f"{stack.address}/hub/spawn")
        expect(visitor.get_by_role("radio", name=re.compile("^Compact"))).to_be_visible()  # the last good one
        expect(visitor.get_by_text("catalog file is refused")).to_have_count(0)

        admin = new_page(browser)
        sign_in(admin, stack.address, ada.name, ada.password)
        admin.wait_for_url("**/hub/spawn**")
        expect(admin.get_by_text("catalog file is refused")).to_be_visible()
        expect(admin.get_by_text(re.compile(r"catalog\.yaml:\d+.*did you mean.*small", re.IGNORECASE))).to_be_visible()
        admin.context.close()
    finally:
        stack.catalog.write_text(good)
    visitor.goto(f"{stack.address}/hub/spawn")
    expect(visitor.get_by_role("radio", name=re.compile("^Small"))).to_have_count(3)


def test_an_option_in_the_address_that_is_not_granted_is_refused(visitor: Page, stack: Standalone, ana: User) -> None:
    sign_in(visitor, stack.address, ana.name, ana.password)
    expect(visitor.get_by_role("heading", name="Choose a profile")).to_be_visible()

    answer = visitor.goto(f"{stack.address}/hub/spawn?profile=large")

    assert answer is not None
    assert answer.status == 403
    expect(visitor.get_by_text(re.compile("large", re.IGNORECASE)).first).to_be_visible()
