"""The comparison as one table, and what it says in words; every word hangs on a measured figure."""

from collections.abc import Sequence

from src.compression.latency import BATCH

ENGINES = ("eager", "ONNX Runtime")
SAME = 0.05  # quartiles within so much of 1 are called no difference


def compression_table(rows: Sequence[dict]) -> str:
    """A column per network, the first the one before; times are per call on the threads that were given."""
    lines = [
        ("", [row["name"] for row in rows]),
        ("accuracy, test", [f"{100 * row['acc']:.2f} %" for row in rows]),
        ("  95 % interval", ["{:.2f} to {:.2f}".format(*(100 * x for x in row["acc_ci95"])) for row in rows]),
        ("  errors new / gone", [_paired(row) for row in rows]),
        ("accuracy, validation", [f"{100 * row['val_acc']:.2f} %" for row in rows]),
        ("parameters", [_count(row["parameters"]) for row in rows]),
        ("  not 0", [_count(row["nonzero"]) for row in rows]),
        ("multiply-adds", [_count(row["multiply_adds"]) for row in rows]),
        ("file, bytes", [_count(row["bytes"]) for row in rows]),
        ("  packed by zlib", [_count(row["packed_bytes"]) for row in rows]),
        ("  as ONNX", [_count(row["onnx_bytes"]) for row in rows]),
    ]
    for engine in ENGINES:
        if any(engine in row["speed"] for row in rows):
            own = [row["speed"].get(engine, {}) for row in rows]
            lines += [
                (f"{engine}, 1 image, p50", [_micro(one.get("p50_s")) for one in own]),
                ("  p99", [_micro(one.get("p99_s")) for one in own]),
                ("  times faster", [_times(one.get("faster_1")) for one in own]),
                (f"{engine}, {BATCH}, images/s", [_count(one.get("images_per_s")) for one in own]),
                ("  times faster", [_times(one.get(f"faster_{BATCH}")) for one in own]),
            ]
    first = max(len(name) for name, _ in lines)
    widths = [max(len(cells[place]) for _, cells in lines) for place in range(len(rows))]
    return "\n".join(
        "  ".join([f"{name:<{first}}", *(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))])
        for name, cells in lines
    )


def remarks(before: dict, after: dict) -> list[str]:
    """Where it pays and where it does not."""
    lost, new, gone = 100 * (before["acc"] - after["acc"]), after["new_errors"], after["gone_errors"]
    moved = f"{lost:.2f} points lost" if lost > 0 else f"{-lost:.2f} points gained" if lost < 0 else "nothing lost"
    chance = "no more than chance" if after["p"] > 0.05 else "more than chance"
    said = [f"accuracy: {moved}, {new} errors new and {gone} gone: {chance} (McNemar's p = {after['p']:.2g})"]
    zeros = 1 - after["nonzero"] / after["parameters"] if after["parameters"] else 0
    if zeros > 0.1:
        said.append(
            f"zeros: {100 * zeros:.0f} % of the parameters; they are stored and multiplied like any number: the file "
            f"is {_share(after['bytes'], before['bytes'])} of what it was, packed {_share(*_packed(before, after))}"
        )
    elif after["bytes"] and before["bytes"] and not after.get("quantised"):
        said.append(
            f"file: {_share(after['bytes'], before['bytes'])} of what it was, packed {_share(*_packed(before, after))}"
        )
    if after["onnx_bytes"] and before["onnx_bytes"]:
        said.append(f"ONNX file: {_share(after['onnx_bytes'], before['onnx_bytes'])} of what it was")
    for engine in ENGINES:
        for batch, words in ((1, "one image"), (BATCH, f"{BATCH} images")):
            ratio = after["speed"].get(engine, {}).get(f"faster_{batch}")
            if ratio:
                said.append(f"{engine}, {words}: {_verdict(ratio)}")
    return said


def _verdict(ratio: Sequence[float]) -> str:
    middle, low, high = ratio
    between = f"(half of the turns between {low:.2f} and {high:.2f})"
    if low > 1 + SAME:
        return f"{middle:.2f} times faster {between}"
    if high < 1 - SAME:
        return f"{1 / middle:.2f} times slower {between}: it does not pay here"
    if middle < 1 + SAME:
        return f"no faster, {middle:.2f} times {between}: it does not pay here"
    return f"perhaps {middle:.2f} times faster, but not in every turn {between}"


def _packed(before: dict, after: dict) -> tuple[int, int]:
    return after["packed_bytes"], before["packed_bytes"]


def _share(now: int, was: int) -> str:
    return f"{100 * now / was:.0f} %"


def _paired(row: dict) -> str:
    return f"{row['new_errors']} / {row['gone_errors']}, p {row['p']:.2g}" if "p" in row else ""


def _count(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _micro(seconds: float | None) -> str:
    return "–" if seconds is None else f"{1e6 * seconds:,.0f} µs"


def _times(ratio: Sequence[float] | None) -> str:
    return "" if ratio is None else f"{ratio[0]:.2f}"
