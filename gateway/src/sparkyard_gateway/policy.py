"""What a person's request for a session is granted: the catalog decides, this translates to and from its words."""

import os
import re
from dataclasses import replace

from sparkyard_catalog import (
    Catalog,
    Person,
    Refused,
    SessionChoices,
    SessionSpec,
    resolve_session,
)
from sparkyard_gateway.auth import Caller
from sparkyard_gateway.errors import RefusedByPolicy, Rejected
from sparkyard_gateway.times import span_seconds
from sparkyard_gateway.wire import BatchRequest, SessionRequest, SparkRequest

_CLASS = re.compile(r"[^\W\d][\w$]*(\.[^\W\d][\w$]*)*")


def person(caller: Caller) -> Person:
    """The caller as the catalog knows people."""
    return Person(name=caller.name, groups=caller.groups, admin=caller.admin, team=caller.team)


def choices(request: SessionRequest) -> SessionChoices:
    """A request's wishes in the catalog's words. Raises Rejected for times that are none."""
    for span in (request.ttl, request.idle_timeout):
        if span is not None:
            try:
                span_seconds(span)
            except ValueError:
                raise Rejected(f"Invalid time string: {span}") from None
    return replace(_spark_choices(request), kind=request.kind, idle_timeout=request.idle_timeout, lifetime=request.ttl)


def batch_choices(request: BatchRequest) -> SessionChoices:
    """Likewise of a batch. Raises Rejected for what no profile could grant."""
    if not request.file:
        raise Rejected("requirement failed: File is required.")
    if request.class_name and not _CLASS.fullmatch(request.class_name):
        raise Rejected(f"className '{request.class_name[:100]}' is not the name of a class, such as org.example.Main")
    if any("\0" in each for each in request.args or ()):
        raise Rejected("args hold a NUL character, which no program can be given")
    return replace(_spark_choices(request), file=request.file)


def _spark_choices(request: SparkRequest) -> SessionChoices:
    return SessionChoices(
        profile=request.profile,
        driver_memory=request.driver_memory,
        driver_cores=request.driver_cores or None,
        executor_memory=request.executor_memory,
        executor_cores=request.executor_cores or None,
        executors=request.num_executors or None,
        conf=request.conf or {},
        jars=tuple(request.jars or ()),
        py_files=tuple(request.py_files or ()),
        files=tuple(request.files or ()),
        archives=tuple(request.archives or ()),
        queue=request.queue,
        proxy_user=request.proxy_user,
    )


def decide(catalog: Catalog, caller: Caller, request: SessionRequest) -> SessionSpec:
    """Exactly what this session gets. Raises Rejected or RefusedByPolicy, with a sentence for the caller."""
    return _granted(catalog, caller, choices(request))


def decide_batch(catalog: Catalog, caller: Caller, request: BatchRequest) -> SessionSpec:
    """Exactly what this batch gets. Raises likewise."""
    return _granted(catalog, caller, batch_choices(request))


def _granted(catalog: Catalog, caller: Caller, wanted: SessionChoices) -> SessionSpec:
    try:
        return resolve_session(catalog, person(caller), wanted)
    except Refused as refused:
        raise RefusedByPolicy(
            refused.message, key=refused.key, profile=refused.profile, allowed=refused.allowed
        ) from None


def local_cores(wanted: int, limit: int | None) -> int:
    """How many cores a driver uses where it is its own executor: what its executors would have, as far as there are."""
    return max(1, min(wanted, limit or os.cpu_count() or 1))


def spark_conf(spec: SessionSpec) -> dict[str, str]:
    """All of a session's Spark settings: the granted ones, and its files as Spark's own keys."""
    conf = dict(spec.conf)
    lists = {
        "spark.jars": spec.jars,
        "spark.submit.pyFiles": spec.py_files,
        "spark.files": spec.files,
        "spark.archives": spec.archives,
    }
    for key, paths in lists.items():
        if paths:
            conf[key] = ",".join([*filter(None, [conf.get(key)]), *paths])
    return conf
