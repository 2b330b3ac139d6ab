"""The comparison before and after compression as a table, and as remarks that follow from its numbers."""

from collections.abc import Sequence

from src.compression.latency import BATCH
from src.plotting import text_table

ENGINES = ("eager", "ONNX Runtime")
NO_DIFFERENCE = 0.05  # speed ratios whose quartile is within this of 1
SIGNIFICANT = 0.05


def compression_table(rows: Sequence[dict]) -> str:
    """A column per network, the first the one before; times are per call, on the threads that were measured."""
    lines = [
        ("", [row["name"] for row in rows]),
        ("accuracy, test", [f"{100 * row['acc']:.2f} %" for row in rows]),
        ("  95 % interval", ["{:.2f} to {:.2f}".format(*(100 * x for x in row["acc_ci95"])) for row in rows]),
        ("  errors new / gone", [_format_errors(row) for row in rows]),
        ("accuracy, validation", [f"{100 * row['val_acc']:.2f} %" for row in rows]),
        ("parameters", [_format_count(row["parameters"]) for row in rows]),
        ("  not 0", [_format_count(row["nonzero"]) for row in rows]),
        ("multiply-adds", [_format_count(row["multiply_adds"]) for row in rows]),
        ("file, bytes", [_format_count(row["bytes"]) for row in rows]),
        ("  packed by zlib", [_format_count(row["packed_bytes"]) for row in rows]),
        ("  as ONNX", [_format_count(row["onnx_bytes"]) for row in rows]),
    ]
    for engine in ENGINES:
        if any(engine in row["speed"] for row in rows):
            speeds = [row["speed"].get(engine, {}) for row in rows]
            lines += [
                (f"{engine}, 1 image, p50", [_format_us(speed.get("p50_s")) for speed in speeds]),
                ("  p99", [_format_us(speed.get("p99_s")) for speed in speeds]),
                ("  times faster", [_format_ratio(speed.get("faster_1")) for speed in speeds]),
                (f"{engine}, {BATCH}, images/s", [_format_count(speed.get("images_per_s")) for speed in speeds]),
                ("  times faster", [_format_ratio(speed.get(f"faster_{BATCH}")) for speed in speeds]),
            ]
    return text_table([(name, *cells) for name, cells in lines], right=range(1, len(rows) + 1))


def remarks(before: dict, after: dict) -> list[str]:
    """What compression gained and lost, a sentence per measure."""
    lost, new, gone = 100 * (before["acc"] - after["acc"]), after["new_errors"], after["gone_errors"]
    change = f"{lost:.2f} points lost" if lost > 0 else f"{-lost:.2f} points gained" if lost < 0 else "nothing lost"
    chance = "no more than chance" if after["p"] > SIGNIFICANT else "more than chance"
    lines = [f"accuracy: {change}, {new} errors new and {gone} gone: {chance} (McNemar's p = {after['p']:.2g})"]
    zeros = 1 - after["nonzero"] / after["parameters"] if after["parameters"] else 0
    file_share, packed_share = (_share(after[key], before[key]) for key in ("bytes", "packed_bytes"))
    if zeros > 0.1:
        lines.append(
            f"zeros: {100 * zeros:.0f} % of the parameters; they are stored and multiplied like any number: the file "
            f"is {file_share} of what it was, packed {packed_share}"
        )
    elif not after.get("quantised"):
        lines.append(f"file: {file_share} of what it was, packed {packed_share}")
    if after["onnx_bytes"] and before["onnx_bytes"]:
        lines.append(f"ONNX file: {_share(after['onnx_bytes'], before['onnx_bytes'])} of what it was")
    for engine in ENGINES:
        for batch, images in ((1, "one image"), (BATCH, f"{BATCH} images")):
            ratio = after["speed"].get(engine, {}).get(f"faster_{batch}")
            if ratio:
                lines.append(f"{engine}, {images}: {_verdict(ratio)}")
    return lines


def _verdict(ratio: Sequence[float]) -> str:
    middle, low, high = ratio
    quartiles = f"(half of the turns between {low:.2f} and {high:.2f})"
    if low > 1 + NO_DIFFERENCE:
        return f"{middle:.2f} times faster {quartiles}"
    if high < 1 - NO_DIFFERENCE:
        return f"{1 / middle:.2f} times slower {quartiles}: it does not pay here"
    if middle < 1 + NO_DIFFERENCE:
        return f"no faster, {middle:.2f} times {quartiles}: it does not pay here"
    return f"perhaps {middle:.2f} times faster, but not in every turn {quartiles}"


def _share(after: int, before: int) -> str:
    return f"{100 * after / before:.0f} %"


def _format_errors(row: dict) -> str:
    return f"{row['new_errors']} / {row['gone_errors']}, p {row['p']:.2g}" if "p" in row else ""


def _format_count(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _format_us(seconds: float | None) -> str:
    return "–" if seconds is None else f"{1e6 * seconds:,.0f} µs"


def _format_ratio(ratio: Sequence[float] | None) -> str:
    return "" if ratio is None else f"{ratio[0]:.2f}"
