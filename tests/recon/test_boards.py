"""The boards' command, tables, files and page; on one made sequence, and on made-up scores."""

from __future__ import annotations

import csv
import json
import math
import re
from dataclasses import replace
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from descriptors.benchmarks.contestants import read_contestants
from descriptors.benchmarks.published import PUBLISHED
from descriptors.benchmarks.results import METRICS, Board, Curve, Score
from pipelines.core.errors import InputError
from pipelines.core.progress import Silent
from recon.benchmark.boards import BOARDS, Request, run_boards
from recon.benchmark.boards_page import write_page
from recon.benchmark.plots import Axis, Bar, bars, scatter
from recon.benchmark.tables import COLUMNS, markdown, ranked, table, write_files


def made_board(name="oxford"):
    first = COLUMNS[name][0].metric
    return Board(
        name,
        "made <up>",
        (
            Score(name, "a<b", "all", "all", first, 0.25),
            Score(name, "sift", "all", "all", first, 0.5),
            Score(name, "none", "all", "all", first, math.nan),
            Score(name, "sift", "graf", "viewpoint", "matching_score", 0.4),
            Score(name, "sift", "ubc", "JPEG", "matching_score", 0.9),
        ),
        (
            Curve(name, "sift", "all", "mma", (1.0, 10.0), (0.2, 0.8)),
            Curve(name, "a<b", "easy", "roc", (0.1, 1), (0.5, 1)),
        ),
    )


def test_tables_rank_by_their_first_column():
    assert ranked(made_board()) == ["sift", "a<b", "none"]
    header, rows = table(made_board())
    assert header == ("descriptor", "mAP %") and rows == [("sift", "50.0"), ("a<b", "25.0"), ("none", "–")]
    assert ranked(made_board("brown")) == ["a<b", "sift", "none"]  # of false positives the fewest


def test_files_hold_every_score(tmp_path):
    everything = write_files([made_board()], read_contestants(["sift"]), tmp_path)
    assert json.loads((tmp_path / "board.json").read_text()) == json.loads(json.dumps(everything))
    assert everything["boards"][0]["scores"][2]["value"] is None
    lines = list(csv.DictReader((tmp_path / "board.csv").open()))
    assert [float(line["value"]) for line in lines if line["value"]] == [0.25, 0.5, 0.4, 0.9]
    assert lines[2]["value"] == "" and lines[3]["subset"] == "graf"
    heads, _, *rows = (tmp_path / "board.md").read_text().splitlines()
    assert heads.startswith("| descriptor | oxford: mAP, % | oxford: matching score, % |")
    assert rows == ["| sift | 50.0 |  |  |", "| a<b | 25.0 |  |  |", "| none |  |  |  |"]


def test_the_table_of_all_boards_has_a_row_for_each_descriptor_of_any():
    rows = markdown(
        [
            made_board(),
            replace(made_board("speed"), scores=(Score("speed", "c", "all", "all", "patches_per_second", 9e3),)),
        ]
    ).splitlines()
    assert rows[2:] == [
        "| sift | 50.0 |  |  |  |",
        "| a<b | 25.0 |  |  |  |",
        "| none |  |  |  |  |",
        "| c |  |  |  | 9,000 |",
    ]


@pytest.mark.parametrize("name", list(COLUMNS))
def test_page_is_whole_for_every_board(tmp_path, name):
    write_page(tmp_path / "board.html", [made_board(name)])
    page = (tmp_path / "board.html").read_text()
    assert "made &lt;up&gt;" in page and "a<b" not in page and "NaN" not in page and "nan" not in page
    assert "http://" not in page and "https://" not in page and "<script" not in page
    for drawing in re.findall(r"<svg.*?</svg>", page, re.S):
        ElementTree.fromstring(drawing)


def test_published_figures_are_marked_and_of_known_metrics(tmp_path):
    write_page(tmp_path / "board.html", [made_board("brown")])
    assert "HardNet+ (NIPS) (published)" in (tmp_path / "board.html").read_text()
    apart = replace(made_board("brown"), comparable=False)
    write_page(tmp_path / "board.html", [apart])
    page = (tmp_path / "board.html").read_text()
    assert "(published)" not in page and "HardNet+ (NIPS)" in page  # named with its source, but in no plot
    assert all(row.metric in METRICS and row.board in COLUMNS and row.source for row in PUBLISHED)
    mean = {row.method: row.value for row in PUBLISHED if (row.subset, row.metric) == ("mean", "fpr95")}
    # The means as printed in the sources' own last column.
    for method, printed in (("SIFT", 26.55), ("L2-Net+", 2.23), ("HardNet+ (NIPS)", 1.9), ("BinBoost, 64 bit", 19.24)):
        assert 100 * mean[method] == pytest.approx(printed, abs=0.011)


def test_axes_and_bars():
    axis = Axis("fpr", 0.01, 100, log=True)
    assert axis.place(1.0) == pytest.approx(0.5) and axis.place(0) == 0 and axis.place(1e9) == 1
    assert [text for _, text in axis.ticks()] == ["0.01", "0.1", "1", "10", "100"]
    assert [text for _, text in Axis("y", 0, 100).ticks()] == ["0", "20", "40", "60", "80", "100"]
    drawn = bars([Bar("x", 1.0), Bar("y", 2.0), Bar("z", math.nan)], str, best_first=True)
    widths = [float(w) for w in re.findall(r'<rect x="280" y="\d+" width="([\d.]+)"', drawn)]
    assert widths == [480, 240] and drawn.index(">y<") < drawn.index(">x<")
    assert "Nothing" in bars([], str)


def test_the_frontier_passes_by_what_is_beaten():
    points = [("slow", 10.0, 3.0), ("fast", 100.0, 2.0), ("beaten", 50.0, 1.0)]
    drawn = scatter(points, Axis("x", 10, 100, log=True), Axis("y", 0, 4), {"slow": 0, "fast": 1, "beaten": 2})
    frontier = re.search(r'<path d="M([^"]*)" fill="none"', drawn)
    assert frontier and len(frontier[1].split("L")) == 2


def test_names_of_a_frontier_lie_on_no_dot():
    points = [("first-of-all", 20.0, 3.0), ("second", 26.0, 2.95), ("third", 33.0, 2.9)]
    drawn = scatter(points, Axis("x", 10, 100, log=True), Axis("y", 0, 4), {"first-of-all": 0, "second": 1, "third": 2})
    dots = [tuple(map(float, at)) for at in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', drawn)]
    for name, _, _ in points:
        left, base = map(float, re.search(rf'<text [^>]*x="([\d.]+)" y="([\d.]+)">{name}<', drawn).groups())
        assert all(not (left < x < left + 7.5 * len(name) and base - 11 < y < base) for x, y in dots), name


@pytest.fixture
def data(tmp_path, textured):
    home = tmp_path / "data" / "oxford" / "graf"
    home.mkdir(parents=True)
    cv2.imwrite(str(home / "img1.png"), textured)
    cv2.imwrite(str(home / "img2.png"), np.roll(textured, (-5, 10), (0, 1)))
    np.savetxt(home / "H1to2p", [[1, 0, 10], [0, 1, -5], [0, 0, 1]])
    return tmp_path / "data"


@pytest.fixture(scope="session")
def textured():
    noise = np.random.default_rng(3).standard_normal((200, 200))
    picture = sum(cv2.GaussianBlur(noise, (0, 0), s) * s for s in (1.5, 3, 6))
    return np.clip(128 + 40 * picture / picture.std(), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("detector", [[], ["--detector", "dog"]])
def test_the_command_makes_tables_files_and_page(data, tmp_path, detector):
    from recon.cli.benchmark import app

    out = tmp_path / "out"
    given = [
        "oxford",
        "--descriptors",
        "rootsift,orb",
        "-d",
        str(data),
        "-o",
        str(out),
        "--keypoints",
        "200",
        *detector,
    ]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.output
    assert "rootsift" in done.output and "mAP %" in done.output
    assert {path.name for path in out.iterdir()} == {"predictions", "board.json", "board.csv", "board.html", "board.md"}
    scores = json.loads((out / "board.json").read_text())["boards"][0]["scores"]
    best = next(s["value"] for s in scores if (s["descriptor"], s["subset"], s["metric"]) == ("rootsift", "all", "map"))
    assert best > 0.8


def test_missing_data(data, tmp_path):
    contestants = read_contestants(["sift"])
    request = Request(data, tmp_path / "out", keypoints=50)
    made = run_boards(["oxford", "scenes"], request, contestants, progress=Silent())
    assert [board.name for board in made] == ["oxford"]
    with pytest.raises(InputError, match="scenes"):
        run_boards(["scenes"], request, contestants, progress=Silent())


def test_every_board_has_columns_and_a_command():
    from recon.cli.benchmark import app

    commands = {command.name for command in app.registered_commands}
    assert set(BOARDS) <= commands and set(BOARDS) <= set(COLUMNS) and "all" in commands
