"""The supervisor with real processes: some that die, some that will not."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from autostack.errors import ConfigurationError
from autostack.local import child
from autostack.local.output import MAX_LINE_BYTES, LogFile, Relay, Stream
from autostack.local.procfile import Program, parse, programs
from autostack.local.supervisor import Supervisor

# Tells that it is ready for SIGTERM, then ignores it.
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
# Tells the same, and takes a moment to end.
SLOW = "import signal, sys, time; signal.signal(15, lambda *_: (time.sleep(0.5), sys.exit(0))); "
DAEMON = "import subprocess, time; print(subprocess.Popen(['sleep', '60'], start_new_session=True).pid, flush=True); "


def python(name: str, code: str) -> Program:
    return Program(name, (sys.executable, "-c", code))


@pytest.fixture
def console():
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


@pytest.fixture
def relay(tmp_path, console):
    (tmp_path / "log").mkdir()
    return Relay(tmp_path / "log", console[1])


@pytest.fixture
def grace_s():
    return 60


@pytest.fixture
def supervisor(tmp_path, relay, grace_s):
    child.adopt_orphans()
    made = Supervisor(relay, os.environ, tmp_path, grace_s)
    yield made
    made.request_stop(hurry=True)
    made.stop()


def tend_until(supervisor: Supervisor, condition: Callable[[], object], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that in time"
        supervisor.tend()


def log_of(tmp_path: Path, name: str) -> list[str]:
    path = tmp_path / "log" / f"{name}.log"
    return path.read_text(errors="replace").splitlines() if path.exists() else []


def test_each_line_is_shown_after_the_name_of_its_process_and_kept_in_its_log(supervisor, console, tmp_path):
    supervisor.keep([python("web", "print('first'); print('second', flush=True); import time; time.sleep(60)")])
    tend_until(supervisor, lambda: len(log_of(tmp_path, "web")) == 2)
    assert os.read(console[0], 1000) == b"web       | first\nweb       | second\n"


def test_what_dies_is_started_again_and_waits_longer_each_time(supervisor, tmp_path):
    supervisor.keep([python("brief", "print('here', flush=True); raise SystemExit(3)")])
    tend_until(supervisor, lambda: log_of(tmp_path, "brief").count("here") == 3)
    said = [line for line in log_of(tmp_path, "brief") if "again" in line]
    assert said[:2] == [f"ended with exit code 3; starts again in {delay} s" for delay in (0.5, 1)]


def test_a_process_that_was_killed_comes_back_with_its_neighbour_untouched(supervisor):
    killed, neighbour = supervisor.keep([Program("killed", ("sleep", "60")), Program("neighbour", ("sleep", "60"))])
    first, other = killed.process, neighbour.process
    os.kill(first.pid, signal.SIGKILL)
    tend_until(supervisor, lambda: killed.process not in (None, first))
    assert killed.is_running()
    assert neighbour.process is other


def test_what_a_killed_process_leaves_in_other_sessions_is_ended_before_its_successor_starts(supervisor, tmp_path):
    (kept,) = supervisor.keep([python("worker", DAEMON + "time.sleep(60)")])
    tend_until(supervisor, lambda: log_of(tmp_path, "worker"))
    left_behind = psutil.Process(int(log_of(tmp_path, "worker")[0]))
    os.kill(kept.process.pid, signal.SIGKILL)
    tend_until(supervisor, lambda: not left_behind.is_running())


@pytest.mark.parametrize("grace_s", [1])
def test_who_ignores_the_request_to_stop_is_killed_after_the_grace(supervisor, tmp_path):
    (kept,) = supervisor.keep([python("deaf", STUBBORN)])
    tend_until(supervisor, lambda: log_of(tmp_path, "deaf"))
    process = kept.process
    supervisor.request_stop()
    supervisor.stop()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("grace_s", [0])
def test_who_has_a_grace_of_its_own_is_not_killed_before_that_is_over(supervisor, tmp_path):
    (kept,) = supervisor.keep(
        [Program("slow", (sys.executable, "-c", SLOW + "print('slow', flush=True); time.sleep(60)"), grace_s=60)]
    )
    tend_until(supervisor, lambda: log_of(tmp_path, "slow"))
    process = kept.process
    supervisor.request_stop()
    supervisor.stop()
    assert process.returncode == 0


def test_the_last_kept_are_ended_first(supervisor, tmp_path):
    order = tmp_path / "order"
    code = (
        "import pathlib, signal, sys, time\n"
        "def end(*_): pathlib.Path({path!r}).open('a').write({name!r}); sys.exit()\n"
        "signal.signal(15, end); print('ready', flush=True); time.sleep(60)"
    )
    for name in ("database ", "queue ", "web "):
        supervisor.keep([python(name.strip(), code.format(path=str(order), name=name))])
    tend_until(supervisor, lambda: all(log_of(tmp_path, name) for name in ("database", "queue", "web")))
    supervisor.request_stop()
    supervisor.stop()
    assert order.read_text() == "web queue database "


def test_a_stop_leaves_no_grandchild_in_a_session_of_its_own(supervisor, tmp_path):
    supervisor.keep([python("worker", DAEMON + "time.sleep(60)")])
    tend_until(supervisor, lambda: log_of(tmp_path, "worker"))
    grandchild = psutil.Process(int(log_of(tmp_path, "worker")[0]))
    supervisor.request_stop()
    supervisor.stop()
    assert not grandchild.is_running()


def test_a_release_that_fails_says_why(supervisor):
    with pytest.raises(ConfigurationError, match="release ended with exit code 1: no such table"):
        supervisor.complete(python("release", "raise SystemExit('no such table')"))


def test_a_service_that_keeps_dying_at_its_start_is_given_up_with_its_last_words(supervisor):
    program = python("postgres", "raise SystemExit('FATAL: no space left')")
    with pytest.raises(ConfigurationError, match="postgres does not start: FATAL: no space left"):
        supervisor.keep_service(program, lambda: False, timeout_s=60)


def test_a_command_that_is_not_there_is_one_line(supervisor):
    with pytest.raises(ConfigurationError, match=r"Cannot run no-such-program \(web\): No such file"):
        supervisor.keep([Program("web", ("no-such-program",))])


def test_a_console_that_nobody_reads_holds_up_nothing(supervisor, tmp_path):
    supervisor.keep([python("flood", "for n in range(50_000): print(n, 'x' * 100)\nimport time; time.sleep(60)")])
    tend_until(supervisor, lambda: log_of(tmp_path, "flood")[-1:] == [f"49999 {'x' * 100}"])


def test_an_endless_line_is_cut_into_pieces(supervisor, tmp_path):
    supervisor.keep([python("long", "print('x' * 100_000, flush=True); import time; time.sleep(60)")])
    tend_until(supervisor, lambda: sum(map(len, log_of(tmp_path, "long"))) == 100_000)
    assert max(map(len, log_of(tmp_path, "long"))) == MAX_LINE_BYTES


def test_half_a_line_waits_for_its_end_and_the_end_of_the_stream_completes_it():
    stream = Stream("web", is_shown=True)
    assert stream.feed(b"one\ntw") == [b"one"]
    assert stream.feed(None) == []
    assert stream.feed(b"o") == []
    assert stream.feed(b"") == [b"two"]
    assert stream.is_closed


def test_a_log_file_does_not_grow_without_end(tmp_path):
    log = LogFile(tmp_path / "web.log", max_bytes=1000)
    for _ in range(100):
        log.append([b"x" * 99])
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2_500
    assert sorted(path.name for path in tmp_path.iterdir()) == ["web.log", "web.log.1"]


def test_a_child_dies_with_its_parent_though_the_parent_died_before_it_could_ask(tmp_path):
    script = (
        "import os, time\n"
        "from autostack.local import child\n"
        "parent = os.getpid()\n"
        "if os.fork() == 0:\n"
        "    while os.getppid() == parent: time.sleep(0.01)\n"
        "    child.die_with_parent(parent)\n"
        f"    open({str(tmp_path / 'survived')!r}, 'w')\n"
    )
    child.start([sys.executable, "-c", script]).wait()
    time.sleep(0.5)
    assert not (tmp_path / "survived").exists()


def test_a_procfile_names_each_process_once_and_splits_commands_without_a_shell():
    text = '# comment\n\nrelease: flask db upgrade\nweb: gunicorn "autostack:create_app()" $HOME;id\nbuilder: b\n'
    commands = parse(text)
    assert commands["web"] == ("gunicorn", "autostack:create_app()", "$HOME;id")
    assert [program.name for program in programs(commands, {"builder": 2})] == ["web", "builder.1", "builder.2"]


@pytest.mark.parametrize("text", ["web gunicorn", "web:", "web: a\nweb: b", "web: 'open", "../web: a"])
def test_a_line_that_is_no_process_is_named_by_its_number(text):
    with pytest.raises(ConfigurationError, match=f"Procfile, line {len(text.splitlines())}"):
        parse(text)
