"""The profile page's form as HTML: labelled throughout, and nothing of the catalog or the person taken for HTML."""

from html.parser import HTMLParser
from typing import cast

from sparkyard_hub.profile_page import render_form
from sparkyard_spawner import CatalogSpawnerMixin
from sparkyard_spawner.page import Card, Choice, Fact, Field, ProfilePage, Section


class Elements(HTMLParser):
    """Every element with its attributes, in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.found if tag in tags]


class SpawnerWithPage:
    """Stands for a spawner: render_form asks it for its page and for nothing else."""

    def __init__(self, page: ProfilePage) -> None:
        self._page = page

    def profile_page(self) -> ProfilePage:
        return self._page


def rendered(page: ProfilePage) -> str:
    return render_form(cast("CatalogSpawnerMixin", SpawnerWithPage(page)))


def field(kind: str, key: str, value: str, error: str = "", choices: tuple[Choice, ...] = ()) -> Field:
    return Field(
        kind=kind, name=f"large.{key}", label=key, hint="a hint", value=value, error=error, maximum=4, choices=choices
    )


def card(
    name: str, *, chosen: bool, fields: tuple[Field, ...] = (), description: str = "About it.", opened: bool = False
) -> Card:
    return Card(
        name=name,
        title=name.title(),
        description=description,
        chosen=chosen,
        facts=(Fact("Spark", "3.5"),),
        sections=(Section("Driver", fields),) if fields else (),
        opened=opened,
    )


FIELDS = (
    field(
        "image",
        "driver_image",
        "spark",
        choices=(Choice("spark", "Spark", selected=True), Choice("ml", "Learning", selected=False)),
    ),
    field("own_image", "driver_image_own", ""),
    field("number", "driver_cores", "2"),
    field("memory", "driver_memory", "64g", error="Too much."),
)


def test_every_control_has_a_label_and_its_description_exists() -> None:
    elements = Elements(
        rendered(
            ProfilePage((card("small", chosen=False), card("large", chosen=True, fields=FIELDS)), is_last_choice=False)
        )
    )

    controls = elements.all("input", "select")
    assert len(controls) == 2 + len(FIELDS)
    labelled = {label["for"] for label in elements.all("label")}
    identifiers = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    for control in controls:
        assert control["id"] in labelled
        for described in (control.get("aria-describedby") or "").split():
            assert described in identifiers
    assert elements.all("fieldset")
    assert len(elements.all("legend")) == len(elements.all("fieldset"))


def test_the_chosen_profile_has_the_focus_so_that_enter_starts_it() -> None:
    elements = Elements(
        rendered(ProfilePage((card("small", chosen=False), card("large", chosen=True)), is_last_choice=True))
    )

    (small, large) = (control for control in elements.all("input") if control["type"] == "radio")
    assert "checked" in large
    assert "autofocus" in large
    assert "checked" not in small
    assert "autofocus" not in small


def test_an_error_is_tied_to_its_field() -> None:
    page = rendered(ProfilePage((card("large", chosen=True, fields=FIELDS, opened=True),), is_last_choice=False))

    (wrong,) = (control for control in Elements(page).all("input") if control.get("aria-invalid") == "true")
    assert wrong["name"] == "large.driver_memory"
    assert wrong["value"] == "64g"
    assert "field-large-driver_memory-error" in str(wrong["aria-describedby"])
    assert "Too much." in page
    assert "open" in Elements(page).all("details")[0]


def test_nothing_is_taken_for_html() -> None:
    evil = "<script>alert(1)</script>\"'"
    page = rendered(
        ProfilePage(
            (
                card(
                    "large", chosen=True, description=evil, fields=(field("memory", "driver_memory", evil, error=evil),)
                ),
            ),
            is_last_choice=False,
            notice=evil,
        )
    )

    assert "<script" not in page
    (control,) = (control for control in Elements(page).all("input") if control["type"] == "text")
    assert control["value"] == evil


def test_a_notice_is_announced_and_a_last_choice_is_marked() -> None:
    page = rendered(ProfilePage((card("large", chosen=True),), is_last_choice=True, notice="Large is gone."))

    assert "your last choice" in page
    assert any(attributes.get("role") == "status" for attributes in Elements(page).all("div"))
    assert "Large is gone." in page
