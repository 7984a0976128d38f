"""Row 44: a build connects to PostgreSQL, Redis, the object store, 169.254.169.254 → denied."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from autostack.agent.egress.policy import own_addresses
from autostack.agent.egress.privileges import MAX_MEMORY_BYTES
from autostack.agent.errors import InfrastructureError
from autostack.agent.network import Egress, Reach
from autostack.agent.sandbox import FIRST_EGRESS_UID
from autostack.public_addresses import is_public
from tests.agents import make_site
from tests.git_server import make_repository, serve_repositories
from tests.integration.test_embedded_services import AS_NOBODY, as_root
from tests.peers.web_for_agents import REGISTRIES
from tests.processes import processes_where

# Connects as a library does that speaks a protocol of its own: no proxy is asked, and the addresses are literal.
RAW = """
const net = require('net'), dgram = require('dgram')
const tell = (name, how) => console.log(`${name}: ${how}`)
const connect = (name, options) => new Promise((done) => {
  const socket = net.connect(options)
  socket.setTimeout(60000, () => { tell(name, 'no answer'); socket.destroy(); done() })
  socket.on('data', () => { tell(name, 'REACHED'); socket.destroy(); done() })
  socket.on('error', () => { tell(name, 'refused'); done() })
  socket.on('end', () => { tell(name, 'refused'); socket.destroy(); done() })
})
const send = (address, port) => new Promise((done) => {
  const socket = dgram.createSocket('udp4')
  socket.send('secret', port, address, () => socket.close(done))
})
"""


@dataclass
class Service:
    """Says something to everybody who connects, as PostgreSQL and the like would, and counts them."""

    listener: socket.socket
    visits: list[object] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])


@contextlib.contextmanager
def running_service(listener: socket.socket) -> Iterator[Service]:
    service = Service(listener)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                service.visits.append(connection)
                connection.sendall(b"hello")
                connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@contextlib.contextmanager
def redirecting(location: str) -> Iterator[int]:
    """Answer every request with a redirect, on the port that is given."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def own_address() -> str:
    """Return an address of this machine beside 127.0.0.1."""
    return next((address for address in sorted(own_addresses()) if "." in address and address != "127.0.0.1"), "")


def abstract_socket(name: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"\0{name}")
    listener.listen()
    return listener


def attempts(service: Service, abstract: Service, udp_port: int) -> str:
    """Return a script that tries every way there is to what this machine, and its network, keep for themselves."""
    name = abstract.listener.getsockname()[1:].decode()
    reached = {
        "loopback": {"host": "127.0.0.1", "port": service.port},
        "own address": {"host": own_address() or "127.0.0.1", "port": service.port},
        "own address, web": {"host": own_address() or "127.0.0.1", "port": 80},
        "metadata": {"host": "169.254.169.254", "port": 80},
        "metadata, mapped": {"host": "::ffff:169.254.169.254", "port": 80},
        "metadata, IPv6": {"host": "fd00:ec2::254", "port": 80},
        "NAT64": {"host": "64:ff9b::a9fe:a9fe", "port": 443},
        "private": {"host": "10.0.0.5", "port": 5432},
        "private, web": {"host": "192.168.0.1", "port": 443},
        "abstract socket": {"path": f"\0{name}"},
    }
    lines = [f"await connect({json.dumps(name)}, {json.dumps(options)})" for name, options in reached.items()]
    udp = [f"await send('127.0.0.1', {udp_port})", "await send('10.0.0.53', 53)"]
    return RAW + ";(async () => {\n" + "\n".join([*lines, *udp]) + "\n})()"


@pytest.mark.parametrize("prefix", [(), pytest.param(tuple(AS_NOBODY), marks=as_root)], ids=["root", "ordinary user"])
def test_f44_no_service_of_this_machine_or_its_network_is_reached(tmp_path: Path, prefix: tuple[str, ...]) -> None:
    with (
        running_service(socket.create_server(("127.0.0.1", 0))) as service,
        running_service(abstract_socket(f"autostack-{os.getpid()}")) as abstract,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        make_site(tmp_path, {}, settings={"buildCommand": "node try.js", "outputDir": "."}) as site,
    ):
        udp.bind(("127.0.0.1", 0))
        udp.setblocking(False)
        site.repository.commit({"try.js": attempts(service, abstract, udp.getsockname()[1]), "package.json": "{}"})
        open_to_all(tmp_path)
        site.prefix = prefix
        site.build()
        assert site.web.finished == {"outcome": "built", "reason": None}, site.web.log
        tried = [text for text in site.web.texts if text.endswith((": refused", ": no answer", ": REACHED"))]
        assert len(tried) == 10, site.web.log
        assert all(text.endswith(": refused") for text in tried), tried
        assert service.visits == abstract.visits == []
        with pytest.raises(BlockingIOError):
            udp.recv(100)
        told = "The build tried to reach "
        for target in ("169.254.169.254:80", "10.0.0.5:5432", "192.168.0.1:443", "[fd00:ec2::254]:80"):
            assert f"{told}{target}, which builds may not" in site.web.texts
        assert f"{told}10.0.0.53:53 by UDP: only TCP leads out of a build" in site.web.texts


def open_to_all(folder: Path) -> None:
    """Have everybody use a folder: the agent may be somebody else here."""
    for each in (folder, *folder.parents):
        if each.stat().st_uid == os.geteuid() and each != Path("/"):
            each.chmod(0o777 if each == folder else each.stat().st_mode | 0o755)


BY_PROXY = """
const http = require('http')
const ask = (target) => new Promise((done) => {
  const request = http.request({ host: '127.0.0.1', port: 800, method: 'CONNECT', path: target })
  request.on('connect', (answer) => { console.log(`${target}: ${answer.statusCode}`); request.destroy(); done() })
  request.end()
})
"""


def test_f44_neither_a_name_nor_a_redirect_nor_the_proxy_leads_to_a_private_address(tmp_path: Path) -> None:
    with (
        running_service(socket.create_server(("127.0.0.1", 0))) as service,
        redirecting(f"http://127.0.0.1:{service.port}/") as allowed,
    ):
        # This name stands for 127.0.0.1 in the hosts file of every machine: it is looked up outside.
        targets = [f"localhost:{service.port}", f"127.0.0.1:{service.port}", "169.254.169.254:80", "[::1]:80"]
        script = (
            BY_PROXY
            + f";(async () => {{ for (const target of {json.dumps(targets)}) await ask(target);"
            + f"const hop = 'http://127.0.0.1:{allowed}/';"
            + "console.log('first hop', (await fetch(hop, { redirect: 'manual' })).status);"
            + "await fetch(hop).then(() => console.log('REACHED'), () => console.log('redirect refused')) })()"
        )
        files = {"try.js": script, "package.json": "{}"}
        settings = {"buildCommand": "node try.js", "outputDir": "."}
        order = {"settings": settings, "egress_allowed": [f"127.0.0.1:{allowed}"]}
        with make_site(tmp_path, files, **order) as site:
            site.build()
            assert [text for text in site.web.texts if text.endswith(": 403")] == [
                f"{name}: 403" for name in targets
            ], site.web.log
            assert {"first hop 302", "redirect refused"} <= set(site.web.texts)
            # A name's address inside our network is not told.
            told = f"The build tried to reach localhost:{service.port} (not a public address), which builds may not"
            assert told in site.web.texts
            assert service.visits == []


def test_f44_a_clone_reaches_the_repositorys_server_alone(tmp_path: Path) -> None:
    order = {"egress_allowed": ["127.0.0.1"]}
    make_repository(tmp_path / "elsewhere" / "other.git", {"a": "b"})
    with (
        serve_repositories(tmp_path / "elsewhere") as other,
        serve_repositories(tmp_path, redirect_to=f"http://{other.host}") as first,
        make_site(tmp_path, {"index.html": ""}, **order) as site,
    ):
        site.order(repository={"url": first.url("other.git"), "hostsAllowed": [first.host]})
        site.build()
        assert site.web.finished is not None
        assert "redirects" in str(site.web.finished["reason"])
        assert other.requests == []


def test_f44_what_is_allowed_is_reached_by_every_tool(tmp_path: Path) -> None:
    """npm by the proxy, Node's own fetch without one, git from a server of the company's on a port of its own."""
    make_repository(tmp_path / "company" / "lib.git", {"package.json": '{"name": "lib", "version": "1.0.0"}'})
    with serve_repositories(tmp_path / "company") as company:
        package = {"name": "site", "dependencies": {"is-number": "7.0.0"}, "scripts": {"build": "true"}}
        build = f"node fetch.js && git clone -q {company.url('lib.git')} lib && ls node_modules/is-number lib"
        address = "https://registry.npmjs.org/is-number"
        # The last as axios asks a proxy for an https address: it expects TLS of it.
        fetch = (
            f"fetch('{address}').then((answer) => console.log('fetch:', answer.status));"
            f"require('http').get({{ host: '127.0.0.1', port: 800, path: '{address}',"
            "headers: { host: 'registry.npmjs.org' } }, (answer) => console.log('axios:', answer.statusCode))"
        )
        files = {"package.json": json.dumps(package), "fetch.js": fetch}
        order = {
            "settings": {"buildCommand": build, "outputDir": "."},
            "egress_allowed": [*REGISTRIES, company.host],
        }
        with make_site(tmp_path, files, **order) as site:
            site.build()
            assert site.web.finished == {"outcome": "built", "reason": None}, site.web.log
            assert {"fetch: 200", "axios: 200"} <= set(site.web.texts)
            assert not [text for text in site.web.texts if text.startswith("The build tried to reach")]


def test_f44_a_build_talks_to_servers_of_its_own_at_each_of_its_addresses(tmp_path: Path) -> None:
    script = """
    const http = require('http'), os = require('os')
    const own = Object.values(os.networkInterfaces()).flat().filter((entry) => entry.family === 'IPv4')
    const server = http.createServer((_, answer) => answer.end('own')).listen(3000, '0.0.0.0', async () => {
      const hosts = ['localhost', os.hostname(), ...own.map((entry) => entry.address)]
      for (const host of hosts) console.log('own server:', await (await fetch(`http://${host}:3000/`)).text())
      server.close()
    })
    """
    settings = {"buildCommand": "node serve.js", "outputDir": "."}
    with make_site(tmp_path, {"serve.js": script, "package.json": "{}"}, settings=settings) as site:
        site.build()
        assert site.web.finished == {"outcome": "built", "reason": None}, site.web.log
        assert site.web.texts.count("own server: own") == 4
        assert not [text for text in site.web.texts if text.startswith("The build tried to reach")]


def test_f44_the_way_out_dies_with_its_agent(tmp_path: Path) -> None:
    settings = {"buildCommand": "echo under' 'way; sleep 600", "outputDir": "."}
    with make_site(tmp_path, {"package.json": "{}"}, settings=settings) as site:
        agent = site.start()
        site.web.wait_for_line("under way")
        below = {process.pid for process in psutil.Process(agent.pid).children(recursive=True)}
        ways = processes_where(lambda facts: facts["pid"] in below and "autostack.agent.egress" in facts["cmdline"])
        assert len(ways) == 1
        agent.kill()
        agent.wait()
        assert psutil.wait_procs(ways, timeout=60)[1] == []


def test_f44_this_machines_addresses_are_known() -> None:
    assert "127.0.0.1" in own_addresses()
    assert not is_public("127.0.0.1")


@as_root
@pytest.mark.parametrize("allowed", [False, True], ids=["refused", "allowed"])
def test_f44_where_no_network_can_be_made_builds_are_refused_unless_the_operator_allows_it(
    tmp_path: Path, allowed: bool
) -> None:
    build = {"buildCommand": "npm view is-number@7.0.0 version", "outputDir": "."}
    with make_site(tmp_path, {"package.json": "{}"}, settings=build) as site:
        # As in a container that may mount, but has no say over networks.
        site.prefix = ("setpriv", "--bounding-set=-net_admin")
        site.options = ("--allow-unsandboxed",) if allowed else ()
        site.build()
        assert site.web.finished is not None
        if allowed:
            assert site.web.finished["outcome"] == "built", site.web.log
            assert (
                "This machine makes no networks for builds: this one reaches all that the machine does"
                in site.web.texts
            )
            assert "7.0.0" in site.web.texts
        else:
            reason = str(site.web.finished["reason"])
            assert reason.startswith("Builds are refused, as this machine cannot isolate them (no network for them: ")
            assert reason.endswith("): docs/isolation.md says what it takes")


@as_root
def test_f44_the_way_out_has_no_privilege_and_its_memory_is_bounded() -> None:
    egress = Egress(lambda _: None, uid=FIRST_EGRESS_UID)
    try:
        with egress.network(Reach(public=True)):
            assert egress._process is not None
            pid = egress._process.pid
            facts = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
            assert facts["Uid"].split() == facts["Gid"].split() == [str(FIRST_EGRESS_UID)] * 4
            assert {int(facts[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")} == {0}
            assert (facts["Groups"].split(), facts["NoNewPrivs"]) == ([], "1")
            limits = " ".join(Path(f"/proc/{pid}/limits").read_text().split())
            assert f"Max data size {MAX_MEMORY_BYTES} {MAX_MEMORY_BYTES} bytes" in limits
            assert "Max file size 0 0 bytes" in limits
    finally:
        egress.close()


def die_first(egress: Egress) -> None:
    with egress.network(Reach(public=True)):
        assert egress._process is not None
        egress._process.kill()
        egress._process.wait()
        raise ZeroDivisionError


def test_f44_what_went_wrong_first_is_told_though_the_way_out_has_ended_too() -> None:
    egress = Egress(lambda _: None)
    try:
        with pytest.raises(ZeroDivisionError):
            die_first(egress)
        # Whoever asks next learns it without a wait.
        with pytest.raises(InfrastructureError), egress.network(Reach(public=True)):
            pass
    finally:
        egress.close()
