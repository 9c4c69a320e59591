"""The settings of every Backlot process: one frozen object, read from the environment once where a process starts.

Each field is the environment variable BACKLOT_<NAME IN CAPITALS>; units stand in the names. The
README's table is made from the descriptions here, and a test holds the two together.
"""

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from tasks.models_file import Misconfigured, like
from tasks.redis_url import RedisUrl
from tasks.registry import PoolName, Registry

LONGEST_S = 3_155_760_000
"""A hundred years: whatever may be asked is a time that can be shown."""
ORIGIN = re.compile(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:]+\])(?::\d{1,5})?")


CALLERS = {"BACKLOT_URL", "BACKLOT_API_KEY", "BACKLOT_OPERATOR_KEY", "BACKLOT_DATA"}
"""Variables that callers and trainings read, and no process of the service."""


class Settings(BaseSettings):
    """All settings, validated. Errors: pydantic.ValidationError, which names the variable."""

    model_config = SettingsConfigDict(
        env_prefix="BACKLOT_", frozen=True, extra="ignore", hide_input_in_errors=True, allow_inf_nan=False
    )

    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="Redis or Valkey, `noeviction`: `redis://`, `rediss://`, `unix://` or `sentinel://` "
        "([docs/redis.md](docs/redis.md))",
    )
    redis_password_file: Path | None = Field(
        None, description="the password of the URL's user, read at each connect: it may be changed without a stop"
    )
    s3_endpoint_url: str | None = Field(None, description="the S3 server; unset for AWS")
    s3_public_endpoint_url: str | None = Field(None, description="the same as callers reach it; unset where equal")
    s3_bucket: str = Field("backlot", description="where inputs, outputs and the journal lie")
    s3_region: str = Field("us-east-1", description="the bucket's region")
    s3_access_key_id: SecretStr | None = Field(None, description="unset for the machine's own credentials")
    s3_secret_access_key: SecretStr | None = Field(None, description="beside it")
    s3_credentials_file: Path | None = Field(
        None,
        description="in place of the two: a file as AWS' `credentials` (profile `default`), re-read when it changes",
    )
    s3_sse: Literal["AES256", "aws:kms"] | None = Field(
        None, description="encryption by the S3 server, asked for with all that is put; unset for the bucket's own"
    )
    s3_sse_kms_key_id: str | None = Field(None, description="the key, with `aws:kms`; unset for the account's own")
    s3_sources: Annotated[dict[str, list[str]], NoDecode] = Field(
        {}, description="what `s3://` inputs may name, by tenant: `tenant=bucket/prefix`, comma-separated"
    )
    fetch_allow: Annotated[list[str], NoDecode] = Field(
        [],
        description="hosts or networks that inputs may come from although private, e.g. `127.0.0.1,10.0.0.0/8`; "
        "only for these is plain `http://` accepted",
    )
    keys_file: Path = Field(Path(".backlot/keys.json"), description="the API keys (hashes), re-read when it changes")
    models: Path | None = Field(None, description="the operator's models.toml; unset for the package's own")
    pools: Annotated[list[PoolName], NoDecode] = Field(
        ["cpu", "gpu"], min_length=1, description="the pools this deployment has; a model of another goes to the first"
    )

    upload_max_bytes: int = Field(100 * 1024 * 1024, gt=0, description="a multipart request's body")
    json_max_bytes: int = Field(1024 * 1024, gt=0, description="a JSON request's body")
    max_run_timeout_s: float = Field(
        86_400, gt=0, le=LONGEST_S, description="the most `run_timeout_s` a model may have"
    )
    queue_ttl_s: float = Field(86_400, gt=0, le=LONGEST_S, description="default of a job's `queue_ttl_s`")
    max_queue_ttl_s: float = Field(7 * 86_400, gt=0, le=LONGEST_S, description="the most a job may ask")
    retention_s: float = Field(7 * 86_400, gt=0, le=LONGEST_S, description="default of a job's `retention_s`")
    max_retention_s: float = Field(90 * 86_400, gt=0, le=LONGEST_S, description="the most a job may ask")
    max_attempts: int = Field(3, ge=1, le=10, description="default of a job's `max_attempts`")
    max_wait_s: float = Field(60, ge=0, description="the most `Prefer: wait` holds a request")
    submits_per_minute: int = Field(0, ge=0, description="jobs a tenant may submit a minute; 0 for any number")
    max_waiting_jobs: int = Field(
        0, ge=0, description="jobs a tenant may have waiting, for a slot, a start time or a retry; 0 for any number"
    )
    max_running_jobs: int = Field(0, ge=0, description="jobs a tenant may have running at once; 0 for any number")
    uploads_per_minute: int = Field(300, ge=0, description="uploads a tenant may begin a minute; 0 for any number")
    unknown_model_s: float = Field(
        900,
        ge=0,
        le=31_536_000,
        description="how long a job waits for a worker that knows its model, which is in no "
        "models.toml, before it fails; longer than a deploy takes",
    )
    max_stored_bytes: int = Field(
        0, ge=0, description="outputs and uploads a tenant may have in the bucket; 0 for any number"
    )
    max_record_bytes: int = Field(
        1024**3,
        ge=0,
        description="bytes of Redis that a tenant's job records may take, at most a quarter of its "
        "`maxmemory`; 0 for any number",
    )
    audit_log: str = Field("stdout", description="where the API's audit log goes: `stdout`, `stderr`, a file, or `off`")
    access_log: str = Field("off", description="the same for a line of every request")
    cors_origins: Annotated[list[str], NoDecode] = Field(
        [], description="origins whose pages may call the API from a browser, e.g. `https://app.example`; `*` for any"
    )
    http_threads: int = Field(
        8,
        ge=2,
        le=256,
        description="threads of one API process that answer requests; half of "
        "them at most for one tenant, or one address without a key",
    )
    http_connections: int = Field(2500, ge=1, description="connections one API process holds")
    http_idle_s: float = Field(
        75,
        ge=1,
        description="a connection without a whole request head, or that takes "
        "nothing of its answer, for so long is closed; more than the idle timeout of a load "
        "balancer in front",
    )
    http_grace_s: float = Field(10, ge=1, description="from being asked to stop to being killed, of an API process")
    http_requests_per_tenant: int = Field(
        100, ge=1, description="requests of a tenant, or of an address without a key, that one API process takes in"
    )
    http_held: int = Field(1000, ge=0, description="requests that wait for a job, an API process")
    http_held_per_tenant: int = Field(100, ge=0, description="of them one tenant's")
    body_timeout_s: float = Field(600, gt=0, description="the longest that a request's body may take to come")
    body_min_bytes_per_s: int = Field(1024, ge=1, description="the lowest average speed of a body, after 10 s")
    spool_dir: Path | None = Field(
        None, description="where request bodies lie while they come; unset for the system's temporary folder"
    )
    spool_max_bytes: int = Field(
        2 * 1024**3,
        gt=0,
        description="request bodies an API process holds at one time; one tenant's, no more than stays free",
    )
    trusted_proxies: Annotated[list[str], NoDecode] = Field(
        [], description="networks whose `X-Forwarded-*` headers count, e.g. `127.0.0.1/32,10.0.0.0/8`"
    )
    http_metrics_port: int = Field(
        9096, ge=0, le=65535, description="where the API answers /metrics, on `BACKLOT_METRICS_HOST`; 0 for any"
    )

    lease_s: float = Field(10, gt=0, description="an attempt not renewed for so long may go to another worker")
    renew_s: float = Field(1, gt=0, description="how often a worker renews its leases, and the keeper makes its rounds")
    grace_s: float = Field(
        30,
        ge=0,
        description="from being asked to stop to being killed: cancel, drain, and in a "
        "process that jobs share a job over a limit of its own",
    )
    stop_s: float = Field(1, ge=0, description="the same for a job over its model's limit, or in a process of its own")
    retry_s: float = Field(2, ge=0, description="the first retry's delay, doubled each time, full jitter")
    max_retry_s: float = Field(300, ge=0, description="the longest")
    bells: int = Field(16, ge=1, description="doorbells that lie in a queue at most; at least a worker's slots")
    linger_s: float = Field(1, ge=0, le=1, description="how long an idle slot stays awake before it goes to Celery")
    watchdog_s: float = Field(30, gt=0, description="bells that lie so long before a free slot: Celery is replaced")
    cpu_slots: int = Field(1, ge=1, le=256, description="processes of a cpu worker")
    gpu_slots: int = Field(8, ge=1, le=256, description="threads of a gpu worker")
    cache_dir: Path = Field(
        Path(".backlot/cache"), description="weights that came from a bucket; those of the hub lie in its `HF_HOME`"
    )
    models_mb: int = Field(8192, gt=0, description="memory for loaded models in one process, MiB")
    metrics_host: str = Field(
        "127.0.0.1", description="the address the keeper answers /metrics and /readyz on, and the API /metrics"
    )
    metrics_port: int = Field(9095, ge=0, le=65535, description="the port of the same; 0 for any")
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="of all processes")

    @field_validator("redis_url")
    @classmethod
    def _is_read_alike(cls, value: SecretStr) -> SecretStr:
        RedisUrl.parse(value.get_secret_value())
        return value

    @field_validator("pools", "fetch_allow", "cors_origins", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: list[str]) -> list[str]:
        for origin in value:
            if origin != "*" and not ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"{origin!r} is no origin as a browser sends it: scheme://host, in small letters, "
                    "with a port where it is not the scheme's own, and no path"
                )
        return value

    @field_validator("s3_sse_kms_key_id")
    @classmethod
    def _is_for_kms(cls, value: str | None, known: ValidationInfo) -> str | None:
        if value and known.data.get("s3_sse") != "aws:kms":
            raise ValueError("a key is for BACKLOT_S3_SSE=aws:kms alone")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: list[str]) -> list[str]:
        for network in value:
            ipaddress.ip_network(network)
        return value

    @field_validator("s3_sources", mode="before")
    @classmethod
    def _by_tenant(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        allowed: dict[str, list[str]] = {}
        for part in filter(None, (p.strip() for p in value.split(","))):
            tenant, equals, prefix = part.partition("=")
            if not equals or "/" not in prefix:
                raise ValueError(f"{part!r} is not tenant=bucket/prefix")
            allowed.setdefault(tenant, []).append(prefix)
        return allowed

    @classmethod
    def of_environment(cls, **given: str) -> "Settings":
        """Those of this process; `given` goes before the environment. Errors: Misconfigured, with the variable of each
        mistake and nothing of its value, which may be a secret."""
        try:
            return cls(**given)
        except ValidationError as error:
            wrong = (
                (".".join(map(str, one["loc"])), one["msg"].removeprefix("Value error, "))
                for one in error.errors(include_url=False)
            )
            raise Misconfigured("\n".join(f"BACKLOT_{name.upper()}: {what}" for name, what in wrong)) from None

    @classmethod
    def misspelt(cls) -> list[str]:
        """A line for each variable of the environment that is no setting and looks like one."""
        known = {f"BACKLOT_{name.upper()}" for name in cls.model_fields}
        strange = (name for name in os.environ if name.startswith("BACKLOT_") and name not in known | CALLERS)
        return [f"{name} is no setting{close}" for name in strange if (close := like(name, known))]

    def redis(self) -> RedisUrl:
        """Where Redis is, for both libraries that talk to it."""
        return RedisUrl.parse(self.redis_url.get_secret_value(), self.redis_password_file)

    def registry(self) -> Registry:
        """The models of this deployment, each on a pool that it has."""
        return Registry.read(self.models_file(), self.pools)

    def models_file(self) -> Path:
        """The operator's, or the package's own."""
        return self.models or Path(__file__).parent / "models.toml"
