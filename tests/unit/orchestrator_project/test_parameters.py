import os
from decimal import Decimal
from pathlib import Path

import pytest

from orchestrator_project.parameters import Parameters, read_settings_file


def of(environment: dict[str, str] | None = None, settings_file: dict[str, str] | None = None) -> Parameters:
    return Parameters(environment or {}, settings_file or {})


def test_environment_wins_over_settings_file_and_the_file_over_the_default():
    read = of({"A": "1"}, {"A": "2", "B": "3"})
    values = [read.integer(name, 9, "", at_least=0, at_most=10) for name in "ABC"]
    assert values == [1, 3, 9]
    assert [read.declared[name].source for name in "ABC"] == ["environment", "settings file", "default"]


def test_an_empty_value_counts_as_unset():
    read = of({"A": ""}, {"A": "2"})
    assert read.integer("A", 9, "", at_least=0, at_most=10) == 2
    assert read.given("A")
    assert not of({"A": ""}).given("A")


@pytest.mark.parametrize("raw", ["abc", "0", "11", "1.5", "NaN", " "])
def test_a_bad_whole_number_is_a_problem_and_reads_as_the_default(raw: str):
    read = of({"A": raw})
    assert read.integer("A", 5, "", at_least=1, at_most=10) == 5
    (problem,) = read.problems
    assert problem.startswith("A=")
    assert "environment" in problem
    assert "a whole number from 1 to 10" in problem


@pytest.mark.parametrize("raw", ["NaN", "Infinity", "-0.01", "1.01", "x", "1e400"])
def test_a_bad_number_is_a_problem(raw: str):
    read = of({"A": raw})
    assert read.decimal("A", "0.1", "", at_least="0", at_most="1") == Decimal("0.1")
    assert len(read.problems) == 1


@pytest.mark.parametrize(("raw", "value"), [("TRUE", True), ("1", True), ("on", True), ("no", False), ("0", False)])
def test_yes_and_no_in_their_usual_spellings(raw: str, value: bool):
    assert of({"A": raw}).boolean("A", not value, "") is value


def test_every_problem_is_kept_in_the_order_of_declaration():
    read = of({"A": "x", "B": "maybe", "C": "loud"})
    read.integer("A", 1, "", at_least=0, at_most=2)
    read.boolean("B", True, "")
    read.text("C", "INFO", "", choices=("INFO", "DEBUG"))
    assert [problem[0] for problem in read.problems] == ["A", "B", "C"]


@pytest.mark.parametrize("raw", ['["X", "Y"]', "X,Y", " X , Y "])
def test_a_list_is_json_or_separated_by_commas(raw: str):
    assert of({"A": raw}).names("A", "Z", "", pattern=str.isupper, like="X") == ["X", "Y"]


@pytest.mark.parametrize("raw", ['["X"', "X,X", "X,,Y", "X,y", "[]", "[1, [2]]"])
def test_a_bad_list_is_a_problem(raw: str):
    read = of({"A": raw})
    assert read.names("A", "Z", "", pattern=lambda name: name.isupper() and name.isalpha(), like="X") == ["Z"]
    assert len(read.problems) == 1


def test_a_secret_shows_in_no_problem_and_in_no_description():
    read = of({"KEY": "canary-1", "URL": "mysql://me:canary-2@host/x"})
    read.secret("KEY", "")
    read.url("URL", "", "", schemes=("postgresql",))
    told = " ".join([*read.problems, repr(read.declared), *(each.shown for each in read.declared.values())])
    assert "canary" not in told
    assert read.declared["KEY"].shown == "set, 8 characters"
    assert of().declare("KEY", "", "", kind="text", allowed="", secret=True).shown == "not set"


@pytest.mark.parametrize("raw", ["canary\n", "can ary", "canary\u200b", "canary\t", "cänary"])
def test_a_key_with_what_no_header_can_hold_is_a_problem_that_does_not_show_it(raw: str):
    read = of({"KEY": raw})
    assert read.key("KEY", "") == ""
    (problem,) = read.problems
    assert "ary" not in problem
    assert f"{len(raw)} secret characters" in problem
    assert of({"KEY": "sk-ant_1+/="}).key("KEY", "") == "sk-ant_1+/="


@pytest.mark.parametrize(
    ("raw", "fits"),
    [
        ("postgres://u:p@h/x", True),
        ("postgres://u:p@h:5432/x", True),
        ("postgres://u:p@[::1]:5432/x", True),
        ("postgres://u:p@one:5432,two:5433/x", True),
        ("postgres:///x?host=/run/postgres", True),
        ("postgres://u:p@h:notaport/x", False),
        ("postgres://u:p@h:65536/x", False),
        ("postgres://u:p@one:5432,two:notaport/x", False),
        ("postgres://u:p/w@h/x", False),
    ],
)
def test_a_port_that_is_none_is_a_problem_of_its_own(raw: str, fits: bool):
    read = of({"A": raw})
    assert read.url("A", "", "", schemes=("postgres",)) == (raw if fits else "")
    assert ["port" in problem and raw not in problem for problem in read.problems] == ([] if fits else [True])


def test_the_settings_file_is_read_without_touching_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("ONLY_IN_FILE", raising=False)
    file = tmp_path / ".env"
    file.write_text("# comment\n\nONLY_IN_FILE='a b'\nexport OTHER=2\n")
    assert read_settings_file(file) == {"ONLY_IN_FILE": "a b", "OTHER": "2"}
    assert read_settings_file(tmp_path / "absent") == {}
    assert "ONLY_IN_FILE" not in os.environ
