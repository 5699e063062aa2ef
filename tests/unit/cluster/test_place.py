"""Names and addresses of clusters that run side by side."""

from pathlib import Path

import pytest

from support.cluster.place import BLOCKS, Addresses, Place, free_block, name_of


def test_a_clone_has_a_cluster_of_its_own_and_a_name_chooses_another() -> None:
    assert name_of(Path("/one"), "") == name_of(Path("/one"), "") != name_of(Path("/two"), "")
    assert name_of(Path("/one"), "mine") == "mine"
    with pytest.raises(SystemExit, match="small letters and digits"):
        name_of(Path("/one"), "../elsewhere")


def test_the_host_s_link_has_a_name_that_the_kernel_takes() -> None:
    assert all(len(Place(name).link) <= 15 for name in (name_of(Path("/one"), ""), "a" * 10))


def test_a_block_that_the_machine_has_a_route_for_is_left_alone() -> None:
    free = free_block("a", ["default", "192.0.2.0/24"])
    assert free_block("a", ["default", f"10.{free}.3.0/24"]) != free
    with pytest.raises(SystemExit, match="has a route on this machine"):
        free_block("a", ["10.0.0.0/8"])


def test_every_address_is_in_the_cluster_s_block() -> None:
    addresses = Addresses(BLOCKS[0])
    every = (addresses.node, addresses.host, addresses.pods, addresses.pods_gateway, addresses.services, addresses.dns)
    assert all(each.startswith(f"10.{BLOCKS[0]}.") for each in every)
