"""Tables as people read them: cells, what fits a page, and what is in the fold."""

import re

import numpy as np
import pandas as pd

import icotlib as icot
from icotlib.reporting import tables
from icotlib.reporting.readable import PAGE_WIDTH, ROWS
from tests.test_figures import made_shifts, made_table


def columns_of(page: str) -> list[str]:
    return re.findall(r"<th [^>]*>(.*?)</th>", page)


def test_shares_are_percent_with_their_interval_and_methods_have_names():
    rows = made_table().iloc[:2].assign(accuracy=[0.98765, np.nan], ci_low=0.97, ci_high=1.0)
    shown = icot.table(rows)
    page = shown._repr_html_()
    assert ">98.8 (97.0 to 100.0)</td>" in page
    assert ">ICoT-SI</td>" in page
    assert columns_of(page)[0] == "method"
    assert "accuracy (%)" in columns_of(page)
    assert "ci_low" not in page
    assert "98.8 (97.0 to 100.0)" in repr(shown)
    assert shown.frame is rows
    assert len(shown) == 2


def test_a_page_and_a_paper_are_rounded_alike():
    rows = made_shifts().assign(accuracy=0.12345)
    page, paper = icot.table(rows)._repr_html_(), tables.as_latex(rows)
    assert "12.3 (40.0 to 60.0)" in page
    assert "12.3 (40.0 to 60.0)" in paper
    assert r"accuracy (\%)" in paper


def test_what_is_in_percent_already_stays():
    summary = pd.DataFrame(
        {"method": ["ICoT-SI"], "accuracy": [0.8], "accuracy_low": [0.5], "accuracy_high": [1.2],
         "lowest": [0.7], "success": [0.0]}
    )  # fmt: skip
    assert tables.presented(summary).to_dict("list") == {
        "method": ["ICoT-SI"],
        "accuracy (%)": ["0.8 (0.5 to 1.2)"],
        "lowest (%)": ["0.7"],
        "success (%)": ["0.0"],
    }


def test_columns_beyond_a_page_are_in_a_fold():
    wide = pd.DataFrame({f"a column with number {i}": [i] for i in range(20)} | {"run": ["r"]})
    shown = icot.table(wide)
    page, fold = shown._repr_html_().split("<details>")
    outside = columns_of(page)
    assert outside == list(wide)[: len(outside)]
    assert 4 <= len(outside) <= PAGE_WIDTH // (7 * len("a column with number 1"))
    assert columns_of(fold) == list(wide)
    assert f"{21 - len(outside)} more columns: a column with number {len(outside)}" in fold
    assert "run" not in outside


def test_rows_beyond_a_page_are_in_a_fold():
    page, fold = icot.table(pd.DataFrame({"n": range(100)}))._repr_html_().split("<details>")
    assert page.count("<td") == ROWS
    assert fold.count("<td") == 100
    assert "all 100 rows" in fold
    assert "<details" not in icot.table(pd.DataFrame({"n": range(3)}))._repr_html_()


def test_texts_of_data_are_no_markup():
    assert "&lt;b&gt;" in icot.table(pd.DataFrame({"question": ["<b>"]}))._repr_html_()


def test_what_is_measured_has_a_place_on_the_page():
    wide = {f"a column with number {i}": [i, -i] for i in range(1, 20)} | {"same": ["x", "x"]}
    columns = icot.table(pd.DataFrame(wide | {"accuracy": [0.5, 0.6]})).columns
    assert columns[-1] == "accuracy (%)"
    assert columns[0] == "a column with number 1"
    assert "same" not in columns


def test_small_numbers_keep_the_digits_that_count():
    rows = pd.DataFrame({"loss": [0.004321, 2.25, 1.0], "train_seconds": [14.81, 2.0, np.nan]})
    assert tables.presented(rows).to_dict("list") == {
        "loss": ["0.00432", "2.25", "1.0"],
        "training seconds": ["14.8", "2.0", "-"],
    }
    compared = pd.DataFrame({"A": [5.25], "A_low": [1.234], "A_high": [9.0]})
    assert tables.presented(compared)["A"].tolist() == ["5.2 (1.2 to 9.0)"]


def test_numbers_stand_to_the_right_and_digits_of_a_sequence_to_the_left():
    page = icot.table(
        pd.DataFrame({"removed": [0, 12], "loss": [0.5, 1e-7], "answer": ["8 1", "2"]})
    )._repr_html_()
    sides = re.findall(r"<th [^>]*text-align: (\w+)", page)
    assert sides == ["right", "right", "left"]
