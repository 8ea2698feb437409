"""grafana.db: here only the users. The password of the settings counts when the database is made, as with the real one."""

from __future__ import annotations

import hashlib
import hmac
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

ROUNDS = 10_000


class Database:
    """The users of one data directory."""

    def __init__(self, data: Path, admin: str, password: str) -> None:
        """Open the database; make it, with an administrator, where there is none."""
        data.mkdir(parents=True, exist_ok=True)
        self.path = data / "grafana.db"
        with self._open() as connection:
            connection.execute("create table if not exists user (login text primary key, salt blob, password blob)")
            if connection.execute("select count(*) from user").fetchone() == (0,):
                self._put(connection, admin, password)

    def knows(self, login: str, password: str) -> bool:
        with self._open() as connection:
            found = connection.execute("select salt, password from user where login = ?", (login,)).fetchone()
        return found is not None and hmac.compare_digest(_hash(password, found[0]), found[1])

    def set_password(self, login: str, password: str) -> None:
        with self._open() as connection:
            self._put(connection, login, password)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """In a transaction; closed after it, as sqlite3's own block does not."""
        with closing(sqlite3.connect(self.path, timeout=10)) as connection, connection:
            yield connection

    @staticmethod
    def _put(connection: sqlite3.Connection, login: str, password: str) -> None:
        salt = os.urandom(16)
        connection.execute("insert or replace into user values (?, ?, ?)", (login, salt, _hash(password, salt)))


def _hash(password: str, salt: bytes) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ROUNDS)
