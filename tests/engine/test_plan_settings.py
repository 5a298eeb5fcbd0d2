import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyclegan.engine.plan_settings import PlanSettings, Profile, capability_name, parse_size
from cyclegan.errors import ConfigError

sides = st.integers(1, 4096)
shapes = st.tuples(sides, sides, sides)


@given(shapes, shapes, shapes)
def test_a_profile_is_ordered_and_survives_its_text(
    a: tuple[int, int, int], b: tuple[int, int, int], c: tuple[int, int, int]
) -> None:
    least, best, most = zip(*(sorted(side) for side in zip(a, b, c)))
    profile = Profile(least=least, best=best, most=most)
    assert Profile.parse(str(profile)) == profile
    assert profile.takes(least)
    assert profile.takes(most)
    assert not profile.takes((most[0] + 1, *most[1:]))
    if least != most:
        with pytest.raises(ConfigError, match="min <= opt <= max"):
            Profile(least=most, best=best, most=least)


@pytest.mark.parametrize("text", ["", "256x256", "1x2x3,4x5x6", "1x2x3,axbxc,4x5x6", "1x2,3x4,5x6"])
def test_other_profiles_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="such as 1x256x256"):
        Profile.parse(text)


def test_sizes_are_multiples_of_what_the_generator_takes() -> None:
    Profile.of(256, 512, batch=4).check_multiple(256)
    with pytest.raises(ConfigError, match="multiples of 256"):
        Profile.of(256, 384).check_multiple(256)


@pytest.mark.parametrize("target", ["8.9", "89", "sm89", "SM_89"])
def test_spellings_of_a_target(target: str) -> None:
    assert capability_name(target) == "SM89"
    assert capability_name("12.0") == "SM120"


def test_settings_that_make_no_sense() -> None:
    profile = Profile.of(64, 64)
    with pytest.raises(ConfigError, match="compute capability such as"):
        PlanSettings(profile=profile, targets=("ada",))
    with pytest.raises(ConfigError, match="0 to 5"):
        PlanSettings(profile=profile, optimization_level=6)
    for text in ("256", "256x", "axb", "1x2x3"):
        with pytest.raises(ConfigError, match="such as 256x256"):
            parse_size(text)
    assert parse_size("144X176") == (144, 176)


def test_every_setting_is_part_of_the_key() -> None:
    key = PlanSettings(profile=Profile.of(64, 64)).as_key()
    fields = set(PlanSettings.__dataclass_fields__) - {"flavour"}  # named apart, once it is known
    assert set(key) == fields
