import subprocess
import sys

import pytest

from cyclegan.engine.runners.worker import Worker


def test_batches_are_computed_in_order_and_raise_what_went_wrong() -> None:
    worker = Worker()
    seen: list[int] = []
    results = [worker.submit(seen.append, number) for number in range(5)]
    wrong = worker.submit(lambda: [][0])
    worker.shutdown()
    assert seen == [0, 1, 2, 3, 4]
    assert all(result.done() for result in results)
    with pytest.raises(IndexError):
        wrong.result()


def test_a_thread_that_goes_on_after_the_main_one_is_told_so() -> None:
    code = """
import threading
from cyclegan.engine.runners.worker import Worker
from cyclegan.errors import BackendError

def go_on():
    threading.main_thread().join()
    try:
        worker.submit(print, "computed")
    except BackendError as error:
        print(error)

worker = Worker()
threading.Thread(target=go_on).start()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("PyTorch cannot begin a batch: ")
    assert done.stdout.endswith("; the main thread must outlast those that translate\n")
    assert done.stderr == ""
