"""The base role alone."""

from pyinfra import host

from roles.base import base
from roles.preflight import settings_of

site = settings_of(host, "")
if site is not None:
    base(settings=site.base, distribution=site.mirrors.distribution)
