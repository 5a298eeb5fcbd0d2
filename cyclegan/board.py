"""TensorBoard's events of a run.

Written as they come, in the thread that trains: a writer that works in a thread of its own loses it
to the first full disk, and whoever gives it more waits for ever.
"""

import logging
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cyclegan.errors import ConfigError, reason_of
from cyclegan.files import append
from cyclegan.pictures import Picture

log = logging.getLogger(__name__)


class Board:
    """One file of events in ``folder``, for a run that goes on after step ``step``; a run that
    begins has none before its first event.

    What the system refuses is left out, and said; the file stays whole. Raises ConfigError where
    tensorboardX is not installed.
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        try:
            from tensorboardX.proto.event_pb2 import Event, SessionLog
        except ModuleNotFoundError as error:
            raise ConfigError(
                "tensorboard is set, and tensorboardX is not installed; "
                "install it by: pip install 'cyclegan-engine[watch]'"
            ) from error
        now = time.time()
        self.path = folder / f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}"
        self._head = _record(Event(wall_time=now, file_version="brain.Event:2"))
        """What the file has to begin with, as long as it does not."""
        if step:  # of an earlier process nothing later counts
            begun = SessionLog(status=SessionLog.START)
            self._head += _record(Event(wall_time=now, step=step + 1, session_log=begun))
            self._add(b"")

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Numbers by their names."""
        from tensorboardX.proto.summary_pb2 import Summary

        each = (Summary.Value(tag=name, simple_value=value) for name, value in values.items())
        self._summary(Summary(value=each), step)

    def picture(self, name: str, picture: Picture, step: int) -> None:
        """A picture, uint8 (H, W, 3)."""
        from tensorboardX.summary import image

        self._summary(image(name, picture, dataformats="HWC"), step)

    def _summary(self, summary: Any, step: int) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._add(_record(Event(wall_time=time.time(), step=step, summary=summary)))

    def _add(self, records: bytes) -> None:
        try:
            append(self.path, self._head + records)
            self._head = b""
        except OSError as error:
            log.warning("cannot write %s: %s; the run goes on", self.path, reason_of(error))


def _record(event: Any) -> bytes:
    """TFRecord: the length, its checksum, the event, its checksum."""
    from tensorboardX.record_writer import masked_crc32c

    content = event.SerializeToString()
    length = struct.pack("<Q", len(content))
    checksums = (struct.pack("<I", masked_crc32c(part)) for part in (length, content))
    return b"".join([length, next(checksums), content, next(checksums)])
