"""One way to write a size, for every verb and benchmark."""

import pytest

from cyclegan.cli import main
from cyclegan.errors import ConfigError
from cyclegan.sizes import short_size_text, size_from, size_text


def test_width_comes_first_and_one_number_is_a_square():
    assert size_from("640x272") == size_from("640X272") == (272, 640)
    assert size_from("64") == (64, 64)
    assert size_text((272, 640)) == short_size_text((272, 640)) == "640x272"
    assert size_text((64, 64)) == "64x64"
    assert short_size_text((64, 64)) == "64"


@pytest.mark.parametrize("text", ["", "x", "640x", "ax1", "1x2x3", "0x8", "-1x8", "6 4", "٣x٤"])
def test_anything_else_is_refused_with_what_was_expected(text):
    with pytest.raises(ConfigError, match=f"got the size '{text}'; expected WIDTHxHEIGHT, such as"):
        size_from(text)


@pytest.mark.parametrize("verb", [["build", "m"], ["translate", "a", "b"], ["bench", "m"]])
def test_every_verb_tells_what_a_size_is(verb, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # no lines are broken
    with pytest.raises(SystemExit) as left:
        main([*verb, "--size", "640by272"])
    assert left.value.code == 2
    assert "got the size '640by272'; expected WIDTHxHEIGHT" in capsys.readouterr().err
    assert main([*verb, "--size", "272", "640"]) == 1
    assert "got the size '272 640'; expected WIDTHxHEIGHT" in capsys.readouterr().err
