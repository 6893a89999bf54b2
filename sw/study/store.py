"""Storage for finished parts of a study, so that an interrupted study can be resumed."""

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from residuum.sw.files import write_whole

Arrays = dict[str, np.ndarray]

# Increase this when the meaning of a part changes: older files are then ignored.
PARTS_VERSION = 1


def kept(folder: Path, key: Mapping[str, object], compute: Callable[[], Arrays]) -> Arrays:
    """The result of ``compute`` for ``key``, from a file in ``folder`` if there is one.

    Parameters
    ----------
    key
        Everything that determines the result, such as digests of networks; plain JSON values.

    Raises
    ------
    ResiduumError
        If the file cannot be written. A damaged file is replaced.
    """
    text = json.dumps({**key, "version": PARTS_VERSION}, sort_keys=True)
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.npz"
    found = _read(path)
    if found is not None:
        return found
    result = compute()
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **result)
    write_whole(path, content.getvalue())
    return result


def _read(path: Path) -> Arrays | None:
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception:
        # Missing or damaged; zipfile, zlib and numpy raise many kinds of exceptions.
        return None
