"""The page's templates. Their compiled code is kept in the user's cache folder, as Python keeps its own modules.

Everything in the folder can be made again. Its content is executed, so it is not used if other users may write to it.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinaudit.artifacts.contract import class_title
from skinaudit.artifacts.files import default_cache_dir, digest_parts, short
from skinaudit.audit.figures.text import about, counted_images, margin_text
from skinaudit.audit.reports.page import words
from skinaudit.audit.reports.parts.wording import margin_points, turned_benign_text, turned_since_text
from skinaudit.errors import InvalidInputError

if TYPE_CHECKING:
    from jinja2 import BytecodeCache, Template
    from jinja2.bccache import Bucket

_OPTIONS: dict[str, Any] = {"autoescape": True, "trim_blocks": True, "lstrip_blocks": True}
_DIGEST = hashlib.sha256().digest_size
_FILTERS = {
    "about": about,
    "class_title": class_title,
    "count": words.count,
    "counted_images": counted_images,
    "logits": words.logits,
    "margin": margin_text,
    "margin_points": margin_points,
    "percent": words.percent,
    "power": words.power,
    "printed": words.printed,
    "points": words.points,
    "share": words.share,
    "short": short,
    "span": words.span,
    "turned_benign": lambda gate: words.printed(turned_benign_text(gate)),
    "turned_since": turned_since_text,
}


def page_template() -> Template:
    """The template of the whole page. A value that it names but does not get is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("skinaudit.audit.reports", "page"),
        undefined=StrictUndefined,
        bytecode_cache=_cache(),
        **_OPTIONS,
    )
    environment.filters.update(_FILTERS)
    return environment.get_template("page.html.jinja")


def _cache() -> BytecodeCache | None:
    """The cache; None if there can be none, or if another user could put code there.

    Jinja itself compiles again when a template's text or the Python version changes. The compiled code also depends on
    Jinja's version and on the options; both are in the files' names. Each file begins with a digest of the rest: one
    changed bit of code would be another page, or a crash of Python.
    """
    from jinja2 import FileSystemBytecodeCache

    class Cache(FileSystemBytecodeCache):
        def load_bytecode(self, bucket: Bucket) -> None:
            try:
                content = Path(self._get_cache_filename(bucket)).read_bytes()
                if hashlib.sha256(content[_DIGEST:]).digest() == content[:_DIGEST]:
                    bucket.bytecode_from_string(content[_DIGEST:])
            except Exception:  # of another version of Python, which may raise anything; it is made again
                bucket.reset()

        def dump_bytecode(self, bucket: Bucket) -> None:
            code = bucket.bytecode_to_string()
            with suppress(OSError):
                _put(Path(self._get_cache_filename(bucket)), hashlib.sha256(code).digest() + code)

    try:
        folder = default_cache_dir() / "templates"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except (OSError, InvalidInputError):  # no home folder, for example
        return None
    if os.name == "posix" and (status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
        return None
    made_with = digest_parts(version("jinja2").encode(), repr(_OPTIONS).encode())
    return Cache(str(folder), f"{short(made_with)}-%s.cache")


def _put(path: Path, content: bytes) -> None:
    """Write a file of the cache whole or not at all; without a wait for the disk, as a report should not wait for it."""
    stream = tempfile.NamedTemporaryFile(dir=path.parent, delete=False)  # noqa: SIM115 (closed below)
    try:
        with stream:
            stream.write(content)
        Path(stream.name).replace(path)
    except BaseException:
        Path(stream.name).unlink(missing_ok=True)
        raise
