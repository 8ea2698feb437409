"""Replaced in the archive by the version of the release."""

from __future__ import annotations

VERSION = "0.0.0"
