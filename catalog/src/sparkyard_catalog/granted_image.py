"""Images as a session or a server gets them: one of the catalog's, or one of the user's own."""

from dataclasses import dataclass

from sparkyard_catalog.catalog import Catalog
from sparkyard_catalog.errors import Refused
from sparkyard_catalog.images import Image
from sparkyard_catalog.places import expand
from sparkyard_catalog.profiles import Process, Profile
from sparkyard_catalog.references import parse
from sparkyard_catalog.spelling import brief


@dataclass(frozen=True)
class Environment:
    """What stands for an image on one machine: absolute paths, not checked to exist."""

    python: str
    spark_home: str | None = None


@dataclass(frozen=True)
class ImageSpec:
    """An image that was granted: one of the catalog's (with its name), or one of the user's own (without)."""

    name: str | None
    title: str
    ref: str
    environment: Environment | None = None

    @property
    def choice(self) -> str:
        """How a request names this image."""
        return self.name or self.ref


def image_spec(catalog: Catalog, image: Image) -> ImageSpec:
    """An image of the catalog as it is granted."""
    environment = None
    if local := image.local:
        spark_home = expand(local.spark_home, catalog.folder) if local.spark_home else None
        environment = Environment(expand(local.python, catalog.folder), spark_home)
    return ImageSpec(image.name, image.title or image.name, image.ref, environment)


def allowed_images(process: Process) -> str:
    """What a user may name as the image of a driver or an executor, as a phrase."""
    allowed = ", ".join(process.images)
    if own := process.own_images:
        pinned = ", pinned by @sha256:..." if own.digest == "required" else ""
        allowed += f", or an image of your own under {' or '.join(f'{prefix}/' for prefix in own.prefixes)}{pinned}"
    return allowed


def grant_image(catalog: Catalog, profile: Profile, process: Process, key: str, asked: str | None) -> ImageSpec:
    """The image of a driver or executor; raises Refused. `key` is how the sender wrote the choice."""
    if asked is None:
        return image_spec(catalog, catalog.images[process.image])
    for image in (catalog.images[name] for name in process.images):
        if asked in (image.name, image.ref):
            return image_spec(catalog, image)
    why = ""
    if own := process.own_images:
        reference = parse(asked) if isinstance(asked, str) else None
        if reference and any(reference.under(prefix) for prefix in own.prefixes):
            if reference.digest or own.digest == "optional":
                return ImageSpec(None, asked, asked)
            why = ", because it is not pinned by its digest"
    allowed = allowed_images(process)
    message = f"{key} '{brief(asked)}' is not granted by profile '{profile.name}'{why}; it allows {allowed}."
    raise Refused(key, profile.name, message, allowed)
