"""The report: one file, nothing from outside, nothing half-written, whatever was compared."""

import json
import re

import numpy as np
import pytest

from whydeep.errors import InputError
from whydeep.network import mlp
from whydeep.report import provenance, write_report
from whydeep.report._write import render_report

LIMIT = 3_000_000


def figures_of(text):
    found = re.search(
        r'<script type="application/json" id="figures">(.*?)</script>', text, re.DOTALL
    )
    return json.loads(found[1])


def test_it_is_one_small_file_that_needs_nothing_else(relu, tmp_path):
    path = tmp_path / "report.html"
    assert write_report(path, *relu) == path
    assert list(tmp_path.iterdir()) == [path]
    assert 1_000_000 < path.stat().st_size < LIMIT
    text = path.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    page = text.replace(
        re.search(r"<script>(/\*\*\n\* plotly.js.*?)</script>", text, re.DOTALL)[1], ""
    )
    assert not re.search(r"(?:src|href|action)\s*=\s*[\"']?(?!data:)[a-z]*:?//", page)
    assert "@import" not in page
    assert "url(" not in page


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({}, "Theory and measurement agree"),
        ({"factor": 1.3}, "Theory and measurement disagree"),
        ({"noise": 0.5}, "Not everything could be resolved"),
    ],
)
def test_the_verdict_is_the_headline(pretended, how, sentence):
    x = np.array([[1.0, 1.0], [1.0, -0.5]])
    text = render_report(*pretended(mlp(2, 64, "relu"), x, **how))
    assert re.search(r"<h1>.*?</h1>", text)[0].endswith(f"{sentence}</h1>")


def test_every_row_is_in_the_table_with_its_reason(relu):
    comparison = relu[2]
    text = render_report(*relu)
    table = text[text.index("<table>") : text.index("</table>")]
    assert table.count("<tr class=") == len(comparison.rows) + len(comparison.observables)
    for row in comparison.rows:
        assert row.reason in table


def test_text_from_outside_cannot_become_markup(relu):
    evil = "</script><img src=x onerror=alert(1)> {{style}} & \"quoted\" 'single'"
    text = render_report(*relu, inputs=evil, command=f"whydeep verify --data '{evil}'")
    assert "<img" not in text.replace("&lt;img", "")
    assert "{{style}} &amp;" in text  # what is put in is not looked at again
    assert text.count("<script") == 3


def test_figures_are_drawn_by_the_option_and_the_layer(relu):
    figures = figures_of(render_report(*relu))
    assert list(figures) == ["kernels", "ladder", "density"]
    assert figures["kernels"]["options"] == ["averages", "pairs of inputs"]
    assert figures["ladder"]["options"] == ["all together", "2", "3"]
    assert len(figures["ladder"]["plots"]) == 3
    for group in figures.values():
        for plot in group["plots"]:
            assert len(plot) == max(len(group["options"]), 1)
            assert any(figure["data"] for figure in plot)


def test_the_predicted_slope_of_the_kernel_is_drawn_where_theory_has_one(relu, pretended):
    def names(outcome):
        kernel = figures_of(render_report(*outcome))["ladder"]["plots"][0][0]
        return [trace["name"] for trace in kernel["data"]]

    assert "first order" in names(relu)
    order_0 = pretended(mlp(2, 64, "relu"), np.array([[1.0, 1.0], [1.0, -0.5]]), order=0)
    assert "first order" not in names(order_0)


def test_the_predicted_slope_is_the_kernel_correction(pretended):
    # Made up that way: noise of 1e-6 over 60 batches moves the fit by less than 1e-5.
    outcome = pretended(mlp(2, 64, "tanh"), np.array([[1.0, 1.0], [1.0, -0.5]]), noise=1e-6)
    kernel = figures_of(render_report(*outcome))["ladder"]["plots"][0]
    for figure in kernel[1:]:  # layer by layer
        traces = {trace["name"]: trace for trace in figure["data"]}
        np.testing.assert_allclose(traces["fit"]["y"], traces["first order"]["y"], atol=1e-5)


def test_one_input_has_no_pairs_to_choose(pretended):
    figures = figures_of(render_report(*pretended(mlp(2, 32, "relu"), np.array([[1.0, 1.0]]))))
    assert figures["kernels"]["options"] == []


def test_many_inputs_are_thinned_out_and_the_report_says_so(pretended):
    x = np.random.default_rng(0).standard_normal((30, 8))
    text = render_report(*pretended(mlp(1, 32, "relu"), x, order=0))
    assert "4 of 435 pairs of different inputs" in text
    pairs = figures_of(text)["kernels"]["plots"][0][1]["data"]
    assert len(pairs) == 8  # a line and points each
    assert len(text) < LIMIT


def test_order_0_has_no_vertex_and_a_gaussian_only(pretended):
    text = render_report(*pretended(mlp(2, 32, "relu"), np.eye(2), order=0))
    figures = figures_of(text)
    assert len(figures["ladder"]["plots"]) == 2
    assert [t["name"] for t in figures["density"]["plots"][0][0]["data"]] == [
        "Gaussian",
        "measured",
    ]
    assert "No first correction was predicted" in text


def test_a_missing_observable_is_named_with_its_reason(pretended):
    net = mlp(2, 32, "step", weight_var=1.0, bias_var=0.1)
    outcome = pretended(net, np.eye(2), order=0)
    text = render_report(*outcome)
    assert "tangent kernel diverges" in text
    assert len(figures_of(text)["kernels"]["plots"]) == 2


def test_a_measurement_without_a_density_has_no_such_figure(relu, without_density):
    predicted, measured, comparison = relu
    figures = figures_of(render_report(predicted, [without_density(measured)], comparison))
    assert "density" not in figures


def test_unequal_widths_are_listed(pretended):
    text = render_report(*pretended(mlp(2, (32, 48), "relu"), np.eye(2)))
    assert "48 → 96 → 192 (the widest layer; narrowest rung 32-48)" in text


def test_an_expansion_that_has_broken_down_still_has_a_report(pretended):
    net = mlp(6, 2, "tanh", weight_var=1.5, bias_var=0.0)
    outcome = pretended(net, np.eye(2))
    assert "<h1>" in render_report(*outcome)


def test_what_cannot_be_published_leaves_nothing_behind(relu, tmp_path):
    path = tmp_path / "report.html"
    path.mkdir()
    with pytest.raises(InputError, match="can't be written"):
        write_report(path, *relu)
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(InputError, match="can't be written"):
        write_report(tmp_path / "nowhere" / "report.html", *relu)


def test_an_older_report_is_kept_until_the_new_one_is_whole(relu, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")

    def interrupted(*_args, **_how):
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_report(path, *relu)
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]


def test_provenance_names_versions_and_device_and_no_machine():
    found = provenance()
    assert {"whydeep", "python", "jax", "numpy", "system", "device", "time"} <= set(found)
    assert all(isinstance(value, str) for value in found.values())
