"""`python -m autostack.agent`: build one attempt. The bootstrap token comes on stdin or in AUTOSTACK_BOOTSTRAP_TOKEN.

In a container that was started for one attempt, AGENT_API_URL and AUTOSTACK_ATTEMPT say what options say elsewhere.

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
API_URL_VARIABLE = "AGENT_API_URL"
ATTEMPT_VARIABLE = "AUTOSTACK_ATTEMPT"
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
    _add_told(parser, "--api-url", API_URL_VARIABLE, "where web answers")
    _add_told(parser, "--attempt", ATTEMPT_VARIABLE, "the attempt's id")
    parser.add_argument("--work-dir", required=True, type=Path, help="a folder of this attempt's own; emptied")
    parser.add_argument("--tools-dir", type=Path, help="where package managers are kept; default: `tools` beside it")
    parser.add_argument(
        "--modules-dir", type=Path, help="where node_modules are kept for the next build; default: nowhere"
    )
    parser.add_argument("--mirrors-dir", type=Path, help="where mirrors of repositories are kept; default: nowhere")
    parser.add_argument("--slot", type=int, default=0, help="0-999, another one for each agent of this machine")
    parser.add_argument("--ca-bundle", type=Path, help="certificates to trust; default: SSL_CERT_FILE")
    parser.add_argument(
        "--allow-unsandboxed",
        action="store_true",
        help="build with what is left where the machine cannot isolate builds",
    )
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
        mirrors_dir=given.mirrors_dir.absolute() if given.mirrors_dir else None,
        slot=given.slot,
        ca_bundle=bundle if bundle and bundle.is_file() else None,
        allow_unsandboxed=given.allow_unsandboxed,
    )


def _add_told(parser: argparse.ArgumentParser, option: str, variable: str, meaning: str) -> None:
    given = os.environ.pop(variable, None)
    parser.add_argument(option, default=given, required=given is None, help=f"{meaning}; default: {variable}")


def _die_with_parent() -> None:
    """Be killed when the parent dies, and give no other process of our user our memory or environment to read."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.prctl(PR_SET_DUMPABLE, 0)


if __name__ == "__main__":
    sys.exit(main())
