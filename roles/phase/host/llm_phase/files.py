"""Files that a power cut or a full disk leaves either as they were or as they should be."""

import contextlib
import json
import os

MODE = 0o644  # of every file of a release


def read_json(path, otherwise):
    """The content of a file; `otherwise` for one that is missing or cut off by a power failure."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return otherwise


def read_text(path):
    """The content of a text file; "" for one that is missing."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


def sync_folder(path):
    """Have the names in a folder on the disk."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_beside(path, content, mode=MODE):
    """Have `path`.new hold `content`, on the disk. Raises OSError, as with a full disk, and leaves nothing then."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.new"
    try:
        with open(temporary, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def link_beside(path, target):
    """Have `path`.new point to `target`. Raises OSError."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{path}.new")
    os.symlink(target, f"{path}.new")


def copy_beside(source, path):
    """Have `path`.new be what `source` is, a file or a link. Raises OSError."""
    if os.path.islink(source):
        link_beside(path, os.readlink(source))
        return
    with open(source, "rb") as file:
        write_beside(path, file.read())


def take_over(path):
    """Have `path` be what lies beside it; a reader sees the old or the new."""
    os.rename(f"{path}.new", path)
    sync_folder(os.path.dirname(path))


def json_beside(path, value):
    """Have `path`.new hold the value. Raises OSError, as with a full disk."""
    write_beside(path, (json.dumps(value, indent=1) + "\n").encode())


def write_json(path, value):
    """Have `path` hold the value. Raises OSError, as with a full disk: then the file is as before."""
    json_beside(path, value)
    take_over(path)
