"""What a plan of the fake library holds, and what is noted of a plan of the real builder: the graph, and how to run it.

A plan of the fake is `ptrt`, the length of a JSON header, the header and the ONNX graph. A plan that TensorRT-RTX built is
its own; the same header and graph lie beside it in a folder, under the digest of its bytes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from fake_gpu.settings import plans_folder

_MAGIC = b"ptrt"
Limits = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class Content:
    """graph: ONNX. profiles: smallest, usual and largest shape of each input, by name, a mapping for each profile.

    computed: another graph that is run in place of `graph`, as a library does that ignores the types. batch_bias: how far
    the first logit of an image moves with the size of its batch. types and formats: of tensors that differ from the graph's.
    host_code: the plan carries code that has to be allowed. inspector: `10`, `11`, `rtx`, `names`, `broken` or `none`.
    """

    graph: bytes
    profiles: tuple[dict[str, Limits], ...]
    computed: bytes | None = None
    batch_bias: float = 0.0
    types: dict[str, str] = field(default_factory=dict)
    formats: dict[str, str] = field(default_factory=dict)
    host_code: bool = False
    inspector: str = "10"


def packed(content: Content) -> bytes:
    """The bytes of a plan of the fake library."""
    header = asdict(replace(content, graph=b"", computed=None))
    header["sizes"] = [len(content.graph), len(content.computed or b"")]
    del header["graph"], header["computed"]
    text = json.dumps(header).encode()
    return _MAGIC + len(text).to_bytes(8, "little") + text + content.graph + (content.computed or b"")


def unpacked(plan: bytes) -> Content | None:
    """What `packed` or `note` wrote for these bytes; None for any others."""
    if not plan.startswith(_MAGIC):
        noted = _noted_path(plan)
        return unpacked(noted.read_bytes()) if noted.is_file() else None
    length = int.from_bytes(plan[4:12], "little")
    header: dict[str, Any] = json.loads(plan[12 : 12 + length])
    graph_size, computed_size = header.pop("sizes")
    rest = plan[12 + length :]
    if len(rest) != graph_size + computed_size:
        return None
    header["profiles"] = tuple(
        {name: tuple(map(tuple, limits)) for name, limits in profile.items()} for profile in header["profiles"]
    )
    return Content(graph=rest[:graph_size], computed=rest[graph_size:] or None, **header)


def note(plan: bytes, content: Content) -> None:
    """Remember what the bytes of a real builder compute."""
    _noted_path(plan).write_bytes(packed(content))


def change(path: Path, **changes: Any) -> None:
    """Plant something into a plan; the bytes of a real builder stay as they are."""
    plan = path.read_bytes()
    content = unpacked(plan)
    assert content is not None
    if plan.startswith(_MAGIC):
        path.write_bytes(packed(replace(content, **changes)))
    else:
        note(plan, replace(content, **changes))


def _noted_path(plan: bytes) -> Path:
    return plans_folder() / f"{hashlib.sha256(plan).hexdigest()}.plan-content"
