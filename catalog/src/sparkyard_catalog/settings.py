"""The keys of Spark settings as the catalog may write them: fixed in `conf`, or opened in `user_conf`."""

import re
from typing import Annotated

from pydantic import AfterValidator

from sparkyard_catalog.standing import KEY, WILDCARD, Standing, standing_of, standing_of_wildcard


def _fixed(key: str) -> str:
    if not re.fullmatch(KEY, key):
        raise ValueError(f"'{key}' is not a Spark setting; write a key such as spark.sql.shuffle.partitions")
    verdict = standing_of(key)
    if verdict.standing in (Standing.SIZE, Standing.IMAGE, Standing.OURS):
        raise ValueError(f"'{key}' can't stand here, because it {verdict.reason}")
    return key


def _opened(key: str) -> str:
    wildcard = re.fullmatch(WILDCARD, key) is not None
    if not wildcard and not re.fullmatch(KEY, key):
        raise ValueError(f"'{key}' is not a Spark setting; write a key such as spark.sql.ansi.enabled, or spark.sql.*")
    verdict = standing_of_wildcard(key) if wildcard else standing_of(key)
    if verdict.standing in (Standing.SIZE, Standing.IMAGE):
        raise ValueError(f"'{key}' needs no rule, because it {verdict.reason}")
    if verdict.standing in (Standing.CLOSED, Standing.OURS):
        raise ValueError(f"'{key}' can't be opened to users, because it {verdict.reason}")
    if wildcard and verdict.standing is Standing.EXACT:
        raise ValueError(f"'{key}' is too wide: such a setting {verdict.reason}; name each key with a rule of its own")
    return key


FixedKey = Annotated[str, AfterValidator(_fixed)]
OpenedKey = Annotated[str, AfterValidator(_opened)]
