"""Git, hardened: which addresses may be reached, and the commands that reach them.

Used by the agent for the clone (inside its sandbox) and by web to look at a repository. No shell sees an address or
a branch name, only https (and http, for hosts that the operator allowed) is spoken, redirects are not followed, and
the address that was checked is the one that is connected to (`http.curloptResolve`).
"""

from __future__ import annotations

import base64
import ipaddress
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import urllib.parse
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from autostack.agent.order import Credential, RepositoryOrder
from autostack.public_addresses import is_public

MAX_URL_CHARS = 2_000
MAX_BRANCH_CHARS = 250
MAX_REFS_BYTES = 10_000_000
MAX_GIT_MEMORY_BYTES = 1_000_000_000
DEFAULT_PORTS = {"https": 443, "http": 80}
LOCAL_REPOSITORY = "/repository.git"
FETCH_OPTIONS = ("--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules")
# What follows from git's check-ref-format(1), and beyond it characters that no shell or log should meet.
BRANCH_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\;`$'\"<>|&(){}!]|\.\.|@\{|//|^[-/.]|[/.]$|\.lock(/|$)|/\.|^@$")
COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
HOST = re.compile(
    r"(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE
)


class RepositoryError(Exception):
    """A repository cannot be used as given. The message is one line for its owner, `field` the input it is about."""

    field = "repository"


class InvalidUrl(RepositoryError):
    """The address is none that we clone from."""


class InvalidBranch(RepositoryError):
    """The name cannot be a branch's."""

    field = "branch"


class PrivateAddress(RepositoryError):
    """The host is in a private network, and the operator did not allow it."""


class Unreachable(RepositoryError):
    """No host of that name, no answer, an answer that is not a Git server's, or none in time."""


class AuthenticationRequired(RepositoryError):
    """The server asks who we are, or says that there is no such repository: hosts tell the two apart to nobody."""


class EmptyRepository(RepositoryError):
    """There is not one commit in it."""


class BranchNotFound(RepositoryError):
    """The repository has no such branch."""

    field = "branch"


@dataclass(frozen=True)
class Remote:
    """An address that was checked: what git is given, and the addresses that its host name stands for."""

    url: str
    host: str
    port: int
    scheme: str
    addresses: tuple[str, ...] = ()

    @property
    def display(self) -> str:
        """The address as the log shows it: `github.com/owner/name`."""
        return self.url.removeprefix(f"{self.scheme}://").removesuffix("/").removesuffix(".git")


@dataclass(frozen=True)
class Refs:
    """The branches of a repository (name to commit) and the one that a plain clone checks out."""

    branches: Mapping[str, str] = field(default_factory=dict)
    default_branch: str | None = None


def parse_url(url: str, hosts_allowed: Collection[str] = ()) -> Remote:
    """Check an address's form. Plain http is for allowed hosts only. Raises InvalidUrl."""
    if len(url) > MAX_URL_CHARS or not url.isascii() or re.search(r"[\x00-\x20\x7f\\]", url) or url.startswith("-"):
        raise InvalidUrl("The repository must be an address such as https://github.com/owner/name")
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise InvalidUrl("The repository's address has a wrong host or port") from None
    if parts.scheme not in DEFAULT_PORTS or "::" in url.partition("//")[0]:
        raise InvalidUrl("The repository's address must begin with https://")
    if parts.username is not None or parts.password is not None:
        raise InvalidUrl("The repository's address must not contain a user name or password")
    if not (HOST.fullmatch(host) or _is_ip(host)) or not parts.path.strip("/") or parts.query or parts.fragment:
        raise InvalidUrl("The repository must be an address such as https://github.com/owner/name")
    remote = Remote(url, host, port or DEFAULT_PORTS[parts.scheme], parts.scheme)
    if remote.scheme == "http" and not is_allowed(remote, hosts_allowed):
        raise InvalidUrl("The repository's address must begin with https://")
    return remote


def is_allowed(remote: Remote, hosts_allowed: Collection[str]) -> bool:
    """Tell whether the operator allowed this host, by its name alone or with its port."""
    literal = f"[{remote.host}]" if ":" in remote.host else remote.host
    return not {remote.host, literal, f"{literal}:{remote.port}"}.isdisjoint(hosts_allowed)


def resolve(remote: Remote, hosts_allowed: Collection[str] = ()) -> Remote:
    """Look up the host's addresses. Raises Unreachable, or PrivateAddress if one of them is not public."""
    try:
        found = socket.getaddrinfo(remote.host, remote.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Unreachable(f"There is no host named {remote.host}") from None
    addresses = tuple(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))
    if not is_allowed(remote, hosts_allowed) and not all(map(is_public, addresses)):
        raise PrivateAddress(f"{remote.host} is a private address, which repositories are not cloned from")
    return Remote(remote.url, remote.host, remote.port, remote.scheme, addresses)


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def check_branch(name: str) -> str:
    """Return `name` if it can be a branch's (git-check-ref-format(1), no shell characters). Raises InvalidBranch."""
    if not name or len(name) > MAX_BRANCH_CHARS or BRANCH_FORBIDDEN.search(name):
        raise InvalidBranch("The branch's name has characters that a branch cannot have")
    return name


def locate(order: RepositoryOrder) -> Remote:
    """Check everything about a repository that needs no program: form, host, branch, commit. Raises RepositoryError."""
    if order.branch is not None:
        check_branch(order.branch)
    if order.commit is not None and not COMMIT.fullmatch(order.commit):
        raise InvalidUrl("The commit must be the full hash of one, of 40 or 64 hexadecimal digits")
    if is_local(order.url, order.local_path):
        return Remote(f"file://{LOCAL_REPOSITORY}", "", 0, "file")
    return resolve(parse_url(order.url, order.hosts_allowed), order.hosts_allowed)


def is_local(url: str, local_path: str | None) -> bool:
    """Tell whether `url` names exactly the one folder of this machine that may be cloned."""
    return local_path is not None and local_path in {url, urllib.parse.unquote(url.removeprefix("file://"))}


def environment(remote: Remote, credential: Credential | None = None) -> dict[str, str]:
    """Return git's variables: no configuration but ours, one protocol, no prompt, the credential, the address."""
    configuration = _configuration(remote)
    if credential:
        token = base64.b64encode(f"{credential.username}:{credential.password}".encode()).decode()
        configuration.append((f"http.{remote.url}.extraHeader", f"Authorization: Basic {token}"))
    variables = {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "GIT_ALLOW_PROTOCOL": remote.scheme,
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_CONFIG_COUNT": str(len(configuration)),
    }
    for index, (key, value) in enumerate(configuration):
        variables |= {f"GIT_CONFIG_KEY_{index}": key, f"GIT_CONFIG_VALUE_{index}": value}
    return variables


def _configuration(remote: Remote) -> list[tuple[str, str]]:
    settings = [
        ("protocol.allow", "never"),
        (f"protocol.{remote.scheme}.allow", "always"),
        ("core.hooksPath", "/dev/null"),
        ("core.fsmonitor", "false"),
        ("core.askPass", "/bin/false"),
        ("credential.helper", ""),
        ("http.followRedirects", "false"),
        ("http.lowSpeedLimit", "1000"),
        ("http.lowSpeedTime", "30"),
        ("submodule.recurse", "false"),
        ("gc.auto", "0"),
        ("maintenance.auto", "false"),
        ("advice.detachedHead", "false"),
        ("init.defaultBranch", "main"),
    ]
    if remote.addresses and not _is_ip(remote.host):
        # curl brackets no IPv6 addresses in its list of resolved ones but takes them with brackets as well.
        addresses = ",".join(f"[{ip}]" if ":" in ip else ip for ip in remote.addresses)
        settings.append(("http.curloptResolve", f"{remote.host}:{remote.port}:{addresses}"))
    return settings


def wanted(order: RepositoryOrder) -> str:
    """Return what is to be fetched: a commit or the name of a ref."""
    return order.commit or (f"refs/heads/{order.branch}" if order.branch else "HEAD")


def clone_commands(remote: Remote, wanted: str) -> list[list[str]]:
    """Return the commands that put one commit, without history, into the current folder. They run in the sandbox."""
    options = list(FETCH_OPTIONS)
    if remote.scheme == "file":
        # A local repository may belong to another user, and git hands this exception on in no other way. What is
        # copied on one machine need not be made smaller.
        options.append("--upload-pack=git -c safe.directory=* -c pack.window=0 upload-pack")
    # A detached checkout: builds that ask for the branch are told it by a variable, a forged ref misleads nobody.
    return [
        ["git", "init", "--quiet", "."],
        ["git", "fetch", *options, "--", remote.url, wanted],
        ["git", "checkout", "--quiet", "--detach", "FETCH_HEAD"],
    ]


def mirror_commands(remote: Remote, wanted: str, ref: str) -> list[list[str]]:
    """Return the commands that fetch one commit into the bare repository in the current folder, and call it `ref`.

    As one pack each time. Git asks the server in any case: with a depth it takes nothing for fetched already.
    """
    fetch = ["git", "-c", "fetch.unpackLimit=1", "fetch", *FETCH_OPTIONS]
    return [[*fetch, "--", remote.url, f"+{wanted}:{ref}"]]


def ls_remote(
    url: str,
    *,
    hosts_allowed: Collection[str] = (),
    credential: Credential | None = None,
    local_path: str | None = None,
    timeout_s: float = 10,
) -> Refs:
    """Ask a repository for its branches. Raises a kind of RepositoryError; EmptyRepository if it has no branch.

    The credential is said only to a server that asks for one.
    """
    if is_local(url, local_path):
        remote = Remote(f"file://{urllib.parse.quote(local_path or '')}", "", 0, "file")
    else:
        remote = resolve(parse_url(url, hosts_allowed), hosts_allowed)
    variables = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": "/nonexistent", "LC_ALL": "C"}
    # The operator's own certificate authority is the one variable of ours that git may need.
    variables |= {name: os.environ[name] for name in ("SSL_CERT_FILE", "GIT_SSL_CAINFO") if name in os.environ}
    argv = [shutil.which("git") or "git", "ls-remote", "--symref", "--", remote.url, "HEAD", "refs/heads/*"]
    try:
        output = _run(argv, variables | environment(remote), timeout_s, remote)
    except AuthenticationRequired:
        if credential is None:
            raise
        output = _run(argv, variables | environment(remote, credential), timeout_s, remote)
    refs = parse_refs(output)
    if not refs.branches:
        raise EmptyRepository("The repository is empty: push a commit first")
    return refs


def _run(argv: list[str], env: dict[str, str], timeout_s: float, remote: Remote) -> str:
    """Run git and return its output. What it prints goes to files: a hostile server could fill our memory."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            argv,
            env=env,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
        _wait(process, timeout_s, remote)
        output.seek(0)
        errors.seek(0)
        if process.returncode != 0:
            raise explain(errors.read(MAX_REFS_BYTES).decode("utf-8", "replace"), remote)
        return output.read(MAX_REFS_BYTES).decode("utf-8", "replace")


def _wait(process: subprocess.Popen[bytes], timeout_s: float, remote: Remote) -> None:
    """Wait for git within its limits; end its whole group when it is late: a child of git speaks HTTP."""
    try:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (MAX_REFS_BYTES, MAX_REFS_BYTES))
        resource.prlimit(process.pid, resource.RLIMIT_AS, (MAX_GIT_MEMORY_BYTES, MAX_GIT_MEMORY_BYTES))
    except ProcessLookupError:
        pass
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise Unreachable(f"{remote.host} did not answer within {timeout_s:g} seconds") from None


def parse_refs(output: str) -> Refs:
    """Read what `git ls-remote --symref` printed."""
    branches: dict[str, str] = {}
    default = None
    for line in output.splitlines():
        left, _, name = line.partition("\t")
        if name == "HEAD" and left.startswith("ref: refs/heads/"):
            default = left.removeprefix("ref: refs/heads/")
        elif name.startswith("refs/heads/"):
            branches[name.removeprefix("refs/heads/")] = left
    # HEAD may name a branch that was never pushed.
    return Refs(branches, default if default in branches else next(iter(branches), None))


REASONS: tuple[tuple[re.Pattern[str], type[RepositoryError], str], ...] = (
    (
        re.compile(r"could not read (Username|Password)|Authentication failed|error: 40[13]|terminal prompts disabled"),
        AuthenticationRequired,
        "{host} asks for a sign-in: the repository is private, or does not exist",
    ),
    (
        re.compile(r"couldn't find remote ref refs/heads/"),
        BranchNotFound,
        "The repository has no such branch",
    ),
    (
        re.compile(r"couldn't find remote ref HEAD"),
        EmptyRepository,
        "The repository is empty: push a commit first",
    ),
    (
        re.compile(r"not our ref|couldn't find remote ref|reference is not a tree"),
        BranchNotFound,
        "The repository has no such commit",
    ),
    (
        re.compile(r"error: 404|[Rr]epository .*not found|does not appear to be a git repository"),
        AuthenticationRequired,
        "There is no repository at this address, or it is private",
    ),
    (
        re.compile(r"error: 30\d|unable to update url base from redirection|redirect"),
        Unreachable,
        "{host} redirects to another address: give the repository's own address",
    ),
    (
        re.compile(r"certificate|SSL|TLS"),
        Unreachable,
        "{host} could not be reached securely: its certificate was not accepted",
    ),
)


def explain(stderr: str, remote: Remote) -> RepositoryError:
    """Turn what git said (in English: LC_ALL=C) into the error that it means."""
    for pattern, kind, message in REASONS:
        if pattern.search(stderr):
            return kind(message.format(host=remote.host))
    return Unreachable(f"{remote.host or 'The repository'} could not be reached, or is no Git server")
