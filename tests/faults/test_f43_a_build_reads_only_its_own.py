"""Row 43: a build reads /proc/1/environ, the agent's environment, another build's files → denied."""

from __future__ import annotations

from pathlib import Path

from tests.agents import make_site

SECRETS = ("never-in-the-sandbox", "bootstrap-token-for-tests", "working-token-for-tests", "the-neighbour's-source")


def test_f43_nothing_of_the_agent_or_of_a_neighbour_can_be_read(tmp_path: Path) -> None:
    neighbour = tmp_path / "neighbour"
    waiting = {"buildCommand": "echo under' 'way; sleep 600", "outputDir": "."}
    with make_site(neighbour, {"index.html": "the-neighbour's-source"}, settings=waiting) as other:
        other.slot = (other.slot + 500) % 1000
        agent = other.start()
        try:
            other.web.wait_for_line("under way")
            look = f"""
            mkdir dist; exec > dist/index.html 2>&1
            cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr '\\0' '\\n'
            cat /proc/1/mem /proc/1/root/etc/shadow; ls -la /proc/1/root/ /proc/1/cwd/ /proc/1/fd/
            cat {other.work_dir}/source/index.html {tmp_path}/neighbour/work/source/index.html
            cat /etc/shadow /root/.bashrc; ls /root /var /work /mnt /srv; env
            find / -xdev -name '*.html' -not -path '/proc/*' -not -path '/usr/*' -exec cat {{}} +
            true
            """
            settings = {"buildCommand": look, "outputDir": "dist"}
            with make_site(tmp_path / "own", {"a.txt": "own"}, settings=settings) as own:
                own.build()
                assert own.web.finished == {"outcome": "built", "reason": None}, own.web.log
                seen = own.web.content("/index.html").decode("utf-8", "replace")
        finally:
            agent.kill()
            agent.wait()
    for secret in SECRETS:
        assert secret not in seen
    assert "AGENT_ONLY_SECRET" not in seen
    assert "root:*" not in seen
    assert "/proc/1/environ: Permission denied" in seen or "/proc/1/environ" not in seen
    for denied in ("/etc/shadow: No such file", "'/root': No such file", "'/var': No such file"):
        assert denied in seen


def test_f43_the_system_cannot_be_written_to(tmp_path: Path) -> None:
    write = """
    for path in / /usr /usr/bin /etc /dev /run /opt /home /proc/sys/kernel; do
      if echo x 2>/dev/null > $path/written; then echo "wrote to $path"; fi
    done; id -u; echo x > /proc/sys/kernel/core_pattern || echo kept
    """
    with make_site(tmp_path, {"index.html": ""}, settings={"buildCommand": write, "outputDir": "."}) as site:
        site.build()
        assert [text for text in site.web.texts if text.startswith("wrote to")] == []
        assert "kept" in site.web.texts
        assert "0" not in site.web.texts
