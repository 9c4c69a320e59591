"""The settings of every Backlot process: one frozen object, read from the environment once where a process starts.

Each field is the environment variable BACKLOT_<NAME IN CAPITALS>; units stand in the names. `make docs` writes
docs/settings.md from the descriptions here; tests/test_docs.py fails where the page differs.
"""

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from tasks.models_file import Misconfigured, like
from tasks.pools import DEFAULT, PoolName, Sort
from tasks.pools import parse as parse_pools
from tasks.redis_url import RedisUrl
from tasks.registry import Registry

LONGEST_S = 3_155_760_000
"""A hundred years: whatever may be asked is a time that can be shown."""
ORIGIN = re.compile(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:]+\])(?::\d{1,5})?")


METADATA_NAME = re.compile(r"[\w.-]{1,64}", re.ASCII)
CALLERS = {"BACKLOT_URL", "BACKLOT_API_KEY", "BACKLOT_OPERATOR_KEY", "BACKLOT_DATA"}
"""Variables that callers and trainings read, and no process of the service."""


class Settings(BaseSettings):
    """All settings, validated. Errors: pydantic.ValidationError, which names the variable."""

    model_config = SettingsConfigDict(
        env_prefix="BACKLOT_", frozen=True, extra="ignore", hide_input_in_errors=True, allow_inf_nan=False
    )

    # Redis. Each group's first field opens a section of docs/settings.md (deploy/docs.py).
    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="URL of the Redis or Valkey server, policy `noeviction`: `redis://`, `rediss://`, `unix://` or "
        "`sentinel://` ([redis.md](redis.md))",
    )
    redis_password_file: Path | None = Field(
        None,
        description="File with the password of the URL's user. Read at each connect, so a rotation needs no restart",
    )

    # The bucket, and where inputs come from.
    s3_endpoint_url: str | None = Field(None, description="URL of the S3 server; unset for AWS")
    s3_public_endpoint_url: str | None = Field(
        None, description="URL of the S3 server as callers reach it; unset where it is the same"
    )
    s3_bucket: str = Field("backlot", description="Bucket of inputs, outputs and the journal")
    s3_region: str = Field("us-east-1", description="Region of the bucket")
    s3_access_key_id: SecretStr | None = Field(
        None, description="S3 access key; unset for the machine's own credentials"
    )
    s3_secret_access_key: SecretStr | None = Field(None, description="S3 secret key that belongs to the access key")
    s3_credentials_file: Path | None = Field(
        None,
        description="File in the format of AWS `credentials` (profile `default`), in place of the two keys. Read again "
        "when it changes",
    )
    s3_sse: Literal["AES256", "aws:kms"] | None = Field(
        None,
        description="Server-side encryption, `AES256` or `aws:kms`, of every object; unset for the bucket's default",
    )
    s3_sse_kms_key_id: str | None = Field(
        None, description="KMS key id, with `aws:kms` alone; unset for the account's default key"
    )
    s3_sources: Annotated[dict[str, list[str]], NoDecode] = Field(
        {},
        description="Prefixes of other buckets that a tenant's `s3://` inputs may name: `tenant=bucket/prefix`, "
        "comma-separated",
    )
    s3_outputs: Annotated[dict[str, list[str]], NoDecode] = Field(
        {},
        description="Prefixes of other buckets that a tenant's jobs may have their outputs copied to: "
        "`tenant=bucket/prefix/`, comma-separated. They are written with this service's own S3 keys",
    )
    fetch_allow: Annotated[list[str], NoDecode] = Field(
        [],
        description="Private hosts or networks that inputs may be fetched from, e.g. `127.0.0.1,10.0.0.0/8`. Plain "
        "`http://` is accepted from these alone",
    )

    # Models and pools.
    models: Path | None = Field(
        None, description="File of models ([models.md](models.md)); unset for the package's own models.toml"
    )
    pools: Annotated[dict[PoolName, Sort], NoDecode] = Field(
        DEFAULT,
        min_length=1,
        description="Pools of this deployment, each `name:sort`. The sort `cpu` runs a job a child process, the sort "
        "`gpu` runs jobs as threads of one process. The pools `cpu` and `gpu` need no sort: `cpu,gpu,gpu-large:gpu`. "
        "A model whose pool is not listed runs in the first, with a warning in the log",
    )
    unknown_model_s: float = Field(
        900,
        ge=0,
        le=31_536_000,
        description="Seconds that a job whose model is in no models.toml waits for a worker that knows it, before it "
        "fails. Longer than a deploy takes",
    )
    cpu_slots: int = Field(1, ge=1, le=256, description="Processes of a cpu worker; each runs one job")
    gpu_slots: int = Field(
        64,
        ge=1,
        le=256,
        description="Threads of a gpu worker; each holds one job. Two batches of its largest model let one be fetched "
        "while the other computes",
    )
    cache_dir: Path = Field(
        Path(".backlot/cache"),
        description="Folder of weights fetched from a bucket. Weights of the Hugging Face hub lie in its `HF_HOME`",
    )
    models_mb: int = Field(8192, gt=0, description="Memory for loaded models in one process, MiB")

    # What a job may ask.
    upload_max_bytes: int = Field(100 * 1024 * 1024, gt=0, description="Largest multipart body or batch, bytes")
    json_max_bytes: int = Field(1024 * 1024, gt=0, description="Largest JSON body or line of a batch, bytes")
    max_run_timeout_s: float = Field(
        86_400, gt=0, le=LONGEST_S, description="Largest `run_timeout_s` that a model may have, seconds"
    )
    queue_ttl_s: float = Field(
        86_400, gt=0, le=LONGEST_S, description="Default of a job's `queue_ttl_s`, seconds from submit to first start"
    )
    max_queue_ttl_s: float = Field(
        7 * 86_400, gt=0, le=LONGEST_S, description="Largest `queue_ttl_s` that a job may ask, seconds"
    )
    retention_s: float = Field(
        7 * 86_400,
        gt=0,
        le=LONGEST_S,
        description="Default of a job's `retention_s`, seconds that record and outputs are kept after the end",
    )
    max_retention_s: float = Field(
        90 * 86_400, gt=0, le=LONGEST_S, description="Largest `retention_s` that a job may ask, seconds"
    )
    max_attempts: int = Field(3, ge=1, le=10, description="Default of a job's `max_attempts`, starts")
    max_wait_s: float = Field(60, ge=0, description="Longest time that `Prefer: wait` holds a request, seconds")

    # Keys, and limits of a tenant.
    keys_file: Path = Field(
        Path(".backlot/keys.json"), description="File of the API keys, as hashes. Read again when it changes"
    )
    submits_per_minute: int = Field(0, ge=0, description="Jobs that a tenant may submit in a minute; 0 for no limit")
    max_waiting_jobs: int = Field(
        0, ge=0, description="Jobs that a tenant may have waiting, for a slot, a start time or a retry; 0 for no limit"
    )
    max_running_jobs: int = Field(0, ge=0, description="Jobs that a tenant may have running at once; 0 for no limit")
    uploads_per_minute: int = Field(
        300, ge=0, description="Uploads that a tenant may begin in a minute; 0 for no limit"
    )
    max_stored_bytes: int = Field(
        0, ge=0, description="Bytes of outputs and uploads that a tenant may have in the bucket; 0 for no limit"
    )
    max_record_bytes: int = Field(
        1024**3,
        ge=0,
        description="Bytes of Redis that a tenant's job records may take, at most a quarter of its `maxmemory`; 0 for "
        "no limit",
    )
    max_undelivered_webhooks: int = Field(
        100_000, ge=0, description="Webhooks and deliveries of a tenant that may wait; 0 for no limit"
    )

    usage_metadata: Annotated[list[str], NoDecode] = Field(
        [],
        max_length=5,
        description="Keys of `metadata` by which `GET /v1/usage` can group, comma-separated, 5 at most. A key is "
        "counted from the time on at which it is named here",
    )

    prices_file: Path | None = Field(
        None,
        description="TOML file of prices and of tenants' monthly budgets ([operations.md](operations.md#usage)), read "
        "when a process starts; unset for none",
    )

    # The API over HTTP.
    cors_origins: Annotated[list[str], NoDecode] = Field(
        [], description="Origins whose pages may call the API from a browser, e.g. `https://app.example`; `*` for any"
    )
    http_threads: int = Field(
        8,
        ge=2,
        le=256,
        description="Threads of one API process that answer requests, beside the one for plain submits. One tenant, or "
        "one address without a key, takes half of them at most",
    )
    http_connections: int = Field(2500, ge=1, description="Connections that one API process holds")
    http_idle_s: float = Field(
        75,
        ge=1,
        description="Seconds after which a connection is closed that has sent no whole request head, or takes nothing "
        "of its answer. Longer than the idle timeout of a load balancer in front",
    )
    http_grace_s: float = Field(
        10, ge=1, description="Grace of an API process from SIGTERM until it is killed, seconds"
    )
    http_requests_per_tenant: int = Field(
        100, ge=1, description="Requests of one tenant, or of one address without a key, under way in one API process"
    )
    http_held: int = Field(1000, ge=0, description="Requests that one API process holds for `Prefer: wait`")
    http_held_per_tenant: int = Field(
        100, ge=0, description="Requests that one API process holds for `Prefer: wait` for one tenant"
    )
    http_streams: int = Field(2000, ge=0, description="Event streams that one API process keeps open")
    http_streams_per_tenant: int = Field(
        500, ge=0, description="Event streams that one API process keeps open for one tenant"
    )
    body_timeout_s: float = Field(600, gt=0, description="Longest time that a request's body may take, seconds")
    body_min_bytes_per_s: int = Field(
        1024, ge=1, description="Lowest average speed of a body after its first 10 s, bytes a second"
    )
    spool_dir: Path | None = Field(
        None, description="Folder of request bodies while they arrive; unset for the system's temporary folder"
    )
    spool_max_bytes: int = Field(
        2 * 1024**3,
        gt=0,
        description="Bytes of request bodies that an API process holds at one time. One tenant takes at most as much "
        "as it leaves free",
    )
    trusted_proxies: Annotated[list[str], NoDecode] = Field(
        [],
        description="Networks of proxies whose `X-Forwarded-*` headers count, e.g. `127.0.0.1/32,10.0.0.0/8` "
        "([proxy.md](proxy.md))",
    )
    http_metrics_port: int = Field(
        9096, ge=0, le=65535, description="Port of the API's /metrics, on `BACKLOT_METRICS_HOST`; 0 for any free one"
    )

    # Workers and the keeper.
    lease_s: float = Field(
        10, gt=0, description="Lease of an attempt, seconds: not renewed for so long, its job may go to another worker"
    )
    renew_s: float = Field(
        1, gt=0, description="Interval at which a worker renews its leases and the keeper makes its rounds, seconds"
    )
    grace_s: float = Field(
        30,
        ge=0,
        description="Grace from being asked to stop until the kill, seconds: of a drain, of a cancel, and of a job "
        "over a caller's limit in a process that jobs share",
    )
    stop_s: float = Field(
        1, ge=0, description="Grace of a job over its model's limit, or over any limit in a process of its own, seconds"
    )
    retry_s: float = Field(
        2, ge=0, description="Backoff before the first retry, seconds; doubled at each retry, with full jitter"
    )
    max_retry_s: float = Field(300, ge=0, description="Longest backoff before a retry, seconds")
    bells: int = Field(
        64, ge=1, description="Doorbells that lie in a Celery queue at most; no fewer than the largest worker's slots"
    )
    linger_s: float = Field(
        1, ge=0, le=1, description="Time that an idle slot looks for a next job before it waits for a doorbell, seconds"
    )
    events_s: float = Field(
        900,
        gt=0,
        le=LONGEST_S,
        description="Age at which the keeper removes changes of status from the event stream, s",
    )
    events_max: int = Field(
        300_000, ge=1000, le=300_000, description="Changes of status that the event stream keeps, about 100 bytes each"
    )
    watchdog_s: float = Field(
        30,
        gt=0,
        description="Age of a doorbell before a free slot at which a worker replaces its Celery process, seconds",
    )

    # Logs and metrics.
    audit_log: str = Field("stdout", description="Target of the API's audit log: `stdout`, `stderr`, a file, or `off`")
    access_log: str = Field(
        "off", description="Target of a log line for every request: `stdout`, `stderr`, a file, or `off`"
    )
    metrics_host: str = Field(
        "127.0.0.1", description="Address of the keeper's /metrics and /readyz, and of the API's /metrics"
    )
    metrics_port: int = Field(
        9095, ge=0, le=65535, description="Port of the keeper's /metrics and /readyz; 0 for any free one"
    )
    log_level: str = Field(
        "INFO",
        pattern="^(DEBUG|INFO|WARNING|ERROR)$",
        description="Level of all processes' logs: `DEBUG`, `INFO`, `WARNING` or `ERROR`",
    )

    @field_validator("redis_url")
    @classmethod
    def _is_read_alike(cls, value: SecretStr) -> SecretStr:
        RedisUrl.parse(value.get_secret_value())
        return value

    @field_validator("fetch_allow", "cors_origins", "trusted_proxies", "usage_metadata", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("usage_metadata")
    @classmethod
    def _are_names(cls, value: list[str]) -> list[str]:
        for name in value:
            if not METADATA_NAME.fullmatch(name) or value.count(name) > 1:
                raise ValueError(
                    f"{name!r} is named twice, or is no name of a-z, A-Z, 0-9, `_`, `.` and `-`, 64 at most"
                )
        return value

    @field_validator("pools", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        if isinstance(value, list):
            value = ",".join(value)
        return parse_pools(value) if isinstance(value, str) else value

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

    @field_validator("s3_sources", "s3_outputs", mode="before")
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
    def of_environment(cls, **given: Any) -> "Settings":
        """The settings of this process; `given` overrides the environment. Errors: Misconfigured, with the variable of
        each mistake and nothing of its value, which may be a secret."""
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
        """The parsed address of Redis, for redis-py and kombu."""
        return RedisUrl.parse(self.redis_url.get_secret_value(), self.redis_password_file)

    def registry(self) -> Registry:
        """The models of this deployment, each on a pool that it has."""
        return Registry.read(self.models_file(), self.pools)

    def webhook_secrets_file(self) -> Path:
        """The file of the secrets that sign webhooks, beside that of the API keys."""
        return self.keys_file.with_suffix(".webhooks.json")

    def models_file(self) -> Path:
        """The operator's, or the package's own."""
        return self.models or Path(__file__).parent / "models.toml"
