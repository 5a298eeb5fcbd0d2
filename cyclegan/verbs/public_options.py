"""What the public PyTorch CycleGAN calls the settings of its programs, for those who type it."""

import sys
from collections.abc import Mapping, Sequence

_RESNET = "model.generator:resnet-config"
_UNET = "model.generator:unet-config"
_PATCH = "model.discriminator:patch-config"
_PIXEL = "model.discriminator:pixel-config"
_GENERATOR = f"{_RESNET} --model.generator"
_DISCRIMINATOR = f"{_PATCH} --model.discriminator"
_UNPAIRED = "training is unpaired and of CycleGANs alone: leave it out"
_EXCHANGED = "exchange --data.a and --data.b for BtoA"
_DEVICE = "the first GPU, or the CPU if there is none: CUDA_VISIBLE_DEVICES chooses"
_GENERATORS = f"{_GENERATOR}.blocks 6, or {_UNET} --model.generator.depth 8 for unet_256"
_DISCRIMINATORS = f"{_PATCH} or {_PIXEL}"

OLDER = {
    "which_model_netG": _GENERATORS,
    "which_model_netD": _DISCRIMINATORS,
    "which_direction": _EXCHANGED,
    "loadSize": "--data.load-size",
    "fineSize": "--data.crop-size",
    "resize_or_crop": "--data.preprocess",
    "niter": "--epochs",
    "niter_decay": "--epochs-decay",
    "batchSize": "--batch-size",
    "nThreads": "--workers",
    "no_lsgan": "--model.adversarial vanilla",
}
"""Names of options until 2020 at the latest."""

EQUIVALENTS = OLDER | {
    "dataroot": "--data.a DATAROOT/trainA --data.b DATAROOT/trainB",
    "name": "--output FOLDER",
    "checkpoints_dir": "--output FOLDER",
    "gpu_ids": _DEVICE,
    "model": _UNPAIRED,
    "dataset_mode": _UNPAIRED,
    "input_nc": f"{_GENERATOR}.in-channels",
    "output_nc": f"{_GENERATOR}.out-channels",
    "ngf": f"{_GENERATOR}.width",
    "ndf": f"{_DISCRIMINATOR}.width",
    "netG": _GENERATORS,
    "netD": _DISCRIMINATORS,
    "n_layers_D": f"{_DISCRIMINATOR}.layers; {_PIXEL} has one number of them",
    "norm": f"{_GENERATOR}.norm {_DISCRIMINATOR}.norm",
    "no_dropout": f"leave it out: there is none without {_GENERATOR}.dropout",
    "init_type": "--model.init",
    "init_gain": "--model.init-gain",
    "direction": _EXCHANGED,
    "serial_batches": "none: pictures are drawn at random",
    "num_threads": "--workers",
    "load_size": "--data.load-size",
    "crop_size": "--data.crop-size",
    "max_dataset_size": "--data.a LIST.txt, with the path of a picture on every line",
    "preprocess": "--data.preprocess",
    "no_flip": "--data.no-flip",
    "continue_train": "--pretrained FOLDER for networks of the public implementation, --resume "
    "FOLDER for a run of this one",
    "epoch_count": "fewer --epochs, of those that are left",
    "n_epochs": "--epochs",
    "n_epochs_decay": "--epochs-decay",
    "beta1": "--model.beta1",
    "lr": "--model.learning-rate",
    "gan_mode": "--model.adversarial",
    "pool_size": "--model.pool-size",
    "lr_policy": "--schedule",
    "lr_decay_iters": "--step-epochs",
    "lambda_A": "--model.lambda-a",
    "lambda_B": "--model.lambda-b",
    "lambda_identity": "--model.lambda-identity",
    "print_freq": "--log-every",
    "display_freq": "--sample-every",
    "save_latest_freq": "--checkpoint-minutes",
    "save_epoch_freq": "--save-every",
}
"""Options of its ``train.py``, and what to write here. ``--batch_size`` is read as it is."""

_WEIGHTS = "--model CHECKPOINTS_DIR/NAME/latest_net_G_A.pth, G_B for B to A"
_READ_OFF = "leave it out: it is read off the weights"

TESTING = {
    "dataroot": "SOURCE, the first argument, such as DATAROOT/testA",
    "results_dir": "TARGET, the second argument, a folder",
    "name": _WEIGHTS,
    "checkpoints_dir": _WEIGHTS,
    "model_suffix": _WEIGHTS,
    "epoch": "--model CHECKPOINTS_DIR/NAME/EPOCH_net_G_A.pth",
    "direction": "SOURCE is DATAROOT/testB for networks that were trained with BtoA",
    "no_dropout": _READ_OFF,
    "netG": _READ_OFF,
    "norm": _READ_OFF,
    "num_test": "leave it out: all pictures of SOURCE are translated",
    "gpu_ids": _DEVICE,
}
"""Options of its ``test.py``. ``--model`` is a flag here too, and in what is said of ``--name``."""

OF_VERBS: Mapping[str, Mapping[str, str]] = {"train": EQUIVALENTS, "translate": TESTING}


def equivalents(arguments: Sequence[str], known: Mapping[str, str] = EQUIVALENTS) -> list[str]:
    """A line for each of the options in ``arguments`` that are ``known``, in their order.

    Settings are those of the kinds of networks that ``arguments`` name, in whichever words.
    """
    given = (part.removeprefix("--").partition("=")[0] for part in arguments if part[:2] == "--")
    answers = {name: known[name] for name in given if name in known}
    words = {part.rpartition("=")[2] for part in arguments}
    for usual, other, called in (
        (_RESNET, _UNET, {_UNET, "unet_128", "unet_256"}),
        (_PATCH, _PIXEL, {_PIXEL, "pixel"}),
    ):
        if words & called:
            answers = {
                name: answer if other in answer else answer.replace(usual, other)
                for name, answer in answers.items()
            }
    return [f"--{name} is here: {answer}" for name, answer in answers.items()]


def tell_equivalents(verb: str, arguments: Sequence[str]) -> None:
    """Print what :func:`equivalents` says of the verb's, to standard error."""
    for line in equivalents(arguments, OF_VERBS.get(verb, {})):
        print(line, file=sys.stderr)
