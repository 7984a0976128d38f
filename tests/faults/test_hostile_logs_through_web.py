"""52 and 53 through agent, web and page: what a build prints is bounded, escaped, and holds no secret anywhere."""

from __future__ import annotations

import base64
import json
import re
from urllib.parse import quote

import pytest
from playwright.sync_api import expect
from simple_websocket import Client, ConnectionClosed

from tests.git_server import make_repository
from tests.stack import PASSWORD, running_stack

pytestmark = pytest.mark.slow

MAX_LINE_CHARACTERS = 10_100
MAX_LOG_MB = 1
# Each attempt to break out of the page ends in a word that the page would then have.
HOSTILE = """
const fs = require('fs');
const say = (text) => fs.writeSync(1, text);
say('<script>window.broken = "script"</script>\\n');
say('<img src=x onerror="window.broken = 1"> <svg onload="window.broken = 1"></svg>\\n');
say('</span></li></ol></section><h1 id="broken">out</h1>\\n');
say('\\u001b[31m<b class="broken">red</b>\\u001b[0m plain\\n');
say('\\u001b[2J\\u001b[1;1Hcleared \\u001b]0;title\\u0007');
say('\\u001b]8;;javascript:window.broken=1\\u0007link\\u001b]8;;\\u0007\\n');
fs.writeSync(1, Buffer.from('invalid \\xff\\xfe\\xc0\\xaf\\xed\\xa0\\x80 bytes\\n', 'latin1'));
say('nul \\0 \\u202e right to left \\u2028 separator\\n');
"""
LONG = "\nrequire('child_process').execSync('head -c 1000000000 /dev/zero | tr \"\\\\0\" a; echo', {stdio: 'inherit'});"
PAGE = "\nfs.mkdirSync('dist'); fs.writeFileSync('dist/index.html', 'built');"
FLOOD = "\nfor (let i = 0; i < 40000; i++) say('flood '.repeat(20) + i + '\\n');"

SECRET = 's3cr3t/"value"+with ünusual&chars'
KEY = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n-----END KEY-----"
# What is left of a secret in any of the forms below, at the least.
TRACES = ["s3cr3t", "ünusual", "nusual&", "czNjcjN0", "MzY3Iz", "zM2NyM3", "MIIEvQ", "BKcwgg", "TUlJRXZR", "BEGIN KEY"]
LEAK = """
const s = process.env.SECRET, k = process.env.KEY, b = x => Buffer.from(x).toString('base64');
const forms = [s, JSON.stringify({s}), encodeURIComponent(s), new URLSearchParams({s}).toString(),
  Buffer.from(s).toString('hex'), b(s), b('a' + s), b('ab' + s), Buffer.from('x' + s).toString('base64url'),
  k, b(k), JSON.stringify(k), JSON.stringify(JSON.stringify(k)), JSON.stringify(JSON.stringify({s}))];
for (const form of forms) console.log('form: ' + form + ' :end');
console.error('error: ' + s);
for (const letter of s) require('fs').writeSync(1, letter);
console.log();
require('fs').mkdirSync('dist'); require('fs').writeFileSync('dist/index.html', 'built');
const pause = () => new Promise((done) => setTimeout(done, 300));
(async () => {
  process.stdout.write(s.slice(0, 9)); await pause(); console.log(s.slice(9));
  const lines = k.split('\\n');
  process.stdout.write(lines[0] + '\\n' + lines[1].slice(0, 10)); await pause();
  process.stdout.write(lines[1].slice(10) + '\\n' + lines[2] + '\\n'); await pause(); console.log(lines[3]);
  console.log('all was said');
})();
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with running_stack(tmp_path_factory.mktemp("stack"), env={"MAX_LOG_SIZE": str(MAX_LOG_MB)}) as running:
        running.account = running.sign_up()
        yield running


@pytest.fixture
def deploy(request, stack, repositories, folder_of_repositories):
    """Deploy a repository whose build is this script."""

    def deploy(script, **settings):
        name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
        manifest = json.dumps({"name": "hostile", "scripts": {"build": "node build.js"}})
        make_repository(folder_of_repositories / name, {"package.json": manifest, "build.js": script})
        return stack.deploy(repositories.url(name), **settings)

    return deploy


@pytest.fixture
def page(stack, chromium):
    """A tab of the owner's that fails the test if anything of a build runs in it."""
    problems = []
    context = chromium.new_context(base_url=f"http://localhost:{stack.port}")
    tab = context.new_page()
    tab.on("dialog", lambda dialog: problems.append(dialog.message))
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.goto("/login")
    tab.locator("[name=email]").fill("alice@example.com")
    tab.locator("[name=password]").fill(PASSWORD)
    tab.locator("main form button[type=submit]").click()
    tab.wait_for_url("**/dashboard")
    yield tab
    context.close()
    assert problems == []


def _everything_said(stack, deployment, token):
    """Return every message of the websocket, as it came."""
    address = f"ws://127.0.0.1:{stack.port}/api/deployments/{deployment['id']}/logs/stream?token={token}"
    messages = []
    socket = Client(address)
    try:
        socket.send(json.dumps({"type": "subscribe", "deploymentId": deployment["id"], "format": "html"}))
        while not messages or '"deployment_complete"' not in messages[-1]:
            messages.append(socket.receive(timeout=60))
    except ConnectionClosed:
        pass
    else:
        socket.close()
    return messages


def _download(stack, deployment):
    return stack.client.get(f"/api/deployments/{deployment['id']}/logs", headers={"Accept": "text/plain"}).text


def _lines_of(page):
    """Return what stands in the log pane, line by line."""
    return page.locator(".log-lines > li > span").all_inner_texts()


def _expect_harmless(page):
    lines = _lines_of(page)
    assert '<script>window.broken = "script"</script>' in lines
    assert '<img src=x onerror="window.broken = 1"> <svg onload="window.broken = 1"></svg>' in lines
    assert '</span></li></ol></section><h1 id="broken">out</h1>' in lines
    assert '<b class="broken">red</b> plain' in lines
    assert "cleared link" in lines
    assert "invalid \ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd bytes" in lines
    assert page.locator(".log-lines .ansi-31").inner_text() == '<b class="broken">red</b>'
    assert page.locator("#broken, .broken, .log-lines script, .log-lines img, .log-lines svg").count() == 0
    assert page.evaluate("window.broken") is None


def test_f52_hostile_output_is_text_in_the_page_live_and_loaded_again(stack, deploy, page):
    deployment = deploy(HOSTILE + LONG + PAGE)
    page.goto(f"/deployments/{deployment['id']}")
    expect(page.locator("#deployment-header")).to_have_attribute("data-status", "success", timeout=120_000)
    # Lines may come after the status that they led to.
    expect(page.locator(".log-lines")).to_contain_text("Deployed to ")
    _expect_harmless(page)
    page.reload()
    _expect_harmless(page)
    (long,) = [line for line in _lines_of(page) if line.startswith("aaaa")]
    assert len(long) <= MAX_LINE_CHARACTERS
    assert re.search(r" … \[line cut: 999,99\d,\d{3} bytes more\]$", long)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", _download(stack, deployment))


def test_f52_a_flood_is_cut_off_with_a_notice_and_the_build_goes_on(stack, database, deploy, page):
    deployment = deploy(HOSTILE + FLOOD + PAGE)
    assert stack.ended(deployment)["status"] == "success"
    page.goto(f"/deployments/{deployment['id']}")
    expect(page.get_by_text(f"The log reached its limit of {MAX_LOG_MB} MB")).to_have_count(1)
    kept = "SELECT sum(octet_length(message)), max(length(message)) FROM deployment_logs WHERE deployment_id = %s"
    size, longest = database.execute(kept, [deployment["id"]]).fetchone()
    # Each line begins with its time, and some lines are ours.
    assert size < 1.2 * MAX_LOG_MB * 1_000_000
    assert longest <= MAX_LINE_CHARACTERS


def test_f53_no_form_of_a_secret_is_in_the_database_the_websocket_the_download_or_the_page(
    stack, database, deploy, page
):
    deployment = deploy(LEAK, envVars={"SECRET": SECRET, "KEY": KEY, "MODE": "production"})
    heard = _everything_said(stack, deployment, stack.account["token"])
    assert stack.ended(deployment)["status"] == "success"
    page.goto(f"/deployments/{deployment['id']}")
    expect(page.get_by_text("all was said")).to_be_visible()
    places = {
        "websocket": "\n".join(json.dumps(json.loads(message), ensure_ascii=False) for message in heard),
        "download": _download(stack, deployment),
        "page": page.content(),
        "api": stack.client.get(f"/api/deployments/{deployment['id']}").text,
        "database": _dump(database),
        "files": _files(stack),
    }
    for place, text in places.items():
        found = [trace for trace in _traces() if trace in text]
        assert not found, f"{found} in the {place}"
    for place in ("websocket", "download", "page", "database"):
        assert places[place].count("***") >= 14
        assert "all was said" in places[place]


def _traces():
    hexadecimal = SECRET.encode().hex()
    return [*TRACES, hexadecimal[:16], base64.b64encode(KEY.encode()).decode()[4:40], quote(SECRET)[6:20]]


def _dump(database):
    """Return every row of every table as text."""
    tables = database.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert len(tables) > 5
    rows = (database.execute(f'SELECT t::text FROM "{table}" t').fetchall() for (table,) in tables)
    return "\n".join(row for found in rows for (row,) in found)


def _files(stack):
    """Return what the processes logged and what Valkey wrote down."""
    files = [path for folder in ("log", "valkey") for path in (stack.data_dir / folder).rglob("*") if path.is_file()]
    assert len(files) > 5
    return "\n".join(path.read_text(errors="replace") for path in files)
