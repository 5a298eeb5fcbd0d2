import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from cyclegan.engine.once import once


def test_threads_that_come_first_at_once_share_what_one_of_them_makes() -> None:
    together = threading.Barrier(4)

    @once
    def made(name: str) -> list[str]:
        time.sleep(0.02)
        return [name]

    def client(name: str) -> list[str]:
        together.wait(10)
        return made(name)

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(client, "aaba"))
    assert found == [["a"], ["a"], ["b"], ["a"]]
    assert found[0] is found[1] is found[3]


def test_what_failed_is_tried_again() -> None:
    answers = iter([ValueError("not yet"), "made"])

    @once
    def made() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pytest.raises(ValueError, match="not yet"):
        made()
    assert made() == made() == "made"


def test_threads_that_open_openvino_first_at_once_share_one_core() -> None:
    """In a process of its own. Of several cores the last to go can end it at the next signal."""
    code = """
import time
from concurrent.futures import ThreadPoolExecutor
from cyclegan.engine.runners.openvino import openvino_module, shared_core

module = openvino_module()
make = module.Core
module.Core = lambda: (time.sleep(0.1), make())[1]
with ThreadPoolExecutor(4) as threads:
    cores = [threads.submit(shared_core) for _ in range(4)]
print(len({id(core.result()) for core in cores}))
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "1\n"
