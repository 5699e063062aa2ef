"""What the catalog means for a spawner, whichever kind starts the server: who may have what, in one place.

A choice reaches a spawn by five ways: the form, a URL's query, the REST API's body, what JupyterHub remembers of
the last spawn, and nothing at all. Only the first two pass ``options_from_form``; the others arrive in
``user_options`` as they are. So every way ends in ``grant()``, which is called as the spawn begins (JupyterHub's
``apply_user_options``) and again when the server is started. Whatever ``grant()`` did not return is not used.

JupyterHub writes a REST choice down as "the last one" before anyone has judged it. A refused one is therefore put
back to the last that was granted.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from traitlets import Integer, Unicode, default
from traitlets.config import LoggingConfigurable

from sparkyard_catalog import CatalogError, CatalogFile, Person, Refused, ServerSpec, profiles_for, resolve_server
from sparkyard_spawner.choices import options_from_fields
from sparkyard_spawner.page import CatalogTrouble, ProfilePage, defaults, profile_page
from sparkyard_spawner.refusal import FormWanted, NoProfile, ServerRefused, StartFailed


@cache
def catalog_file(path: Path) -> CatalogFile:
    """The one live view of a catalog in this process, shared by all spawners and the hub's pages."""
    return CatalogFile(path)


@dataclass(frozen=True)
class _Entered:
    """What a person sent that was refused, kept until the page has shown it again."""

    options: Mapping[str, object]
    refusal: ServerRefused


class CatalogSpawnerMixin(LoggingConfigurable):
    """Makes any JupyterHub spawner take its choices from the catalog. Comes before the spawner among the bases.

    The spawner below it calls ``grant()`` in its ``start`` and uses the returned spec.
    """

    # What JupyterHub's Spawner has; repeated for the reader and the type checker.
    user: Any
    orm_spawner: Any
    user_options: Any
    handler: Any

    catalog_path = Unicode(help="The catalog file, read again whenever it changes.").tag(config=True)
    gateway_url = Unicode(help="Where kernels reach the gateway, without passing the proxy.").tag(config=True)
    gateway_public_path = Unicode("/services/gateway", help="The gateway's path as a browser sees it.").tag(config=True)
    contact = Unicode("your administrator", help="Whom a person without a profile is told to ask.").tag(config=True)
    idle_seconds = Integer(0, help="After how long without use the hub stops a server; 0 never.").tag(config=True)
    max_age_seconds = Integer(0, help="After how long it does although it is used; 0 never.").tag(config=True)
    idle_warning_seconds = Integer(600, help="How long before a server says so to its user.").tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spec: ServerSpec | None = None
        self._remembered: dict[str, object] = dict(self.user_options or {})
        self._entered: _Entered | None = None

    # The catalog and the person

    @property
    def catalog(self) -> CatalogFile:
        """The live catalog, looked at again now."""
        try:
            live = catalog_file(Path(self.catalog_path))
        except CatalogError as error:
            self.log.error("The catalog is refused, and there is no earlier one:\n%s", error)  # noqa: TRY400
            raise StartFailed(
                "The catalog of profiles is refused, so no server can be started. Administrators find the reason in "
                "the hub's log, and by: sparkyard-catalog check"
            ) from None
        if live.refresh():
            self.log.info("The catalog %s was read again", self.catalog_path)
        return live

    def catalog_trouble(self) -> CatalogTrouble | None:
        """Why the catalog on disk is not the one in force, for administrators; None if it is."""
        live = self.catalog
        if live.problem is None:
            return None
        return CatalogTrouble(
            lines=tuple(str(problem) for problem in live.problem.problems),
            since=datetime.fromtimestamp(live.loaded_at, UTC),
        )

    @property
    def person(self) -> Person:
        """Who the server is for, by the groups the hub knows at this moment."""
        return Person(
            name=self.user.name,
            groups=frozenset(group.name for group in self.user.groups),
            admin=bool(self.user.admin),
        )

    # The choice

    def grant(self) -> ServerSpec:
        """What the catalog gives for the options of this spawn; ServerRefused or NoProfile where it gives nothing."""
        self.spec = None
        try:
            self.spec = self._resolve(self.user_options or {})
        except (ServerRefused, NoProfile):
            self._forget_refused()
            raise
        self._remembered = dict(self.user_options or {})
        self._entered = None
        return self.spec

    def _resolve(self, options: Mapping[str, object]) -> ServerSpec:
        catalog, person = self.catalog.catalog, self.person
        if not profiles_for(catalog, person):
            raise NoProfile(person.name, self.contact)
        try:
            return resolve_server(catalog, person, options)
        except Refused as refusal:
            raise ServerRefused(refusal.message, key=refusal.key, profile=refusal.profile) from None

    def _forget_refused(self) -> None:
        """Undo that JupyterHub already remembers what was just refused."""
        if self.orm_spawner is not None and self.user_options != self._remembered:
            self.orm_spawner.user_options = self._remembered or None
            self.user_options = dict(self._remembered)

    @default("apply_user_options")
    def _default_apply_user_options(self) -> Any:
        return _grant_as_the_spawn_begins

    @default("options_from_form")
    def _default_options_from_form(self) -> Any:
        return self._options_from_fields

    def _options_from_fields(self, form_data: Mapping[str, Sequence[object]]) -> dict[str, object]:
        profiles = {profile.name: profile for profile in profiles_for(self.catalog.catalog, self.person)}
        options = options_from_fields(form_data, tuple(profiles))
        if (profile := profiles.get(str(options.get("profile")))) is not None:
            # What equals the profile's default is not a choice: it follows the catalog when the default changes.
            options = {key: value for key, value in options.items() if defaults(profile).get(key) != value}
        try:
            self._resolve(options)
        except ServerRefused as refusal:
            self._entered = _Entered(options, refusal)
            raise
        return options

    def options_from_query(self, query_data: Mapping[str, Sequence[object]]) -> dict[str, object]:
        """The options in ``/hub/spawn?profile=...``, judged like the form's; a query without any asks for the form."""
        if not set(query_data) - {"_xsrf"}:
            raise FormWanted
        return self._options_from_fields(query_data)

    # The page

    def profile_page(self) -> ProfilePage:
        """What the profile page shows now: the person's profiles, their last choice, and what was just refused."""
        catalog, person = self.catalog.catalog, self.person
        if not profiles_for(catalog, person):
            raise NoProfile(person.name, self.contact)
        entered, self._entered = self._entered, None
        if entered is not None:
            return profile_page(catalog, person, chosen=entered.options, refusal=entered.refusal)
        remembered: Mapping[str, object] = self._remembered
        if remembered:
            try:
                self._resolve(remembered)
            except ServerRefused as refusal:
                return profile_page(catalog, person, chosen={}, outdated=refusal.message)
        return profile_page(catalog, person, chosen=remembered, is_last_choice=bool(remembered))

    # The server

    def get_env(self) -> dict[str, str]:
        """JupyterHub's variables, and what the kernels need to know of the profile and the gateway."""
        env: dict[str, str] = super().get_env()  # type: ignore[misc]
        env["SPARKYARD_GATEWAY_URL"] = self.gateway_url
        env["SPARKYARD_GATEWAY_PUBLIC_PATH"] = self.gateway_public_path
        env["SPARKYARD_IDLE_SECONDS"] = str(self.idle_seconds)
        env["SPARKYARD_MAX_AGE_SECONDS"] = str(self.max_age_seconds)
        env["SPARKYARD_IDLE_WARNING_SECONDS"] = str(self.idle_warning_seconds)
        if self.spec is not None:
            env["SPARKYARD_PROFILE"] = self.spec.profile
            env["SPARKYARD_PROFILE_TITLE"] = self.spec.profile_title
            env["SPARKYARD_SESSION_DEFAULTS"] = json.dumps(self.spec.session_defaults)
        return env

    def clear_state(self) -> None:
        """Forget the granted spec together with the server it was for."""
        super().clear_state()  # type: ignore[misc]
        self.spec = None


def _grant_as_the_spawn_begins(spawner: CatalogSpawnerMixin, _options: Mapping[str, object]) -> None:
    spawner.grant()
