"""Sparkmagic's configuration, made in the process when a kernel starts.

Stock Sparkmagic reads one JSON file in the home folder, and makes it and a log folder there if they are missing. We
set every key by `override_all` before it looks, so nothing is read or written, and a home may be read-only. A file
that a user may have there has no say: ~/sparkyard.toml and %%configure do.
"""

from collections.abc import Mapping
from typing import Any

import sparkmagic.utils.configuration as conf

AUTHENTICATOR = "Hub_Token"


def apply(url: str, defaults: Mapping[str, Any]) -> None:
    """Called by a kernel before any other part of Sparkmagic is used."""
    credentials = {"username": "", "password": "", "url": url, "auth": AUTHENTICATOR}
    conf.override_all(
        {
            "kernel_python_credentials": credentials,
            "kernel_scala_credentials": credentials,
            "kernel_r_credentials": credentials,
            "authenticators": {AUTHENTICATOR: "sparkyard_sparkmagic.authenticator.HubTokenAuthenticator"},
            "custom_headers": {"X-Requested-By": "sparkyard"},
            "session_configs_defaults": dict(defaults),
            "session_configs": {},
            "logging_config": {
                "version": 1,
                "disable_existing_loggers": False,
                "handlers": {"magicsHandler": {"class": "logging.NullHandler"}},
                "loggers": {"magicsLogger": {"handlers": ["magicsHandler"], "level": "WARNING", "propagate": False}},
            },
            "use_auto_viz": False,
            "coerce_dataframe": False,
            "all_errors_are_fatal": True,
            "livy_session_startup_timeout_seconds": 600,
            "livy_server_heartbeat_timeout_seconds": 0,
            "retry_policy": "configurable",
            "configurable_retry_policy_max_retries": 0,
        }
    )
