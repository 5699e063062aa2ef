"""The profile page: the form by which a person picks a profile.

JupyterHub asks a spawner for its form as a piece of HTML and puts it into ``spawn.html``. What the form says comes
from the spawner as plain data (``sparkyard_spawner.ProfilePage``); how it looks is in
``templates/profile_form.html``. The page works without JavaScript; ``static/profile.js`` only makes it nicer. What
administrators read there of a refused catalog comes from the spawner too (``catalog_trouble``).
"""

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from sparkyard_spawner import CatalogSpawnerMixin

_TEMPLATES = Path(__file__).parent / "templates"


@cache
def _form() -> Template:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("profile_form.html")


def render_form(spawner: CatalogSpawnerMixin) -> str:
    """The form for the person whose spawner this is: JupyterHub's ``options_form``. Raises NoProfile."""
    return _form().render(page=spawner.profile_page())
