import copy
import dataclasses
import shutil

import pytest
import torch
from functorch.compile import make_boxed_func
from torch._dynamo.backends.common import aot_autograd

from cyclegan import CycleGAN, compiling, cpu
from cyclegan.config import CycleGANConfig, PatchConfig, PixelConfig, ResnetConfig, UnetConfig
from cyclegan.errors import ConfigError, DataError
from cyclegan.kernels import native
from cyclegan.losses import gradient_penalty, ssim
from cyclegan.model import NETWORKS

TINY = {
    "generator": ResnetConfig(width=4, blocks=1),
    "discriminator": PatchConfig(width=4, layers=2),
}


def weights(model):
    networks = (
        model.generator_ab,
        model.generator_ba,
        model.discriminator_a,
        model.discriminator_b,
    )
    return [tensor.clone() for network in networks for tensor in network.parameters()]


@pytest.mark.parametrize("adversarial", ["lsgan", "vanilla", "wgangp", "hinge"])
def test_every_objective_takes_finite_steps(adversarial):
    model = CycleGAN(CycleGANConfig(**TINY, adversarial=adversarial))
    before = weights(model)
    for _ in range(3):
        losses = model.step(torch.randn(2, 3, 32, 32), torch.randn(2, 3, 32, 32)).as_floats()
    assert all(torch.tensor(list(losses.values())).isfinite())
    assert any(not torch.equal(old, new) for old, new in zip(before, weights(model)))
    assert all(tensor.isfinite().all() for tensor in weights(model))


def test_running_statistics_follow_the_public_order_of_calls():
    """Each call moves them by a tenth: there both pictures go there and back, and then identity."""
    generator = ResnetConfig(width=4, blocks=1, norm="batch")
    networks = {"generator": generator, "discriminator": PatchConfig(width=4)}
    model = CycleGAN(CycleGANConfig(**networks, precision="float32"))
    ab, ba = copy.deepcopy(model.generator_ab), copy.deepcopy(model.generator_ba)
    real_a, real_b = torch.randn(2, 2, 3, 32, 32).mul(torch.tensor([0.2, 1]).view(2, 1, 1, 1, 1))
    model.step(real_a, real_b)
    ba(ab(real_a))
    ab(ba(real_b))
    ab(real_b)
    ba(real_a)
    for theirs, ours in ((ab, model.generator_ab), (ba, model.generator_ba)):
        for name, expected in theirs.named_buffers():
            found = ours.get_buffer(name)
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_wgangp_applies_its_penalty():
    real_a, real_b = torch.randn(2, 1, 3, 32, 32)

    def made(weight):
        config = CycleGANConfig(
            **TINY, adversarial="wgangp", precision="float32", lambda_gradient_penalty=weight
        )
        return CycleGAN(config)

    model = made(7.0)
    fake_a = model.cycle(real_a, real_b).fake_a
    rng = torch.Generator().manual_seed(model.config.seed)
    expected = 7 * gradient_penalty(model.discriminator_a, real_a, fake_a, rng).item()
    found, without = (each.step(real_a, real_b).discriminator_a.item() for each in (model, made(0)))
    assert found - without == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    "config",
    [
        CycleGANConfig(
            generator=ResnetConfig(width=4, blocks=1, in_channels=1, out_channels=3),
            discriminator=PixelConfig(width=4),
            lambda_identity=0,
        ),
        CycleGANConfig(
            generator=UnetConfig(width=2, depth=5, dropout=True),
            discriminator=PatchConfig(width=4, norm="batch"),
        ),
        CycleGANConfig(**TINY, precision="bfloat16"),
    ],
)
def test_architectures_and_channels(config):
    model = CycleGAN(config)
    generator = config.generator
    real_a = torch.randn(1, generator.in_channels, 64, 64)
    real_b = torch.randn(1, generator.out_channels, 64, 64)
    losses = model.step(real_a, real_b)
    assert all(torch.tensor(list(losses.as_floats().values())).isfinite())
    images = model.cycle(real_a, real_b)
    assert images.fake_b.shape == real_b.shape
    assert images.rec_a.shape == real_a.shape
    assert images.fake_b.dtype == torch.float32


@pytest.mark.parametrize("adversarial", ["lsgan", "wgangp"])
def test_the_seed_decides(adversarial):
    def losses(seed):
        model = CycleGAN(CycleGANConfig(**TINY, seed=seed, adversarial=adversarial))
        generator = torch.Generator().manual_seed(5)
        real_a, real_b = torch.randn(2, 1, 3, 32, 32, generator=generator)
        return [model.step(real_a, real_b).as_floats() for _ in range(2)]

    assert losses(3) == losses(3)
    assert losses(3) != losses(4)


def test_making_a_model_leaves_the_global_generator_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    CycleGAN(CycleGANConfig(**TINY))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("default", [torch.float64, torch.bfloat16])
def test_a_model_is_float32_whatever_the_default_type(default):
    torch.set_default_dtype(default)
    try:
        model = CycleGAN(CycleGANConfig(**TINY, init="orthogonal", lambda_identity=0))
        losses = model.step(*torch.randn(2, 1, 3, 32, 32, dtype=torch.float32))
    finally:
        torch.set_default_dtype(torch.float32)
    found = [*weights(model), losses.stacked()]
    assert {tensor.dtype for tensor in found} == {torch.float32}
    # Neither is what was drawn rounded.
    drawn = model.generator_ab.blocks[0].conv1.weight
    assert not torch.equal(drawn, drawn.bfloat16().float())


def test_learns_to_invert_brightness():
    """Dark pictures in A, bright ones in B: fakes take on the other's brightness."""
    torch.manual_seed(0)
    config = CycleGANConfig(
        generator=ResnetConfig(width=8, blocks=1, norm="none"),
        discriminator=PixelConfig(width=8, norm="none"),
        lambda_identity=0,
        lambda_a=1,
        lambda_b=1,
        learning_rate=2e-3,
    )
    model = CycleGAN(config)
    for _ in range(150):
        noise_a, noise_b = 0.1 * torch.randn(2, 1, 3, 16, 16)
        model.step(noise_a - 0.5, noise_b + 0.5)
    images = model.cycle(torch.full((1, 3, 16, 16), -0.5), torch.full((1, 3, 16, 16), 0.5))
    assert images.fake_b.mean() > 0.2
    assert images.fake_a.mean() < -0.2


def test_says_which_shape_does_not_fit():
    model = CycleGAN(CycleGANConfig(**TINY))
    with pytest.raises(DataError, match=r"\(1, 3, 30, 32\).*multiples of 4"):
        model.step(torch.zeros(1, 3, 30, 32), torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize(
    ("batches", "passes", "error", "match"),
    [
        (((1, 3, 32, 32), (1, 3, 32, 32)), 1, DataError, r"\(1, 3, 32, 32\).*\(N, 1, H, W\)"),
        (((0, 3, 32, 32), (0, 1, 32, 32)), 1, DataError, r"\(0, 3, 32, 32\).*none empty"),
        (((3, 3, 32, 32), (2, 1, 32, 32)), 2, DataError, r"of 3 and 2 in 2 passes; expected as"),
        (((1, 3, 32, 32), (1, 1, 32, 32)), 0, ConfigError, r"passes is 0; expected at least 1"),
    ],
)
def test_says_what_a_step_does_not_take(batches, passes, error, match):
    generator = ResnetConfig(width=4, blocks=1, out_channels=1)
    model = CycleGAN(CycleGANConfig(generator=generator, lambda_identity=0))
    with pytest.raises(error, match=match):
        model.step(*map(torch.zeros, batches), passes)


@pytest.mark.parametrize(
    ("batches", "config", "match"),
    [
        (((2, 3, 32, 32), (1, 3, 32, 32)), {"adversarial": "wgangp"}, "as many of A as of B"),
        (((1, 3, 32, 32), (1, 3, 32, 40)), {"adversarial": "wgangp"}, "of one size"),
        (((1, 3, 32, 8), (1, 3, 32, 32)), {}, r"\(1, 3, 32, 8\).*sides of at least 12 pixels"),
        (
            ((1, 3, 32, 32), (1, 3, 8, 32)),
            {"ssim_share": 0.5, "discriminator": PixelConfig(width=4)},
            r"\(1, 3, 8, 32\).*sides of at least 11 pixels",
        ),
        (
            ((1, 3, 32, 32), (1, 3, 32, 4)),
            {"discriminator": PixelConfig(width=4)},
            r"\(1, 3, 32, 4\).*sides of at least 8 pixels",
        ),
    ],
)
def test_says_what_is_not_trained_on(batches, config, match):
    model = CycleGAN(CycleGANConfig(**{**TINY, **config}))
    with pytest.raises(DataError, match=match):
        model.step(*map(torch.zeros, batches))


@pytest.mark.parametrize("dtype", ["uint8", "float16", "bfloat16", "float64"])
def test_says_that_pictures_are_float32(dtype):
    pictures = torch.zeros(1, 3, 32, 32, dtype=getattr(torch, dtype))
    expected = rf"is torch.{dtype}; expected torch.float32 in \[-1, 1\]"
    with pytest.raises(DataError, match=expected):
        CycleGAN(CycleGANConfig(**TINY)).step(pictures, pictures)


def test_networks_that_were_converted_say_what_they_take():
    model = CycleGAN(CycleGANConfig(**TINY, precision="float32"))
    for name in NETWORKS:
        getattr(model, name).double()
    with pytest.raises(DataError, match=r"is torch.float32; expected torch.float64"):
        model.step(*torch.zeros(2, 1, 3, 32, 32))


def gradients(model):
    return [
        weight.grad
        for network in (model.generator_ab, model.discriminator_a)
        for weight in network.parameters()
    ]


@pytest.mark.filterwarnings("ignore")
def test_both_phases_compile_without_a_graph_break():
    """Compiled, they give the gradients of eager float64."""
    real_a, real_b = torch.randn(2, 1, 3, 32, 32)
    config = CycleGANConfig(**TINY, precision="float32", learning_rate=0.0)
    exact, compiled = CycleGAN(config), CycleGAN(config)
    for name in NETWORKS:
        getattr(exact, name).double()
    exact.step(real_a.double(), real_b.double())
    compiled.compile(backend="aot_eager")
    compiled.step(real_a, real_b)
    scale = max(gradient.abs().max() for gradient in gradients(exact))
    for one, other in zip(gradients(exact), gradients(compiled)):
        assert (one - other).abs().max() < 1e-3 * scale


def test_steps_of_one_size_are_compiled_once_forward_and_backward():
    compiled = []

    def counting(graph, inputs):
        compiled.append(graph)
        return make_boxed_func(graph.forward)

    model = CycleGAN(CycleGANConfig(**TINY))
    model.compile(backend=aot_autograd(fw_compiler=counting))
    for _ in range(3):
        model.step(*torch.randn(2, 1, 3, 32, 32))
    assert len(compiled) == 4


def broken(graph, inputs):
    raise RuntimeError("no such instruction")


@pytest.mark.parametrize(
    "backend",
    [broken, aot_autograd(fw_compiler=lambda graph, _: graph, bw_compiler=broken)],
    ids=["forward", "backward"],
)
def test_a_compiler_that_fails_is_told_and_done_without(backend):
    config = CycleGANConfig(**TINY)
    expected, model = CycleGAN(config), CycleGAN(config)
    model.compile(backend=backend)
    real_a, real_b = torch.randn(2, 1, 3, 32, 32)
    with pytest.warns(UserWarning, match="going on without it"):
        found = model.step(real_a, real_b).as_floats()
    assert found == expected.step(real_a, real_b).as_floats()


def test_pictures_of_more_sizes_than_are_compiled_are_trained_on(monkeypatch):
    """As where no preprocess crops: PyTorch compiles a function for eight sizes at most."""
    monkeypatch.setattr(torch._dynamo.config, "recompile_limit", 1)
    sizes = [32 + 4 * more for more in range(3)]
    config = CycleGANConfig(**TINY)
    expected, model = CycleGAN(config), CycleGAN(config)
    model.compile(backend="eager")
    batches = [torch.randn(2, 1, 3, 32, size) for size in sizes]
    with pytest.warns(UserWarning, match="too many sizes"):
        found = [model.step(a, b).as_floats() for a, b in batches]
    assert found == [expected.step(a, b).as_floats() for a, b in batches]


class Base:
    def phase(self, x):
        return x


class Scaled(Base):
    def __init__(self, factor):
        self.factor = factor

    def phase(self, x, power=1, *, sign=1):
        return sign * self.factor * super().phase(x) ** power


@pytest.mark.filterwarnings("error::UserWarning")
def test_models_of_one_process_use_up_no_limit_for_each_other(monkeypatch):
    """PyTorch compiles a function once more for each setting that it reads, eight times at most."""
    monkeypatch.setattr(torch._dynamo.config, "recompile_limit", 1)
    x = torch.randn(3)
    for factor in (2.0, 3.0):
        phase = compiling.CompiledPhase(Scaled(factor).phase, backend="eager")
        assert torch.equal(phase(x), factor * x)


def test_merged_calls_are_half_as_many():
    config = CycleGANConfig(**TINY)
    counts = []
    for merged in (True, False):
        model = CycleGAN(dataclasses.replace(config, merged=merged))
        seen = []
        for name in NETWORKS:
            getattr(model, name).register_forward_hook(
                lambda network, *_, seen=seen: seen.append(type(network).__name__)
            )
        model.step(*torch.randn(2, 1, 3, 32, 32))
        counts.append((seen.count("ResnetGenerator"), seen.count("PatchDiscriminator")))
    assert counts == [(3, 4), (6, 6)]


@pytest.mark.parametrize(
    "changes", [{"norm": "batch"}, {"dropout": True}, {"norm": "batch", "dropout": True}]
)
def test_calls_stay_apart_where_samples_interact(changes, monkeypatch):
    # In merged steps they want channels last, in whose order dropout would draw other numbers.
    monkeypatch.setattr(native, "available", lambda name: False)
    generator = ResnetConfig(width=4, blocks=1, **changes)
    config = CycleGANConfig(generator=generator, discriminator=PatchConfig(width=4, norm="batch"))
    real_a, real_b = torch.randn(2, 1, 3, 32, 32)
    losses = []
    for merged in (True, False):
        torch.manual_seed(0)
        model = CycleGAN(dataclasses.replace(config, merged=merged))
        losses.append([model.step(real_a, real_b).as_floats() for _ in range(2)])
    assert losses[0] == losses[1]


def test_pictures_of_two_sizes_are_merged_as_far_as_they_go():
    model = CycleGAN(CycleGANConfig(**TINY))
    losses = model.step(torch.randn(1, 3, 32, 32), torch.randn(1, 3, 32, 40)).as_floats()
    assert all(torch.tensor(list(losses.values())).isfinite())


def test_each_loss_has_its_own_weight():
    real_a, real_b = torch.randn(2, 1, 3, 32, 32)
    config = CycleGANConfig(
        **TINY, precision="float32", lambda_a=3.0, lambda_b=7.0, lambda_identity=0.2
    )
    model = CycleGAN(config)
    images = model.cycle(real_a, real_b)
    expected = {
        "cycle_a": 3 * (images.rec_a - real_a).abs().mean(),
        "cycle_b": 7 * (images.rec_b - real_b).abs().mean(),
        "identity_a": 0.6 * (model.generator_ba(real_a) - real_a).abs().mean(),
        "identity_b": 1.4 * (model.generator_ab(real_b) - real_b).abs().mean(),
    }
    losses = model.step(real_a, real_b).as_floats()
    for name, value in expected.items():
        assert losses[name] == pytest.approx(value.item(), rel=1e-4), name


def test_the_learning_rate_is_that_of_all_networks():
    model = CycleGAN(CycleGANConfig(**TINY))
    model.set_learning_rate(0.0)
    before = weights(model)
    model.step(*torch.randn(2, 1, 3, 32, 32))
    assert all(map(torch.equal, before, weights(model)))
    assert model.learning_rate == 0


def test_chance_goes_on_where_it_was():
    config = CycleGANConfig(**TINY, adversarial="wgangp", pool_size=2)
    model, other = CycleGAN(config), CycleGAN(dataclasses.replace(config, seed=1))
    for _ in range(3):
        model.step(*torch.randn(2, 1, 3, 32, 32))
    other.load_rank_state(copy.deepcopy(model.rank_state()))
    assert torch.equal(*(torch.rand(9, generator=each.rng) for each in (model, other)))
    assert model.pool_rng.random() == other.pool_rng.random()
    for name in ("pool_a", "pool_b"):
        ours, theirs = (getattr(each, name).images for each in (model, other))
        assert len(ours) == 2
        assert all(map(torch.equal, ours, theirs))


def test_squared_cycles():
    real_a, real_b = torch.randn(2, 1, 3, 32, 32)
    model = CycleGAN(CycleGANConfig(**TINY, precision="float32", cycle_loss="l2", lambda_a=3.0))
    images = model.cycle(real_a, real_b)
    expected = 3 * (images.rec_a - real_a).square().mean()
    assert model.step(real_a, real_b).cycle_a.item() == pytest.approx(expected.item(), rel=1e-4)


def test_cycles_and_identities_are_partly_of_structure():
    real_a, real_b = torch.rand(2, 1, 3, 32, 32)
    model = CycleGAN(CycleGANConfig(**TINY, precision="float32", ssim_share=0.84, lambda_a=3.0))
    rec_a = model.cycle(real_a, real_b).rec_a
    kept_a = model.generator_ba(real_a)
    taken = model.step(real_a, real_b)
    for loss, weight, picture in ((taken.cycle_a, 3.0, rec_a), (taken.identity_a, 1.5, kept_a)):
        difference = 0.16 * (picture - real_a).abs().mean() + 0.84 * (1 - ssim(picture, real_a))
        assert loss.item() == pytest.approx(weight * difference.item(), rel=1e-4)


@pytest.mark.parametrize("passes", [2, 3])
def test_a_batch_in_passes_has_the_gradients_of_the_whole(passes):
    config = CycleGANConfig(**TINY, precision="float32", learning_rate=0.0, pool_size=0)
    whole, parts = CycleGAN(config), CycleGAN(config)
    for model in (whole, parts):
        for name in NETWORKS:
            getattr(model, name).double()
    real_a, real_b = torch.randn(2, 5, 3, 32, 32, dtype=torch.float64)
    one, other = whole.step(real_a, real_b), parts.step(real_a, real_b, passes=passes)
    assert other.as_floats() == pytest.approx(one.as_floats())
    for expected, found in zip(gradients(whole), gradients(parts)):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", ["normal", "xavier", "kaiming", "orthogonal"])
def test_weights_begin_as_asked(kind):
    """Spreads by the formulas of each, for the 3x3 convolutions of a residual block."""
    config = CycleGANConfig(
        generator=ResnetConfig(width=16, blocks=1),
        discriminator=PatchConfig(width=4),
        init=kind,
        init_gain=0.5,
    )
    conv = CycleGAN(config).generator_ab.blocks[0].conv1
    fan = 64 * 9
    spread = {
        "normal": 0.5,
        "xavier": 0.5 * (2 / (2 * fan)) ** 0.5,
        "kaiming": (2 / fan) ** 0.5,
        "orthogonal": 0.5 * fan**-0.5,
    }[kind]
    assert conv.weight.std().item() == pytest.approx(spread, rel=0.03)
    assert not conv.bias.any()


def test_float16_scales_its_losses():
    model = CycleGAN(CycleGANConfig(**TINY, precision="float16"))
    before = model.scaler.get_scale()
    real_a, real_b = torch.randn(2, 1, 3, 32, 32)
    losses = [model.step(real_a, real_b).as_floats() for _ in range(3)]
    assert before > 1000
    exact = CycleGAN(CycleGANConfig(**TINY, precision="float32")).step(real_a, real_b).as_floats()
    assert losses[0] == pytest.approx(exact, rel=0.02)


@pytest.mark.parametrize(
    ("flags", "dtype"),
    [({"amx_tile", "amx_bf16"}, torch.bfloat16), ({"avx2", "avx512f"}, torch.float32)],
)
def test_auto_is_bfloat16_where_the_cpu_computes_in_it(flags, dtype, monkeypatch):
    monkeypatch.setattr(cpu, "cpu_flags", lambda: frozenset(flags))
    assert CycleGAN(CycleGANConfig(**TINY)).dtype == dtype


@pytest.mark.skipif(shutil.which("g++") is None, reason="compiles kernels")
@pytest.mark.parametrize(
    ("config", "has"),
    [
        ({"precision": "bfloat16"}, True),
        ({"precision": "float32"}, True),
        ({"precision": "float32", "merged": False}, False),
        ({"precision": "float16"}, False),
        ({"precision": "bfloat16", "generator": ResnetConfig(width=4, norm="batch")}, False),
    ],
)
def test_a_step_runs_kernels_of_the_cpu(config, has):
    assert CycleGAN(CycleGANConfig(**{**TINY, **config})).has_native_kernels == has


@pytest.mark.skipif(shutil.which("g++") is None, reason="compiles kernels")
def test_kernels_of_the_cpu_give_pytorchs_gradients_in_float32():
    config = {
        "generator": ResnetConfig(width=16, blocks=2),
        "discriminator": PatchConfig(width=4, layers=2),
        "precision": "float32",
        "pool_size": 0,
    }
    ours, oracle = (CycleGAN(CycleGANConfig(**config, merged=merged)) for merged in (True, False))
    for name in NETWORKS:
        getattr(ours, name).load_state_dict(getattr(oracle, name).state_dict())
    torch.manual_seed(1)
    pictures = torch.randn(2, 1, 3, 128, 128)
    with torch.profiler.profile() as ran:
        losses = ours.step(*pictures).as_floats()
    called = {event.key for event in ran.key_averages()}
    # PyTorch 2.14 tells a forward pass by the second name.
    names = {"cyclegan::conv3x3_cpu", "GeneratedBackwardFor_cyclegan_conv3x3_cpu_default"}
    assert names & called
    assert "cyclegan::conv3x3_cpu_backward" in called
    assert losses == pytest.approx(oracle.step(*pictures).as_floats(), rel=1e-5)
    for name in ("generator_ab", "generator_ba"):
        pairs = zip(getattr(ours, name).parameters(), getattr(oracle, name).parameters())
        weights = [(one.grad, other.grad) for one, other in pairs if other.dim() > 1]
        for found, exact in weights:  # biases before norms have rounding noise, or nothing
            # One more last digit in a picture already moves them by 3e-3: signs of losses change.
            assert (found - exact).norm() < 1e-2 * exact.norm()


@pytest.mark.parametrize(
    ("how", "compiles"),
    [
        ({"compile": "on"}, True),
        ({"compile": "off"}, False),
        ({"compile": "auto"}, True),
        ({"compile": "auto", "minutes": 5.0}, False),
        ({"compile": "auto", "minutes": 60.0}, True),
        ({"compile": "auto", "steps": 1000}, False),
        ({"compile": "auto", "one_size": False}, False),
        ({"compile": "auto", "native": True}, False),
        ({"compile": "on", "native": True}, True),
    ],
)
def test_only_long_runs_pay_for_a_compiler(how, compiles, monkeypatch):
    monkeypatch.setattr(compiling, "_has_compiler", lambda device: True)
    usual = {"device": "cpu", "steps": 100_000, "minutes": None, "one_size": True, "native": False}
    assert compiling.worth_compiling(**{**usual, **how}) == compiles
    monkeypatch.setattr(compiling, "_has_compiler", lambda device: False)
    assert compiling.worth_compiling(**{**usual, **how}) == (how["compile"] == "on")


@pytest.mark.parametrize(
    ("compile", "device", "processes", "replays"),
    [
        ("auto", "cuda", 1, True),
        ("auto", "cuda:1", 2, False),
        ("auto", "cpu", 1, False),
        ("on", "cuda", 1, False),
        ("cuda-graphs", "cuda:1", 2, True),
    ],
)
def test_one_gpu_replays_compiled_phases(compile, device, processes, replays):
    found = compiling.worth_replaying(compile, device=device, processes=processes)
    assert found == replays
