"""The migrations and the models, on a PostgreSQL."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Flask
from flask_migrate import downgrade, upgrade
from sqlalchemy import Inspector, inspect, text

from autostack import create_app
from autostack.extensions import db
from autostack.settings import Settings
from tests.conftest import MIGRATIONS
from tests.services import running_postgres

# The spec's Database Schema.
SPEC_COLUMNS = {
    "users": "id name email password_hash avatar_url github_id google_id email_verified created_at updated_at",
    "projects": "id user_id name repository branch build_command output_dir env_vars "
    "github_repo_id created_at updated_at",
    "deployments": "id project_id user_id status branch commit_hash commit_message author build_duration deployed_url "
    "started_at completed_at created_at",
    "deployment_logs": "id deployment_id timestamp log_level message created_at",
    "deployment_stages": "id deployment_id stage_name status started_at completed_at error_message created_at",
    "user_preferences": "id user_id theme email_notifications deployment_success_notifications "
    "deployment_failure_notifications created_at updated_at",
    "github_connections": "id user_id github_username github_access_token github_refresh_token token_expires_at "
    "connected_at",
    "sessions": "id user_id token expires_at created_at",
    "service_status": "id service_name status uptime_percentage response_time last_checked_at created_at",
    "incidents": "id title description status severity affected_services started_at resolved_at created_at updated_at",
}
# The spec's Performance Optimization, Database Indexing.
SPEC_INDEXED = {
    ("users", "email"),
    ("projects", "user_id"),
    ("deployments", "user_id"),
    ("deployments", "project_id"),
    ("deployments", "status"),
    ("deployment_logs", "deployment_id"),
    ("deployment_stages", "deployment_id"),
    ("user_preferences", "user_id"),
    ("github_connections", "user_id"),
    ("sessions", "user_id"),
}


@pytest.fixture(scope="module")
def own_database_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL beside the other tests', whose tables these tests may drop."""
    with running_postgres(tmp_path_factory.mktemp("migrations")) as url:
        yield url


@pytest.fixture
def empty_database_app(own_database_url: str, make_settings: Callable[..., Settings]) -> Iterator[Flask]:
    """An application on a database with nothing in it."""
    app = create_app(make_settings(database_url=own_database_url))
    with app.app_context():
        db.session.execute(text("DROP SCHEMA public CASCADE"))
        db.session.execute(text("CREATE SCHEMA public"))
        db.session.commit()
    yield app
    with app.app_context():
        db.engine.dispose()


def migrate(app: Flask, move: Callable[..., Any], **options: str) -> Inspector:
    """Move the database's schema; return what it then looks like."""
    with app.app_context():
        move(directory=str(MIGRATIONS), **options)
        return inspect(db.engine)


def test_models_and_migrations_agree(empty_database_app: Flask) -> None:
    migrate(empty_database_app, upgrade)
    with empty_database_app.app_context(), db.engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), db.metadata) == []


def test_an_empty_database_is_upgraded_downgraded_and_upgraded_again(empty_database_app: Flask) -> None:
    assert set(SPEC_COLUMNS) < set(migrate(empty_database_app, upgrade).get_table_names())
    assert migrate(empty_database_app, downgrade, revision="base").get_table_names() == ["alembic_version"]
    assert set(SPEC_COLUMNS) < set(migrate(empty_database_app, upgrade).get_table_names())


def test_every_column_index_and_cascade_of_the_spec_is_there(empty_database_app: Flask) -> None:
    schema = migrate(empty_database_app, upgrade)
    for table, columns in SPEC_COLUMNS.items():
        assert set(columns.split()) <= {column["name"] for column in schema.get_columns(table)}, table
    for table, column in SPEC_INDEXED:
        led = {index["column_names"][0] for index in schema.get_indexes(table)}
        led |= {unique["column_names"][0] for unique in schema.get_unique_constraints(table)}
        assert column in led, f"{table}.{column}"
    for table in SPEC_COLUMNS:
        for key in schema.get_foreign_keys(table):
            assert key["options"]["ondelete"] == "CASCADE", (table, key)


def test_every_time_carries_its_zone(empty_database_app: Flask) -> None:
    schema = migrate(empty_database_app, upgrade)
    naive = [
        f"{table}.{column['name']}"
        for table in schema.get_table_names()
        for column in schema.get_columns(table)
        if str(column["type"]).startswith("TIMESTAMP") and not getattr(column["type"], "timezone", False)
    ]
    assert naive == []


def test_a_host_outlives_its_project_and_its_deployment(empty_database_app: Flask) -> None:
    keys = migrate(empty_database_app, upgrade).get_foreign_keys("site_hosts")
    kept = {key["constrained_columns"][0]: key["options"]["ondelete"] for key in keys}
    assert kept == dict.fromkeys(("project_id", "deployment_id", "previous_deployment_id"), "SET NULL")


def test_a_database_of_a_newer_version_is_refused_by_name(
    empty_database_app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    migrate(empty_database_app, upgrade)
    with empty_database_app.app_context():
        db.session.execute(text("UPDATE alembic_version SET version_num = '0099'"))
        db.session.commit()
    with pytest.raises(SystemExit):
        migrate(empty_database_app, upgrade)
    assert caplog.messages[-1] == "Error: the database was made by a newer Autostack (revision 0099)"


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (
            f"SELECT * FROM deployments WHERE user_id = '{uuid.UUID(int=1)}' ORDER BY sequence DESC LIMIT 5",
            "ix_deployments_user_id_sequence",
        ),
        ("SELECT label FROM site_hosts WHERE published_generation < generation LIMIT 100", "ix_site_hosts_unwritten"),
    ],
)
def test_what_is_asked_often_has_an_index(empty_database_app: Flask, query: str, index: str) -> None:
    migrate(empty_database_app, upgrade)
    with empty_database_app.app_context(), db.engine.connect() as connection:
        # Tables without rows are otherwise read whole.
        for way in ("seqscan", "bitmapscan", "sort"):
            connection.execute(text(f"SET enable_{way} = off"))
        assert index in "".join(connection.scalars(text(f"EXPLAIN {query}")))


MANY_ROWS = """
    INSERT INTO users (id, name, email)
        SELECT lpad(to_hex(number), 32, '0')::uuid, 'User ' || number, number || '@x.io'
        FROM generate_series(1, 20) number;
    INSERT INTO projects (user_id, name, label, repository, repository_key) SELECT id, name, name, '', '' FROM users;
    INSERT INTO deployments (project_id, user_id, status, label, created_at)
        SELECT projects.id, user_id, 'success', projects.name || '-' || number, now() - number * interval '1 day'
        FROM projects, generate_series(1, 500) number;
"""
EACH_ROW_IS_VISIBLE_TO_ALL = (
    "SELECT relpages > 0 AND relallvisible = relpages FROM pg_class WHERE oid = 'deployments'::regclass"
)
HERS = f"FROM deployments WHERE user_id = '{uuid.UUID(int=1)}'"


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (f"SELECT sequence {HERS} AND status = 'success' ORDER BY sequence DESC LIMIT 10", "user_id_sequence"),
        (f"SELECT status, sum(build_duration) {HERS} AND created_at > now() - interval '60 days' GROUP BY 1",
         "user_id_created_at"),
        ("SELECT status, sum(build_duration) FROM deployments WHERE created_at > now() - interval '60 days' GROUP BY 1",
         "created_at"),
        (f"SELECT max(sequence) FROM deployments WHERE project_id = '{uuid.UUID(int=1)}'", "project_id_sequence"),
    ],
)  # fmt: skip
def test_lists_and_figures_are_read_from_an_index_alone(empty_database_app: Flask, query: str, index: str) -> None:
    migrate(empty_database_app, upgrade)
    with empty_database_app.app_context(), db.engine.connect() as connection:
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        for statement in [*MANY_ROWS.split(";")[:-1], "ANALYZE deployments", "SET enable_seqscan = off"]:
            connection.execute(text(statement))
        # One does not do while PostgreSQL's own vacuum looks at the tables: what it might still see is visible to some.
        while not connection.scalar(text(EACH_ROW_IS_VISIBLE_TO_ALL)):
            connection.execute(text("VACUUM deployments"))
        plan = " ".join(connection.scalars(text(f"EXPLAIN {query}")))
    assert re.search(rf"Index Only Scan (Backward )?using ix_deployments_{index} ", plan), plan


def test_migrations_are_one_chain_each_numbered_as_its_file() -> None:
    known = ScriptDirectory(str(MIGRATIONS)).walk_revisions()
    numbers = [(Path(script.path).name[:4], script.revision, script.down_revision) for script in known]
    chain = [f"{number:04}" for number in range(len(list((MIGRATIONS / "versions").glob("*.py"))), 0, -1)]
    assert numbers == list(zip(chain, chain, [*chain[1:], None], strict=True))
