"""`python -m autostack.agent`: build one attempt. The bootstrap token comes on stdin or in AUTOSTACK_BOOTSTRAP_TOKEN.

Exit codes: 0 an end was reported (built or failed), 75 the attempt had ended, 70 the fault is ours.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys
from pathlib import Path

from autostack.agent.errors import AttemptEnded, InfrastructureError
from autostack.agent.run import Options, run

EXIT_ENDED = os.EX_TEMPFAIL
EXIT_INFRASTRUCTURE = os.EX_SOFTWARE
TOKEN_VARIABLE = "AUTOSTACK_BOOTSTRAP_TOKEN"  # noqa: S105 - a name
MAX_TOKEN_BYTES = 4_096
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4


def main() -> int:
    """Read arguments and token, build, return the exit code."""
    _die_with_parent()
    # The sandbox's user must reach what we make for it, whatever the umask that we were started with.
    os.umask(0o022)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    options = _options()
    # Taken out at once: no program that we start gets it. /proc shows what we were started with to root alone, as
    # _die_with_parent has seen to.
    token = os.environ.pop(TOKEN_VARIABLE, "") or sys.stdin.buffer.readline(MAX_TOKEN_BYTES).decode().strip()
    try:
        run(options, token)
    except AttemptEnded as ended:
        print(f"the attempt has ended: {ended}", file=sys.stderr)
        return EXIT_ENDED
    except InfrastructureError as error:
        print(f"the agent gave up: {error}", file=sys.stderr)
        return EXIT_INFRASTRUCTURE
    except OSError as error:
        print(f"the agent gave up: {error.filename or 'this machine'}: {error.strerror}", file=sys.stderr)
        return EXIT_INFRASTRUCTURE
    return 0


def _options() -> Options:
    parser = argparse.ArgumentParser(prog="autostack.agent", description="Build one attempt of a deployment.")
    parser.add_argument("--api-url", required=True, help="where web answers")
    parser.add_argument("--attempt", required=True, help="the attempt's id")
    parser.add_argument("--work-dir", required=True, type=Path, help="a folder of this attempt's own; emptied")
    parser.add_argument("--tools-dir", type=Path, help="where package managers are kept; default: `tools` beside it")
    parser.add_argument(
        "--modules-dir", type=Path, help="where node_modules are kept for the next build; default: nowhere"
    )
    parser.add_argument("--slot", type=int, default=0, help="0-999, another one for each agent of this machine")
    parser.add_argument("--ca-bundle", type=Path, help="certificates to trust; default: SSL_CERT_FILE")
    given = parser.parse_args()
    if not 0 <= given.slot < 1000:
        parser.error("--slot must be 0 to 999")
    work_dir = given.work_dir.absolute()
    bundle = given.ca_bundle or (Path(os.environ["SSL_CERT_FILE"]) if os.environ.get("SSL_CERT_FILE") else None)
    return Options(
        api_url=given.api_url,
        attempt_id=given.attempt,
        work_dir=work_dir,
        tools_dir=(given.tools_dir or work_dir.parent / "tools").absolute(),
        modules_dir=given.modules_dir.absolute() if given.modules_dir else None,
        slot=given.slot,
        ca_bundle=bundle if bundle and bundle.is_file() else None,
    )


def _die_with_parent() -> None:
    """Be killed when the parent dies, and give no other process of our user our memory or environment to read."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.prctl(PR_SET_DUMPABLE, 0)


if __name__ == "__main__":
    sys.exit(main())
