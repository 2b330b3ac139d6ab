"""Which split the name of a folder means."""

import re

from src.errors import require

SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
AROUND = "set|sets|data|image|images|picture|pictures|photo|photos|split"  # words that change nothing
BETWEEN = r"[\s_-]*"


def find_split(name: str) -> str | None:
    """train, val or test for a word of SPLIT_NAMES in any case, alone or with words of AROUND before and after it.

    These are separated by blanks, underscores or hyphens, or by nothing: "Train Data", test-images, trainset. None for
    another name.
    """
    for split, words in SPLIT_NAMES.items():
        pattern = f"(({AROUND}){BETWEEN})*({'|'.join(words)})({BETWEEN}({AROUND}))*"
        if re.fullmatch(pattern, name.strip().lower()):
            return split
    return None


def guess_split(name: str) -> str | None:
    """As `find_split`, of the one part of a name that says so: train2017, my_test_v2. None for none, or two splits."""
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)  # TrainFull is two
    found = {split for part in parts if (split := find_split(part))}
    return found.pop() if len(found) == 1 else None


def split_folders(root: object, folders: list[str], guess: bool = False) -> dict[str, str]:
    """Split -> name of its folder. guess: also by `guess_split`, where no folder is sure to be the split.

    Raises InputError for two folders of one split.
    """
    found: dict[str, str] = {}
    for split in SPLIT_NAMES:
        matching = [folder for folder in folders if find_split(folder) == split]
        if guess and not matching:
            matching = [folder for folder in folders if guess_split(folder) == split]
        advice = f"keep one of them, or give data.layout=classes if these are classes (data.root={root})"
        require(len(matching) < 2, f"{' and '.join(matching[:8])} are both the {split} split: {advice}")
        if matching:
            found[split] = matching[0]
    return found
