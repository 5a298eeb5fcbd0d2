import pytest
import torch

from cyclegan import CycleGAN, cpu
from cyclegan.config import CycleGANConfig, PatchConfig, PixelConfig, ResnetConfig, UnetConfig
from cyclegan.errors import DataError

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


def test_wgangp_applies_its_penalty():
    def discriminator_loss(weight):
        config = CycleGANConfig(**TINY, adversarial="wgangp", lambda_gradient_penalty=weight)
        torch.manual_seed(0)
        real_a, real_b = torch.randn(2, 1, 3, 32, 32)
        return CycleGAN(config).step(real_a, real_b).discriminator_a.item()

    assert discriminator_loss(10.0) > discriminator_loss(0.0) + 1


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


@pytest.mark.filterwarnings("ignore")
def test_both_halves_of_a_step_compile_without_a_graph_break():
    model = CycleGAN(CycleGANConfig(**TINY))
    real_a, real_b = torch.randn(2, 1, 3, 32, 32)
    images = model.cycle(real_a, real_b)
    fake_a, fake_b = images.fake_a.detach(), images.fake_b.detach()

    def generators():
        losses = model._generator_losses(model.cycle(real_a, real_b), real_a, real_b)
        return sum(losses.values())

    def discriminators():
        loss_a = model._discriminator_loss(model.discriminator_a, real_a, fake_a)
        return loss_a + model._discriminator_loss(model.discriminator_b, real_b, fake_b)

    for half, networks in (
        (generators, (model.generator_ab, model.generator_ba)),
        (discriminators, (model.discriminator_a, model.discriminator_b)),
    ):
        weights = [tensor for network in networks for tensor in network.parameters()]
        compiled = torch.compile(half, fullgraph=True, backend="aot_eager")
        expected = torch.autograd.grad(half(), weights)
        found = torch.autograd.grad(compiled(), weights)
        scale = max(gradient.abs().max() for gradient in expected)
        for one, other in zip(found, expected):
            assert (one - other).abs().max() < 1e-3 * scale


@pytest.mark.parametrize("fast", [True, False])
def test_auto_is_bfloat16_where_the_cpu_computes_in_it(
    fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = {"amx_tile", "amx_bf16"} if fast else {"avx2", "avx512f"}
    monkeypatch.setattr(cpu, "cpu_flags", lambda: frozenset(flags))
    assert CycleGAN(CycleGANConfig(**TINY, precision="auto")).bfloat16 == fast
