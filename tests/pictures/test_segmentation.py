"""Ink is segmented into digits."""

import numpy as np

from src.pictures.segmentation import MAX_DIGITS, find_digits


def draw_block(page: np.ndarray, left: int, top: int, right: int, bottom: int) -> None:
    page[top:bottom, left:right] = 255


def test_pieces_join_their_digit_and_specks_are_dropped():
    page = np.zeros((100, 200), np.uint8)
    draw_block(page, 20, 40, 50, 90)  # a 5 without its bar
    draw_block(page, 40, 18, 70, 30)  # its bar
    draw_block(page, 120, 20, 132, 60)  # a broken 1
    draw_block(page, 119, 63, 131, 92)
    draw_block(page, 160, 50, 163, 53)  # dust
    digits, _ = find_digits(page)
    assert [box for _, box in digits] == [(20, 18, 70, 90), (119, 20, 132, 92)]


def test_a_wide_digit_is_noted_and_too_many_are_read_as_one():
    page = np.zeros((40, 120), np.uint8)
    draw_block(page, 5, 5, 115, 35)
    assert find_digits(page)[1] == ("wide for a digit: digits that touch are read as one",)
    dots = np.zeros((200, 200), np.uint8)
    for row in range(10, 190, 24):
        for column in range(10, 190, 24):
            draw_block(dots, column, row, column + 8, row + 12)
    digits, notes = find_digits(dots)
    assert len(digits) == 1
    assert f"more than {MAX_DIGITS} digits" in notes[0]
