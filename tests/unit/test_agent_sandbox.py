"""The sandbox's command line, built purely."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path

from autostack.agent import join
from autostack.agent.cgroups import V1, Group
from autostack.agent.host import Host
from autostack.agent.network import Entrance
from autostack.agent.order import Limits
from autostack.agent.sandbox import ContainersWorkspace, Sandbox, Workspace, build_argv, build_script

HOST = Host(bwrap="/usr/bin/bwrap", links={"/bin": "usr/bin"}, readable={"/usr": "/usr"})
LIMITS = Limits(
    timeout_ms=600_000,
    max_build_bytes=1,
    max_files=1,
    max_file_bytes=1,
    max_log_bytes=1,
    max_line_bytes=1,
    max_processes=512,
    max_memory_bytes=1,
    max_disk_bytes=5_000,
    max_cache_bytes=1,
    max_mirrors_bytes=1,
)
SANDBOX = Sandbox(HOST, Workspace(Path("/w")), 64_003, LIMITS, ca_bundle=Path("/ca.pem"))
MOUNTS = shlex.split(
    "--perms 0755 --dir /etc --perms 0755 --dir /etc/autostack --perms 0755 --dir /home --perms 0755 --dir"
    " /run --perms 0755 --dir /run/autostack --ro-bind /usr /usr --ro-bind /w/etc/passwd /etc/passwd --ro-bind"
    " /w/etc/group /etc/group --ro-bind /w/etc/hosts /etc/hosts --ro-bind /w/etc/resolv.conf /etc/resolv.conf"
    " --ro-bind /w/etc/nsswitch.conf /etc/nsswitch.conf"
    " --ro-bind /ca.pem /etc/autostack/ca.pem --symlink usr/bin /bin --proc /proc --dev"
    " /dev --perms 1777 --size 67108864 --tmpfs /dev/shm --bind /w/source /build --bind /w/home /home/build"
    " --bind /w/tmp /tmp --perms 0555 --ro-bind-data 3 /run/autostack/command --remount-ro /dev --remount-ro /"
)
NAMESPACES = shlex.split("--unshare-pid --unshare-ipc --unshare-uts --unshare-cgroup-try")
NO_NETWORK = ["--unshare-net"]
LIFE = shlex.split("--hostname build --die-with-parent --new-session --clearenv")
RLIMITS = shlex.split("/usr/bin/prlimit --nproc=512 --fsize=5000 --nofile=16384 --core=0 --")

BECOME = shlex.split("--reuid 64003 --regid 64003 --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all --")


def test_root_makes_the_mounts_and_becomes_another_user_without_privileges() -> None:
    assert build_argv(SANDBOX, command_fd=3, seccomp_fd=4, folder="/build/web") == [
        *("/usr/bin/bwrap", *NAMESPACES, *LIFE, *NO_NETWORK, *MOUNTS, "--seccomp", "4", "--chdir", "/build/web", "--"),
        *(*RLIMITS, "/usr/bin/setpriv", *BECOME, "/bin/sh", "/run/autostack/command"),
    ]


def test_an_ordinary_user_gets_a_user_namespace() -> None:
    user = shlex.split("--unshare-user --disable-userns --uid 64003 --gid 64003")
    sandbox = replace(SANDBOX, host=replace(HOST, is_root=False))
    assert build_argv(sandbox, command_fd=3, seccomp_fd=None) == [
        *("/usr/bin/setpriv", "--inh-caps=-all", "--ambient-caps=-all", "--"),
        *("/usr/bin/bwrap", *NAMESPACES, *user, *LIFE, *NO_NETWORK, *MOUNTS, "--chdir", "/build", "--"),
        *(*RLIMITS, "/bin/sh", "/run/autostack/command"),
    ]


JOIN = [sys.executable, "-I", "-S", join.__file__]


def test_a_script_that_may_reach_others_is_run_in_the_network_that_was_made_for_it() -> None:
    argv = build_argv(SANDBOX, command_fd=3, seccomp_fd=4, entrance=Entrance(net=7, user=8))
    assert argv[: len(JOIN) + 6] == [*JOIN, "--user", "8", "--net", "7", "--", "/usr/bin/bwrap"]
    assert "--unshare-net" not in argv


def test_a_script_enters_its_builds_control_group_first_and_has_its_limit_of_processes() -> None:
    group = Group(V1, Path("/memory/autostack-7"), Path("/pids/autostack-7"), LIMITS)
    argv = build_argv(replace(SANDBOX, group=group), command_fd=3, seccomp_fd=4)
    groups = ["--group", "/memory/autostack-7", "--group", "/pids/autostack-7"]
    assert argv[: len(JOIN) + 6] == [*JOIN, *groups, "--", "/usr/bin/bwrap"]
    assert "--nproc=516" in argv


def test_in_a_container_nothing_is_mounted_and_what_lies_elsewhere_is_linked() -> None:
    container = replace(HOST, bwrap=None)
    readable = {"/opt/autostack/node": "/opt/node24"}
    sandbox = replace(SANDBOX, host=container, workspace=ContainersWorkspace(Path("/w")), readable=readable)
    assert build_argv(sandbox, command_fd=3, seccomp_fd=4, folder="/build/web") == [
        *(sys.executable, "-I", "-m", "autostack.agent.contained", "--uid", "64003"),
        *shlex.split("--script /run/autostack/command --script-fd 3 --seccomp-fd 4"),
        *shlex.split(
            "--link /ca.pem /etc/autostack/ca.pem --link /opt/node24 /opt/autostack/node --chdir /build/web --"
        ),
        *(*RLIMITS, "/usr/bin/setpriv", *BECOME, "/bin/sh", "/run/autostack/command"),
    ]


def test_in_a_container_a_package_manager_is_installed_in_a_room_of_its_own() -> None:
    room = replace(SANDBOX, host=replace(HOST, bwrap=None), workspace=Workspace(Path("/tools/.room")))
    argv = build_argv(room, command_fd=3, seccomp_fd=None)
    assert argv[argv.index("--chdir") + 1] == "/tools/.room/source"
    names = room.environment()
    assert (names["HOME"], names["TMPDIR"]) == ("/tools/.room/home", "/tools/.room/tmp")


def test_variables_are_in_the_script_quoted_and_never_on_the_command_line() -> None:
    script = build_script("npm run build", {"A": "it's $(id)\n`x`"})
    assert script == ("echo 1000 > /proc/self/oom_score_adj\nexport A='it'\"'\"'s $(id)\n`x`'\nnpm run build\n")


def test_the_environment_is_the_sandboxs_own() -> None:
    names = replace(SANDBOX, search=("/opt/tool",)).environment()
    assert names["PATH"] == "/opt/tool:/usr/local/bin:/usr/bin:/bin"
    assert names["NODE_EXTRA_CA_CERTS"] == "/etc/autostack/ca.pem"
    assert names["HOME"] == "/home/build"
