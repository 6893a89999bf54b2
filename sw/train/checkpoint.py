"""Training checkpoints with a checksum: a damaged file is refused.

A file holds ``MAGIC``, a SHA-256 sum, and the output of ``torch.save``, over which the sum is
taken. ``torch.load`` alone does not detect every damaged byte.
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
# Earlier versions wrote the output of torch.save, a zip archive, without a checksum.
_EARLIER = b"PK\x03\x04"
REMEDY = "delete it, or give --restart"


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values atomically; ``ResiduumError`` if that fails."""
    content = io.BytesIO()
    torch.save(state, content)
    body = content.getvalue()
    write_whole(path, MAGIC + hashlib.sha256(body).digest() + body)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The state that `write_checkpoint` wrote.

    Raises ``ResiduumError`` if the file is damaged, from an earlier version, or not readable.
    """
    with told(path, "read"):
        content = path.read_bytes()
    if content.startswith(_EARLIER):
        raise made_by_earlier_version(path)
    start = len(MAGIC) + _SUM_BYTES
    body = content[start:]
    if content[:start] != MAGIC + hashlib.sha256(body).digest():
        raise ResiduumError(f"{path} is damaged; {REMEDY}")
    state: dict[str, Any] = torch.load(io.BytesIO(body), weights_only=True, map_location="cpu")
    return state


def made_by_earlier_version(path: Path) -> ResiduumError:
    """The error for an intact checkpoint that this version cannot resume from."""
    return ResiduumError(f"{path} was made by an earlier version; {REMEDY}")
