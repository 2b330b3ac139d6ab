"""Atomic writes, and names of files as text."""

import os
import subprocess
import sys

import pytest

from src.cli.config import ROOT
from src.files import system_path, utf8_name, write_bytes, write_text

NAMES = (b"caf\xe9", "苹果".encode(), "Äpfel".encode(), b"plain")
SAY_NAMES = """
import os
from src.files import system_path, utf8_name
for name in {names}:
    text = utf8_name(os.fsdecode(name))
    valid = "\\\\" in text or os.fsencode(system_path(text)) == name
    print(ascii(text), valid)
"""


def test_write_bytes_leaves_the_old_file_when_it_fails(tmp_path):
    path = tmp_path / "file"
    write_bytes(path, b"old")
    with pytest.raises(TypeError):
        write_bytes(path, "no bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_bytes_that_are_not_utf8_are_escaped_in_files(tmp_path):
    write_text(tmp_path / "file", "苹果 \udce9")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "苹果 \\udce9"


@pytest.mark.skipif(sys.platform == "win32", reason="names are UTF-16")
def test_the_name_of_a_file_is_the_same_text_in_every_locale():
    texts = [utf8_name(os.fsdecode(name)) for name in NAMES]
    assert texts == ["caf\\udce9", "苹果", "Äpfel", "plain"]
    assert [os.fsencode(system_path(text)) for text in texts[1:]] == list(NAMES[1:])
    for locale in ({"PYTHONUTF8": "1"}, {"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}):
        command = [sys.executable, "-c", SAY_NAMES.format(names=NAMES)]
        done = subprocess.run(command, cwd=ROOT, env={**os.environ, **locale}, capture_output=True, check=True)
        assert done.stdout.decode().splitlines() == [f"{text!a} True" for text in texts]
