"""An exported program (.pt2) without the parts that would run as code when torch opens it.

torch.export.load unpickles sample inputs and older weights, evaluates symbolic sizes as Python, executes guards, imports
modules named in the file, finds operators by name anywhere in torch, and loads compiled libraries. Here the archive is read
as plain JSON and numbers. The parts that are needed and harmless go into a new archive in memory, and torch reads only that
one. Other parts are left out if no answer depends on them; otherwise the file is refused. Sample inputs are not needed, but
a file whose sample inputs are more than tensors is refused too: it would run code where it is deployed. Source:
torch/_export/serde/serialize.py and torch/export/pt2_archive/_package.py of torch 2.9 to 2.14.
"""

from __future__ import annotations

import ast
import io
import json
import pickletools
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skinaudit.artifacts.outside import check_regular
from skinaudit.artifacts.printable import show
from skinaudit.errors import EngineError

_MODEL = r"models/[\w.-]{1,100}\.json"
_CONFIG = r"data/(weights|constants)/[\w.-]{1,100}_config\.json"
_SAMPLES = r"data/sample_inputs/[\w.-]{1,100}\.pt"
_PLAIN = re.compile(
    r"archive_format|archive_version|byteorder|version|\.data/version|\.data/serialization_id|\.format_version"
    r"|\.storage_alignment|data/weights/weight_\d+|data/constants/tensor_\d+"
)
_JSON_BYTES = 64 * 2**20
_TEXT, _LARGEST = 2000, 2**63
_SYMBOL = re.compile(r"(s|u|z)\d{1,6}|batch")
"""Names that torch gives to symbolic sizes."""
_FUNCTIONS = frozenset(
    {
        "Symbol", "Integer", "Add", "Mul", "FloorDiv", "CleanDiv", "CeilToInt", "ToFloat", "Mod", "PythonMod", "Max", "Min",
        "Eq", "Ne", "Ge", "Gt", "Le", "Lt", "And", "Or", "Not",
    }
)  # fmt: skip
"""Functions allowed in sizes. torch would look up any other name in an expression, and might call it."""
_SAFE_NODES = (
    ast.Expression, ast.Constant, ast.Name, ast.Load, ast.Call, ast.keyword, ast.BinOp, ast.UnaryOp, ast.Add, ast.Sub,
    ast.Mult, ast.FloorDiv, ast.Mod, ast.USub, ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE,
)  # fmt: skip
_OPERATOR = re.compile(
    r"torch\.ops\.(aten|quantized_decomposed)(\._?[a-z]\w*|\.__(and|or|xor)__)(\._?[A-Za-z]\w*)?"
    r"|_operator\.[a-z]{2,20}|math\.[a-z]\w{1,20}|torch\.sym_[a-z]\w{1,20}",
    re.ASCII,
)
_NO_OPERATOR = re.compile(r"from_file|_operator\.(attrgetter|methodcaller|itemgetter|call|setitem|delitem)")
_TENSORS = re.compile(
    r"torch\._utils _rebuild_(tensor_v2|parameter)|collections OrderedDict|torch [A-Z][A-Za-z0-9]{2,20}Storage"
    r"|torch (float|bfloat|int|uint)\d{1,2}|torch (device|Size)"
)
"""Names that a pickle of plain tensors contains."""
_CALLS = frozenset({"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "BUILD"})
"""Pickle opcodes that could name or set other objects."""
_CONTAINERS = {None, "builtins.tuple", "builtins.list", "builtins.dict"}


def harmless_program(path: Path) -> io.BytesIO:
    """A new archive with the plain parts of the program at `path`.

    Raises EngineError if other parts matter, InvalidInputError if `path` is not a regular file.
    """
    check_regular(path, kind="exported program")
    try:
        with zipfile.ZipFile(path) as archive:
            return _copied(archive, path)
    except (OSError, zipfile.BadZipFile, ValueError, KeyError, TypeError, AttributeError, NotImplementedError,
            RuntimeError) as error:  # fmt: skip
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise EngineError(f"{path}: not a readable exported program ({reason}); export it again") from error


def _copied(archive: zipfile.ZipFile, path: Path) -> io.BytesIO:
    if not any(re.fullmatch(_MODEL, name.partition("/")[2]) for name in archive.namelist()):
        raise EngineError(f"{path}: contains no exported program; a compiled package needs --runtime aotinductor")
    members = _members(archive, path)
    copy = io.BytesIO()
    with zipfile.ZipFile(copy, "w", zipfile.ZIP_STORED) as target:
        for name, member in members.items():
            if re.fullmatch(_SAMPLES, name):
                _check_samples(archive.read(member), path)
                content = b""  # pickled, and not needed
            elif re.fullmatch(f"{_MODEL}|{_CONFIG}", name):
                content = _checked_json(archive.read(member), name, path)
            else:
                content = archive.read(member)
            target.writestr(f"program/{name}", content)
    copy.seek(0)
    return copy


def _members(archive: zipfile.ZipFile, path: Path) -> Mapping[str, zipfile.ZipInfo]:
    """The archive's parts by name; raises EngineError for a part that a plain program does not have."""
    size, members = path.stat().st_size, {}
    for member in archive.infolist():
        name = member.filename.partition("/")[2]
        if not (_PLAIN.fullmatch(name) or re.fullmatch(f"{_MODEL}|{_CONFIG}|{_SAMPLES}", name)):
            raise _refused(path, f"a part {show(member.filename)}")
        if member.compress_type != zipfile.ZIP_STORED or name in members:
            raise _refused(path, "compressed or repeated parts")
        members[name] = member
    if sum(member.file_size for member in members.values()) > size:
        raise _refused(path, "parts that overlap")
    return members


def _checked_json(content: bytes, name: str, path: Path) -> bytes:
    if len(content) > _JSON_BYTES:
        raise _refused(path, f"a description of more than {_JSON_BYTES:,} bytes")
    try:
        value = json.loads(content)
        if "config" in name.rpartition("/")[2] and not all(_is_plain(payload) for payload in value["config"].values()):
            raise EngineError(
                f"{path}: contains pickled objects, which may run code; export it again with plain tensors only"
            )
        return json.dumps(_cleaned(value, path)).encode()
    except RecursionError as error:
        raise _refused(path, "a description nested too deeply") from error


def _check_samples(content: bytes, path: Path) -> None:
    """Raise EngineError if the sample inputs are more than tensors: torch runs their code wherever it opens such a file."""
    if not content:
        return
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        pickles = [archive.read(member) for member in archive.infolist() if member.filename.endswith(".pkl")]
    for code, argument, _ in (step for pickled in pickles for step in pickletools.genops(pickled)):
        called = code.name in _CALLS or (code.name == "GLOBAL" and not _TENSORS.fullmatch(str(argument)))
        if called:
            raise _refused(path, "sample inputs that run code when torch opens them")


def _is_plain(payload: Mapping[str, Any]) -> bool:
    return payload["use_pickle"] is False and bool(re.fullmatch(r"(weight|tensor)_\d+", payload["path_name"]))


def _cleaned(value: Any, path: Path) -> Any:
    """Remove what torch would run and no answer needs; raises EngineError for parts that an answer may need."""
    if isinstance(value, list):
        return [_cleaned(item, path) for item in value]
    if not isinstance(value, dict):
        return value
    cleaned: dict[str, Any] = {}
    for key, item in value.items():
        if key == "metadata":
            cleaned[key] = {}  # place in the source code of each node
        elif key == "guards_code":
            cleaned[key] = []  # Python code that only checks the inputs
        elif key in ("custom_obj_values", "treespec_namedtuple_fields") and item:
            raise _refused(path, "objects of other modules")
        elif key in ("as_custom_obj", "as_opaque", "as_operator"):
            raise _refused(path, "objects that are not tensors")
        else:
            _check(key, item, path)
            cleaned[key] = _cleaned(item, path)
    return cleaned


def _check(key: str, item: Any, path: Path) -> None:
    if key == "expr_str" and not _is_expression(item):
        raise _refused(path, f"a size {show(item)}, which torch would evaluate as Python")
    if key == "target" and isinstance(item, str) and _PYTHON.match(item) and not _is_operator(item):
        raise _refused(path, f"an operator {show(item)}, which is not one of torch's own arithmetic operators")
    if key in ("in_spec", "out_spec") and item:
        _check_containers(json.loads(item), path)


_PYTHON = re.compile(r"torch|_operator|math|#")
"""Prefixes of names that torch looks up; a `target` may also be the name of a weight."""


def _is_operator(name: str) -> bool:
    return bool(_OPERATOR.fullmatch(name)) and not _NO_OPERATOR.search(name)


def _is_expression(text: Any) -> bool:
    """Whether a text is arithmetic of sizes as torch writes it: `Symbol('s77', positive=True, integer=True)`, `2*s77`."""
    if not isinstance(text, str) or len(text) > _TEXT:
        return False
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(isinstance(node, _SAFE_NODES) and _is_safe(node) for node in nodes)


def _is_safe(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS
    if isinstance(node, ast.Name):
        return node.id in _FUNCTIONS or bool(_SYMBOL.fullmatch(node.id))
    if isinstance(node, ast.keyword):
        return node.arg in ("positive", "integer", "nonnegative") and isinstance(node.value, ast.Constant)
    if isinstance(node, ast.Constant):
        number = isinstance(node.value, bool) or (isinstance(node.value, int) and abs(node.value) < _LARGEST)
        return number or (isinstance(node.value, str) and bool(_SYMBOL.fullmatch(node.value)))
    return True


def _check_containers(value: Any, path: Path) -> None:
    if isinstance(value, dict):
        if value.get("type") not in _CONTAINERS:
            raise _refused(path, f"a container {show(value.get('type'))}")
        for child in value.get("children_spec", []):
            _check_containers(child, path)
    elif isinstance(value, list):
        for item in value:
            _check_containers(item, path)


def _refused(path: Path, part: str) -> EngineError:
    return EngineError(f"{path}: contains {part}; only plain programs are opened, so export it again with torch.export.save")
