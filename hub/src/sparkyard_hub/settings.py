"""What an operator sets for the hub, each setting documented here once.

Production and the demonstration read the same model: on Kubernetes from z2jh's ``custom.sparkyard`` mapping, on one
machine from the environment (``SPARKYARD_HUB_<NAME>``). Secrets come by file only, so that they are in no process's
environment, no argument list and no rendered chart.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, PositiveInt, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

ENVIRONMENT_PREFIX = "SPARKYARD_HUB_"

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def _address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"must look like https://host or http://127.0.0.1:8000, not {value!r}")
    if parts.query or parts.fragment or parts.username:
        raise ValueError(f"must be an address without user, query or fragment, not {value!r}")
    return value.rstrip("/")


Address = Annotated[str, AfterValidator(_address)]


class HubSettings(BaseSettings):
    """Everything an operator may set for the hub."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    public_url: Address = Field(description="The address that people type: scheme, host and port, no path.")
    catalog: Path = Field(description="The admin's catalog of profiles.")

    okta_url: Address = Field(
        description="The organisation's address at Okta, such as https://example.okta.com, "
        "or of any provider that serves Okta's paths."
    )
    okta_server: str = Field(
        "default",
        pattern=r"^[A-Za-z0-9_-]+$",
        description="Which of Okta's authorization servers signs people in: the word after /oauth2/.",
    )
    okta_client_id: str = Field(min_length=1, description="The client id of the application registered at Okta.")
    okta_client_secret_file: Path = Field(description="File with the client secret of that application.")
    okta_ca_file: Path | None = Field(
        None,
        description="File with the authorities (PEM) that the provider's certificate is checked by, where it is not "
        "from a public one.",
    )
    okta_name: str = Field("Okta", description="What people call the provider: shown where they sign in.")
    okta_scopes: tuple[str, ...] = Field(
        ("openid", "profile", "email", "groups", "offline_access"),
        description="The scopes asked for. Without offline_access people sign in anew when a token expires.",
    )
    okta_groups_claim: str = Field("groups", min_length=1, description="The claim that lists a person's groups.")
    username_claim: str = Field(
        "preferred_username", min_length=1, description="The claim that names a person; made lower case."
    )
    username_domain: str | None = Field(
        None, description="A domain to leave out of user names: example.com makes dana of dana@example.com."
    )

    allowed_groups: frozenset[str] = Field(
        description="Who may sign in: people in any of these groups. Looked at again at each refresh and each start "
        "of a server."
    )
    admin_groups: frozenset[str] = Field(
        frozenset(), description="Who administers: people in any of these groups. They may sign in as well."
    )
    contact: str = Field(
        "your Sparkyard administrator", min_length=1, description="Whom a refused person is told to ask."
    )
    auth_refresh_seconds: PositiveInt = Field(
        300, description="How often a person's groups are fetched anew while they are active."
    )
    provider_outage_seconds: int = Field(
        3600,
        ge=0,
        description="How long people who are signed in stay so, with the groups they had, while the provider does "
        "not answer.",
    )
    auth_state_key_file: Path | None = Field(
        None,
        description="File with the key, 32 bytes in hexadecimal, that encrypts people's tokens in the hub's database. "
        "Default: the environment's JUPYTERHUB_CRYPT_KEY, as z2jh sets it.",
    )

    gateway_url: Address = Field(description="The gateway's address as the hub's proxy and notebook servers reach it.")
    gateway_token_file: Path = Field(
        description="File with the token by which the gateway is known to the hub: 32 bytes or more in hexadecimal."
    )
    service_tokens_dir: Path | None = Field(
        None,
        description="Folder with the tokens of the catalog's service accounts: a file for each, called like it. "
        "Read when the hub starts; an account without a file can't be used.",
    )

    spawner: str = Field(
        "local",
        min_length=1,
        description="How notebook servers are started: local, as processes of this machine; kubernetes, as pods; or a "
        "class's full name.",
    )
    home_path: str = Field(
        "/home/jovyan",
        pattern=r"^(/[A-Za-z0-9._-]+)+$",
        description="Kubernetes: where a person's home is mounted in every notebook image.",
    )
    home_size: str = Field(
        "10Gi",
        pattern=r"^[0-9]+(\.[0-9]+)?(Mi|Gi|Ti)$",
        description="Kubernetes: the size of the volume that is made for a person's home at their first start.",
    )
    home_storage_class: str | None = Field(
        None, description="Kubernetes: the StorageClass of homes. Default: the cluster's own."
    )
    notebook_uid: int = Field(
        1000, ge=1, description="Kubernetes: the user by number that notebook servers run as, never root."
    )
    notebook_gid: int = Field(
        1000, ge=1, description="Kubernetes: their group by number, which owns what is in a home."
    )
    room_seconds: int = Field(
        120,
        ge=0,
        description="Kubernetes: how long a server waits for a node with room before its start is given up with the "
        "reason. Where the cluster says that it adds a node, it waits as long as any start may take.",
    )
    idle_timeout_seconds: int = Field(
        0,
        ge=0,
        description="After how long without use a notebook server is stopped; 0 never. Default in the chart: "
        "`jupyterhub.cull.timeout`.",
    )
    max_age_seconds: int = Field(
        0,
        ge=0,
        description="After how long a notebook server is stopped although it is used; 0 never. Default in the chart: "
        "`jupyterhub.cull.maxAge`.",
    )
    idle_warning_seconds: PositiveInt = Field(
        600, description="How long before it is stopped a server says so in JupyterLab, with a button that keeps it."
    )
    culler: Literal["hub", "deployment"] = Field(
        "deployment",
        description="Who stops those servers: the hub itself, or the deployment, as the chart's `jupyterhub.cull`.",
    )
    homes_dir: Path | None = Field(None, description="One machine: the folder of people's homes.")
    logs_dir: Path | None = Field(None, description="One machine: the folder of the notebook servers' logs.")
    examples_dir: Path | None = Field(
        None, description="One machine: a folder of notebooks of which every home gets a copy."
    )
    supervisor_pid: int = Field(
        0, ge=0, description="One machine: the process with which notebook servers end; 0 lets them outlive the hub."
    )

    proxy: Literal["traefik", "traefik-redis", "deployment"] = Field(
        "deployment",
        description="Who runs the reverse proxy: the hub itself with Traefik (one machine: traefik), or the "
        "deployment, which is Traefik in replicas that share their routes (traefik-redis) or what the chart of "
        "JupyterHub brings (deployment).",
    )
    redis_url: str | None = Field(
        None,
        description="Traefik in replicas: where the store of their routes is, such as redis://sparkyard-redis:6379.",
    )
    redis_password_file: Path | None = Field(None, description="Traefik in replicas: file with that store's password.")
    traefik_api_url: str | None = Field(
        None, description="Traefik in replicas: where one of them says which routes it has."
    )
    traefik_api_password_file: Path | None = Field(
        None, description="Traefik in replicas: file with the password for that."
    )
    state_dir: Path | None = Field(
        None, description="Folder of the hub's database, cookie secret and proxy files. Default: the deployment's own."
    )
    hub_port: int | None = Field(
        None, ge=1, le=65535, description="One machine: the loopback port of the hub behind the proxy."
    )
    proxy_api_port: int | None = Field(
        None, ge=1, le=65535, description="One machine: the loopback port on which the hub speaks to Traefik."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given over the environment; no dotenv file in the working folder has a say."""
        del settings_cls, dotenv_settings, file_secret_settings
        return (init_settings, env_settings)

    @classmethod
    def from_chart(cls, custom: Mapping[str, object]) -> Self:
        """The settings of z2jh's ``custom.sparkyard``: ``HubSettings.from_chart(get_config("custom.sparkyard"))``."""
        return cls(**custom)  # type: ignore[arg-type]

    @field_validator("allowed_groups", "admin_groups")
    @classmethod
    def _no_empty_group(cls, value: frozenset[str]) -> frozenset[str]:
        if any(not group.strip() for group in value):
            raise ValueError("must not hold an empty group")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.allowed_groups | self.admin_groups:
            raise ValueError("allowed_groups and admin_groups are both empty: nobody could sign in")
        for name, address in (("public_url", self.public_url), ("okta_url", self.okta_url)):
            parts = urlsplit(address)
            if parts.scheme != "https" and parts.hostname not in LOOPBACK:
                raise ValueError(f"{name} must be https, not {address!r}: plain http is for this machine alone")
        if self.proxy == "traefik" and not (self.state_dir and self.hub_port and self.proxy_api_port):
            raise ValueError("proxy: traefik needs state_dir, hub_port and proxy_api_port")
        replicas = ("redis_url", "redis_password_file", "traefik_api_url", "traefik_api_password_file")
        if self.proxy == "traefik-redis" and not all(getattr(self, name) for name in replicas):
            raise ValueError(f"proxy: traefik-redis needs {', '.join(replicas[:-1])} and {replicas[-1]}")
        if self.spawner == "local" and not (self.homes_dir and self.logs_dir):
            raise ValueError("spawner: local needs homes_dir and logs_dir")
        return self

    @property
    def okta(self) -> "OktaAddresses":
        """Where the provider's endpoints are."""
        return OktaAddresses(root=f"{self.okta_url}/oauth2/{self.okta_server}")

    @property
    def after_logout_url(self) -> str:
        """Where the provider sends people who signed out: register it there."""
        return f"{self.public_url}/hub/logged-out"

    @property
    def callback_url(self) -> str:
        """Where the provider sends people who signed in: register it there."""
        return f"{self.public_url}/hub/oauth_callback"


class OktaAddresses(BaseModel, frozen=True):
    """The endpoints of one of Okta's authorization servers."""

    root: str

    @property
    def authorize(self) -> str:
        """Where a sign-in begins."""
        return f"{self.root}/v1/authorize"

    @property
    def token(self) -> str:
        """Where codes and refresh tokens become access tokens."""
        return f"{self.root}/v1/token"

    @property
    def userinfo(self) -> str:
        """Where a token tells name and groups."""
        return f"{self.root}/v1/userinfo"

    @property
    def logout(self) -> str:
        """Where a session ends."""
        return f"{self.root}/v1/logout"

    @property
    def keys(self) -> str:
        """The provider's public keys."""
        return f"{self.root}/v1/keys"


def settings_table() -> str:
    """The settings as docs/operator.md lists them; a test holds the two together."""
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for name, field in HubSettings.model_fields.items():
        default = "required" if field.is_required() else _shown(field.default)
        rows.append(f"| `{name}` | {default} | {field.description} |")
    return "\n".join(rows)


def _shown(default: object) -> str:
    if default is None:
        return ""
    if isinstance(default, tuple | frozenset):
        return f"`{' '.join(sorted(default))}`" if default else "none"
    return f"`{default}`"
