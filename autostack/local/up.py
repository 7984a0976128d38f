"""`autostack up`: check the machine, start everything below a supervisor, say where it is, serve until told to end."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import autostack
from autostack.errors import ConfigurationError
from autostack.local import checks, child, example_repository, example_site, procfile, readiness
from autostack.local.folders import claim_data_folder, make_private, socket_folder
from autostack.local.postgres import Postgres
from autostack.local.stack import Service, Stack, supervise
from autostack.local.valkey import Valkey
from autostack.settings import Settings, load_settings

ADDRESS = "127.0.0.1"
PROCFILE = Path(autostack.__file__).parents[1] / "Procfile"
READY_TIMEOUT_S = 120
POLL_S = 0.2


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    data_dir: Path
    port: int = 8000
    proxy_port: int = 8080
    builders: int = 2
    example: bool = False
    procfile: Path = PROCFILE


def up(options: Options) -> int:
    """Serve until SIGINT or SIGTERM; return the exit code. Raises ConfigurationError when it cannot start."""
    # Builds run as other users, who must reach what we make for them; what is private has a mode of its own.
    os.umask(0o022)
    data_dir = claim_data_folder(options.data_dir.absolute())
    checks.require_disk_space(data_dir)
    with checks.lock(data_dir), _ended_by_signals():
        check_machine(options, data_dir)
        settings, stack = plan(options, data_dir)
        checks.require_sandbox(data_dir / "trial", may_share_network=settings.allow_unsandboxed_builds)
        account = example_site.read_or_make(data_dir) if options.example else example_site.read(data_dir)
        return _serve(stack, settings, lambda: _welcome(settings, account, deploys=options.example))


def check_machine(options: Options, data_dir: Path) -> None:
    """Raise ConfigurationError with a line for each thing that is missing or in the way."""
    ports = {"--port": options.port, "--proxy-port": options.proxy_port}
    problems = [*checks.missing_tools(), *checks.taken_ports(ports)]
    if problems:
        raise ConfigurationError("\n".join(problems))


def plan(options: Options, data_dir: Path) -> tuple[Settings, Stack]:
    """Return the settings and everything to run, with the services' folders made. Raises ConfigurationError."""
    commands = _read_procfile(options.procfile)
    if options.example:
        example_repository.make(data_dir)
    given = _given_settings(options, data_dir)
    services = embedded_services(load_settings(**given), data_dir)
    for service in services:
        service.prepare()
    variables = given | {service.variable: service.url for service in services}
    release = commands.get(procfile.RELEASE)
    stack = Stack(
        data_dir=data_dir,
        working_dir=options.procfile.absolute().parent,
        environment=_environment(variables),
        services=services,
        release=procfile.Program(procfile.RELEASE, release) if release else None,
        programs=tuple(procfile.programs(commands, {"builder": options.builders})),
    )
    make_private(data_dir / "log")
    return load_settings(**variables), stack


def embedded_services(settings: Settings, data_dir: Path) -> tuple[Service, ...]:
    """Return the servers to start: those whose address nobody has given."""
    sockets = socket_folder(data_dir)
    services: dict[str, Service] = {
        "database_url": Postgres(data_dir / "postgres", sockets),
        "redis_url": Valkey(data_dir / "valkey", sockets),
    }
    return tuple(service for name, service in services.items() if name not in settings.model_fields_set)


def reachable_settings(data_dir: Path) -> Settings:
    """Return the settings by which a command reaches the services that `autostack up` runs for this folder.

    Where it runs none, or the environment names others, it is those of the environment.
    """
    settings = load_settings(data_dir=data_dir.absolute())
    services = embedded_services(settings, data_dir.absolute())
    return load_settings(
        data_dir=data_dir.absolute(),
        **{service.variable: service.url for service in services if (data_dir / service.name).exists()},
    )


def banner(settings: Settings, account: example_site.Example | None, example: str | None) -> str:
    """Return what a newcomer reads once all answer."""
    login = f"    {account.email} / {account.password}" if account else ""
    lines = ["Autostack is up", f"  Dashboard  {settings.app_url}{login}"]
    return "\n".join([*lines, f"  Example    {example}"] if example else lines)


def _given_settings(options: Options, data_dir: Path) -> dict[str, str]:
    """Return what the options fix by each setting's variable; the environment may only give what they don't."""
    defaults = {"APP_URL": f"http://localhost:{options.port}", "SITES_DOMAIN": "localhost"}
    # Agents run on this machine, wherever APP_URL may lead.
    defaults["AGENT_API_URL"] = f"http://{ADDRESS}:{options.port}"
    fixed = {
        "DATA_DIR": str(data_dir),
        "HOST": ADDRESS,
        "PORT": str(options.port),
        "PROXY_HOST": ADDRESS,
        "PROXY_PORT": str(options.proxy_port),
    }
    if example_repository.exists(data_dir):
        fixed["EXAMPLE_REPOSITORY"] = example_repository.address(data_dir)
    return {name: os.environ.get(name, value) for name, value in defaults.items()} | fixed


def _environment(variables: dict[str, str]) -> dict[str, str]:
    # `python`, `flask` and `gunicorn` are those of the environment that Autostack itself is installed in.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**os.environ, **variables, "PATH": path, "PYTHONUNBUFFERED": "1"}


def _read_procfile(path: Path) -> dict[str, tuple[str, ...]]:
    try:
        return procfile.parse(path.read_text())
    except OSError as error:
        raise ConfigurationError(f"Cannot read {path}: {error.strerror}.") from None


def _serve(stack: Stack, settings: Settings, welcome: Callable[[], str]) -> int:
    child.adopt_orphans()
    supervisor = multiprocessing.get_context("fork").Process(target=supervise, args=(stack, os.getpid()))
    supervisor.start()
    try:
        if _wait_until_ready(supervisor, _readiness(settings, stack, supervisor)):
            _say(f"{welcome()}\nready")
        supervisor.join()
    except KeyboardInterrupt:
        return 0
    finally:
        _end(supervisor)
    return _exit_code(supervisor)


def _readiness(settings: Settings, stack: Stack, supervisor: BaseProcess) -> dict[str, Callable[[], bool]]:
    names = {program.name.partition(".")[0] for program in stack.programs}
    redis_url = settings.redis_url.get_secret_value()
    pid = supervisor.pid or 0
    possible = {
        "web": readiness.answers_http(f"http://{ADDRESS}:{settings.port}/healthz"),
        "proxy": readiness.answers_http(f"http://{ADDRESS}:{settings.proxy_port}/.autostack/healthz"),
        "worker": readiness.workers_registered(stack.programs, redis_url, pid),
    }
    return {name: check for name, check in possible.items() if name in names}


def _wait_until_ready(supervisor: BaseProcess, checks: dict[str, Callable[[], bool]]) -> bool:
    """Wait for every check to hold; return False if the supervisor ended first. Raises ConfigurationError."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    pending = dict(checks)
    while pending:
        if not supervisor.is_alive():
            return False
        if time.monotonic() > deadline:
            raise ConfigurationError(f"No answer from {', '.join(pending)} within {READY_TIMEOUT_S} s: see its log.")
        pending = {name: check for name, check in pending.items() if not check()}
        time.sleep(POLL_S)
    return True


def _welcome(settings: Settings, account: example_site.Example | None, *, deploys: bool) -> str:
    if account is None or not deploys:
        return banner(settings, account, None)
    try:
        deployed = example_site.deploy(settings, account)
    except example_site.ExampleFailed as error:
        return banner(settings, account, f"not deployed: {error.message}")
    when = "earlier" if deployed.duration_s is None else f"in {deployed.duration_s:.1f} s"
    return banner(settings, account, f"{deployed.url}    deployed {when}")


def _say(text: str) -> None:
    # Whoever read our output may have left; that ends nothing.
    with contextlib.suppress(BrokenPipeError):
        print(text, flush=True)


def _end(supervisor: BaseProcess) -> None:
    """Have the supervisor end everything. A second Ctrl-C here is passed on, and it then waits for nobody."""
    while supervisor.is_alive():
        supervisor.terminate()
        with contextlib.suppress(KeyboardInterrupt):
            supervisor.join()
    child.end_descendants()


def _exit_code(supervisor: BaseProcess) -> int:
    code = supervisor.exitcode or 0
    if code < 0:
        raise ConfigurationError(f"The supervisor was killed by signal {-code}; all that it ran was ended.")
    return code


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt at SIGTERM too, and at SIGHUP unless it is ignored (nohup)."""
    signals: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGHUP)
    for number in signals:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    yield
