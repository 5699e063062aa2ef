"""What the place where something shall run cannot have, or must not show: asked after the catalog has granted it."""

from sparkyard_catalog import SessionSpec, plain_user, relative_to_home
from sparkyard_gateway.auth import Caller
from sparkyard_gateway.backends import submission
from sparkyard_gateway.config import Settings
from sparkyard_gateway.errors import RefusedByPolicy


def check_place(settings: Settings, caller: Caller, spec: SessionSpec, *, batch: bool = False) -> None:
    """Raises RefusedByPolicy, with a sentence for the caller."""
    if settings.backend == "livy":
        check_upstream(spec, caller.name, settings.livy_homes, batch=batch)
    elif settings.backend != "local" or (batch and settings.homes_dir is None):
        check_homes(spec)


def check_upstream(spec: SessionSpec, owner: str, homes: str | None, *, batch: bool) -> None:
    """For what shall run at an upstream Livy: raises RefusedByPolicy where it cannot have, or must not show, something.

    `homes` is where people's homes lie there, with {user} for whose.
    """
    if homes is None:
        check_homes(spec, "which the cluster behind the upstream Livy does not reach; put it where it does")
    elif not plain_user(owner):
        check_homes(spec, "and a user of this name has none where the upstream Livy runs batches; put it elsewhere")
    secret = submission.shown_secret(spec.conf) if batch else None
    if secret is not None:
        message = (
            f"conf has {secret}, and an upstream Livy shows a batch's settings to others. Take a profile without it, "
            "or run the same file from a session: its driver gets its settings in private."
        )
        raise RefusedByPolicy(message, key=secret, profile=spec.profile, allowed="settings that hold no secret")


def check_homes(spec: SessionSpec, why: str = "and this gateway knows none; put it elsewhere") -> None:
    """Where there are no home folders: raises RefusedByPolicy where something shall come from one."""
    named = {
        "file": (spec.file or "",),
        "jars": spec.jars,
        "pyFiles": spec.py_files,
        "files": spec.files,
        "archives": spec.archives,
    }
    for key, addresses in named.items():
        for address in addresses:
            if relative_to_home(address) is not None:
                message = f"{key} '{address}' lies in a home folder, {why}."
                raise RefusedByPolicy(message, key=key, profile=spec.profile, allowed="addresses of other kinds")
