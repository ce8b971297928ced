"""Figures: drawn from tables, the same bytes every time."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

import icotlib as icot
from icotlib.errors import ConfigError
from icotlib.interp import digit_geometry
from icotlib.registry import METHODS
from icotlib.reporting import figures
from icotlib.reporting.figures import style
from icotlib.reporting.results import COLUMNS, method_label
from icotlib.reporting.statistics import Sample, mean_interval


def made_table():
    rows = []
    for method, variant, removed in [
        ("icot_si", "", [0, 1, 2]),
        ("icot_si", "paper-pace", [0, 1, 2]),
        ("explicit_cot", "", [0]),
        ("no_cot", "equal-examples", [2]),
        ("no_cot", "equal-seconds", [2]),
    ]:
        for seed, s in itertools.product((0, 1), removed):
            row = dict.fromkeys(COLUMNS, 1.0) | {"method": method, "schedule": "random"}
            row |= {"variant": variant, "removed": s, "chain_length": 2, "seed": seed}
            row |= {
                "unit": "tokens",
                "accuracy": 0.5,
                "ci_low": 0.4,
                "ci_high": 0.6,
                "relative_speed": 0.3 + s,
            }
            row |= {"configuration": f"{method}{variant}", "settings": '{"method": "no_cot"}'}
            rows.append(
                row | {"run": f"{method}{variant}{seed}", "task": "mult-2x2", "n_test": 100}
            )
    return pd.DataFrame(rows)


def made_learning():
    rows = []
    for variant, step in itertools.product(["paper", "pace-16", "no-reset", "right-side"], (5, 10)):
        row = {"method": "icot_si", "variant": variant, "run": variant, "step": step}
        row |= {"examples": 100 * step, "seconds": step, "loss": 1 / step, "removed": step // 5}
        row |= {"train_match": 0.5, "valid_match": 0.4}
        rows.append(row | {"chain_length": 2, "final_stage": 2})
    return pd.DataFrame(rows)


def made_scores(**columns):
    """Every combination of the columns' values, each with an accuracy and its interval."""
    rows = itertools.product(*columns.values())
    table = pd.DataFrame(rows, columns=list(columns))
    return table.assign(accuracy=0.5, ci_low=0.4, ci_high=0.6)


def made_explained():
    table = made_scores(step=[5, 10], layer=[0, 1, 2])
    explained = np.where(table.layer == 0, np.nan, table.step / 10)
    return table.assign(explained=explained, examples=100 * table.step)


def made_shifts():
    """Two methods at two seeds; one lacks positions for 5x2, none was tested on combinations."""
    table = made_scores(
        shift=["in distribution", "3x2", "5x2", "unseen combinations"],
        method=["icot_si", "no_cot"],
        seed=[0, 1],
    )
    table["run"] = table.method + table.seed.astype(str)
    lacking = (table["shift"] == "5x2") & (table.method == "icot_si")
    lacking |= table["shift"] == "unseen combinations"
    table.loc[lacking, ["accuracy", "ci_low", "ci_high"]] = np.nan
    return table.assign(n=10)


def made_probe_scores():
    table = made_scores(variable=["t1", "t2"], layer=[0, 1], position=[0, 1])
    return table.assign(score=0.5, low=0.4, high=0.6, control_score=0.3, selectivity=0.2)


DRAWN = {
    "accuracy_vs_milliseconds": lambda: figures.accuracy_vs_milliseconds(
        made_scores(task=["a", "b"], method=["no_cot", "sim_cot", "coconut"], seed=[1, 2]).assign(
            milliseconds=2.0, n=10, seconds=3.0, budget=["own", "seconds of icot_si"] * 6
        )
    ),
    "contents": lambda: figures.contents(
        made_scores(
            task=["a", "b"], content=["recycled", "refined once"], split=["in", "out"], seed=[1, 2]
        ).assign(n=10)
    ),
    "success_by_arm": lambda: figures.success_by_arm(
        made_scores(arm=["linear", "adaptive"], seed=[1, 2]).assign(
            success=[True, False, True, True]
        ),
        0.95,
    ),
    "anytime": lambda: figures.anytime(
        made_scores(
            kind=["one model", "specialist"], budget=["fifth", "whole"], removed=[0, 6], seed=[1, 2]
        ).assign(n=10)
    ),
    "long_removal": lambda: figures.long_removal(
        made_scores(method=["icot_si", "no_cot"], removed=[0, 4], seed=[1, 2]).assign(
            examples=[1000, 1000, 2000, 2000] * 2, chain_length=4, n=10, unit="tokens"
        )
    ),
    "stage_ends": lambda: figures.stage_ends(
        made_scores(arm=["ICoT-SI", "the paper's own pace"], removed=[0, 4, 8], seed=[1, 2]).assign(
            examples=1000, chain_length=8, n=10, unit="tokens"
        )
    ),
    "depth_over_seeds": lambda: figures.depth_over_seeds(
        made_scores(
            method=["icot_kd", "icot_si"], layers=[9, 14], phase=["coupled", "none read"], seed=[1]
        ).assign(coverage=1.0, n=10)
    ),
    "levers": lambda: figures.levers(
        made_scores(lever=["recipe", "side"], value=["whole"], seed=[1, 2]).assign(n=10)
    ),
    "auxiliary": lambda: figures.auxiliary(
        made_scores(loss=["none", "running sums"], seed=[1, 2]).assign(n=10)
    ),
    "distillation_arms": lambda: figures.distillation_arms(
        made_scores(arm=["the whole method", "neither phase", "No CoT"], seed=[1, 2]).assign(n=10),
        ["the whole method", "No CoT"],
    ),
    "mixtures": lambda: figures.mixtures(
        made_scores(
            arm=["no mixture", "2 components"], seed=[1, 2], states=["emulated", "coupled"]
        ).assign(n=10)
    ),
    "decoded_and_used": lambda: figures.decoded_and_used(
        made_scores(model=["ICoT-SI", "No CoT"], seed=[1, 2], variable=["t2", "t10"]).assign(
            selectivity=-0.1, steering=0.4, steering_random=0.1, steering_chance=0.2
        )
    ),
    "exchanged": lambda: figures.exchanged(
        made_scores(model=["ICoT-SI", "No CoT"], seed=[1, 2], variable=["t2", "c10", "c2"]).assign(
            control=0.01
        ),
        pd.Series(["chain tokens", "sums", "sums"] * 4),
    ),
    "thought_readout": lambda: figures.thought_readout(
        made_scores(place=[1, 2], token=["t1", "t2"]).assign(share=0.5, control=0.1)
    ),
    "thought_replacement": lambda: figures.thought_replacement(
        made_scores(
            replacement=["other", "mean", "noise", "zero"], place=[0, 1], answers=["own", "other"]
        ).assign(effect=0.5, low=0.4, high=0.6)
    ),
    "followed_thoughts": lambda: figures.followed_thoughts(
        made_scores(
            replacement=["other", "mean", "noise", "zero"],
            place=[0, 1],
            model=["Coconut", "CODI"],
            answers=["own", "other"],
            seed=[10, 11, 12],
        ).assign(accuracy=0.5, n=200, answered=0.8)
    ),
    "headline": lambda: figures.headline(made_table(), made_learning()),
    "accuracy_vs_removed": lambda: figures.accuracy_vs_removed(made_table()),
    "accuracy_vs_seconds": lambda: figures.accuracy_vs_seconds(made_learning()),
    "accuracy_vs_speed": lambda: figures.accuracy_vs_speed(made_table()),
    "costs": lambda: figures.costs(
        made_scores(model=["small", "large"], task=["a", "b"]).assign(
            seconds=[0.1, 0.2, 1.0, 2.0], predicted=[0.1, 0.3, 1.0, 1.5]
        )
    ),
    "learning_curves": lambda: figures.learning_curves(made_learning()),
    "schedule_ablations": lambda: figures.schedule_ablations(made_learning()),
    "probed_teacher_states": lambda: figures.probed_teacher_states(
        made_scores(states=["diagonal", "first column"], layer=[0, 1]).assign(majority=0.2)
    ),
    "explained": lambda: figures.explained(made_explained()),
    "coupling": lambda: figures.coupling(
        made_scores(states=["true states", "emulated states", "coupled"]),
        made_explained(),
        made_explained(),
    ),
    "time_spent": lambda: figures.time_spent(
        made_scores(part=["emulator", "state_mlps", "student"], batch_size=[1, 256]).assign(
            parameters=10, flops=20, milliseconds=0.3
        )
    ),
    "probe_map": lambda: figures.probe_map(made_probe_scores(), ["a0", "="]),
    "cell_maps": lambda: figures.cell_maps(
        made_probe_scores().query("variable == 't1'"),
        made_scores(layer=[0, 1], position=[0, 1]).assign(effect=[0.0, 1.0, 0.5, np.nan]),
        ["a0", "="],
        1,
        0,
    ),
    "probe_scores": lambda: figures.probe_scores({"ICoT-SI": made_probe_scores().iloc[:3]}),
    "probes_through_removal": lambda: figures.probes_through_removal(
        made_scores(removed=[0, 1, 2], variable=["t1", "t2"], where=["separator", "unseen"]).assign(
            score=0.5, control=0.1, written=[True] * 4 + [False] * 8
        )
    ),
    "decodable_vs_used": lambda: figures.decodable_vs_used(
        {
            "ICoT-SI": made_scores(variable=["t1", "t2"]).assign(
                selectivity=[0.1, 0.5],
                steering=[0.2, 0.9],
                steering_low=0.1,
                steering_high=0.9,
                steering_random=0.0,
            )
        }
    ),
    "patching_map": lambda: figures.patching_map(
        made_scores(changed=["a0", "b0"], symbol=[0, 1], layer=[0, 1], position=[0, 1]).assign(
            effect=[np.nan, 0.0, 0.5, 1.0] * 4
        ),
        ["a0", "="],
    ),
    "ablation_maps": lambda: figures.ablation_maps(
        {"mean": made_scores(symbol=[-1, 0], layer=[0, 1], position=[0, 1])}, ["a0", "="]
    ),
    "attention_map": lambda: figures.attention_map(np.full((2, 3, 2, 2), 0.5), ["a0", "="]),
    "attention_trees": lambda: figures.attention_trees(
        {"writing s0": pd.DataFrame({"layer": [1], "to": [1], "source": [0], "weight": [0.5]})},
        ["a0", "="],
        layers=2,
    ),
    "cka_maps": lambda: figures.cka_maps(
        {("this", "that"): made_scores(first=[0, 1], second=[0, 1]).assign(cka=0.5)}
    ),
    "digit_shapes": lambda: figures.digit_shapes(
        {"s1": digit_geometry(torch.eye(10), np.arange(10))}
    ),
    "shifts": lambda: figures.shifts(made_shifts()),
    "routing": lambda: figures.routing(
        made_scores(
            rule=["fixed, 2 removed", "confidence", "random", "oracle"], seed=[0, 1]
        ).assign(tokens=9.0)
    ),
    "idea": lambda: figures.idea("stepwise"),
    "digits": lambda: figures.digits(
        {
            name: pd.DataFrame({"by_symbol": [each]})
            for name, each in zip("ab", ["1 0.5", "0 0.25"], strict=True)
        }
    ),
}


def test_every_figure_is_drawn_here():
    ours = {name for name, draw in figures.FIGURES.items() if draw.__module__.startswith("icotlib")}
    assert set(DRAWN) == ours
    with pytest.raises(AttributeError, match=r"no figure 'heatline'; there are .*headline"):
        _ = figures.heatline


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_is_saved_with_the_same_bytes_every_time(name, tmp_path):
    contents = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        figure = DRAWN[name]()
        assert isinstance(figure, Figure)
        paths = figures.save_published(figure, name, made_table(), [], folder)
        assert {path.suffix for path in paths} == {".pdf", ".svg", ".png", ".csv", ".json"}
        contents.append([path.read_bytes() for path in paths])
    assert contents[0] == contents[1]


def test_numbers_that_no_run_holds_name_their_origin(tmp_path):
    measured = {"commit": "abc", "device": "a device"}
    figures.save_published(DRAWN["costs"](), "costs", made_table(), [], tmp_path, measured=measured)
    assert json.loads((tmp_path / "costs.json").read_text())["measured"] == measured
    assert b"a device" in (tmp_path / "costs.png").read_bytes()


def test_files_of_the_users_are_not_replaced_by_published_ones(tmp_path):
    figure = DRAWN["costs"]()
    mine = tmp_path / "costs.csv"
    mine.write_text("a,b\n")
    with pytest.raises(ConfigError, match=r"costs\.csv is there already, without the costs\.json"):
        figures.save_published(figure, "costs", made_table(), [], tmp_path)
    assert mine.read_text() == "a,b\n"
    mine.unlink()
    (tmp_path / "costs.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"costs\.json exists and is no provenance file"):
        figures.save_published(figure, "costs", made_table(), [], tmp_path)
    (tmp_path / "costs.json").unlink()
    for _ in range(2):  # what was written so is replaced
        figures.save_published(figure, "costs", made_table(), [], tmp_path)


def test_fonts_are_embedded_as_outlines_that_journals_accept(tmp_path):
    paths = figures.save_published(DRAWN["schedule_ablations"](), "x", made_table(), [], tmp_path)
    pdf = paths[0].read_bytes()
    assert b"/Type3" not in pdf
    assert b"/FontFile2" in pdf


def test_runs_without_curves_of_their_own_leave_the_panel_empty():
    """Such as those of distillation alone, whose phases take seconds of their own."""
    nothing = icot.learning_table([])
    figure = figures.headline(made_table(), nothing)
    assert figure.axes[0].lines
    assert not [line for line in figure.axes[1].lines if len(line.get_xdata())]
    figures.accuracy_vs_seconds(nothing)


def test_widths_are_those_of_columns():
    assert figures.accuracy_vs_removed(made_table()).get_figwidth() == figures.COLUMN
    assert figures.headline(made_table(), made_learning()).get_figwidth() == figures.PAGE


def test_the_removal_curve_draws_what_the_table_says():
    table = made_table()
    table.loc[table.method == "icot_si", "accuracy"] = [1, 0.9, 0.8] * 4
    ax = figures.accuracy_vs_removed(table).axes[0]
    table.loc[(table.method == "icot_si") & (table.seed == 1), "accuracy"] -= 0.2
    ax = figures.accuracy_vs_removed(table).axes[0]
    curves = [line for line in ax.lines if len(line.get_xdata()) == 3]
    means = [line for line in curves if line.get_label().startswith("ICoT-SI")]
    assert len(means) == 2
    for line in means:
        assert np.allclose(line.get_ydata(), [0.9, 0.8, 0.7])
    seeds = [line.get_ydata()[0] for line in curves if line not in means]
    assert sorted(seeds) == pytest.approx([0.8, 0.8, 1, 1])
    assert "No CoT, about equal seconds (2 seeds)" in texts(ax)


def test_an_untested_shift_is_a_gap_and_one_that_no_run_could_be_tested_on_is_left_out():
    ax = figures.shifts(made_shifts()).axes[0]
    assert [label.get_text() for label in ax.get_xticklabels()] == [
        "in\ndistribution",
        "3x2",
        "5x2",
    ]
    stepwise, bare = (bars[0].get_xdata().astype(float) for bars in ax.containers)
    assert sorted(np.round(stepwise)) == [0, 1]
    assert sorted(np.round(bare)) == [0, 1, 2]
    assert len(set(stepwise) | set(bare)) == 5  # no point hides another


def test_shifts_are_means_over_seeds_beside_each_seed():
    table = made_shifts()
    tested = table.accuracy.notna() & (table.method == "icot_si")
    table.loc[tested & (table.seed == 1), "accuracy"] = 0.9
    ax = figures.shifts(table).axes[0]
    assert ax.containers[0][0].get_ydata().tolist() == [0.7, 0.7]
    dots = next(line for line in ax.lines if line.get_marker() == ".")
    assert sorted(dots.get_ydata()) == [0.5, 0.5, 0.9, 0.9]
    assert "2 seeds" in ax.get_title()


# --- how methods look --------------------------------------------------------------------------


def of_method(method, variant="", removed=(0, 1, 2), **columns):
    """Rows of one method, one run."""
    table = made_table()
    rows = table[(table.method == "icot_si") & (table.variant == "") & (table.seed == 0)]
    rows = rows[rows.removed.isin(removed)]
    return rows.assign(method=method, variant=variant, run=method + variant, **columns)


def texts(ax):
    """The labels of a panel's legend, which may stand beside the panel."""
    legends = [ax.get_legend()] if ax.get_legend() else ax.get_figure().legends
    return [text.get_text() for legend in legends for text in legend.get_texts()]


def test_a_method_looks_as_its_class_declares():
    assert style.color_of("icot_si") == METHODS.get("icot_si").color == "#0072B2"
    assert method_label("kd_student") == METHODS.get("kd_student").label == "ICoT-KD student"
    baselines = {name for name in METHODS.names() if style.is_baseline(name)}
    assert {"explicit_cot", "no_cot"} <= baselines
    assert not baselines & {"icot_si", "icot_kd", "kd_student", "kd_emulator"}


def test_an_unknown_method_is_drawn_black_by_its_id():
    assert style.color_of("mine") == "#000000"
    assert method_label("mine") == "mine"
    assert not style.is_baseline("mine")
    table = pd.concat([made_table(), of_method("mine")])
    ax = figures.accuracy_vs_removed(table).axes[0]
    assert [text for text in texts(ax) if text.startswith("mine, random removal (")]
    (line,) = (line for line in ax.lines if line.get_label().startswith("mine"))
    assert line.get_color() == "#000000"
    assert line.get_ydata().tolist() == [0.5] * 3
    ax = figures.accuracy_vs_speed(table).axes[0]
    (points,) = (points for points in ax.collections if points.get_label() == "mine")
    assert to_hex(points.get_facecolor()[0]) == "#000000"
    learning = made_learning().assign(method="mine")
    assert texts(figures.learning_curves(learning).axes[0])[0] == "mine, paper"


def test_variants_of_a_method_differ_in_line_style():
    table = made_table()
    for method in ("icot_si", "no_cot"):
        variants = sorted(table[table.method == method].variant.unique())
        assert len(variants) == 2
        looks = [style.style_of(table, method, variant) for variant in variants]
        assert [look["ls"] for look in looks] == ["-", "--"]
        assert looks[0]["color"] == style.color_of(method)
        # Reference lines keep their method's colour; curves of several stages do not.
        assert (looks[1]["color"] == looks[0]["color"]) == style.is_baseline(method)
    five = pd.concat(of_method("icot_si", f"v{i}") for i in range(5))
    looks = [style.style_of(five, "icot_si", f"v{i}") for i in range(5)]
    assert len({look["ls"] for look in looks}) == 4
    assert len({(look["ls"], look["color"]) for look in looks}) == 5
    ax = figures.accuracy_vs_removed(table).axes[0]
    curves = [line for line in ax.lines if len(line.get_xdata()) == 3]
    assert {line.get_linestyle() for line in curves} == {"-", "--"}


def test_baselines_are_reference_lines_at_their_mean():
    table = made_table()
    table.loc[table.method == "explicit_cot", "accuracy"] = [0.9, 0.7]
    ax = figures.accuracy_vs_removed(table).axes[0]
    across = {
        line.get_label(): line.get_ydata()[0] for line in ax.lines if len(line.get_xdata()) == 2
    }
    none = {"No CoT, equal examples": 0.5, "No CoT, about equal seconds": 0.5}
    expected = {"Explicit CoT": 0.8} | none
    expected = {f"{name} (2 seeds)": value for name, value in expected.items()}
    assert across == pytest.approx(expected)
    for line in ax.lines:
        if line.get_label() in expected:
            assert list(line.get_xdata()) == [0, 1]  # the whole width of the axis
            assert line.get_color() == style.color_of(
                "explicit_cot" if "Explicit" in line.get_label() else "no_cot"
            )


def test_configurations_that_share_a_name_are_drawn_apart():
    """Their names say in which settings they differ, and the band is that of their own seeds."""
    table = made_table()
    here = table.method == "explicit_cot"
    table.loc[here, "accuracy"] = [0.9, 0.8]
    table.loc[here, "settings"] = '{"method": "explicit_cot"}'
    other = {"method": "explicit_cot", "train.steps": 7}
    changed = {"configuration": "longer", "settings": json.dumps(other), "accuracy": 0.1}
    both = pd.concat([table, table[here].assign(**changed, run="longer")], ignore_index=True)
    ax = figures.accuracy_vs_removed(both).axes[0]
    lines = {x.get_label(): x.get_ydata()[0] for x in ax.lines if "Explicit" in x.get_label()}
    expected = {"Explicit CoT, train.steps=1200": 0.85, "Explicit CoT, train.steps=7": 0.1}
    expected = {f"{name} (2 seeds)": value for name, value in expected.items()}
    assert lines == pytest.approx(expected)
    bands = [x.get_bbox() for x in ax.patches if x.get_facecolor()[:3] == ax_color("explicit_cot")]
    assert len(bands) == 2
    sample = Sample(np.array([0.9, 0.8]), np.array([100, 100]))
    assert sorted((x.y0, x.y1) for x in bands)[1] == pytest.approx(mean_interval(sample)[1:])


def ax_color(method):
    return to_rgb(style.color_of(method))


def test_a_method_of_a_single_stage_is_a_point():
    table = pd.concat([made_table(), of_method("icot_kd", removed=[2], accuracy=0.75)])
    ax = figures.accuracy_vs_removed(table).axes[0]
    (bar,) = (bar for bar in ax.containers if bar.get_label().startswith("ICoT-KD ("))
    point = bar.lines[0]
    assert (point.get_xdata()[0], point.get_ydata()[0]) == (2, 0.75)
    assert to_hex(point.get_color()).upper() == METHODS.get("icot_kd").color
    assert point.get_linestyle() == "None"
    ((low, high),) = (segment[:, 1] for segment in bar.lines[2][0].get_segments())
    assert low < 0.75 < high


def test_a_run_is_drawn_thin_before_its_last_stage():
    learning = made_learning().assign(valid_match=[0.1, 0.2] * 4)
    ax = figures.accuracy_vs_seconds(learning).axes[0]
    thin, thick = ([x for x in ax.lines if (x.get_linewidth() == 0.5) == y] for y in (True, False))
    assert len(thin) == len(thick) == 4
    for early, late in zip(thin, thick, strict=True):
        np.testing.assert_array_equal(early.get_ydata(), [0.1, np.nan])
        np.testing.assert_array_equal(late.get_ydata(), [np.nan, 0.2])


@pytest.mark.parametrize(
    ("units", "label"),
    [
        (["tokens"], "chain tokens removed (of 2)"),
        (["steps"], "chain steps removed (of 2)"),
        (["tokens", "steps"], "chain units removed (of 2)"),
    ],
)
def test_the_axis_says_what_is_counted(units, label):
    table = made_table()
    table["unit"] = [units[i % len(units)] for i in range(len(table))]
    assert figures.accuracy_vs_removed(table).axes[0].get_xlabel() == label


def test_the_style_of_the_session_is_left_alone():
    import matplotlib as mpl

    before = mpl.rcParams["font.size"]
    DRAWN["digits"]()
    assert mpl.rcParams["font.size"] == before


# --- what lines and bands stand for ------------------------------------------------------------


def made_seeds(task="mult-2x2", seeds=(0, 1)):
    """Rows of a learning table: a run for each seed, whose match is its seed's tenth."""
    settings = {"method": "icot_si", "data.task": task}
    rows = []
    for seed, step in itertools.product(seeds, (5, 10)):
        row = {"method": "icot_si", "variant": "", "seed": seed, "run": f"{task}-{seed}"}
        row |= {"step": step, "examples": 100 * step, "seconds": step, "loss": 1 / step}
        row |= {"removed": 2, "train_match": 0.5, "valid_match": seed / 10, "task": task}
        row |= {"configuration": task, "settings": json.dumps(settings)}
        rows.append(row | {"chain_length": 2, "final_stage": 2})
    return pd.DataFrame(rows)


def test_learning_of_two_configurations_is_two_lines_and_each_counts_its_seeds():
    both = pd.concat([made_seeds(), made_seeds("mult-3x3", [8])], ignore_index=True)
    left = figures.accuracy_vs_seconds(both).axes[0]
    drawn = {line.get_label(): line.get_ydata().tolist() for line in left.lines}
    expected = {
        "ICoT-SI, data.task=mult 2x2 (2 seeds)": [0.05, 0.05],
        "ICoT-SI, data.task=mult 3x3 (one seed)": [0.8, 0.8],
    }
    for name, match in expected.items():
        assert drawn[name] == pytest.approx(match)
    assert "lowest to highest seed" in left.get_ylabel()
    assert len(left.collections) == 1  # the band of the configuration with two seeds


def test_no_band_is_named_where_none_is_drawn():
    left = figures.accuracy_vs_seconds(made_seeds(seeds=[3])).axes[0]
    assert (left.get_ylabel(), len(left.collections)) == ("validation match", 0)


def test_each_seed_of_an_ablation_is_a_line_of_its_own():
    both = pd.concat([made_seeds(seeds=[1, 2, 3]), made_seeds("mult-3x3", [8])], ignore_index=True)
    axes = [ax for ax in figures.schedule_ablations(both).axes if ax.get_visible()]
    assert [len(ax.lines) for ax in axes] == [3, 1]
    assert [line.get_ydata().tolist() for line in axes[0].lines] == [
        [0.1] * 2,
        [0.2] * 2,
        [0.3] * 2,
    ]
    titles = [" ".join(ax.get_title().split()) for ax in axes]
    assert titles == ["data.task=mult 2x2 (3 seeds)", "data.task=mult 3x3"]


def test_the_removal_curve_says_what_its_bands_are():
    assert "95% intervals" in figures.accuracy_vs_removed(made_table()).axes[0].get_ylabel()
    left, right = figures.headline(made_table(), made_seeds()).axes
    assert "95% intervals" in left.get_ylabel()
    assert "lowest to highest seed" in right.get_ylabel()


def test_explained_variance_below_zero_is_drawn_as_it_is():
    table = made_explained()
    table.loc[table.layer == 1, "explained"] = -0.4
    left, right = figures.explained(table).axes
    assert min(bar.get_height() for bar in right.patches) == -0.4
    assert right.get_ylim()[0] < -0.4
    assert "cut" not in left.get_ylabel()
    table.loc[table.layer == 1, "explained"] = -7
    left, right = figures.explained(table).axes
    assert min(bar.get_height() for bar in right.patches) == -1
    assert "cut at −100%" in left.get_ylabel()


@pytest.mark.parametrize(("seeds", "title"), [([0], "one seed"), ([0, 1], "2 seeds (bars")])
def test_a_figure_of_one_seed_claims_no_interval_over_seeds(seeds, title):
    table = made_scores(rule=["confidence", "random"], seed=seeds).assign(tokens=9.0)
    shown = figures.routing(table).axes[0].get_title()
    assert shown.startswith(title)
    assert ("95% intervals" in shown) == (len(seeds) > 1)


def test_a_mean_over_seeds_is_over_all_of_them():
    table = made_table()
    table = table[table.variant == ""]
    short = (table.method == "icot_si") & (table.seed == 1) & (table.removed > 1)
    figure = figures.accuracy_vs_removed(table[~short])
    labelled = [x for x in figure.axes[0].lines if str(x.get_label()).startswith("ICoT-SI")]
    assert [list(line.get_xdata()) for line in labelled] == [[0, 1]]


def test_seeds_that_end_at_different_stages_are_different_points():
    table = made_table()
    ends = table[(table.method == "icot_si") & (table.variant == "")]
    ends = ends[ends.removed == ends.seed + 1]  # one ends at 1, the other at 2
    (ax,) = figures.accuracy_vs_removed(ends).axes
    assert [list(bar.lines[0].get_xdata()) for bar in ax.containers] == [[1], [2]]
