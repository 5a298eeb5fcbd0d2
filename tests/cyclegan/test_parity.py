"""The training step against recorded runs of the public PyTorch implementation."""

import functools
import json
import random
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from cyclegan.config import CycleGANConfig, PatchConfig, ResnetConfig
from cyclegan.model import CycleGAN
from cyclegan.reference import import_reference

DATA = Path(__file__).parents[1] / "data"
CASES = ("lsgan_no_pool", "lsgan_pool4", "vanilla_pool2")
RUNS = [(CASES[0], True), (CASES[0], False), (CASES[1], True), (CASES[2], True), (CASES[2], False)]
"""Recordings, and whether calls are merged; of one recording beside each other, as ``plainly`` is
shared."""
# Its names beside ours. D_A judges domain B.
NETWORKS = {
    "G_A": "generator_ab",
    "G_B": "generator_ba",
    "D_A": "discriminator_b",
    "D_B": "discriminator_a",
}
LOSSES = {
    **NETWORKS,
    "cycle_A": "cycle_a",
    "cycle_B": "cycle_b",
    "idt_A": "identity_b",
    "idt_B": "identity_a",
}


def recorded(case, folder, merged=True):
    """The recorded run: its settings, its tensors, and a model that starts where it started."""
    settings = json.loads((DATA / f"{case}.json").read_text())
    tensors = load_file(DATA / f"{case}.safetensors")
    model = CycleGAN(
        CycleGANConfig(
            generator=ResnetConfig(
                width=settings["ngf"], blocks=int(settings["netG"][len("resnet_")])
            ),
            discriminator=PatchConfig(width=settings["ndf"], layers=settings["n_layers_D"]),
            adversarial=settings["gan_mode"],
            lambda_a=settings["lambda_A"],
            lambda_b=settings["lambda_B"],
            lambda_identity=settings["lambda_identity"],
            pool_size=settings["pool_size"],
            learning_rate=settings["lr"],
            beta1=settings["beta1"],
            beta2=settings["beta2"],
            seed=settings["python_random_seed_before_step_0"],
            precision="float32",
            merged=merged,
        )
    )
    for theirs, ours in NETWORKS.items():
        prefix = f"initial.{theirs}."
        state = {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
        torch.save(state, folder / f"latest_net_{theirs}.pth")
        network = getattr(model, ours)
        loaded = import_reference(folder / f"latest_net_{theirs}.pth")
        assert loaded.config == network.config
        network.load_state_dict(loaded.state_dict())
    return settings, tensors, model


@pytest.fixture(scope="module")
def plainly(tmp_path_factory):
    """The losses of every step of a recording as :class:`PlainStep` finds them."""

    @functools.cache
    def losses(case, dtype, nudged=False):
        settings, tensors, model = recorded(case, tmp_path_factory.mktemp(case))
        networks = {theirs: getattr(model, ours).to(dtype) for theirs, ours in NETWORKS.items()}
        plain = PlainStep(settings, networks)
        if nudged:
            plain.nudge()
        pictures = zip(tensors["real_a"].to(dtype), tensors["real_b"].to(dtype), strict=True)
        return [{name: float(loss) for name, loss in plain.step(a, b).items()} for a, b in pictures]

    return losses


@pytest.mark.parametrize("case", CASES)
def test_first_images(case, tmp_path):
    _, tensors, model = recorded(case, tmp_path)
    images = model.cycle(tensors["real_a"][0], tensors["real_b"][0])
    for name in ("fake_b", "rec_a", "fake_a", "rec_b"):
        torch.testing.assert_close(
            getattr(images, name), tensors[f"first.{name}"], atol=1e-5, rtol=0
        )


@pytest.mark.parametrize(("case", "merged"), RUNS)
def test_losses_of_every_step(case, merged, plainly, tmp_path):
    """To 1e-4, or as far as float32 arithmetic can follow a recording that was made elsewhere.

    Adam divides each gradient by its own size, so that rounding decides the direction of the
    smallest ones, and losses of the same program part by percents within six steps. How far, is
    told by the algorithm written down plainly, run twice: the second time with the first weights
    changed by one unit in the last place. Merged calls add in another order, and begin to part
    with the second step: where a pixel is within rounding of its goal, the gradient of an absolute
    difference has either sign. The next test holds every step exactly.
    """
    settings, tensors, model = recorded(case, tmp_path, merged)
    plain, nudged = (plainly(case, torch.float32, nudged=nudged) for nudged in (False, True))
    random.seed(99)  # must not matter: the pools draw from the configuration's seed
    parted = 0.0
    for step, expected in enumerate(settings["losses"]):
        found = model.step(tensors["real_a"][step], tensors["real_b"][step]).as_floats()
        runs = plain[step], nudged[step]
        for name, value in expected.items():
            if value:  # the identity losses may be off
                parted = max(parted, *(abs(run[name] / value - 1) for run in runs))
        tolerance = 1e-4 if step <= (not merged) else min(max(1e-4, 10 * parted), 0.15)
        for theirs, ours in LOSSES.items():
            assert found[ours] == pytest.approx(expected[theirs], rel=tolerance), (theirs, step)


@pytest.mark.parametrize(("case", "merged"), RUNS)
def test_every_step_in_float64(case, merged, plainly, tmp_path):
    """Against the algorithm written down plainly, where rounding cannot hide a difference."""
    _, tensors, model = recorded(case, tmp_path, merged)
    for name in NETWORKS.values():
        getattr(model, name).double()
    for step, expected in enumerate(plainly(case, torch.float64)):
        real_a, real_b = tensors["real_a"][step].double(), tensors["real_b"][step].double()
        found = model.step(real_a, real_b).as_floats()
        for theirs, ours in LOSSES.items():
            assert found[ours] == pytest.approx(expected[theirs], rel=1e-6), (theirs, step)


class PlainStep:
    """One step of CycleGAN training under the public implementation's names, nothing shared with
    ``cyclegan.model`` but the networks."""

    def __init__(self, settings, networks):
        self.settings, self.networks = settings, networks
        self.pools = {"A": [], "B": []}
        self.rng = random.Random(settings["python_random_seed_before_step_0"])
        rate, betas = settings["lr"], (settings["beta1"], settings["beta2"])
        g = [*networks["G_A"].parameters(), *networks["G_B"].parameters()]
        d = [*networks["D_A"].parameters(), *networks["D_B"].parameters()]
        self.adam_g = torch.optim.Adam(g, rate, betas, foreach=False)
        self.adam_d = torch.optim.Adam(d, rate, betas, foreach=False)

    def nudge(self):
        """Move every weight to the next number that float32 has."""
        with torch.no_grad():
            for network in self.networks.values():
                for weight in network.parameters():
                    weight.copy_(torch.nextafter(weight, torch.full_like(weight, torch.inf)))

    def judged(self, logits, target):
        wanted = torch.full_like(logits, target)
        if self.settings["gan_mode"] == "lsgan":
            return F.mse_loss(logits, wanted)
        return F.binary_cross_entropy_with_logits(logits, wanted)

    def shown(self, pool, fakes):
        size, result = self.settings["pool_size"], []
        for fake in fakes:
            if size and len(pool) < size:
                pool.append(fake)
            elif size and self.rng.uniform(0, 1) > 0.5:
                slot = self.rng.randint(0, size - 1)
                fake, pool[slot] = pool[slot], fake
            result.append(fake)
        return torch.stack(result)

    def step(self, a, b):
        net, s, loss = self.networks, self.settings, {}
        fake_b, fake_a = net["G_A"](a), net["G_B"](b)
        idt = s["lambda_identity"]
        loss["idt_A"] = (net["G_A"](b) - b).abs().mean() * s["lambda_B"] * idt
        loss["idt_B"] = (net["G_B"](a) - a).abs().mean() * s["lambda_A"] * idt
        loss["G_A"] = self.judged(net["D_A"](fake_b), 1.0)
        loss["G_B"] = self.judged(net["D_B"](fake_a), 1.0)
        loss["cycle_A"] = (net["G_B"](fake_b) - a).abs().mean() * s["lambda_A"]
        loss["cycle_B"] = (net["G_A"](fake_a) - b).abs().mean() * s["lambda_B"]
        self.adam_g.zero_grad()
        sum(loss.values()).backward()
        self.adam_g.step()
        self.adam_d.zero_grad()
        for name, real, fake, pool in (("D_A", b, fake_b, "B"), ("D_B", a, fake_a, "A")):
            fake = self.shown(self.pools[pool], fake.detach())
            loss[name] = self.judged(net[name](real), 1.0) + self.judged(net[name](fake), 0.0)
            loss[name] = loss[name] / 2
            loss[name].backward()
        self.adam_d.step()
        return {name: value.detach() for name, value in loss.items()}
