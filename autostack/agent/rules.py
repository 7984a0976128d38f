"""The files in which a site's owner says how it is served: sent to web as they are, and no part of the site."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath

from autostack.agent.collect import Output, SiteFile
from autostack.agent.context import Build
from autostack.agent.detect import Plan
from autostack.agent.files import UnsafePath, read_bytes

# In the output folder, where a build may have written them.
OF_THE_OUTPUT = ("_redirects", "_headers")
# In the project's folder, or that of the whole repository.
OF_THE_REPOSITORY = ("netlify.toml", "vercel.json")
MAX_BYTES = 4_000_000


def read_rules(build: Build, plan: Plan, output: Output) -> dict[str, str]:
    """Return the text of each of these files that there is, by its name. What cannot be read is said, and left out."""
    folder = output.folder
    places: dict[str, tuple[PurePosixPath, ...]] = dict.fromkeys(OF_THE_OUTPUT, (folder,))
    places |= {name: (plan.root, PurePosixPath()) for name in OF_THE_REPOSITORY}
    texts = ((name, _first_text(build, output.uid, name, folders)) for name, folders in places.items())
    return {name: text for name, text in texts if text is not None}


def without_rules(files: Iterable[SiteFile], output: Output) -> Iterator[SiteFile]:
    """Yield the site's files without those that say how it is served."""
    names = {*OF_THE_OUTPUT, *(OF_THE_REPOSITORY if output.is_root else ())}
    return (file for file in files if str(file.path) not in names)


def _first_text(build: Build, owner: int | None, name: str, folders: Sequence[PurePosixPath]) -> str | None:
    for folder in folders:
        try:
            content = read_bytes(build.source, folder / name, MAX_BYTES, owner)
        except UnsafePath as error:
            build.log.line(f"{name} is left out: {error}", "warning")
            return None
        if content is not None:
            return content.decode("utf-8", "replace").replace("\0", "\ufffd")
    return None
