"""The image that builds run in on ECS, as its Dockerfile says: Docker itself is not at hand in tests.

That such a container builds sites is shown by `tests/integration/test_builds_in_a_container.py`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from fnmatch import fnmatch
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path, PurePosixPath

from autostack.agent.contained import MARK
from autostack.agent.detect import PackageManager
from autostack.agent.host import NODE_PATTERNS
from autostack.agent.sandbox import FIRST_UID, HOME
from autostack.agent.toolchain import DEFAULT_VERSIONS, TOOLS, needed_tool
from tests.dockerfile import BUILDER, ROOT, copied, entry_point, read

IMAGE = read()
COMMANDS = " ; ".join(each.text for each in IMAGE if each.name == "RUN")
PIN = re.compile(r"^([a-z0-9-]+)==(\S+)", re.MULTILINE)
AGENTS_PACKAGES = dict(PIN.findall((BUILDER.parent / "builder-requirements.txt").read_text()))
IMPORT_ALL = """
import importlib, pathlib, sys
sys.path.insert(0, sys.argv[1])
for file in pathlib.Path(sys.argv[1], "autostack/agent").rglob("*.py"):
    parts = file.relative_to(sys.argv[1]).with_suffix("").parts
    importlib.import_module(".".join(part for part in parts if part != "__init__"))
"""


def test_every_version_is_pinned() -> None:
    versions = dict(each.text.split("=") for each in IMAGE if each.name == "ARG")
    for instruction in IMAGE:
        if instruction.name == "FROM":
            tag = instruction.words[0].partition(":")[2].format(**versions).replace("$", "")
            assert re.match(r"\d+\.\d+", tag), instruction.text
    for package in re.findall(r"\s((?:pnpm|yarn|bun)@\S+)", COMMANDS):
        assert re.search(r"@\d+\.\d+\.\d+$", package)
    assert "--require-hashes" in COMMANDS


def test_what_is_copied_is_in_the_checkout_and_reaches_docker() -> None:
    first, *rules = (BUILDER.parent / f"{BUILDER.name}.dockerignore").read_text().split()
    assert first == "*"
    kept = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    sources = {source.rstrip("/") for each in copied(IMAGE) if each.stage is None for source in each.sources}
    assert sources == kept
    assert all((ROOT / source).exists() for source in sources)


def test_the_agent_needs_nothing_that_is_not_in_the_image(tmp_path: Path) -> None:
    for each in copied(IMAGE):
        if each.stage is None and "/site-packages/" in each.target:
            folder = tmp_path / each.target.partition("/site-packages/")[2]
            for source in (ROOT / source for source in each.sources):
                shutil.copytree(source, folder) if source.is_dir() else _copy(source, folder)
    for name in {name for package in AGENTS_PACKAGES for name in _installed(package)}:
        (tmp_path / name).symlink_to(Path(sysconfig.get_path("purelib")) / name)
    command = [sys.executable, "-I", "-S", "-c", IMPORT_ALL, str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True).stderr == ""


def _copy(file: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, folder)


def _installed(package: str) -> set[str]:
    """Return what a package that is installed here has in site-packages."""
    try:
        return {file.parts[0] for file in files(package) or []} - {"..", "__pycache__"}
    except PackageNotFoundError:  # For another platform only.
        return set()


def test_no_task_compiles_the_agent_for_itself() -> None:
    copies = [number for number, each in enumerate(IMAGE) if each.name == "COPY" and "/site-packages/" in each.text]
    compiled = next(number for number, each in enumerate(IMAGE) if "-m compileall" in each.text)
    assert compiled > max(copies)
    folder = IMAGE[compiled].words[-1]
    assert all(IMAGE[number].words[-1].startswith(f"{folder}/") for number in copies)


def test_the_agents_packages_are_those_that_everything_else_is_tested_with() -> None:
    pinned = dict(PIN.findall((ROOT / "requirements.txt").read_text()))
    for name, version in AGENTS_PACKAGES.items():
        assert pinned[name] == version


def test_the_agent_finds_each_node_and_takes_one_where_nobody_asks() -> None:
    nodes = [each.target for each in copied(IMAGE) if each.target.endswith("/bin/node")]
    assert len(nodes) >= 3
    assert all(any(fnmatch(node, pattern) for pattern in NODE_PATTERNS) for node in nodes)
    path = next(each.text for each in IMAGE if each.name == "ENV" and each.text.startswith("PATH="))
    assert f"{path.removeprefix('PATH=').partition(':')[0]}/node" in nodes
    stages = {each.words[2] for each in IMAGE if each.name == "FROM" and "AS" in each.words}
    assert {PurePosixPath(node).parts[2] for node in nodes} == stages


def test_the_usual_package_managers_are_there_already() -> None:
    for name, version in DEFAULT_VERSIONS.items():
        tool = needed_tool(PackageManager(name, None, None))
        assert tool is not None
        assert f"--prefix {TOOLS}/{tool.folder} " in COMMANDS
        assert re.search(rf"\s{tool.package}@{version}\.", COMMANDS)


def test_user_code_has_a_user_of_its_own_and_the_agent_knows_where_it_is() -> None:
    assert f"--uid {FIRST_UID} --gid {FIRST_UID} --home-dir {HOME} " in COMMANDS
    assert f"touch {MARK}" in COMMANDS
    assert not [each for each in IMAGE if each.name == "USER"]
    assert entry_point(IMAGE)[1:4] == ["-I", "-m", "autostack.agent"]
    assert entry_point(IMAGE)[-2:] == ["--tools-dir", TOOLS]
