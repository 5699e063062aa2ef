"""Which Spark settings of a request a profile grants, and what its sessions' settings are with them."""

import re
from collections.abc import Mapping
from difflib import get_close_matches

from sparkyard_catalog.errors import Refused
from sparkyard_catalog.profiles import Profile, Spark
from sparkyard_catalog.rules import Rule, why_unfit
from sparkyard_catalog.spelling import brief, listed
from sparkyard_catalog.standing import KEY, Standing, standing_of


def rule_for(spark: Spark, key: str) -> Rule | None:
    """The rule that opens a key to users: one for this very key, else the longest wildcard."""
    standing = standing_of(key).standing
    if standing not in (Standing.OPEN, Standing.EXACT) or not re.fullmatch(KEY, key):
        return None  # a wildcard would also fit a key with a line break in it, which ends in another setting
    if key in spark.user_conf:
        return spark.user_conf[key]
    if standing is Standing.EXACT or key in spark.conf:
        return None  # what the profile fixes, only a rule of its own opens
    wildcard = _wildcard_over(spark, key)
    return spark.user_conf[wildcard] if wildcard else None


def _wildcard_over(spark: Spark, key: str) -> str | None:
    wildcards = [name for name in spark.user_conf if name.endswith(".*") and key.startswith(name[:-1])]
    return max(wildcards, key=len, default=None)


def granted_settings(profile: Profile, asked: Mapping[str, str]) -> dict[str, str]:
    """The profile's fixed settings with the user's over them; raises Refused for the first that is not granted."""
    spark = profile.spark
    granted = dict(spark.conf)
    for key, value in asked.items():
        if not isinstance(key, str) or not isinstance(value, str):
            message = f"conf holds {brief(key)!r}: {brief(value)!r}; profile '{profile.name}' takes text for both."
            raise Refused("conf", profile.name, message, "a mapping of text to text")
        if spark.conf.get(key) == value:
            continue
        rule = rule_for(spark, key)
        if rule is None:
            raise _closed(profile, key)
        why = why_unfit(value)
        if why or not rule.grants(value):
            reason = f", because {why}" if why else ""
            refused = f"{key} '{brief(value)}' is not granted by profile '{profile.name}'{reason}"
            message = f"{refused}; it allows {rule.allowed}."
            raise Refused(key, profile.name, message, rule.allowed)
        granted[key] = value
    return granted


def _closed(profile: Profile, key: str) -> Refused:
    keys = tuple(profile.spark.user_conf)
    allowed = ", ".join(keys) or "no setting"
    choice = f"it allows {listed(keys) or 'no setting'}"
    verdict = standing_of(key)
    if key in profile.spark.conf:
        # The value may be a secret of the administrator's, so it is not part of the answer.
        message = f"{key} is fixed by profile '{profile.name}'; {choice}."
    elif not re.fullmatch(KEY, key):
        message = f"'{brief(key)}' is not a Spark setting; profile '{profile.name}' takes only such, and {choice}."
    elif verdict.standing in (Standing.CLOSED, Standing.OURS):
        message = f"{key} is not open in profile '{profile.name}' nor in any other: it {verdict.reason}; {choice}."
    elif wildcard := _wildcard_over(profile.spark, key):
        message = f"{key} is not open in profile '{profile.name}', even by {wildcard}: it {verdict.reason}; {choice}."
    else:
        near = get_close_matches(key, keys, n=1, cutoff=0.8)
        guess = f" Did you mean '{near[0]}'?" if near else ""
        message = f"{brief(key)} is not open in profile '{profile.name}'; {choice}.{guess}"
    return Refused(brief(key) or "conf", profile.name, message, allowed)
