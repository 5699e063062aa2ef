import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkyard_spawner.home import FIRST_UID, HomeUnavailable, folder_name, make_home, own_uids_possible
from support import uids

where_possible = pytest.mark.skipif(uids.why_not() is not None, reason=f"not possible here: {uids.why_not()}")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders to other users")


@pytest.mark.parametrize(
    "plain", ["sam", "dana.doe", "d-doe", "a--b", "a_b", "0day", "x" * 64, "dana@example.com", "dana+lab@example.com"]
)
def test_a_plain_name_is_its_own_folder(plain: str) -> None:
    assert folder_name(plain) == plain


@pytest.mark.parametrize(
    "odd",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "/etc",
        ".ssh",
        "-rf",
        "Sam",
        "a b",
        "a\nb",
        "a\0b",
        "ünal",
        "x" * 65,
        "a~b",
        "a:b",
        "@a",
    ],
)
def test_an_odd_name_gets_a_folder_of_its_own(odd: str) -> None:
    name = folder_name(odd)
    assert name != odd
    assert folder_name(name) != name, "a user who calls themselves like another's folder gets a different one"


def test_a_service_accounts_folder_is_nobody_elses_and_what_the_gateway_looks_for() -> None:
    assert folder_name("service:etl") == "service~~etl"
    for other in ("service~~etl", "service:etl ", "service", "Service:etl", "service::etl", "service:~etl"):
        assert folder_name(other) != "service~~etl"


@given(st.text(max_size=80))
def test_no_name_leaves_the_folder(user: str) -> None:
    name = folder_name(user)
    assert "/" not in name
    assert "\0" not in name
    assert name not in ("", ".", "..")
    assert not name.startswith((".", "-"))
    assert len(name) <= 64
    assert name.isascii()


@given(st.text(max_size=12), st.text(max_size=12))
def test_two_names_never_share_a_folder(one: str, other: str) -> None:
    assert (folder_name(one) == folder_name(other)) == (one == other)


def test_a_home_is_private_and_is_found_again(tmp_path: Path) -> None:
    home = make_home(tmp_path / "users", "sam", own_uids=False)
    (home.path / "work.ipynb").write_text("{}")

    assert home.uid is None
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700
    assert stat.S_IMODE(home.path.parent.stat().st_mode) == 0o711
    assert make_home(tmp_path / "users", "sam", own_uids=False) == home
    assert (home.path / "work.ipynb").read_text() == "{}"


def test_a_link_in_the_place_of_a_home_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "users").mkdir()
    (tmp_path / "users" / "sam").symlink_to("/etc")

    with pytest.raises(HomeUnavailable, match=r"users/sam is not a folder\. An administrator must move it away"):
        make_home(tmp_path / "users", "sam", own_uids=False)


@as_root
def test_each_user_has_the_next_free_uid_and_keeps_it(tmp_path: Path) -> None:
    users = tmp_path / "users"
    sam, ann = (make_home(users, name, own_uids=True) for name in ("sam", "ann"))

    assert (sam.uid, ann.uid) == (FIRST_UID, FIRST_UID + 1)
    assert sam.path.stat().st_uid == FIRST_UID
    assert sam.path.stat().st_gid == FIRST_UID
    assert make_home(users, "sam", own_uids=True) == sam

    ann.path.rmdir()
    assert make_home(users, "mia", own_uids=True).uid == FIRST_UID + 1


@as_root
def test_a_home_from_a_time_without_own_uids_is_handed_over_whole(tmp_path: Path) -> None:
    users = tmp_path / "users"
    outside = tmp_path / "outside"
    outside.write_text("")
    home = make_home(users, "sam", own_uids=False).path
    (home / "deep").mkdir()
    (home / "deep" / "work.ipynb").write_text("{}")
    (home / "link").symlink_to(outside)

    make_home(users, "sam", own_uids=True)

    assert {path.lstat().st_uid for path in (home, home / "deep", home / "deep" / "work.ipynb", home / "link")} == {
        FIRST_UID
    }
    assert outside.stat().st_uid == 0, "what a link points to stays whose it is"


@where_possible
def test_own_uids_are_possible_where_all_is_readable(open_folder: Path) -> None:
    interpreter = open_folder / "python"
    interpreter.write_text("")

    assert own_uids_possible(open_folder, [interpreter]) is None


@where_possible
def test_own_uids_are_impossible_where_something_is_closed(open_folder: Path) -> None:
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)

    assert own_uids_possible(closed, []) == f"{closed} can't be entered by other users"
    assert own_uids_possible(open_folder, [closed / "python"]) == f"{closed / 'python'} can't be read by other users"


@pytest.mark.skipif(os.geteuid() == 0, reason="is about everybody but root")
def test_only_root_can_give_own_uids(tmp_path: Path) -> None:
    reason = own_uids_possible(tmp_path, [])
    assert reason is not None
    assert "only root can start processes as somebody else" in reason
