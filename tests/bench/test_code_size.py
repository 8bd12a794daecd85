from __future__ import annotations

from skinaudit.bench.code_size import size_rows


def test_nested_functions_count_twice_and_only_files_directly_in_audit_are_direct() -> None:
    nested = "def outer():\n    def inner():\n        return 1\n    return inner\n"
    rows = dict(size_rows({"audit/one.py": nested, "audit/deep/two.py": "x = 1\n", "cli.py": "y = 2\n" * 5}))
    assert rows["files"] == "3"
    assert rows["lines"] == "10"
    assert rows["functions"] == "2"
    assert rows["longest function"] == "4 (`outer` in `audit/one.py`)"
    assert rows["longest file"] == "5 (`cli.py`)"
    assert rows["Python files directly in `audit/`"] == "1"
    assert rows["share of `audit/` in all lines"] == "50%"
