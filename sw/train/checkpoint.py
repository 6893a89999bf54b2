"""Checkpoints of a training: read back whole, or refused.

A file holds ``MAGIC``, the SHA-256 sum of the rest, and the rest as ``torch.save`` writes it, which
alone does not notice every damaged byte.
"""

import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from residuum.sw.errors import ResiduumError
from residuum.sw.files import told, write_whole

MAGIC = b"residuum checkpoint\n"
_SUM_BYTES = hashlib.sha256().digest_size
# Earlier versions wrote what torch.save gives, a zip archive, and no sum.
_EARLIER = b"PK\x03\x04"
REMEDY = "delete it, or give --restart"


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values, whole or not at all; ``ResiduumError`` if that fails."""
    content = io.BytesIO()
    torch.save(state, content)
    body = content.getvalue()
    write_whole(path, MAGIC + hashlib.sha256(body).digest() + body)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What was written.

    Raises ``ResiduumError`` if a bit of the file has changed, if it was made by an earlier version,
    or if it cannot be read.
    """
    with told(path, "read"):
        content = path.read_bytes()
    if content.startswith(_EARLIER):
        raise made_by_earlier_version(path)
    start = len(MAGIC) + _SUM_BYTES
    body = content[start:]
    if content[:start] != MAGIC + hashlib.sha256(body).digest():
        raise ResiduumError(f"{path} is damaged; {REMEDY}")
    state: dict[str, Any] = torch.load(io.BytesIO(body), weights_only=True)
    return state


def made_by_earlier_version(path: Path) -> ResiduumError:
    """The error for an intact checkpoint that the present program cannot go on with."""
    return ResiduumError(f"{path} was made by an earlier version; {REMEDY}")
