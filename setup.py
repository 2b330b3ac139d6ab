"""Builds the wheel: src/ and conf/ as the package mnist_lightning_hydra, whose modules import one another by that name.

A package called src would collide with the next project's. In the checkout nothing changes: python -m src.train.
"""

import re
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT, NAME = Path(__file__).parent, "mnist_lightning_hydra"
# Import statements, and commands in messages and comments; `_target_` paths stay: checkpoints hold them.
IMPORT = re.compile(r"^(\s*(?:from|import) )src\b", re.MULTILINE)
COMMAND = re.compile(r"\bpython -m src\.")


def renamed(text: str) -> str:
    """A module's or an option's text with its imports and commands under the installed name."""
    text = re.sub(r"^import src$", f"import {NAME} as src", text, flags=re.MULTILINE)
    return COMMAND.sub(f"python -m {NAME}.", IMPORT.sub(rf"\g<1>{NAME}", text))


class BuildPackage(build_py):
    """Copies the package, then src/ and conf/ into it; an editable install uses the checkout itself."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        built = Path(self.build_lib)
        for folder, target in (("src", built / NAME), ("conf", built / NAME / "conf")):
            for path in sorted((ROOT / folder).rglob("*")):
                place = target / path.relative_to(ROOT / folder)
                if not path.is_file() or "__pycache__" in path.parts or place == target / "__init__.py":
                    continue
                place.parent.mkdir(parents=True, exist_ok=True)
                if path.suffix in (".py", ".yaml"):
                    place.write_text(renamed(path.read_text(encoding="utf-8")), encoding="utf-8")
                else:
                    shutil.copyfile(path, place)
        for path in built.rglob("*.py"):
            path.write_text(renamed(path.read_text(encoding="utf-8")), encoding="utf-8")


setup(cmdclass={"build_py": BuildPackage})
