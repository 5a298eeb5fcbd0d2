"""The command line with a generator that changes nothing, and short pauses before a next attempt.

python camera_cli.py HOW VERB ... [+ VERB ...]: one run after the other. HOW is JSON: "seconds" that
each frame takes, and "retry", fields of Retry.
"""

import json
import sys
import time
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))

from videos import Copies

from cyclegan.cli import main
from cyclegan.config import ResnetConfig
from cyclegan.engine import images
from cyclegan.engine.endpoints import Retry
from cyclegan.engine.frames import Frames
from cyclegan.engine.graph_info import GraphInfo
from cyclegan.engine.translator import Translator
from cyclegan.verbs import translating

HOW = json.loads(sys.argv[1])
QUICK = {"attempts": 2, "first_seconds": 0.2, "silence_seconds": 10}


class Slow(Copies):
    def finish(self, slot: int) -> Frames:
        time.sleep(HOW["seconds"])
        return super().finish(slot)


def translate_path(*arguments: Any, options: Any, **more: Any) -> Any:
    return patient(
        *arguments, options=replace(options, retry=Retry(**QUICK | HOW["retry"])), **more
    )


patient, images.translate_path = images.translate_path, translate_path
translating.open_translator = lambda run: Translator(Slow(), GraphInfo(config=ResnetConfig()))
runs = [list(run) for is_sign, run in groupby(sys.argv[2:], "+".__eq__) if not is_sign]
sys.exit(max([main(run) for run in runs]))
