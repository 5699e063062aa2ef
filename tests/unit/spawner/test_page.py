from pathlib import Path

import pytest

from sparkyard_catalog import Catalog, Person, load
from sparkyard_spawner.page import Card, Field, memory_words, profile_page
from sparkyard_spawner.refusal import ServerRefused

SAM = Person("sam", frozenset({"scientists"}))


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load(Path(__file__).parent / "catalog.yaml")


def card(cards: tuple[Card, ...], name: str) -> Card:
    (found,) = (one for one in cards if one.name == name)
    return found


def fields(of: Card) -> dict[str, Field]:
    return {field.name: field for section in of.sections for field in section.fields}


def test_a_person_sees_their_profiles_in_the_catalogs_order(catalog: Catalog) -> None:
    page = profile_page(catalog, SAM, chosen={})

    assert [one.name for one in page.cards] == ["small", "large"]
    assert [one.chosen for one in page.cards] == [True, False], "the catalog's default profile is chosen"
    assert page.notice == ""


def test_an_admin_sees_all_profiles(catalog: Catalog) -> None:
    page = profile_page(catalog, Person("ada", frozenset(), admin=True), chosen={})
    assert [one.name for one in page.cards] == ["small", "large", "reserved"]


def test_a_card_says_what_its_profile_gives(catalog: Catalog) -> None:
    small = card(profile_page(catalog, SAM, chosen={}).cards, "small")

    assert (small.title, small.description) == ("Small", "For a first look.")
    assert [(fact.label, fact.value) for fact in small.facts] == [
        ("Notebook", "JupyterLab 4, 1 CPU, 1 GiB"),
        ("Spark", "Spark 3.5"),
        ("Driver", "1 core, 1 GiB"),
        ("Executors", "1, each 1 core, 1 GiB"),
    ]


def test_a_field_is_there_only_for_what_may_be_changed(catalog: Catalog) -> None:
    cards = profile_page(catalog, Person("ada", frozenset(), admin=True), chosen={}).cards

    assert set(fields(card(cards, "small"))) == {"small.driver_memory", "small.executor_memory", "small.executors"}
    assert set(fields(card(cards, "large"))) == {
        "large.driver_image",
        "large.driver_image_own",
        "large.driver_cores",
        "large.driver_memory",
        "large.executor_memory",
        "large.executors",
    }
    cores = fields(card(cards, "large"))["large.driver_cores"]
    assert (cores.kind, cores.value, cores.minimum, cores.maximum, cores.hint) == (
        "number",
        "1",
        1,
        4,
        "1 to 4, normally 1",
    )
    image = fields(card(cards, "large"))["large.driver_image"]
    assert [(choice.value, choice.selected) for choice in image.choices] == [("spark", True), ("spark-ml", False)]
    own = fields(card(cards, "large"))["large.driver_image_own"]
    assert "under registry.example.com/science/" in own.hint
    assert "end with @sha256:" in own.hint


def test_the_last_choice_is_filled_in_and_opened(catalog: Catalog) -> None:
    chosen = {"profile": "large", "driver_memory": "4g", "driver_image": "spark-ml"}
    page = profile_page(catalog, SAM, chosen=chosen, is_last_choice=True)

    large = card(page.cards, "large")
    assert large.chosen
    assert large.opened
    assert fields(large)["large.driver_memory"].value == "4g"
    assert [choice.value for choice in fields(large)["large.driver_image"].choices if choice.selected] == ["spark-ml"]
    assert not card(page.cards, "small").opened


def test_an_own_image_is_filled_into_its_own_field(catalog: Catalog) -> None:
    image = "registry.example.com/science/x@sha256:" + "a" * 64
    large = card(profile_page(catalog, SAM, chosen={"profile": "large", "driver_image": image}).cards, "large")

    assert fields(large)["large.driver_image_own"].value == image
    assert [choice.value for choice in fields(large)["large.driver_image"].choices if choice.selected] == ["spark"]


@pytest.mark.parametrize(("image", "at"), [("evil.io/x:1", "large.driver_image_own"), ("spark", "large.driver_image")])
def test_a_refusal_of_an_image_is_shown_where_it_was_entered(catalog: Catalog, image: str, at: str) -> None:
    refusal = ServerRefused("no", key="driver_image", profile="large")
    page = profile_page(catalog, SAM, chosen={"profile": "large", "driver_image": image}, refusal=refusal)

    assert [name for name, field in fields(card(page.cards, "large")).items() if field.error] == [at]


def test_a_choice_of_a_profile_that_is_not_theirs_fills_in_nothing(catalog: Catalog) -> None:
    chosen = {"profile": "reserved", "executors": 2}
    page = profile_page(catalog, SAM, chosen=chosen, refusal=ServerRefused("no", key="profile"))

    assert [one.name for one in page.cards if one.chosen] == ["small"]
    assert fields(card(page.cards, "small"))["small.executors"].value == "1"


@pytest.mark.parametrize("junk", [["small"], {"a": 1}, None, 3])
def test_junk_that_was_remembered_does_not_break_the_page(catalog: Catalog, junk: object) -> None:
    page = profile_page(catalog, SAM, chosen={"profile": junk, "executors": junk})
    assert [one.name for one in page.cards if one.chosen] == ["small"]


@pytest.mark.parametrize(
    ("amount", "words"), [("2g", "2 GiB"), ("512m", "512 MiB"), ("1Gi", "1 GiB"), ("1t", "1 TiB"), ("1.5Gi", "1.5 GiB")]
)
def test_memory_in_words(amount: str, words: str) -> None:
    assert memory_words(amount) == words
