"""Lines of JSON: what is appended is read, whatever was cut off, and what is none is named."""

import os
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retouch import jsonl
from retouch.errors import DataError

ROWS = st.lists(
    st.dictionaries(st.text(), st.text() | st.integers() | st.floats(allow_nan=False, allow_infinity=False))
)


@settings(deadline=None, max_examples=40)
@given(rows=ROWS, cut=st.integers(0, 20))
def test_what_is_appended_is_read_but_a_line_that_was_cut_off(
    tmp_path_factory: pytest.TempPathFactory, rows: list[jsonl.Row], cut: int
) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    more = {"file": os.fsdecode(b"\xff.png"), "line": "one\ntwo\u2028"}
    with open(path, "ab+", buffering=0) as file:
        for row in rows:
            jsonl.append(file, row)
        file.truncate(max(0, path.stat().st_size - cut))
        data = path.read_bytes()
        left = rows[: data.count(b"\n")]
        assert [row for _, row in jsonl.rows(data, path)] == left
        jsonl.drop_torn_line(file)
        jsonl.append(file, more)
    found = list(jsonl.rows(path.read_bytes(), path))
    assert found == [(f"{path}, line {n}", row) for n, row in enumerate([*left, more], 1)]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"{", "expected a line of JSON"),
        (b'"\xff"', "expected a line of JSON, got 'utf-8' codec can't decode"),
        (b"[" * 100_000, "expected a line of JSON"),
        (b"[]", "expected a JSON object, got list"),
    ],
)
def test_what_is_no_row_is_named(line: bytes, says: str) -> None:
    with pytest.raises(DataError, match=f"a.jsonl, line 3: {says}"):
        list(jsonl.rows(b"{}\n \n" + line + b"\n{}\n", "a.jsonl"))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a disk that is always full")
def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    path.symlink_to("/dev/full")
    with open(path, "wb", buffering=0) as file, pytest.raises(OSError, match=re.escape(str(path))):
        jsonl.append(file, {"status": "done"})
