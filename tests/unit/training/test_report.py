import base64
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pytest

from support.small_models import small_churn, small_clv
from telelink_shared.customer import USAGE
from telelink_training.data import CHURN, DataError, Dataset, synthetic
from telelink_training.evaluate import classification
from telelink_training.published import read_published
from telelink_training.report import html_report

TRAIN = synthetic(300, seed=1)
OTHER = Dataset(synthetic(150, seed=2).frame, "<b>file</b>.csv")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    small_churn(TRAIN, folder)
    small_clv(TRAIN, folder)
    return folder


@pytest.fixture(scope="module")
def reports(models):
    """Of both models, on other customers than they were trained on."""
    return {name: html_report(read_published(models, name, "1"), OTHER, seed=1) for name in ("churn", "clv")}


class Reader(HTMLParser):
    """What a document refers to, and whether its tags are closed."""

    def __init__(self):
        super().__init__()
        self.open, self.sources, self.captions = [], [], []

    def handle_starttag(self, tag, attributes):
        if tag not in {"meta", "img"}:
            self.open.append(tag)
        named = dict(attributes)
        self.sources += [named[name] for name in ("src", "href") if name in named]
        if tag == "img":
            self.captions.append(named["alt"])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def read(report):
    reader = Reader()
    reader.feed(report)
    assert reader.open == []
    return reader


@pytest.mark.parametrize(
    ("name", "plots"),
    [
        ("churn", ("ROC", "Precision", "Calibration", "Confusion", "What moves")),
        ("clv", ("Residuals", "What moves")),
    ],
)
def test_a_report_is_one_document_with_its_plots_inside(name, plots, reports):
    report = reports[name]
    reader = read(report)
    assert [caption.split(":")[0].split(" ")[0] for caption in reader.captions] == [
        plot.split(" ")[0] for plot in plots
    ]
    for source in reader.sources:
        kind, _, content = source.partition(",")
        assert kind == "data:image/svg+xml;base64", "nothing is fetched"
        assert ET.fromstring(base64.b64decode(content)).tag.endswith("svg")
    assert "<script" not in report


def test_a_report_states_the_figures_of_the_rows_it_was_given(models, reports):
    model = read_published(models, "churn", "1")
    left = OTHER.frame[CHURN].to_numpy(bool)
    for variant in model.manifest.variants:
        wanted = classification(left, model.score(variant, OTHER.rows))
        assert re.search(rf"<td>{variant.name}</td><td>150</td><td>{wanted['accuracy']:.4g} \(", reports["churn"])
    assert "Measured here on 150 rows: " in reports["churn"]


def test_a_name_is_text_and_never_markup(reports):
    for report in reports.values():
        assert "&lt;b&gt;file&lt;/b&gt;.csv" in report
        assert "Made up, for &lt;tests&gt;." in report


def test_rows_that_the_version_was_trained_on_are_told(models, reports):
    assert "trained on these very rows" in html_report(read_published(models, "clv", "1"), TRAIN, seed=1)
    assert "trained on these very rows" not in reports["clv"]


def test_customers_without_usage_are_reported_by_the_variant_that_answers_them(models):
    frame = OTHER.frame.copy()
    frame[list(USAGE)] = np.nan
    report = html_report(read_published(models, "churn", "1"), Dataset(frame, "eleven"), seed=1)
    assert "<td>eleven</td>" in report
    assert "<td>usage</td>" not in report


def test_the_values_of_rows_without_usage_cannot_be_made_up(models):
    frame = OTHER.frame.copy()
    frame[list(USAGE)] = np.nan
    with pytest.raises(DataError, match="cannot be simulated without usage"):
        html_report(read_published(models, "clv", "1"), Dataset(frame, "eleven"), seed=1)
