"""Settings: what operators may write, what production requires, and that the documentation knows every one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from autostack.ecs_settings import TaskSize
from autostack.errors import ConfigurationError
from autostack.setting_values import parse_duration
from autostack.settings import Settings, load_settings

ROOT = Path(__file__).parents[2]
ALIASES = {str(field.alias) for field in Settings.model_fields.values()}
SECRETS = {"secret_key": "a", "encryption_keys": "b", "jwt_secret": "c", "refresh_token_secret": "d"}


@pytest.fixture(autouse=True)
def no_settings_of_the_machine(monkeypatch):
    for name in ALIASES | {"NODE_ENV"}:
        monkeypatch.delenv(name, raising=False)


def test_every_setting_is_documented_and_no_other():
    documented = set()
    for line in (ROOT / "docs/configuration.md").read_text().splitlines():
        if line.startswith("| `"):
            documented |= set(re.findall(r"`([A-Z][A-Z0-9_]+)`", line.split("|")[1]))
    assert documented == ALIASES


def test_the_example_file_names_every_setting_and_no_other():
    assert example_file().keys() == ALIASES


def test_the_example_file_shows_the_defaults(monkeypatch):
    shown = {name: value for name, value in example_file().items() if value}
    for name, value in shown.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    for name, field in Settings.model_fields.items():
        if field.alias in shown:
            assert getattr(settings, name) == field.default, field.alias
        else:
            assert field.default_factory or field.default in (None, (), frozenset()), field.alias


def example_file():
    """Return each setting that the example file names, with what it shows as its default."""
    return dict(re.findall(r"^# ([A-Z0-9_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("12h", 43_200), ("7d", 604_800), ("1w", 604_800)]
)
def test_a_duration_is_a_number_and_a_unit(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5m", "0s", "1.5h", "200ms"])
def test_what_is_no_duration_of_a_second_or_more_is_refused(text):
    with pytest.raises(ValueError, match="must be"):
        parse_duration(text)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_any_common_database_scheme_means_psycopg(scheme):
    settings = load_settings(database_url=f"{scheme}://user:pass@db/autostack")
    assert settings.sqlalchemy_url == "postgresql+psycopg://user:pass@db/autostack"


def test_a_secret_is_in_no_representation():
    assert "hunter2" not in repr(load_settings(database_url="postgresql://me:hunter2@db/x", secret_key="hunter2"))


def test_settings_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        load_settings().port = 1


def test_production_names_every_secret_that_is_missing():
    with pytest.raises(ConfigurationError, match="SECRET_KEY, ENCRYPTION_KEYS, JWT_SECRET, REFRESH_TOKEN_SECRET"):
        load_settings(environment="production")


def test_production_wants_https():
    with pytest.raises(ConfigurationError, match="APP_URL must begin with https://"):
        load_settings(environment="production", app_url="http://autostack.example", **SECRETS)


def test_node_env_production_means_production(monkeypatch):
    monkeypatch.setenv("NODE_ENV", "production")
    assert load_settings(app_url="https://autostack.example", **SECRETS).is_production


def test_a_wrong_number_is_one_clear_line():
    with pytest.raises(ConfigurationError, match="PORT: Input should be a valid integer"):
        load_settings(PORT="eighty")


def test_hosts_are_separated_by_commas_or_spaces(monkeypatch):
    monkeypatch.setenv("REPO_HOSTS_ALLOWED", "git.example:3000, 127.0.0.1  Gitea.local")
    assert load_settings().repo_hosts_allowed == {"git.example:3000", "127.0.0.1", "gitea.local"}


def test_what_builds_may_reach_are_hosts_and_networks(monkeypatch):
    monkeypatch.setenv("EGRESS_ALLOWED", "Registry.internal:4873, 10.1.0.0/16")
    assert load_settings().egress_allowed == {"registry.internal:4873", "10.1.0.0/16"}
    monkeypatch.setenv("EGRESS_ALLOWED", "https://registry.internal")
    with pytest.raises(ConfigurationError, match="EGRESS_ALLOWED"):
        load_settings()


def test_the_ports_that_builds_reach_are_a_few_and_none_of_mail(monkeypatch):
    assert load_settings().egress_ports == {22, 80, 443}
    monkeypatch.setenv("EGRESS_PORTS", "443, 8443 587")
    assert load_settings().egress_ports == {443, 8443, 587}
    for wrong in ("0", "65536", "https", ",".join(map(str, range(1, 102)))):
        monkeypatch.setenv("EGRESS_PORTS", wrong)
        with pytest.raises(ConfigurationError, match="EGRESS_PORTS"):
            load_settings()


def test_sites_have_the_proxys_port_in_development_and_none_in_production():
    assert load_settings(proxy_port=8081).site_url("blog") == "http://blog.localhost:8081"
    production = load_settings(
        environment="production", app_url="https://autostack.example", sites_domain="sites.example", **SECRETS
    )
    assert production.site_url("blog") == "https://blog.sites.example"


def test_the_store_is_a_folder_a_bucket_or_what_the_url_says(tmp_path):
    assert load_settings(data_dir=tmp_path).object_store_url == f"file://{tmp_path}/store"
    assert load_settings(s3_bucket="builds").object_store_url == "s3://builds"
    assert load_settings(s3_bucket="builds", storage_url="s3://other/prefix").object_store_url == "s3://other/prefix"


def test_development_secrets_are_made_once_and_for_the_owners_eyes(tmp_path):
    first = load_settings(data_dir=tmp_path).secret("secret_key")
    assert load_settings(data_dir=tmp_path).secret("secret_key") == first
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["github", "google"])
def test_a_client_id_needs_its_secret(name):
    with pytest.raises(ConfigurationError, match=f"{name.upper()}_CLIENT_SECRET must be set"):
        load_settings(**{f"{name}_client_id": "id"})
    assert getattr(load_settings(**{f"{name}_client_id": "id", f"{name}_client_secret": "s"}), f"{name}_client_id")


@pytest.mark.parametrize(
    ("given", "api"),
    [
        ({}, "https://api.github.com"),
        ({"github_url": "https://github.com/"}, "https://api.github.com"),
        ({"github_url": "https://git.example/"}, "https://git.example/api/v3"),
        (
            {"github_url": "https://git.example", "github_api_url": "https://api.git.example/"},
            "https://api.git.example",
        ),
    ],
)
def test_githubs_api_is_where_github_has_it(given, api):
    assert load_settings(**given).github_api == api


@pytest.mark.parametrize("name", ["github_url", "github_api_url", "google_url"])
def test_in_production_providers_are_asked_over_https_only(name):
    with pytest.raises(ConfigurationError, match=f"{name.upper()} must begin with https"):
        load_settings(environment="production", app_url="https://x.example", **SECRETS, **{name: "http://git.example"})


def test_builds_on_ecs_need_the_names_of_what_runs_them():
    with pytest.raises(ConfigurationError, match="ECS_SUBNETS, ECS_SECURITY_GROUPS must be set where BUILD_EXECUTOR"):
        load_settings(build_executor="ecs", ecs_cluster="c", ecs_task_definition="t")


def test_sizes_of_tasks_are_told_by_the_size_of_the_last_site(monkeypatch):
    monkeypatch.setenv("ECS_SIZES", "100=2048/8192/50, 512/2048")
    assert load_settings().ecs_sizes == (TaskSize(0, 512, 2048), TaskSize(100, 2048, 8192, 50))


@pytest.mark.parametrize(
    "text", ["", "large", "1000/4096", "5=1024/4096", "1024", "1024/512", "2048/8000", "1024/4096/19", "1024/4096/201"]
)
def test_what_is_no_size_of_a_task_is_refused(text):
    with pytest.raises(ConfigurationError, match="must be sizes such as"):
        load_settings(ecs_sizes=text)


def test_projects_are_tidied_up_once_a_minute_at_most(monkeypatch):
    monkeypatch.setenv("GC_INTERVAL", "1m")
    assert load_settings().gc_interval_s == 60
    monkeypatch.setenv("GC_INTERVAL", "59s")
    with pytest.raises(ConfigurationError, match="GC_INTERVAL: Input should be greater"):
        load_settings()
