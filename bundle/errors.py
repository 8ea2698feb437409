"""What stops a bundle, as a person reads it."""

from __future__ import annotations


class BundleError(Exception):
    """Something cannot be had or is wrong.

    :param about: the file, URL or setting.
    :param cause: what was seen.
    :param remedy: what to do next.
    """

    def __init__(self, about: str, cause: str, remedy: str) -> None:
        super().__init__(f"{about}: {cause}\n  -> {remedy}")
        self.about, self.cause, self.remedy = about, cause, remedy
