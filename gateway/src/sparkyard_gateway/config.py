"""The gateway's settings: each documented here once, read from the environment, a file and the command line.

Order of precedence: command line, environment (``SPARKYARD_GATEWAY_<NAME>``), the TOML file given by ``--config``
or ``SPARKYARD_GATEWAY_CONFIG``, the defaults below. Secrets come by file only, so that no other process can read
them in this one's environment or arguments.

What the hub must grant: the gateway asks the hub about each caller with the *caller's* token
(``GET <hub_api_url>/user``) and about a browser through OAuth with its own client secret, which is the service's
token. So the service ``gateway`` needs no scope of its own; callers need ``access:services!service=gateway``.
"""

import ipaddress
import os
import tomllib
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from sparkyard_gateway.authorities import guarded
from sparkyard_gateway.backends.submission import Images

ENVIRONMENT_PREFIX = "SPARKYARD_GATEWAY_"


class Settings(BaseSettings):
    """Everything an operator may set."""

    model_config = SettingsConfigDict(env_prefix=ENVIRONMENT_PREFIX, extra="forbid", frozen=True)

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8711, ge=0, le=65535, description="Port to listen on; 0 takes a free one and says which.")
    base_path: str = Field(
        "/services/gateway/",
        description="The path under which the hub's proxy forwards browsers and clients here. "
        "The same application is served at / as well.",
    )
    driver_url: str | None = Field(
        None,
        description="How drivers reach this gateway, and no other, such as ws://10.0.0.7:8711. "
        "Default: ws://<host>:<port>.",
    )

    hub_api_url: str = Field("http://127.0.0.1:8081/hub/api", description="JupyterHub's API as seen from here.")
    hub_public_path: str = Field(
        "/hub/", description="The hub's path as browsers see it, where the OAuth login of browser pages begins."
    )
    hub_token_file: Path | None = Field(
        None,
        description="File with the service's API token, which is also its OAuth client secret. "
        "Without it the browser pages (Sessions, Spark UI) are off; the REST API does not need it.",
    )
    hub_service_name: str = Field("gateway", description="The service's name at the hub, which its scope carries.")
    hub_client_id: str = Field("service-gateway", description="The service's OAuth client id at the hub.")
    hub_timeout_seconds: PositiveFloat = Field(5.0, description="How long the hub may take to answer about a caller.")
    identity_ttl_seconds: Annotated[float, Field(ge=0, le=300)] = Field(
        10.0, description="How long a caller's identity is remembered: the bound of a revocation's effect."
    )
    identity_cache_size: PositiveInt = Field(10_000, description="How many callers' identities are remembered.")
    browser_session_seconds: PositiveInt = Field(
        3600, description="How long a browser's login for these pages holds before the hub is asked again."
    )

    catalog: Path = Field(Path("catalog.yaml"), description="The admin's catalog.")
    state_dir: Path = Field(
        Path(".sparkyard/gateway"), description="Folder for the database, the sessions' folders and the drivers' logs."
    )
    database_url: str | None = Field(
        None, description="SQLAlchemy URL, without a password. Default: gateway.sqlite in state_dir."
    )
    database_password_file: Path | None = Field(None, description="File with the database's password, if it has one.")
    database_wait_seconds: Annotated[float, Field(ge=0)] = Field(
        60.0, description="How long a gateway that starts waits for a database server that does not answer yet."
    )
    instance: str = Field(
        "gateway",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="This gateway's name among several on one PostgreSQL: each needs one of its own, the same at each "
        "start.",
    )
    peer_url: str | None = Field(
        None,
        description="How other gateways on the same database reach this one, such as http://10.0.0.7:8711. "
        "Default: http://<host>:<port>.",
    )
    lease_seconds: Annotated[float, Field(ge=1, le=300)] = Field(
        15.0, description="After how long without a sign of life a gateway's sessions are taken over by another."
    )

    backend: Literal["local", "livy", "kubernetes"] = Field(
        "local",
        description="Where new sessions' drivers run: local, as processes of this machine; livy, as batches of the "
        "upstream Livy at livy_url; or kubernetes, as pods. Sessions that run already stay where they are.",
    )
    livy_url: str | None = Field(
        None, description="The upstream Apache Livy (0.7 or later), such as http://emr-primary:8998."
    )
    livy_authorization_file: Path | None = Field(
        None,
        description="File with the Authorization header for the upstream Livy, such as `Basic ...`; read anew for each "
        "request. Default: none is sent.",
    )
    livy_ca_file: Path | None = Field(
        None, description="File with the authorities that sign the upstream Livy's certificate. Default: the system's."
    )
    livy_timeout_seconds: PositiveFloat = Field(30.0, description="How long the upstream Livy may take to answer.")
    livy_poll_seconds: PositiveFloat = Field(
        10.0,
        description="How often the upstream Livy is asked about a driver that is connected; one that starts, or whose "
        "connection broke, is asked about more often.",
    )
    livy_driver_file: str | None = Field(
        None,
        description="Where the upstream Livy reads the driver program, such as s3a://bucket/sparkyard_driver.py. "
        "Default: this gateway writes it to driver/ in state_dir, for an upstream on the same machine.",
    )
    livy_impersonate: bool = Field(
        True,
        description="Whether drivers must run in their owner's name (proxyUser). A session is refused where the "
        "upstream Livy does not do it.",
    )
    livy_queue: str | None = Field(None, description="The queue of the cluster's manager that drivers are put into.")
    livy_images: Images = Field(
        Images.NONE,
        description="How the cluster behind the upstream Livy runs the images of a profile: none, yarn (its Docker "
        "runtime), or kubernetes.",
    )
    livy_homes: str | None = Field(
        None,
        pattern=r"^(hdfs|s3a?|gs|abfss?|wasbs|file)://[^?#%{}]*/\{user\}(/[^?#%{}]*)?$",
        description="Where people's home folders lie for what the upstream Livy runs, such as hdfs:///user/{user}: "
        "home://jobs/etl.py is hdfs:///user/alice/jobs/etl.py there. Default: nothing of a home can be used.",
    )
    livy_namespace: str | None = Field(
        None,
        pattern=r"^[a-z0-9]{1,32}$",
        description="Tells this installation's batches at the upstream Livy from another's. Default: made from the "
        "database's address.",
    )
    driver_ca_file: str | None = Field(
        None,
        description="File, on the machines where an upstream Livy runs drivers, with the authorities that sign the "
        "certificate at driver_url. Default: what Python trusts there.",
    )

    kubernetes_config: Path | None = Field(
        None,
        description="The kubeconfig file of the cluster where drivers run. Default: in a pod, its service account; "
        "elsewhere KUBECONFIG, or ~/.kube/config.",
    )
    kubernetes_namespace: str = Field(
        "spark",
        pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        description="The namespace of drivers and executors of whoever is in no team that has one of its own.",
    )
    kubernetes_api_url: str = Field(
        "https://kubernetes.default.svc", description="How drivers reach Kubernetes, to ask for executors."
    )
    kubernetes_service_account: str = Field(
        "spark", description="The service account of drivers: it may make and end pods in its namespace, within limits."
    )
    kubernetes_executor_service_account: str = Field(
        "spark-executor", description="The service account of executors, which may do nothing and has no token there."
    )
    kubernetes_uid: int = Field(
        185, ge=1, le=2**31 - 1, description="The uid and gid of drivers and executors, whatever their image says."
    )
    kubernetes_scheduler: str | None = Field(
        None, min_length=1, description="Which scheduler finds nodes for drivers and executors. Default: the cluster's."
    )
    kubernetes_installation: str | None = Field(
        None,
        pattern=r"^[a-z0-9]{1,12}$",
        description="Tells this installation's pods from another's. Default: made from the database's address.",
    )
    kubernetes_driver_ca_file: Path | None = Field(
        None,
        description="File, here, with the authorities that sign the certificate at driver_url; it goes to each driver. "
        "Default: what Python trusts in the drivers' images.",
    )

    homes_dir: Path | None = Field(
        None,
        description="Folder of the users' homes. Where the gateway runs as root, a user's drivers run as the owner "
        "of <homes_dir>/<user>.",
    )
    drop_privileges: bool = Field(
        True, description="Whether a gateway that runs as root starts drivers under their user's own uid."
    )
    local_cores: PositiveInt | None = Field(
        None, description="Cores that one local driver may use: local[N]. Default: what its profile grants."
    )
    local_java_home: Path | None = Field(None, description="JAVA_HOME of local drivers. Default: this process's own.")
    driver_log_limit_bytes: PositiveInt = Field(
        32 * 1024 * 1024, description="Size at which a driver's log is rotated; one older file is kept beside it."
    )
    event_logs: bool = Field(
        True,
        description="Whether drivers on this machine and in pods write event logs, from which their Spark UI is shown "
        "after their end.",
    )
    event_log_limit_bytes: PositiveInt = Field(
        512 * 1024 * 1024, description="How much of event logs is kept for one user; the oldest go first."
    )
    pod_event_logs_limit_bytes: PositiveInt = Field(
        4 * 1024 * 1024 * 1024,
        description="How much of pods' event logs is kept in state_dir for all users; the oldest go first.",
    )
    history_servers: PositiveInt = Field(
        3, description="How many of Spark's history servers may run at once: one for each user who looks."
    )
    history_idle_seconds: PositiveFloat = Field(
        600.0, description="How long a history server runs on when nobody looks any more."
    )
    history_pods: PositiveInt = Field(
        10, description="Likewise on Kubernetes, where each is a pod in the user's team's namespace; of each gateway."
    )
    history_memory_mib: PositiveInt = Field(512, description="Heap of a history server, in MiB.")
    driver_memory_limit_mib: PositiveInt | None = Field(
        None,
        description="Memory of a local driver with all it starts, in MiB. Default: what its profile grants to driver "
        "and executors, with 40% (at least 384 MiB) for each beside its heap.",
    )
    driver_process_limit: PositiveInt | None = Field(
        None,
        description="Processes and threads of a local driver with all it starts. Default: 512, and 64 for each CPU of "
        "the machine.",
    )
    driver_cgroups: bool = Field(
        True,
        description="Whether the kernel holds local drivers to their limits, by cgroups, where this process may make "
        "some. Otherwise the gateway looks at them every few seconds and ends those that took too much.",
    )
    driver_program: Path | None = Field(
        None, description="The program that drivers run: a folder's __main__.py or a zipapp. Default: this package's."
    )
    stop_drivers_on_exit: bool = Field(
        False,
        description="Whether stopping the gateway ends the drivers. By default they run on and the next gateway "
        "finds them again.",
    )
    stop_grace_seconds: PositiveFloat = Field(
        5.0, description="How long a driver may take to end after it was asked to, before it is killed."
    )

    start_timeout_seconds: PositiveFloat = Field(
        300.0,
        description="How long a driver may take until Spark is up, and a batch's pod until it has its node and image.",
    )
    orphan_seconds: PositiveInt = Field(3600, description="How long a driver waits for a lost gateway before it ends.")
    concurrent_starts: PositiveInt = Field(
        4, description="How many sessions and batches may be starting at a time; others wait their turn and say so."
    )
    warm_memory_free_mib: NonNegativeInt = Field(
        2048,
        description="How much of the machine's memory warm drivers leave free for others, in MiB: none is started that "
        "would leave less, and while less is free they are ended one by one.",
    )
    sweep_seconds: PositiveFloat = Field(2.0, description="How often timeouts are looked at.")
    finished_retention_seconds: PositiveFloat = Field(
        600.0, description="How long a session that ended stays visible to clients."
    )
    log_retention_seconds: PositiveFloat = Field(
        7 * 24 * 3600.0,
        description="How long record, log and history of an ended session are kept for its owner, and a batch's log.",
    )
    retained_statements: PositiveInt = Field(
        100, description="How many of a session's statements are answered from memory; older ones from the database."
    )
    retained_chars: PositiveInt = Field(
        4_000_000, description="How much of a session's code and outputs is kept in memory, beside the last one."
    )
    max_waiting_statements: PositiveInt = Field(1000, description="How many statements of a session may wait.")
    stream_limit_chars: PositiveInt = Field(
        1_000_000, description="How many characters of a running statement's output are kept for streaming."
    )
    max_body_bytes: PositiveInt = Field(16 * 1024 * 1024, description="Largest request body that is read.")
    max_page_chars: PositiveInt = Field(
        64_000_000,
        description="How much code and output one page of statements may hold; a page that would hold more ends sooner "
        "and says so.",
    )
    head_seconds: PositiveFloat = Field(30.0, description="How long the head of a request may take to arrive.")
    body_seconds: PositiveFloat = Field(60.0, description="How long the body of a request may take to arrive.")
    reader_seconds: PositiveFloat = Field(
        60.0, description="After how long an answer of which nothing more is read is given up."
    )
    max_driver_message_bytes: PositiveInt = Field(
        128 * 1024 * 1024, description="Largest message a driver may send: a statement's whole output."
    )
    batch_retention_seconds: PositiveFloat = Field(
        24 * 3600.0, description="How long a batch that ended stays visible to clients, with its log."
    )
    max_batches: PositiveInt | None = Field(None, description="How many batches may run at once, of all users.")
    max_batches_per_user: PositiveInt | None = Field(None, description="How many batches one user may run at once.")
    max_sessions: PositiveInt | None = Field(None, description="How many sessions may run at once, of all users.")
    max_sessions_per_user: PositiveInt | None = Field(None, description="How many sessions one user may run at once.")

    metrics_from: tuple[str, ...] = Field(
        ("127.0.0.0/8", "::1/128"), description="Networks whose hosts may read /metrics."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="How much is logged.")
    log_format: Literal["json", "console"] = Field("json", description="How a line of the log is written.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Command line over environment over file; no dotenv file in the working folder has a say."""
        del dotenv_settings, file_secret_settings
        assert isinstance(init_settings, InitSettingsSource)
        named = init_settings.init_kwargs.pop("config", None) or os.environ.get(ENVIRONMENT_PREFIX + "CONFIG")
        values = tomllib.loads(Path(named).read_text(encoding="utf-8")) if named else {}
        return (init_settings, env_settings, InitSettingsSource(settings_cls, init_kwargs=values))

    @field_validator("metrics_from")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            ipaddress.ip_network(network)
        return value

    @field_validator("base_path", "hub_public_path")
    @classmethod
    def _slashes(cls, value: str) -> str:
        if not value.startswith("/"):
            raise ValueError("must start with a slash")
        return value if value.endswith("/") else value + "/"

    @field_validator("hub_api_url")
    @classmethod
    def _no_trailing_slash(cls, value: str) -> str:
        return value.rstrip("/")

    @model_validator(mode="after")
    def _no_password_in_url(self) -> "Settings":
        address = (self.database_url or "").partition("://")[2].rpartition("@")[0]
        if ":" in address:
            raise ValueError("must not hold a password: name a file with it in database_password_file")
        return self

    @model_validator(mode="after")
    def _upstream(self) -> "Settings":
        if urlsplit(self.livy_url or "").username is not None:
            raise ValueError("livy_url must not hold a password: name a file in livy_authorization_file")
        if self.backend == "livy":
            if self.livy_url is None:
                raise ValueError("backend livy needs livy_url, the address of the upstream Livy")
            host = f"[{self.host}]" if ":" in self.host else self.host
            if not guarded(self.driver_url or f"ws://{host}"):
                raise ValueError(
                    "backend livy needs driver_url, by which drivers on the cluster reach this gateway, and it must "
                    "begin with wss://, as it carries tokens and results (ws:// only to this machine itself)"
                )
        return self

    @model_validator(mode="after")
    def _kubernetes(self) -> "Settings":
        if self.backend == "kubernetes" and urlsplit(self.driver_url or "").scheme not in {"ws", "wss"}:
            raise ValueError(
                "backend kubernetes needs driver_url, by which pods reach this gateway, such as "
                "ws://gateway.sparkyard.svc:8711"
            )
        return self

    @property
    def prefix(self) -> str:
        """The base path without its last slash: what precedes a route's path."""
        return self.base_path.rstrip("/")

    @property
    def sessions_dir(self) -> Path:
        """Where each session has a folder named by its id."""
        return self.state_dir.absolute() / "sessions"

    @property
    def batches_dir(self) -> Path:
        """Where each attempt at a batch has a folder named by its id."""
        return self.state_dir.absolute() / "batches"
