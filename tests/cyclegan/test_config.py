import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from cyclegan.config import (
    CycleGANConfig,
    DataConfig,
    PatchConfig,
    PixelConfig,
    ResnetConfig,
    TrainConfig,
    UnetConfig,
    as_dict,
    from_dict,
)
from cyclegan.errors import ConfigError

generators = st.one_of(
    st.builds(ResnetConfig, width=st.integers(1, 128), blocks=st.integers(1, 12)),
    st.builds(UnetConfig, depth=st.integers(5, 9), norm=st.sampled_from(["instance", "batch"])),
)


@given(generator=generators, seed=st.integers(0, 9), learning_rate=st.floats(0, 1))
def test_survives_toml(generator, seed, learning_rate):
    config = TrainConfig(
        data=DataConfig(a=Path("one"), b=Path("two words"), load_size=600, crop_size=512),
        model=CycleGANConfig(
            generator=generator,
            discriminator=PixelConfig(),
            seed=seed,
            learning_rate=learning_rate,
        ),
        minutes=1.5,
    )
    text = tomli_w.dumps(as_dict(config))
    assert from_dict(TrainConfig, tomllib.loads(text)) == config


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"lambda_identiy": 1.0}, "unknown setting lambda_identiy; did you mean 'lambda_identity'"),
        ({"generator": {"kind": "resnet", "wdth": 8}}, "generator.wdth; did you mean 'width'"),
        ({"generator": {"width": 10**9}}, "width is 1000000000; expected at most 16384"),
        ({"generator": {"blocks": 10**9}}, "blocks is 1000000000; expected at most 256"),
        ({"generator": {"kind": "unet", "in_channels": 10**9}}, "in_channels is 1000000000; exp"),
        ({"generator": {"kind": "unet", "depth": 17}}, "depth is 17; expected at most 16"),
        ({"discriminator": {"layers": 10**9}}, "layers is 1000000000; expected at most 256"),
        ({"discriminator": {"width": 10**9}}, "width is 1000000000; expected at most 16384"),
        ({"discriminator": {"kind": "pixel", "width": 10**9}}, "width is 1000000000; expected"),
        ({"generator": {"kind": {}}}, "kind is {}; expected one of 'resnet', 'unet'"),
        ({"generator": {"kind": "vit"}}, "kind is 'vit'; expected one of 'resnet', 'unet'"),
        ({"generator": 3}, "expected a table"),
        ({"pool_size": "many"}, "pool_size is 'many'; expected int"),
        ({"pool_size": True}, "pool_size is True; expected int"),
        ({"pool_size": -1}, "pool_size is -1; expected at least 0"),
        ({"seed": -1}, "seed is -1; expected at least 0"),
        ({"seed": 2**63}, "seed is 9223372036854775808; expected at most"),
        ({"ssim_share": 1.5}, "ssim_share is 1.5; expected between 0 and 1"),
        ({"beta1": 1.0}, "beta1 is 1.0; expected less than 1"),
        ({"learning_rate": float("inf")}, "learning_rate is inf; expected a finite number"),
        ({"adversarial": "gan"}, "adversarial is 'gan'; expected one of 'lsgan'"),
        ({"generator": {"out_channels": 1}}, "identity loss needs domains of equal channels"),
    ],
)
def test_says_what_is_wrong(values, says):
    with pytest.raises(ConfigError, match=says):
        from_dict(CycleGANConfig, values)


def test_more_parts_than_a_batch_has_are_refused():
    data = DataConfig(a=Path("one"), b=Path("two"))
    assert TrainConfig(data=data, batch_size=3, passes=3).passes == 3
    with pytest.raises(ConfigError, match="passes is 3, and a batch has 2; expected at most"):
        TrainConfig(data=data, batch_size=2, passes=3)


@pytest.mark.parametrize(
    ("make", "setting", "value", "expected"),
    [
        (ResnetConfig, "width", "4", "int"),
        (ResnetConfig, "width", 4.0, "int"),
        (UnetConfig, "dropout", 1, "bool"),
        (PatchConfig, "layers", True, "int"),
        (PixelConfig, "norm", None, "one of 'instance', 'batch', 'none'"),
        (CycleGANConfig, "generator", {"width": 4}, "ResnetConfig or UnetConfig"),
        (CycleGANConfig, "seed", 1.0, "int"),
        (CycleGANConfig, "learning_rate", "fast", "float"),
        (CycleGANConfig, "learning_rate", 10**400, "float"),
        (DataConfig, "name_a", 5, "str"),
        (DataConfig, "a", None, "Path"),
        (DataConfig, "flip", "no", "bool"),
        (DataConfig, "skip_bad", 1, "bool"),
        (DataConfig, "load_height", 286.0, "int"),
        (TrainConfig, "data", "photos", "DataConfig"),
        (TrainConfig, "epochs", 1.5, "int"),
        (TrainConfig, "sample_every", 1e3, "int"),
        (TrainConfig, "minutes", True, "float"),
    ],
)
def test_settings_of_another_type_are_refused_when_they_are_made(make, setting, value, expected):
    data = DataConfig(a="one", b="two")
    needed = {TrainConfig: {"data": data}, DataConfig: {"a": "one", "b": "two"}}.get(make, {})
    says = re.escape(f"{setting} is {value!r}; expected {expected}")
    with pytest.raises(ConfigError, match=f"^{says}$"):
        make(**{**needed, setting: value})


def test_numbers_of_numpy_become_those_that_a_file_of_settings_takes():
    config = TrainConfig(
        data=DataConfig(a="one", b="two", load_size=np.int64(300), depth=np.uint8(16)),
        model=CycleGANConfig(generator=ResnetConfig(width=np.int32(8))),
        minutes=np.float32(1.5),
    )
    assert from_dict(TrainConfig, tomllib.loads(tomli_w.dumps(as_dict(config)))) == config
    assert (config.data.load_size, config.model.generator.width, config.minutes) == (300, 8, 1.5)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"ema_decay": 1.0}, "ema_decay is 1.0; expected 0 to less than 1"),
        ({"epochs": 0, "epochs_decay": 0}, "epochs and epochs_decay are both 0"),
        ({"log_every": 0}, "log_every is 0; expected at least 1"),
        ({"batch_size": 0}, "batch_size is 0; expected at least 1"),
        ({"minutes": 5.0, "schedule": "cosine"}, "schedule is 'cosine', and counts epochs"),
        (
            {"model": CycleGANConfig(generator=UnetConfig(depth=9))},
            "crop_size is 256; this generator takes multiples of 512",
        ),
        (
            {"model": CycleGANConfig(discriminator=PatchConfig(layers=7))},
            "crop_size is 256; this discriminator takes at least 384 pixels",
        ),
        (
            {
                "data": DataConfig(a=Path("one"), b=Path("two"), crop_size=4),
                "model": CycleGANConfig(discriminator=PixelConfig()),
            },
            "crop_size is 4; this generator takes at least 8 pixels; set larger crops",
        ),
    ],
)
def test_runs_that_cannot_be(settings, says):
    with pytest.raises(ConfigError, match=says):
        TrainConfig(**{"data": DataConfig(a=Path("one"), b=Path("two")), **settings})


def test_a_crop_is_no_larger_than_what_pictures_are_scaled_to():
    assert DataConfig(a=Path("one"), b=Path("two"), load_size=64, crop_size=64).cropped == (64, 64)
    with pytest.raises(ConfigError, match="crop_size is 65, expected at most load_size 64"):
        DataConfig(a=Path("one"), b=Path("two"), load_size=64, crop_size=65)


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({"load_size": 10**8}, "100000000x100000000"),
        ({"load_height": 10**6}, "286x1000000"),
        ({"load_size": 10**8, "preprocess": "scale_width"}, "100000000x256"),
        ({"load_size": 10**8, "preprocess": "scale_width_and_crop"}, "100000000x256"),
    ],
)
def test_pictures_are_scaled_to_no_more_than_memory_is_for(settings, size):
    with pytest.raises(ConfigError, match=f"makes pictures of {size} pixels; expected at most 67,"):
        DataConfig(a=Path("one"), b=Path("two"), **settings)
    assert DataConfig(a=Path("one"), b=Path("two"), load_size=8192, crop_size=8192).crops
    assert DataConfig(a=Path("one"), b=Path("two"), load_size=10**8, preprocess="crop").crops


@pytest.mark.parametrize("setting", ["minutes", "checkpoint_minutes"])
def test_times_that_never_end_are_refused(setting):
    data = DataConfig(a=Path("one"), b=Path("two"))
    with pytest.raises(ConfigError, match=f"{setting} is inf; expected a finite number"):
        TrainConfig(data=data, **{setting: float("inf")})


def test_missing_setting():
    with pytest.raises(ConfigError, match=r"^b is not set"):
        from_dict(DataConfig, {"a": "x"})


def test_the_gradient_penalty_needs_pictures_of_one_size():
    data = DataConfig(a="x", b="y", preprocess="scale_width")
    with pytest.raises(ConfigError, match="takes one size: got preprocess scale_width"):
        TrainConfig(data=data, model=CycleGANConfig(adversarial="wgangp"))


def test_no_name_is_no_path():
    """It would be the folder that we run in."""
    with pytest.raises(ConfigError, match="a is ''; expected Path"):
        DataConfig(a="", b="b")
    with pytest.raises(ConfigError, match=r"data\.test_a is ''; expected Path"):
        from_dict(TrainConfig, {"data": {"a": "a", "b": "b", "test_a": ""}})
    assert DataConfig(a=".", b="b").a == Path()


def test_paths_may_be_given_as_text():
    data = DataConfig(a="a", b="b", test_a="c", test_b="d")
    config = TrainConfig(data=data, output="run", pretrained="other")
    assert (data.a, data.b, data.test_a, data.test_b) == tuple(map(Path, "abcd"))
    assert (config.output, config.pretrained) == (Path("run"), Path("other"))
    with pytest.raises(ConfigError, match="a is 3; expected Path"):
        DataConfig(a=3, b="b")
