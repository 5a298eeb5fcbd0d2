"""Settings: frozen, keyword-only dataclasses, validated when they are made."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cyclegan.network_config import DiscriminatorConfig as DiscriminatorConfig
from cyclegan.network_config import GeneratorConfig as GeneratorConfig
from cyclegan.network_config import Norm as Norm
from cyclegan.network_config import PatchConfig as PatchConfig
from cyclegan.network_config import PixelConfig as PixelConfig
from cyclegan.network_config import ResnetConfig as ResnetConfig
from cyclegan.network_config import UnetConfig as UnetConfig
from cyclegan.network_config import Upsample as Upsample
from cyclegan.network_config import at_least, check
from cyclegan.plain_values import as_dict as as_dict
from cyclegan.plain_values import from_dict as from_dict
from cyclegan.plain_values import take_types
from cyclegan.sizes import MOST_PIXELS, Size, short_size_text, size_text

Adversarial = Literal["lsgan", "vanilla", "wgangp", "hinge"]
Schedule = Literal["linear", "linear-2020", "step", "cosine", "plateau"]
Compile = Literal["auto", "off", "on", "cuda-graphs"]
Depth = Literal[8, 16]
CycleLoss = Literal["l1", "l2"]
Init = Literal["normal", "xavier", "kaiming", "orthogonal"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
Preprocess = Literal["resize_and_crop", "crop", "scale_width", "scale_width_and_crop", "none"]
SSIM_WINDOW = 11
"""Side of the windows that SSIM compares, in pixels (Wang et al. 2004)."""


@dataclass(frozen=True, kw_only=True)
class CycleGANConfig:
    """The four networks, and what they are trained for: all ``CycleGAN`` needs but pictures."""

    generator: GeneratorConfig = field(default_factory=ResnetConfig)
    """Architecture of both generators. A to B; B to A has the channels swapped."""
    discriminator: DiscriminatorConfig = field(default_factory=PatchConfig)
    """Architecture of both discriminators; its channels follow the domain that each one judges."""
    adversarial: Adversarial = "lsgan"
    """What discriminators are asked; ``lsgan`` is the paper's."""
    lambda_a: float = 10.0
    """Weight of the cycle A -> B -> A."""
    lambda_b: float = 10.0
    """Weight of the cycle B -> A -> B."""
    lambda_identity: float = 0.5
    """Weight of the identity loss, relative to that of the cycle; 0 leaves it out."""
    lambda_gradient_penalty: float = 10.0
    """Weight of the gradient penalty; used by ``wgangp`` alone."""
    pool_size: int = 50
    """Generated images that each discriminator remembers; 0 shows it only the newest."""
    learning_rate: float = 2e-4
    """Adam's, of all networks, before the schedule."""
    beta1: float = 0.5
    """How much of itself Adam's mean of the gradients keeps at each step."""
    beta2: float = 0.999
    """The same of its mean of their squares."""
    precision: Precision = "auto"
    """``bfloat16``: convolutions under autocast; weights, statistics and losses stay float32.
    ``float16``: the same, with the losses scaled so that small gradients survive. ``auto``: the
    half that the machine multiplies faster, bfloat16 first, else float32."""
    merged: bool = True
    """Run what one network takes at one time in one batch; the numbers are the same but for
    rounding. Batch norm and dropout, where samples interact or are drawn, keep calls apart."""
    cycle_loss: CycleLoss = "l1"
    """Mean difference between a picture and what comes back of it, absolute or squared."""
    ssim_share: float = 0.0
    """Share of the cycle and identity losses that is 1 - SSIM, which weighs structure above colour;
    0 is the paper's, 0.84 the mix of Zhao et al. 2017, who take it over several scales."""
    init: Init = "normal"
    """How convolutions' weights begin; ``normal`` is the paper's."""
    init_gain: float = 0.02
    """Standard deviation of ``normal``, gain of ``xavier`` and ``orthogonal``."""
    seed: int = 0
    """Of the first weights, the order of pictures, their crops, image pools, and dropout."""

    def __post_init__(self) -> None:
        take_types(self)
        at_least(
            0,
            lambda_a=self.lambda_a,
            lambda_b=self.lambda_b,
            lambda_identity=self.lambda_identity,
            lambda_gradient_penalty=self.lambda_gradient_penalty,
            pool_size=self.pool_size,
            learning_rate=self.learning_rate,
            beta1=self.beta1,
            beta2=self.beta2,
            init_gain=self.init_gain,
            seed=self.seed,
        )
        check(
            0 <= self.ssim_share <= 1, f"ssim_share is {self.ssim_share}; expected between 0 and 1"
        )
        check(self.seed < 2**63, f"seed is {self.seed}; expected at most {2**63 - 1}")
        for name in ("beta1", "beta2"):
            check(getattr(self, name) < 1, f"{name} is {getattr(self, name)}; expected less than 1")
        if self.lambda_identity > 0:
            check(
                self.generator.in_channels == self.generator.out_channels,
                "the identity loss needs domains of equal channels, got "
                f"{self.generator.in_channels} and {self.generator.out_channels}; "
                "set lambda_identity to 0",
            )

    @property
    def smallest_side(self) -> int:
        """Pixels that pictures must be high and wide to be trained on."""
        return max(
            self.generator.smallest_side,
            self.discriminator.smallest_side,
            SSIM_WINDOW if self.ssim_share else 1,
        )


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Two sets of pictures and how a training sample is cut from each."""

    a: Path
    """Domain A: a folder, searched recursively, a list of pictures (.txt, one a line), a video."""
    b: Path
    """Domain B, likewise."""
    name_a: str = "A"
    """What domain A is called in the models that are saved."""
    name_b: str = "B"
    """What domain B is called there."""
    test_a: Path | None = None
    """Pictures to score the generators on, never trained on; pairs where all names agree."""
    test_b: Path | None = None
    """The same of domain B; set both, or neither."""
    preprocess: Preprocess = "resize_and_crop"
    """How pictures are scaled and cropped; ``none`` takes them as they are. ``scale_width``
    stretches those that would be lower than a crop. Sides of uncropped pictures are rounded to what
    the generator takes, multiples of 4 by default."""
    load_size: int = 286
    """Pixels that a picture is scaled to before the crop."""
    crop_size: int = 256
    """Side of the crops that are trained on, in pixels; under ``scale_width`` the least height."""
    load_height: int | None = None
    """Where ``resize_and_crop`` does not scale to a square; load_size is then the width."""
    crop_height: int | None = None
    """Where the crop is no square; crop_size is then the width."""
    depth: Depth = 8
    """Bits a channel that pictures are read with."""
    flip: bool = True
    """Mirror every other picture, at random."""
    skip_bad: bool = False
    """Go on without pictures that cannot be read, counting them; else stop at the first."""

    def __post_init__(self) -> None:
        take_types(self)
        at_least(1, load_size=self.load_size, crop_size=self.crop_size)
        at_least(1, load_height=self.loaded[0], crop_height=self.cropped[0])
        if self.preprocess in ("resize_and_crop", "scale_width_and_crop"):
            check(
                self.crop_size <= self.load_size,
                f"crop_size is {self.crop_size}, expected at most load_size {self.load_size}",
            )
        if self.preprocess == "resize_and_crop":
            check(
                self.cropped[0] <= self.loaded[0],
                f"the crop is {self.cropped[0]} high, expected at most the {self.loaded[0]} that "
                "pictures are scaled to",
            )
        if self.preprocess not in ("crop", "none"):
            # Pictures that are scaled to a width have the height of a crop at least.
            height = (self.loaded if self.preprocess == "resize_and_crop" else self.cropped)[0]
            check(
                height * self.load_size <= MOST_PIXELS,
                f"load_size is {self.load_size}, which makes pictures of "
                f"{size_text((height, self.load_size))} pixels; expected at most {MOST_PIXELS:,}",
            )
        check(
            (self.test_a is None) == (self.test_b is None),
            "test_a and test_b go together; one of them is not set",
        )

    @property
    def crops(self) -> bool:
        """Whether pictures are cropped, which gives them all one size."""
        return "crop" in self.preprocess

    @property
    def loaded(self) -> Size:
        """(height, width) that ``resize_and_crop`` scales to."""
        height = self.load_size if self.load_height is None else self.load_height
        return height, self.load_size

    @property
    def cropped(self) -> Size:
        """(height, width) of a crop."""
        height = self.crop_size if self.crop_height is None else self.crop_height
        return height, self.crop_size


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A whole training run."""

    data: DataConfig
    model: CycleGANConfig = field(default_factory=CycleGANConfig)
    output: Path = Path("runs/train")
    """Folder of the run: models, samples, log and report."""
    pretrained: Path | None = None
    """Folder of the four networks to begin with, instead of new ones: a run's, or one of the public
    implementation's latest_net_G_A.pth, G_B, D_A and D_B; FOLDER/50 are those of its epoch 50."""
    epochs: int = 100
    """Epochs at the full learning rate."""
    epochs_decay: int = 100
    """Epochs over which the learning rate then falls linearly to zero."""
    schedule: Schedule = "linear"
    """How the learning rate falls: ``linear``; ``linear-2020``, one epoch earlier, as the public
    implementation had it until July 2025; ``step``, by 10 every ``step_epochs``; ``cosine``, to 0
    over all epochs; ``plateau``, by 5 when the generators' loss of an epoch stays for 5 epochs."""
    step_epochs: int = 50
    """Epochs between two falls of the schedule ``step``."""
    minutes: float | None = None
    """Stop after this long instead: half of it at the full learning rate, which then falls to 0."""
    ema_decay: float = 0.999
    """How much of itself the moving average of the generators' weights keeps at each step; 0 keeps
    no average. The averages are what is saved for use, in files of their own."""
    batch_size: int = 1
    """Pictures of each domain in a step of one process."""
    passes: int = 1
    """Parts in which a batch goes through the networks, for batches that do not fit the memory."""
    compile: Compile = "auto"
    """``auto`` compiles the step where the run is long enough to earn back the minutes that takes,
    and on one GPU for replay without the host's launches, which ``cuda-graphs`` asks for."""
    workers: int = 2
    """Processes that read pictures; 0 reads them in the training process."""
    sample_every: int = 500
    """Steps between two pictures of the fixed samples."""
    overwrite: bool = False
    """Replace the run that is in the output folder already."""
    save_every: int = 5
    """Epochs between two saves of the networks; they are saved at the end in any case."""
    checkpoint_minutes: float = 10.0
    """Minutes between two checkpoints, from which a run can go on exactly; one is also written at
    the end, and when the run is stopped."""
    checkpoints: int = 2
    """How many of the newest checkpoints are kept; 0 writes none."""
    log_every: int = 50
    """Steps between two readings of the losses, which make a GPU wait."""
    tensorboard: bool = False
    """Write losses and samples for TensorBoard too; needs the extra ``watch``."""
    score_every: int = 0
    """Epochs between two scorings on the test pictures; the best generators are kept. 0: never."""

    def __post_init__(self) -> None:
        take_types(self)
        at_least(
            1,
            batch_size=self.batch_size,
            sample_every=self.sample_every,
            save_every=self.save_every,
            step_epochs=self.step_epochs,
            passes=self.passes,
            log_every=self.log_every,
        )
        at_least(
            0,
            epochs=self.epochs,
            epochs_decay=self.epochs_decay,
            workers=self.workers,
            checkpoint_minutes=self.checkpoint_minutes,
            checkpoints=self.checkpoints,
            score_every=self.score_every,
        )
        check(
            self.passes <= self.batch_size,
            f"passes is {self.passes}, and a batch has {self.batch_size}; expected at most as many",
        )
        check(
            not self.score_every or self.data.test_a is not None,
            "score_every needs pictures to score on; set data.test_a and data.test_b",
        )
        check(0 <= self.ema_decay < 1, f"ema_decay is {self.ema_decay}; expected 0 to less than 1")
        check(
            self.minutes is None or 0 < self.minutes < math.inf,
            f"minutes is {self.minutes}; expected a finite number above 0",
        )
        check(
            self.minutes is None or self.schedule == "linear",
            f"schedule is {self.schedule!r}, and counts epochs, of which a run of minutes has no "
            "number; leave minutes out, or set schedule 'linear'",
        )
        if self.data.crops:
            self._check_crops()
        check(
            self.model.adversarial != "wgangp" or self.data.crops,
            "wgangp mixes pictures with generated ones, which takes one size: got preprocess "
            f"{self.data.preprocess}; set one with a crop, or another adversarial",
        )
        check(
            self.epochs + self.epochs_decay > 0,
            "epochs and epochs_decay are both 0; expected at least one epoch",
        )

    def _check_crops(self) -> None:
        """Raises ConfigError where what is trained cannot take pictures of the crops' size."""
        cropped, given = self.data.cropped, f"crop_size is {short_size_text(self.data.cropped)}"
        multiple = self.model.generator.size_multiple
        check(
            not any(side % multiple for side in cropped),
            f"{given}; this generator takes multiples of {multiple}",
        )
        smallest = self.model.smallest_side
        if smallest == self.model.generator.smallest_side:
            least = f"this generator takes at least {smallest} pixels; set larger crops"
        elif smallest == self.model.discriminator.smallest_side:
            least = (
                f"this discriminator takes at least {smallest} pixels; set larger crops, or fewer "
                "layers of it"
            )
        else:
            least = (
                f"ssim_share compares windows of {smallest} pixels, so expected at least as many"
            )
        check(min(cropped) >= smallest, f"{given}; {least}")
