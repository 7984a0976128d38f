"""The command line: `autostack up`, and what an operator does with users and keys."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import click

from autostack.errors import AutostackError, ConfigurationError

PORT = click.IntRange(1, 65_535)
# Whether it can be used is for `claim_data_folder` to say.
DATA_DIR = click.Path(file_okay=False, readable=False, path_type=Path)


@click.group()
def main() -> None:
    """Autostack: connect a Git repository, and each deployment is built and served at a URL of its own."""


@main.command()
@click.option("--data-dir", type=DATA_DIR, default="var", show_default=True)
@click.option("--port", type=PORT, default=8000, show_default=True, help="Where the dashboard listens on 127.0.0.1.")
@click.option("--proxy-port", type=PORT, default=8080, show_default=True, help="Where deployed sites are served.")
@click.option("--builders", type=click.IntRange(1, 64), default=2, show_default=True, help="Builds at the same time.")
@click.option("--example", is_flag=True, help="Deploy the example site, with an account to look at it.")
@click.option("--procfile", type=click.Path(dir_okay=False, path_type=Path), help="Which processes; ours by default.")
def up(data_dir: Path, port: int, proxy_port: int, builders: int, example: bool, procfile: Path | None) -> None:
    """Start everything on this machine: PostgreSQL, Valkey, dashboard, workers and proxy. Ctrl-C ends it."""
    if port == proxy_port:
        raise click.UsageError("--port and --proxy-port must differ.")
    # Not at the top: `autostack --help` needs none of it.
    from autostack.local.up import PROCFILE, Options, up

    try:
        sys.exit(up(Options(data_dir, port, proxy_port, builders, example, procfile or PROCFILE)))
    except ConfigurationError as error:
        _refuse(error)
    except KeyboardInterrupt:
        sys.exit(0)


@main.command()
@click.argument("url")
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="What the visitor's browser says.")
@click.option("--data-dir", type=DATA_DIR, default="var", show_default=True, envvar="DATA_DIR")
def explain(url: str, headers: tuple[str, ...], data_dir: Path) -> None:
    """Say which rule, file or fallback answers an address of a site, and why."""
    from autostack.local.up import reachable_settings
    from autostack.proxy.explain import explain
    from autostack.sites.store import open_store

    given = {name.strip(): value.strip() for name, _, value in (header.partition(":") for header in headers)}
    try:
        settings = reachable_settings(data_dir)
        found = explain(open_store(settings), settings, url, given)
    except AutostackError as error:
        _refuse(error)
    click.echo(f"{found.address}  {found.status or ''}".rstrip())
    for step in found.steps:
        click.echo(f"  {step.title + ':':<20} {step.text}")
    for source, line in found.headers:
        click.echo(f"  {'Header:':<20} {line} ({source})")


def _for_a_folder(described: Callable[[], None]) -> click.Group:
    """Return the group of commands, named and described so, for what is served from the folder `--data-dir`."""

    @main.group(described.__name__, help=described.__doc__)
    @click.option("--data-dir", type=DATA_DIR, default="var", show_default=True, envvar="DATA_DIR")
    @click.pass_context
    def group(context: click.Context, data_dir: Path) -> None:
        context.obj = data_dir

    return group


@_for_a_folder
def users() -> None:
    """Who has an account, and who is an admin."""


@users.command("list")
@click.pass_obj
def list_users(data_dir: Path) -> None:
    """List all users, admins first."""
    from autostack.admin import service

    with _application(data_dir):
        for user in service.everyone():
            marks = ["admin"] if user.is_superuser else []
            if not user.is_active:
                marks.append("being deleted" if user.deletion_asked_at else "suspended")
            click.echo("\t".join([user.email, user.name, ", ".join(marks)]).rstrip())


@users.command()
@click.argument("email")
@click.pass_obj
def promote(data_dir: Path, email: str) -> None:
    """Make a user an admin."""
    _appoint(data_dir, email, is_superuser=True)


@users.command()
@click.argument("email")
@click.pass_obj
def demote(data_dir: Path, email: str) -> None:
    """Make an admin a user like others."""
    _appoint(data_dir, email, is_superuser=False)


@_for_a_folder
def keys() -> None:
    """What secrets are stored under: ENCRYPTION_KEYS."""


@keys.command("rotate")
@click.pass_obj
def rotate_keys(data_dir: Path) -> None:
    """Encrypt what is under an older key under the first one."""
    from autostack.keys import rotate

    with _application(data_dir):
        done = rotate()
    click.echo(f"{done.rotated} encrypted anew, {done.current} under the first key already.")
    if done.unreadable:
        _refuse(ConfigurationError(f"{done.unreadable} can be read with none of ENCRYPTION_KEYS."))


@main.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@click.option("--data-dir", type=DATA_DIR, default="var", show_default=True, envvar="DATA_DIR")
def gc(dry_run: bool, data_dir: Path) -> None:
    """Delete files that no deployment needs any more, from every project, and folders of projects that are gone."""
    from autostack.deployments import garbage, ownerless
    from autostack.deployments.garbage import Freed
    from autostack.projects import service

    with _application(data_dir):
        ids = service.all_ids()
        freed = [garbage.look(id) if dry_run else garbage.collect_all(id) for id in ids]
        folders = ownerless.find()
        if not dry_run:
            ownerless.remove(folders)
    total, touched = sum(freed, Freed()), sum(one.objects > 0 for one in freed)
    said = "Would free" if dry_run else "Freed"
    click.echo(f"{said} {total.bytes:,} bytes in {total.objects:,} files, from {touched:,} of {len(ids):,} projects.")
    if folders:
        held = sum(folders.values(), Freed())
        said = "Would remove" if dry_run else "A worker removes"
        click.echo(f"{said} {held.bytes:,} bytes in {held.objects:,} files of {len(folders):,} projects nobody knows.")


def _appoint(data_dir: Path, email: str, *, is_superuser: bool) -> None:
    from autostack.admin import service

    with _application(data_dir):
        user = service.appoint(email, is_superuser=is_superuser)
        click.echo(f"{user.email} is {'an admin' if is_superuser else 'no admin'} now.")


@contextlib.contextmanager
def _application(data_dir: Path) -> Iterator[None]:
    """Be within the application that serves this folder; what goes wrong is one line."""
    from sqlalchemy.exc import OperationalError

    from autostack import create_app
    from autostack.copies import made_for_good
    from autostack.local.up import reachable_settings

    try:
        with made_for_good():
            app = create_app(reachable_settings(data_dir))
        with app.app_context():
            yield
    except AutostackError as error:
        _refuse(error)
    except OperationalError:
        _refuse(ConfigurationError("PostgreSQL does not answer: is Autostack up, and is --data-dir its folder?"))


def _refuse(error: AutostackError) -> NoReturn:
    for line in error.message.splitlines():
        click.echo(f"autostack: {line}", err=True)
    sys.exit(1)
