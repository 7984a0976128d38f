"""The only reader of the environment. Every setting is typed, frozen, and has its unit in its name.

`docs/configuration.md` lists them for operators.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote, urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from autostack.errors import ConfigurationError

MB = 1_000_000
# The spec's lower bound; development may go below it, so that tests are quick.
MIN_BCRYPT_ROUNDS = 10
DURATION = re.compile(r"(\d+)\s*(ms|s|m|h|d|w)?")
RATE = re.compile(r"[1-9]\d*\s*(/|per)\s*(\d+\s*)?(second|minute|hour|day)s?", re.IGNORECASE)
SECONDS_PER_UNIT = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def parse_duration(text: str | int | float) -> int:
    """Return whole seconds for `7d`, `15m`, `90s`, `500ms` or a bare number of seconds. Raises ValueError."""
    match = DURATION.fullmatch(str(text).strip())
    if match is None:
        raise ValueError("must be a duration such as 15m, 12h or 7d")
    seconds = int(match[1]) * SECONDS_PER_UNIT[match[2] or "s"]
    if seconds < 1:
        raise ValueError("must be at least one second")
    return int(seconds)


Names = Annotated[frozenset[str], NoDecode]


class Settings(BaseSettings):
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
    web_workers: int = Field(2, alias="WEB_CONCURRENCY", ge=1)
    web_threads: int = Field(64, alias="WEB_THREADS", ge=2)
    max_sockets: int | None = Field(None, alias="MAX_SOCKETS", ge=1)
    max_sockets_per_user: int = Field(16, alias="MAX_SOCKETS_PER_USER", ge=1)
    max_sockets_per_address: int = Field(32, alias="MAX_SOCKETS_PER_ADDRESS", ge=1)
    proxy_host: str = Field("127.0.0.1", alias="PROXY_HOST")
    proxy_port: int = Field(8080, alias="PROXY_PORT")

    # Services
    database_url: SecretStr = Field(SecretStr("postgresql://localhost/autostack"), alias="DATABASE_URL")
    database_pool_size: int = Field(10, alias="DATABASE_POOL_SIZE", ge=1)
    database_timeout_s: int = Field(12, alias="DATABASE_TIMEOUT", ge=1)
    redis_url: SecretStr = Field(SecretStr("redis://localhost:6379/0"), alias="REDIS_URL")
    storage_url: str | None = Field(None, alias="STORAGE_URL")
    s3_bucket: str | None = Field(None, alias="S3_BUCKET")
    s3_region: str = Field("us-east-1", alias="S3_REGION")
    s3_endpoint_url: str | None = Field(None, alias="S3_ENDPOINT_URL")
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

    # Builds
    build_executor: Literal["local"] = Field("local", alias="BUILD_EXECUTOR")
    build_timeout_ms: int = Field(600_000, alias="BUILD_TIMEOUT", ge=1_000, le=86_400_000)
    max_build_size_mb: int = Field(500, alias="MAX_BUILD_SIZE", ge=1)
    max_build_files: int = Field(20_000, alias="MAX_BUILD_FILES", ge=1)
    max_file_size_mb: int = Field(25, alias="MAX_FILE_SIZE", ge=1)
    max_log_size_mb: int = Field(100, alias="MAX_LOG_SIZE", ge=1)
    max_build_memory_mb: int = Field(4096, alias="MAX_BUILD_MEMORY", ge=128)
    max_build_processes: int = Field(512, alias="MAX_BUILD_PROCESSES", ge=16)
    max_build_disk_mb: int = Field(5_000, alias="MAX_BUILD_DISK", ge=100)
    max_cache_size_mb: int = Field(1_000, alias="MAX_CACHE_SIZE", ge=0)
    build_attempts: int = Field(2, alias="BUILD_ATTEMPTS", ge=1, le=10)
    repo_hosts_allowed: Names = Field(frozenset(), alias="REPO_HOSTS_ALLOWED")
    # The one `file://` address that may be cloned: the example that `autostack up` makes.
    example_repository: str | None = Field(None, alias="EXAMPLE_REPOSITORY")
    repo_timeout_s: int = Field(10, alias="REPO_TIMEOUT")

    # Background work
    sweep_interval_s: int = Field(15, alias="SWEEP_INTERVAL")
    heartbeat_interval_s: int = Field(5, alias="HEARTBEAT_INTERVAL")
    heartbeat_timeout_s: int = Field(60, alias="HEARTBEAT_TIMEOUT")
    publish_timeout_s: int = Field(900, alias="PUBLISH_TIMEOUT", ge=1)
    shutdown_grace_s: int = Field(3, alias="SHUTDOWN_GRACE", ge=0)
    activation_timeout_ms: int = Field(2_000, alias="ACTIVATION_TIMEOUT")

    # Proxy
    route_ttl_ms: int = Field(1_000, alias="ROUTE_TTL")
    proxy_header_timeout_s: int = Field(10, alias="PROXY_HEADER_TIMEOUT")
    proxy_idle_timeout_s: int = Field(75, alias="PROXY_IDLE_TIMEOUT")
    proxy_drain_timeout_s: int = Field(30, alias="PROXY_DRAIN_TIMEOUT")
    proxy_cache_mb: int = Field(128, alias="PROXY_CACHE_SIZE")

    # Limits on requests, as `count/unit`
    rate_limit_auth: str = Field("5/minute", alias="RATE_LIMIT_AUTH")
    rate_limit_deployments: str = Field("10/hour", alias="RATE_LIMIT_DEPLOYMENTS")
    rate_limit_api: str = Field("100/minute", alias="RATE_LIMIT_API")
    trusted_proxies: int = Field(0, alias="TRUSTED_PROXIES", ge=0)

    @field_validator("repo_hosts_allowed", mode="before")
    @classmethod
    def _split_names(cls, value: Any) -> Any:
        return frozenset(re.split(r"[\s,]+", value.strip().lower())) - {""} if isinstance(value, str) else value

    @field_validator("frontend_url")
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
        if not self.frontend_url:
            return None
        parts = urlsplit(self.frontend_url)
        default_port = {"http": 80, "https": 443}.get(parts.scheme)
        port = f":{parts.port}" if parts.port and parts.port != default_port else ""
        return f"{parts.scheme}://{parts.hostname}{port}"

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
    def max_build_bytes(self) -> int:
        return self.max_build_size_mb * MB

    def site_url(self, label: str) -> str:
        """Return the address of the site with this host label, with scheme and port as a browser needs them."""
        scheme = self.sites_url_scheme or ("https" if self.is_production else "http")
        port = self.sites_url_port or (None if self.is_production else self.proxy_port)
        default_port = {"http": 80, "https": 443}[scheme]
        suffix = f":{port}" if port and port != default_port else ""
        return f"{scheme}://{label}.{self.sites_domain}{suffix}"

    def secret(self, name: Literal["secret_key", "encryption_keys", "jwt_secret", "refresh_token_secret"]) -> str:
        """Return a secret from the environment, or in development the one made once for this data folder."""
        given: SecretStr | None = getattr(self, name)
        return given.get_secret_value() if given else _development_secrets(self.data_dir.absolute())[name]


@lru_cache
def _development_secrets(data_dir: Path) -> dict[str, str]:
    """Read the data folder's `secrets.json` (mode 0600), making it first if this is its first use."""
    from cryptography.fernet import Fernet

    path = data_dir / "secrets.json"
    if not path.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        made = {name: secrets.token_urlsafe(48) for name in ("secret_key", "jwt_secret", "refresh_token_secret")}
        made["encryption_keys"] = Fernet.generate_key().decode()
        draft = path.with_name(f".secrets-{os.getpid()}.json")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(made, indent=2))
        try:
            # Several processes start at once: the first to link its draft wins, all read the winner's.
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    loaded: dict[str, str] = json.loads(path.read_text())
    return loaded


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


def is_shared_domain(app_url: str, sites_domain: str) -> bool:
    """Tell whether sites live under the dashboard's own domain, where cookies cannot tell them apart."""
    host = urlsplit(app_url).hostname or ""
    return sites_domain != "localhost" and (
        host == sites_domain or host.endswith(f".{sites_domain}") or sites_domain.endswith(f".{host}")
    )
