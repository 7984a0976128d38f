"""How each package manager installs what the lock file says. Development dependencies always come with it."""

from __future__ import annotations

from dataclasses import dataclass

from autostack.agent.detect import PackageManager

# With this word npm says that lock file and package.json don't go together, or that there is no lock file.
NPM_OUT_OF_STEP = b"EUSAGE"
QUIET_NPM = "--no-audit --no-fund --no-update-notifier"


@dataclass(frozen=True)
class InstallCommand:
    """The command, what the log calls it, and what to try instead if npm finds the lock file out of step."""

    command: str
    title: str
    fallback: str | None = None


def install_command(manager: PackageManager) -> InstallCommand:
    """Return the command for this package manager, frozen to its lock file where it has one."""
    locked = manager.lock_file is not None
    if manager.name == "yarn":
        return _yarn(manager, locked)
    if manager.name == "pnpm":
        frozen = "--frozen-lockfile" if locked else "--no-frozen-lockfile"
        return InstallCommand(f"pnpm install {frozen} --prod=false", "pnpm install")
    if manager.name == "bun":
        return InstallCommand("bun install" + (" --frozen-lockfile" if locked else ""), "bun install")
    install = f"npm install --include=dev {QUIET_NPM}"
    if not locked:
        return InstallCommand(install, "npm install")
    return InstallCommand(f"npm ci --include=dev {QUIET_NPM}", "npm ci", fallback=install)


def _yarn(manager: PackageManager, locked: bool) -> InstallCommand:
    if manager.is_berry:
        return InstallCommand("yarn install " + ("--immutable" if locked else "--no-immutable"), "yarn install")
    frozen = " --frozen-lockfile" if locked else ""
    return InstallCommand(f"yarn install{frozen} --production=false --non-interactive", "yarn install")
