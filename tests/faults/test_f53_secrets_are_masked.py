"""Row 53, the agent's half: a secret printed in whatever form → masked before it leaves the agent."""

from __future__ import annotations

from pathlib import Path

from tests.agents import make_site

SECRET = 's3cr3t/"value"+with ünusual&chars'
LINES = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n-----END KEY-----"
PRINT = """
const s = process.env.SECRET, k = process.env.KEY, b = x => Buffer.from(x).toString('base64')
const out = [s, JSON.stringify({s}), encodeURIComponent(s), new URLSearchParams({s}).toString(),
  Buffer.from(s).toString('hex'), b(s), b('a' + s), b('ab' + s), b('abc' + s + 'tail'),
  Buffer.from('x' + s).toString('base64url'), k, b(k), JSON.stringify(k)]
for (const line of out) console.log('form: ' + line + ' :end')
console.log(process.env.MODE, process.env.SHORT, process.env.PORT)
for (const character of s) { process.stdout.write(character) }
console.log()
setTimeout(() => { process.stdout.write(s.slice(0, 9)); setTimeout(() => console.log(s.slice(9)), 300) }, 100)
"""


def test_f53_no_form_of_a_secret_reaches_web(tmp_path: Path) -> None:
    env = {"SECRET": SECRET, "KEY": LINES, "MODE": "production", "SHORT": "true", "PORT": "8080"}
    settings = {"buildCommand": "node print.js", "outputDir": "."}
    with make_site(tmp_path, {"print.js": PRINT}, settings=settings, env=env) as site:
        site.build()
        assert site.web.finished == {"outcome": "built", "reason": None}
        for part in ("s3cr3t", "ünusual", "czNjcjN0", "MzY3Iz", "zM2NyM3", "MIIEvQ", "BKcwgg", "BEGIN KEY", "TUlJRXZR"):
            assert part not in site.web.log
        assert SECRET.encode().hex() not in site.web.log
        assert "production true 8080" in site.web.texts
        assert site.web.texts.count("***") >= 2


def test_f53_a_secret_that_straddles_the_cut_of_a_line_does_not_leak(tmp_path: Path) -> None:
    print_all = 'for (let i = 940; i < 1010; i++) console.log("x".repeat(i) + process.env.SECRET + "y".repeat(5000))'
    command = f"node -e '{print_all}'"
    settings = {"buildCommand": command, "outputDir": "."}
    env = {"SECRET": "correct-horse-battery-staple"}
    limits = {"maxLineBytes": 1000}
    with make_site(tmp_path, {"a": ""}, settings=settings, env=env, limits=limits) as site:
        site.build()
        assert "correct-" not in site.web.log
