"""The only reader of the environment. Every setting is typed, frozen, and has its unit in its name.

`docs/configuration.md` lists them for operators.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote, urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from autostack.development_secrets import development_secrets
from autostack.ecs_settings import EcsSettings
from autostack.errors import ConfigurationError
from autostack.public_addresses import Exemption
from autostack.setting_values import RATE, Names, Network, Ports, origin, parse_duration, split_address

MB = 1_000_000
MAX_KEPT_DEPLOYMENTS, MAX_KEPT_DAYS = 10_000, 3_650
# The spec's lower bound; development may go below it, so that tests are quick.
MIN_BCRYPT_ROUNDS = 10


class Settings(EcsSettings):
    """Everything that differs between one installation and another."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", case_sensitive=True, populate_by_name=True)

    # Environment
    environment: Literal["development", "production"] = Field("development", alias="AUTOSTACK_ENV")
    data_dir: Path = Field(Path("var"), alias="DATA_DIR")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", alias="LOG_LEVEL")
    log_format: Literal["json", "console"] | None = Field(None, alias="LOG_FORMAT")

    # Addresses
    app_url: str = Field("http://localhost:8000", alias="APP_URL")
    frontend_url: str | None = Field(None, alias="FRONTEND_URL")
    agent_api_url: str | None = Field(None, alias="AGENT_API_URL")
    sites_domain: str = Field("localhost", alias="SITES_DOMAIN")
    sites_url_scheme: Literal["http", "https"] | None = Field(None, alias="SITES_URL_SCHEME")
    sites_url_port: int | None = Field(None, alias="SITES_URL_PORT")
    host: str = Field("127.0.0.1", alias="HOST")
    port: int = Field(8000, alias="PORT")
    operator_name: str | None = Field(None, alias="OPERATOR_NAME")
    operator_email: str | None = Field(None, alias="OPERATOR_EMAIL")
    web_workers: int = Field(2, alias="WEB_CONCURRENCY", ge=1)
    web_threads: int = Field(64, alias="WEB_THREADS", ge=2)
    max_sockets: int | None = Field(None, alias="MAX_SOCKETS", ge=1)
    max_sockets_per_user: int = Field(16, alias="MAX_SOCKETS_PER_USER", ge=1)
    max_sockets_per_address: int = Field(32, alias="MAX_SOCKETS_PER_ADDRESS", ge=1)
    proxy_host: str = Field("127.0.0.1", alias="PROXY_HOST")
    proxy_port: int = Field(8080, alias="PROXY_PORT")
    proxy_workers: int = Field(default_factory=lambda: len(os.sched_getaffinity(0)), alias="PROXY_WORKERS", ge=1)
    proxy_trusted: Annotated[tuple[Network, ...], NoDecode] = Field((), alias="PROXY_TRUSTED")
    proxy_protocol: bool = Field(False, alias="PROXY_PROTOCOL")

    # Services
    database_url: SecretStr = Field(SecretStr("postgresql://localhost/autostack"), alias="DATABASE_URL")
    database_pool_size: int = Field(20, alias="DATABASE_POOL_SIZE", ge=2)
    database_timeout_s: int = Field(12, alias="DATABASE_TIMEOUT", ge=1)
    redis_url: SecretStr = Field(SecretStr("redis://localhost:6379/0"), alias="REDIS_URL")
    storage_url: str | None = Field(None, alias="STORAGE_URL")
    s3_bucket: str | None = Field(None, alias="S3_BUCKET")
    s3_region: str = Field("us-east-1", alias="S3_REGION")
    s3_endpoint_url: str | None = Field(None, alias="S3_ENDPOINT_URL")
    s3_sse: Literal["AES256", "aws:kms"] | None = Field(None, alias="S3_SSE")
    s3_sse_kms_key_id: str | None = Field(None, alias="S3_SSE_KMS_KEY_ID")
    aws_access_key_id: str | None = Field(None, alias="AWS_ACCESS_KEY_ID")
    aws_secret_access_key: SecretStr | None = Field(None, alias="AWS_SECRET_ACCESS_KEY")

    # Secrets
    secret_key: SecretStr | None = Field(None, alias="SECRET_KEY")
    encryption_keys: SecretStr | None = Field(None, alias="ENCRYPTION_KEYS")
    jwt_secret: SecretStr | None = Field(None, alias="JWT_SECRET")
    refresh_token_secret: SecretStr | None = Field(None, alias="REFRESH_TOKEN_SECRET")
    jwt_expires_in_s: int = Field(7 * 86_400, alias="JWT_EXPIRES_IN")
    refresh_token_expires_in_s: int = Field(30 * 86_400, alias="REFRESH_TOKEN_EXPIRES_IN")
    bcrypt_rounds: int = Field(12, alias="BCRYPT_ROUNDS", ge=4, le=18)

    password_reset_expires_in_s: int = Field(600, alias="PASSWORD_RESET_EXPIRES_IN")
    email_verification_expires_in_s: int = Field(86_400, alias="EMAIL_VERIFICATION_EXPIRES_IN")

    # Signing in by GitHub and Google
    github_client_id: str | None = Field(None, alias="GITHUB_CLIENT_ID")
    github_client_secret: SecretStr | None = Field(None, alias="GITHUB_CLIENT_SECRET")
    github_callback_url: str | None = Field(None, alias="GITHUB_CALLBACK_URL")
    github_url: str = Field("https://github.com", alias="GITHUB_URL")
    github_api_url: str | None = Field(None, alias="GITHUB_API_URL")
    google_client_id: str | None = Field(None, alias="GOOGLE_CLIENT_ID")
    google_client_secret: SecretStr | None = Field(None, alias="GOOGLE_CLIENT_SECRET")
    google_callback_url: str | None = Field(None, alias="GOOGLE_CALLBACK_URL")
    google_url: str = Field("https://accounts.google.com", alias="GOOGLE_URL")
    oauth_timeout_s: int = Field(10, alias="OAUTH_TIMEOUT", ge=1)
    oauth_state_expires_in_s: int = Field(600, alias="OAUTH_STATE_EXPIRES_IN")
    fresh_sign_in_s: int = Field(600, alias="FRESH_SIGN_IN")

    # Mail
    smtp_host: str | None = Field(None, alias="SMTP_HOST")
    smtp_port: int = Field(587, alias="SMTP_PORT", ge=1, le=65_535)
    smtp_user: str | None = Field(None, alias="SMTP_USER")
    smtp_password: SecretStr | None = Field(None, alias="SMTP_PASS")
    smtp_timeout_s: int = Field(20, alias="SMTP_TIMEOUT", ge=1)
    mail_from: str | None = Field(None, alias="MAIL_FROM")
    mail_attempts: int = Field(6, alias="MAIL_ATTEMPTS", ge=1, le=20)
    mail_retry_interval_s: int = Field(30, alias="MAIL_RETRY_INTERVAL", ge=1)
    mail_interval_s: int = Field(60, alias="MAIL_INTERVAL", ge=0)

    # Domains of one's own
    sites_addresses: Names = Field(frozenset(), alias="SITES_ADDRESSES")
    dns_servers: Names = Field(frozenset(), alias="DNS_SERVERS")
    dns_timeout_s: int = Field(4, alias="DNS_TIMEOUT", ge=1, le=30)
    domain_check_interval_s: int = Field(3_600, alias="DOMAIN_CHECK_INTERVAL", ge=1)
    domain_grace_s: int = Field(3 * 86_400, alias="DOMAIN_GRACE")
    max_domains: int = Field(50, alias="MAX_DOMAINS", ge=0)

    # Builds
    build_timeout_ms: int = Field(600_000, alias="BUILD_TIMEOUT", ge=1_000, le=86_400_000)
    max_build_size_mb: int = Field(500, alias="MAX_BUILD_SIZE", ge=1)
    max_build_files: int = Field(20_000, alias="MAX_BUILD_FILES", ge=1)
    max_file_size_mb: int = Field(25, alias="MAX_FILE_SIZE", ge=1)
    max_log_size_mb: int = Field(100, alias="MAX_LOG_SIZE", ge=1)
    max_build_memory_mb: int = Field(4096, alias="MAX_BUILD_MEMORY", ge=128)
    max_build_processes: int = Field(512, alias="MAX_BUILD_PROCESSES", ge=16)
    max_build_disk_mb: int = Field(5_000, alias="MAX_BUILD_DISK", ge=100)
    max_cache_size_mb: int = Field(1_000, alias="MAX_CACHE_SIZE", ge=0)
    max_mirrors_size_mb: int = Field(4_000, alias="MAX_MIRRORS_SIZE", ge=0)
    build_attempts: int = Field(2, alias="BUILD_ATTEMPTS", ge=1, le=10)
    repo_hosts_allowed: Names = Field(frozenset(), alias="REPO_HOSTS_ALLOWED")
    allow_unsandboxed_builds: bool = Field(False, alias="ALLOW_UNSANDBOXED_BUILDS")
    # A company's network may have a mirror of its own stand for the registries' names.
    egress_allowed: Names = Field(
        frozenset({"registry.npmjs.org:443", "registry.yarnpkg.com:443"}), alias="EGRESS_ALLOWED"
    )
    egress_ports: Ports = Field(frozenset({22, 80, 443}), alias="EGRESS_PORTS")
    # The one `file://` address that may be cloned: the example that `autostack up` makes.
    example_repository: str | None = Field(None, alias="EXAMPLE_REPOSITORY")
    repo_timeout_s: int = Field(10, alias="REPO_TIMEOUT")

    # What is kept, where a project does not say so itself; absent: everything
    keep_deployments: int | None = Field(None, alias="KEEP_DEPLOYMENTS", ge=1, le=MAX_KEPT_DEPLOYMENTS)
    keep_days: int | None = Field(None, alias="KEEP_DAYS", ge=1, le=MAX_KEPT_DAYS)
    gc_interval_s: int = Field(86_400, alias="GC_INTERVAL", ge=60)
    gc_min_age_s: int = Field(86_400, alias="GC_MIN_AGE")

    # Background work
    sweep_interval_s: int = Field(15, alias="SWEEP_INTERVAL")
    heartbeat_interval_s: int = Field(5, alias="HEARTBEAT_INTERVAL")
    heartbeat_timeout_s: int = Field(60, alias="HEARTBEAT_TIMEOUT")
    publish_timeout_s: int = Field(900, alias="PUBLISH_TIMEOUT", ge=1)
    shutdown_grace_s: int = Field(3, alias="SHUTDOWN_GRACE", ge=0)
    activation_timeout_ms: int = Field(2_000, alias="ACTIVATION_TIMEOUT")

    # Proxy
    route_ttl_ms: int = Field(1_000, alias="ROUTE_TTL")
    proxy_answer_timeout_ms: int = Field(1_700, alias="PROXY_ANSWER_TIMEOUT", ge=1)
    proxy_header_timeout_s: int = Field(10, alias="PROXY_HEADER_TIMEOUT")
    proxy_idle_timeout_s: int = Field(75, alias="PROXY_IDLE_TIMEOUT")
    proxy_drain_timeout_s: int = Field(30, alias="PROXY_DRAIN_TIMEOUT")
    proxy_hang_timeout_s: int = Field(30, alias="PROXY_HANG_TIMEOUT", ge=1)
    proxy_cache_mb: int = Field(128, alias="PROXY_CACHE_SIZE")
    rewrite_hosts_allowed: Names = Field(frozenset(), alias="REWRITE_HOSTS_ALLOWED")
    proxy_cache_dir: Path | None = Field(None, alias="PROXY_CACHE_DIR")
    proxy_disk_cache_mb: int = Field(2_000, alias="PROXY_DISK_CACHE_SIZE", ge=0)
    proxy_metrics_host: str = Field("127.0.0.1", alias="PROXY_METRICS_HOST")
    proxy_metrics_port: int | None = Field(None, alias="PROXY_METRICS_PORT", ge=1, le=65_535)
    country_header: str | None = Field(None, alias="COUNTRY_HEADER", pattern=r"^[A-Za-z0-9-]{1,100}$")

    # Traffic, and the CDN that may stand in front of it
    traffic_interval_s: int = Field(5, alias="TRAFFIC_INTERVAL", ge=1)
    traffic_retention_days: int = Field(90, alias="TRAFFIC_RETENTION", ge=35)
    cdn_url: str | None = Field(None, alias="CDN_URL")
    cloudfront_distribution_id: str | None = Field(
        None, alias="CLOUDFRONT_DISTRIBUTION_ID", pattern=r"^[A-Z0-9]{1,64}$"
    )
    cdn_max_age_s: int | None = Field(None, alias="CDN_MAX_AGE", ge=0)
    cdn_max_paths: int = Field(100, alias="CDN_MAX_PATHS", ge=1, le=3_000)
    throttle_kb: int = Field(100, alias="THROTTLE", ge=1)

    # Limits on requests, as `count/unit`
    rate_limit_auth: str = Field("5/minute", alias="RATE_LIMIT_AUTH")
    rate_limit_deployments: str = Field("10/hour", alias="RATE_LIMIT_DEPLOYMENTS")
    rate_limit_api: str = Field("100/minute", alias="RATE_LIMIT_API")
    trusted_proxies: int = Field(0, alias="TRUSTED_PROXIES", ge=0)

    @field_validator(
        "repo_hosts_allowed",
        "rewrite_hosts_allowed",
        "egress_allowed",
        "egress_ports",
        "sites_addresses",
        "dns_servers",
        "ecs_subnets",
        "ecs_security_groups",
        mode="before",
    )
    @classmethod
    def _split_names(cls, value: Any) -> Any:
        return frozenset(re.split(r"[\s,]+", value.strip().lower())) - {""} if isinstance(value, str) else value

    @field_validator("proxy_trusted", mode="before")
    @classmethod
    def _split_networks(cls, value: Any) -> Any:
        return tuple(re.split(r"[\s,]+", value.strip())) if isinstance(value, str) and value.strip() else value or ()

    @field_validator("sites_addresses", "dns_servers")
    @classmethod
    def _check_addresses(cls, value: frozenset[str]) -> frozenset[str]:
        for address in value:
            split_address(address)
        return value

    @field_validator("egress_allowed")
    @classmethod
    def _check_exemptions(cls, value: frozenset[str]) -> frozenset[str]:
        for entry in value:
            Exemption.parse(entry)
        return value

    @field_validator("frontend_url", "cdn_url")
    @classmethod
    def _check_frontend(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "")
        if value and (parts.scheme not in {"http", "https"} or not parts.hostname):
            raise ValueError("must be an address such as https://app.example.com")
        return value

    @field_validator("rate_limit_auth", "rate_limit_deployments", "rate_limit_api")
    @classmethod
    def _check_rate(cls, value: str) -> str:
        if not RATE.fullmatch(value.strip()):
            raise ValueError("must be a rate such as 5/minute or 10/hour")
        return value

    @field_validator(
        "jwt_expires_in_s",
        "refresh_token_expires_in_s",
        "password_reset_expires_in_s",
        "email_verification_expires_in_s",
        "oauth_state_expires_in_s",
        "fresh_sign_in_s",
        "domain_grace_s",
        "gc_interval_s",
        "gc_min_age_s",
        mode="before",
    )
    @classmethod
    def _read_duration(cls, value: Any) -> int:
        return parse_duration(value)

    @model_validator(mode="after")
    def _a_provider_needs_its_secret(self) -> Self:
        for name in ("github", "google"):
            if getattr(self, f"{name}_client_id") and not getattr(self, f"{name}_client_secret"):
                raise ValueError(f"{name.upper()}_CLIENT_SECRET must be set where {name.upper()}_CLIENT_ID is")
        return self

    @model_validator(mode="after")
    def _a_key_needs_what_uses_it(self) -> Self:
        if self.s3_sse_kms_key_id and self.s3_sse != "aws:kms":
            raise ValueError("S3_SSE must be aws:kms where S3_SSE_KMS_KEY_ID is set")
        return self

    @model_validator(mode="after")
    def _production_needs_its_secrets(self) -> Self:
        if not self.is_production:
            return self
        required = ("secret_key", "encryption_keys", "jwt_secret", "refresh_token_secret")
        missing = [str(type(self).model_fields[name].alias) for name in required if getattr(self, name) is None]
        if missing:
            raise ValueError(f"{', '.join(missing)} must be set in production")
        if not self.app_url.startswith("https://"):
            raise ValueError("APP_URL must begin with https:// in production")
        for name in ("github_url", "github_api_url", "google_url"):
            if not (getattr(self, name) or "https://").startswith("https://"):
                raise ValueError(f"{name.upper()} must begin with https:// in production")
        if self.bcrypt_rounds < MIN_BCRYPT_ROUNDS:
            raise ValueError(f"BCRYPT_ROUNDS must be at least {MIN_BCRYPT_ROUNDS} in production")
        return self

    @property
    def is_production(self) -> bool:
        return self.environment == "production"

    @property
    def logs_are_json(self) -> bool:
        return (self.log_format or ("json" if self.is_production else "console")) == "json"

    @property
    def sqlalchemy_url(self) -> str:
        """The database's address with psycopg 3 as the driver, whichever common scheme the operator wrote."""
        return re.sub(
            r"^(postgres|postgresql)(\+\w+)?://",
            "postgresql+psycopg://",
            self.database_url.get_secret_value(),
        )

    @property
    def object_store_url(self) -> str:
        """`file:///…` or `s3://bucket/prefix`."""
        if self.storage_url:
            return self.storage_url
        if self.s3_bucket:
            return f"s3://{self.s3_bucket}"
        return f"file://{quote(str((self.data_dir / 'store').absolute()))}"

    @property
    def frontend_origin(self) -> str | None:
        """The origin whose pages may call the API, as a browser names it."""
        return origin(self.frontend_url) if self.frontend_url else None

    @property
    def has_front_end_elsewhere(self) -> bool:
        """Whether FRONTEND_URL is another site than the dashboard, whose cookies do not reach it."""
        return self.frontend_origin not in {None, origin(self.app_url)}

    @property
    def agents_reach_web_at(self) -> str:
        return (self.agent_api_url or self.app_url).rstrip("/")

    @property
    def sockets_at_once(self) -> int:
        """How many websockets one process has open: what is left are threads for requests."""
        return self.max_sockets or max(1, self.web_threads * 3 // 4)

    @property
    def github_api(self) -> str:
        """Where GitHub's API is: GitHub Enterprise Server has it beside its pages."""
        host = self.github_url.rstrip("/")
        own = "https://api.github.com" if host == "https://github.com" else f"{host}/api/v3"
        return (self.github_api_url or own).rstrip("/")

    @property
    def mail_sender(self) -> str:
        """Whom mails are from."""
        address = self.smtp_user if "@" in (self.smtp_user or "") else f"autostack@{urlsplit(self.app_url).hostname}"
        return self.mail_from or f"Autostack <{address}>"

    @property
    def cdn_keeps_s(self) -> int:
        """How many seconds a CDN may keep a page without asking: a day where it is told of changes, else not at all."""
        if self.cdn_url is None and self.cloudfront_distribution_id is None:
            return 0
        default_s = 86_400 if self.cloudfront_distribution_id else 0
        return default_s if self.cdn_max_age_s is None else self.cdn_max_age_s

    @property
    def max_build_bytes(self) -> int:
        return self.max_build_size_mb * MB

    @property
    def proxy_cache_folder(self) -> Path:
        return self.proxy_cache_dir or self.data_dir / "proxy"

    def site_url(self, label: str) -> str:
        """Return the address of the site with this host label, with scheme and port as a browser needs them.

        A label with a dot is a whole domain.
        """
        scheme = self.sites_url_scheme or ("https" if self.is_production else "http")
        port = self.sites_url_port or (None if self.is_production else self.proxy_port)
        default_port = {"http": 80, "https": 443}[scheme]
        suffix = f":{port}" if port and port != default_port else ""
        host = label if "." in label else f"{label}.{self.sites_domain}"
        return f"{scheme}://{host}{suffix}"

    def secret(self, name: Literal["secret_key", "encryption_keys", "jwt_secret", "refresh_token_secret"]) -> str:
        """Return a secret from the environment, or in development the one made once for this data folder."""
        given: SecretStr | None = getattr(self, name)
        return given.get_secret_value() if given else development_secrets(self.data_dir.absolute())[name]


def load_settings(**overrides: Any) -> Settings:
    """Read the environment. `overrides` go by field name. Raises ConfigurationError with one line a mistake."""
    if (
        "AUTOSTACK_ENV" not in os.environ
        and "environment" not in overrides
        and os.environ.get("NODE_ENV") == "production"
    ):
        overrides["environment"] = "production"
    try:
        return Settings(**overrides)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, item['loc'])) or 'settings'}: {item['msg']}" for item in error.errors()]
        raise ConfigurationError("; ".join(lines)) from None
