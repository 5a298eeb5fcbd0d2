"""Settings: frozen, keyword-only dataclasses, validated when they are made."""

import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from cyclegan.errors import ConfigError
from cyclegan.plain_values import as_dict as as_dict
from cyclegan.plain_values import from_dict as from_dict

Norm = Literal["instance", "batch", "none"]
Adversarial = Literal["lsgan", "vanilla", "wgangp", "hinge"]
Upsample = Literal["transposed", "resize"]
Schedule = Literal["linear", "linear-2020", "step", "cosine", "plateau"]
Compile = Literal["auto", "off", "on", "cuda-graphs"]
CycleLoss = Literal["l1", "l2"]
Init = Literal["normal", "xavier", "kaiming", "orthogonal"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
Preprocess = Literal["resize_and_crop", "crop", "scale_width", "scale_width_and_crop", "none"]


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise ConfigError(message)


def _at_least(smallest: float, **settings: float) -> None:
    for name, value in settings.items():
        _check(value >= smallest, f"{name} is {value}; expected at least {smallest}")


def _size(size: tuple[int, int]) -> str:
    height, width = size
    return str(width) if height == width else f"{width}x{height}"


def _one_of(choices: Any, **settings: object) -> None:
    for name, value in settings.items():
        known = typing.get_args(choices)
        _check(
            value in known, f"{name} is {value!r}; expected one of {', '.join(map(repr, known))}"
        )


@dataclass(frozen=True, kw_only=True)
class ResnetConfig:
    """The residual generator of the CycleGAN paper (appendix 7.2)."""

    kind: ClassVar[str] = "resnet"
    in_channels: int = 3
    out_channels: int = 3
    width: int = 64
    """Channels after the first convolution (``ngf``)."""
    blocks: int = 9
    norm: Norm = "instance"
    dropout: bool = False
    upsample: Upsample = "transposed"
    """``transposed`` convolutions, as in the paper, or ``resize``: nearest neighbour, then a plain
    convolution, which leaves no checkerboard (Odena et al. 2016) and costs more."""

    def __post_init__(self) -> None:
        _at_least(
            1,
            in_channels=self.in_channels,
            out_channels=self.out_channels,
            width=self.width,
            blocks=self.blocks,
        )
        _one_of(Norm, norm=self.norm)
        _one_of(Upsample, upsample=self.upsample)

    @property
    def size_multiple(self) -> int:
        """Heights and widths of input pictures must be multiples of this."""
        return 4


@dataclass(frozen=True, kw_only=True)
class UnetConfig:
    """The U-Net generator of pix2pix: ``depth`` 7 is ``unet_128``, 8 is ``unet_256``."""

    kind: ClassVar[str] = "unet"
    in_channels: int = 3
    out_channels: int = 3
    width: int = 64
    depth: int = 8
    """Number of down-samplings."""
    norm: Norm = "instance"
    dropout: bool = False

    def __post_init__(self) -> None:
        _at_least(1, in_channels=self.in_channels, out_channels=self.out_channels, width=self.width)
        _at_least(5, depth=self.depth)
        _one_of(Norm, norm=self.norm)

    @property
    def size_multiple(self) -> int:
        """Heights and widths of input pictures must be multiples of this."""
        return 1 << self.depth


@dataclass(frozen=True, kw_only=True)
class PatchConfig:
    """The PatchGAN discriminator: ``layers`` 3 judges patches of 70x70 pixels."""

    kind: ClassVar[str] = "patch"
    in_channels: int = 3
    width: int = 64
    layers: int = 3
    norm: Norm = "instance"

    def __post_init__(self) -> None:
        _at_least(1, in_channels=self.in_channels, width=self.width, layers=self.layers)
        _one_of(Norm, norm=self.norm)


@dataclass(frozen=True, kw_only=True)
class PixelConfig:
    """The discriminator that judges each pixel by itself."""

    kind: ClassVar[str] = "pixel"
    in_channels: int = 3
    width: int = 64
    norm: Norm = "instance"

    def __post_init__(self) -> None:
        _at_least(1, in_channels=self.in_channels, width=self.width)
        _one_of(Norm, norm=self.norm)


GeneratorConfig = ResnetConfig | UnetConfig
DiscriminatorConfig = PatchConfig | PixelConfig


@dataclass(frozen=True, kw_only=True)
class CycleGANConfig:
    """The four networks, and what they are trained for: all ``CycleGAN`` needs but pictures."""

    generator: GeneratorConfig = field(default_factory=ResnetConfig)
    """Architecture of both generators. A to B; B to A has the channels swapped."""
    discriminator: DiscriminatorConfig = field(default_factory=PatchConfig)
    """Architecture of both discriminators; its channels follow the domain that each one judges."""
    adversarial: Adversarial = "lsgan"
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
    beta1: float = 0.5
    beta2: float = 0.999
    precision: Precision = "auto"
    """``bfloat16``: convolutions under autocast; weights, statistics and losses stay float32.
    ``float16``: the same, with the losses scaled so that small gradients survive. ``auto``: the
    half that the machine multiplies faster, bfloat16 first, else float32."""
    merged: bool = True
    """Run what one network takes at one time in one batch; the numbers are the same but for
    rounding. Batch norm and dropout, where samples interact or are drawn, keep calls apart."""
    cycle_loss: CycleLoss = "l1"
    init: Init = "normal"
    """How convolutions' weights begin; ``normal`` is the paper's."""
    init_gain: float = 0.02
    """Standard deviation of ``normal``, gain of ``xavier`` and ``orthogonal``."""
    seed: int = 0

    def __post_init__(self) -> None:
        _one_of(Adversarial, adversarial=self.adversarial)
        _one_of(Precision, precision=self.precision)
        _one_of(CycleLoss, cycle_loss=self.cycle_loss)
        _one_of(Init, init=self.init)
        _at_least(
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
        )
        for name in ("beta1", "beta2"):
            _check(
                getattr(self, name) < 1, f"{name} is {getattr(self, name)}; expected less than 1"
            )
        if self.lambda_identity > 0:
            _check(
                self.generator.in_channels == self.generator.out_channels,
                "the identity loss needs domains of equal channels, got "
                f"{self.generator.in_channels} and {self.generator.out_channels}; "
                "set lambda_identity to 0",
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
    test_a: Path | None = None
    """Pictures to score the generators on, never trained on; pairs where all names agree."""
    test_b: Path | None = None
    preprocess: Preprocess = "resize_and_crop"
    load_size: int = 286
    """Pixels that a picture is scaled to before the crop."""
    crop_size: int = 256
    load_height: int | None = None
    """Where pictures are not scaled to a square; load_size is then the width."""
    crop_height: int | None = None
    """Where the crop is no square; crop_size is then the width."""
    flip: bool = True
    """Mirror every other picture, at random."""
    skip_bad: bool = False
    """Go on without pictures that cannot be read, counting them; else stop at the first."""

    def __post_init__(self) -> None:
        _one_of(Preprocess, preprocess=self.preprocess)
        _at_least(1, load_size=self.load_size, crop_size=self.crop_size)
        _at_least(1, load_height=self.loaded[0], crop_height=self.cropped[0])
        if self.preprocess in ("resize_and_crop", "scale_width_and_crop"):
            _check(
                self.crop_size <= self.load_size,
                f"crop_size is {self.crop_size}, expected at most load_size {self.load_size}",
            )
        if self.preprocess == "resize_and_crop":
            _check(
                self.cropped[0] <= self.loaded[0],
                f"the crop is {self.cropped[0]} high, expected at most the {self.loaded[0]} that "
                "pictures are scaled to",
            )
        _check(
            (self.test_a is None) == (self.test_b is None),
            "test_a and test_b go together; one of them is not set",
        )

    @property
    def loaded(self) -> tuple[int, int]:
        """(height, width) that ``resize_and_crop`` scales to."""
        height = self.load_size if self.load_height is None else self.load_height
        return height, self.load_size

    @property
    def cropped(self) -> tuple[int, int]:
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
    epochs: int = 100
    """Epochs at the full learning rate."""
    epochs_decay: int = 100
    """Epochs over which the learning rate then falls linearly to zero."""
    schedule: Schedule = "linear"
    """How the learning rate falls: ``linear``; ``linear-2020``, one epoch earlier, as the public
    implementation had it until July 2025; ``step``, by 10 every ``step_epochs``; ``cosine``, to 0
    over all epochs; ``plateau``, by 5 when the generators' loss of an epoch stays for 5 epochs."""
    step_epochs: int = 50
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
    """``auto`` compiles the step where the run is long enough to earn back the minutes that takes;
    ``cuda-graphs`` compiles it for replay without the host's launches, on a GPU."""
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
        _at_least(
            1,
            batch_size=self.batch_size,
            sample_every=self.sample_every,
            save_every=self.save_every,
            step_epochs=self.step_epochs,
            passes=self.passes,
            log_every=self.log_every,
        )
        _at_least(
            0,
            epochs=self.epochs,
            epochs_decay=self.epochs_decay,
            workers=self.workers,
            checkpoint_minutes=self.checkpoint_minutes,
            checkpoints=self.checkpoints,
            score_every=self.score_every,
        )
        _one_of(Schedule, schedule=self.schedule)
        _one_of(Compile, compile=self.compile)
        _check(
            not self.score_every or self.data.test_a is not None,
            "score_every needs pictures to score on; set data.test_a and data.test_b",
        )
        _check(0 <= self.ema_decay < 1, f"ema_decay is {self.ema_decay}; expected 0 to less than 1")
        for name in ("in_channels", "out_channels"):
            channels = getattr(self.model.generator, name)
            _check(
                channels in (1, 3), f"{name} is {channels}; pictures are read in 1 or 3 channels"
            )
        _check(
            self.minutes is None or self.minutes > 0,
            f"minutes is {self.minutes}; expected more than 0",
        )
        multiple = self.model.generator.size_multiple
        _check(
            "crop" not in self.data.preprocess
            or not any(side % multiple for side in self.data.cropped),
            f"crop_size is {_size(self.data.cropped)}; "
            f"this generator takes multiples of {multiple}",
        )
        _check(
            self.epochs + self.epochs_decay > 0,
            "epochs and epochs_decay are both 0; expected at least one epoch",
        )
