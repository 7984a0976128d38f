"""The command line: `autostack up`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from autostack.errors import ConfigurationError

PORT = click.IntRange(1, 65_535)
# Whether it can be used is for `claim_data_folder` to say.
DATA_DIR = click.Path(file_okay=False, readable=False, path_type=Path)


@click.group()
def main() -> None:
    """Autostack: connect a Git repository, and every push is built and served at a URL of its own."""


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
        for line in error.message.splitlines():
            click.echo(f"autostack: {line}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(0)
