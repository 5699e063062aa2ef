"""What is allowed in a catalog and yet likely a mistake: advice for the admin, never a reason to refuse the file."""

from collections.abc import Iterator
from pathlib import Path

from sparkyard_catalog.catalog import Catalog
from sparkyard_catalog.granted_image import image_spec
from sparkyard_catalog.references import parse


def advice(catalog: Catalog) -> Iterator[str]:
    """A sentence for each thing worth a second look."""
    used = _images_used(catalog)
    for name, image in catalog.images.items():
        if name not in used:
            yield f"images.{name}: no profile uses it"
        reference = parse(image.ref)
        if reference and reference.digest is None and reference.tag in (None, "latest"):
            yield f"images.{name}.ref: '{image.ref}' may be another image tomorrow; name a version or a digest"
    if catalog.groups is not None:
        for group in sorted(set(catalog.groups) - catalog.all_groups):
            yield f"groups.{group}: nothing below names it"
    if catalog.default_profile is None and len(catalog.profiles) > 1:
        yield "default_profile: there is none, so a Spark session that names no profile is refused to most people"


def missing_on_this_machine(catalog: Catalog) -> Iterator[str]:
    """A sentence for each image whose stand-in is not on this machine, for one that runs nothing in containers."""
    used = _images_used(catalog)
    for name, image in catalog.images.items():
        environment = image_spec(catalog, image).environment
        if name not in used:
            continue
        if environment is None:
            yield f"images.{name}: nothing stands for it on one machine; add local: {{python: ...}}"
            continue
        if not Path(environment.python).is_file():
            yield f"images.{name}.local.python: there is no {environment.python}"
        if environment.spark_home and not Path(environment.spark_home, "jars").is_dir():
            yield f"images.{name}.local.spark_home: there is no Spark in {environment.spark_home}"


def _images_used(catalog: Catalog) -> set[str]:
    return {
        name
        for profile in catalog.profiles.values()
        for name in (profile.notebook.image, *profile.spark.driver.images, *profile.spark.executor.images)
    }
