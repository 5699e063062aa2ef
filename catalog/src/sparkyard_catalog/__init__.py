"""Sparkyard's catalog: the admin's YAML, who may use what, and exactly what they get.

Everything here is a pure function of the catalog and the person, but for `load` and `CatalogFile`, which read the file.
"""

from sparkyard_catalog.catalog import Catalog, ServiceAccount, Team
from sparkyard_catalog.errors import CatalogError, Problem, Refused
from sparkyard_catalog.granted_image import Environment, ImageSpec
from sparkyard_catalog.images import Image
from sparkyard_catalog.live import CatalogFile
from sparkyard_catalog.loading import load
from sparkyard_catalog.people import (
    SERVICE_PREFIX,
    Person,
    default_profile_for,
    may_use,
    profiles_for,
    service_person,
    team_of,
    teams_led_by,
)
from sparkyard_catalog.places import plain_user, relative_to_home
from sparkyard_catalog.profiles import Profile
from sparkyard_catalog.servers import OPTIONS, ServerSpec, resolve_server
from sparkyard_catalog.sessions import SessionSpec, resolve_session
from sparkyard_catalog.wishes import SessionChoices

__all__ = [
    "OPTIONS",
    "SERVICE_PREFIX",
    "Catalog",
    "CatalogError",
    "CatalogFile",
    "Environment",
    "Image",
    "ImageSpec",
    "Person",
    "Problem",
    "Profile",
    "Refused",
    "ServerSpec",
    "ServiceAccount",
    "SessionChoices",
    "SessionSpec",
    "Team",
    "default_profile_for",
    "load",
    "may_use",
    "plain_user",
    "profiles_for",
    "relative_to_home",
    "resolve_server",
    "resolve_session",
    "service_person",
    "team_of",
    "teams_led_by",
]
