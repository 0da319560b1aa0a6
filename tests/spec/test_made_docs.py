from click.testing import CliRunner

from specserve.spec.made_docs import command


def test_a_stale_file_is_told_and_left_alone_or_written(tmp_path):
    shout = command(str.upper, "none", says="Shout.")
    stale, current = tmp_path / "stale.md", tmp_path / "current.md"
    stale.write_text("quiet")
    current.write_text("LOUD")
    told = CliRunner().invoke(shout, ["--check", str(current), str(stale)])
    assert (told.exit_code, told.stderr) == (1, f"Error: {stale} is stale: run `tox run -e generate`\n")
    assert stale.read_text() == "quiet"
    assert CliRunner().invoke(shout, [str(current), str(stale)]).exit_code == 0
    assert (stale.read_text(), current.read_text()) == ("QUIET", "LOUD")
    assert CliRunner().invoke(shout, ["--check", str(current), str(stale)]).exit_code == 0


def test_without_a_name_it_is_those_of_the_pattern_and_one_that_is_not_there_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.md", "b.md", "c.txt"):
        (tmp_path / name).write_text("x")
    assert CliRunner().invoke(command(str.upper, "*.md", says="Shout."), []).exit_code == 0
    assert [path.read_text() for path in sorted(tmp_path.iterdir())] == ["X", "X", "x"]
    made = command(lambda was: was or "new", "d.md", says="Make.")
    assert CliRunner().invoke(made, ["--check"]).exit_code == 1
    assert CliRunner().invoke(made, []).exit_code == 0
    assert (tmp_path / "d.md").read_text() == "new"
