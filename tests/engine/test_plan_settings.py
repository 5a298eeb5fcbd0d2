from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyclegan.engine.plan_settings import MOST_EXTENT, PlanSettings, Profile, capability_name
from cyclegan.errors import ConfigError

sides = st.integers(1, 4096)
shapes = st.tuples(sides, sides, sides)


@given(shapes, shapes, shapes)
def test_a_profile_is_ordered_and_survives_its_text(
    a: tuple[int, int, int], b: tuple[int, int, int], c: tuple[int, int, int]
) -> None:
    least, best, most = zip(*(sorted(side) for side in zip(a, b, c)))
    profile = Profile(least=least, best=best, most=most)
    assert Profile.parse(str(profile)) == Profile.from_shapes(profile.shapes) == profile
    assert profile.takes(least)
    assert profile.takes(most)
    assert not profile.takes((most[0] + 1, *most[1:]))
    if least != most:
        with pytest.raises(ConfigError, match="min <= opt <= max <= "):
            Profile(least=most, best=best, most=least)


def test_a_profile_ends_where_the_numbers_of_the_builder_do() -> None:
    Profile.of(64, 64, batch=MOST_EXTENT)
    with pytest.raises(ConfigError, match=rf"64x64:3000000000: expected .* max <= {MOST_EXTENT}"):
        Profile.of(64, 64, batch=3_000_000_000)


@pytest.mark.parametrize(
    "text", ["", "256x256", "1x2,4x5", "1x2,axb,4x5", "1x2,3x4,5x6:b", "1x64x64,1x64x96,4x128x256"]
)
def test_other_profiles_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match=r"got the profile .*such as 256x256,256x256:4"):
        Profile.parse(text)


def test_people_write_widths_first_and_notes_have_shapes() -> None:
    profile = Profile.parse("64,640x272:2,1280x720:4")
    assert profile.most == (4, 720, 1280)
    assert str(profile) == "64x64:1,640x272:2,1280x720:4"
    assert profile.shapes == "1x64x64,2x272x640,4x720x1280"


def test_sizes_are_multiples_of_what_the_generator_takes() -> None:
    Profile.of(256, 512, batch=4).check_sides(256)
    with pytest.raises(ConfigError, match="multiples of 256, from 256 up"):
        Profile.of(256, 384).check_sides(256)


@pytest.mark.parametrize("size", [(4, 4), (4, 64), (64, 4)])
def test_sizes_too_small_to_be_mirrored_are_refused(size: tuple[int, int]) -> None:
    """PyTorch refuses them; TensorRT builds some, and says of others nothing that helps."""
    Profile.of(8, 8).check_sides(4)
    with pytest.raises(ConfigError, match="multiples of 4, from 8 up"):
        Profile.of(*size).check_sides(4)


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
    with pytest.raises(ConfigError, match=r"workspace of -5 MiB; expected 1 to \d+$"):
        PlanSettings(profile=profile, workspace_mib=-5)
    with pytest.raises(ConfigError, match=r"-1 auxiliary streams; expected 0 to \d+$"):
        PlanSettings(profile=profile, max_aux_streams=-1)
    for least in (float("nan"), float("inf"), -1.0):
        with pytest.raises(ConfigError, match=r"least PSNR .* dB; expected 0 or more"):
            PlanSettings(profile=profile, least_psnr_db=least)


def test_targets_are_one_set_however_they_are_written() -> None:
    """One spelling: keys agree, and a GPU's own capability is found among them."""
    written = PlanSettings(profile=Profile.of(64, 64), targets=("sm_120", "89", "8.9"))
    assert written.targets == ("8.9", "12.0")
    assert written.as_key()["targets"] == "8.9 12.0"
    for loose in ("8.9", (8.9,)):
        targets: Any = loose
        assert PlanSettings(profile=Profile.of(64, 64), targets=targets).targets == ("8.9",)


def test_every_setting_is_part_of_the_key() -> None:
    key = PlanSettings(profile=Profile.of(64, 64)).as_key()
    fields = set(PlanSettings.__dataclass_fields__) - {"flavour"}  # named apart, once it is known
    assert set(key) == fields
