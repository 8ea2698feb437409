"""The nvidia role alone, after the base it needs: a lab host that pretends to have a card could not get past the CUDA wheels."""

from pyinfra import host

from roles.base import base
from roles.nvidia import nvidia
from roles.preflight import settings_of

site = settings_of(host, "")
if site is not None:
    base(settings=site.base, distribution=site.mirrors.distribution)
    nvidia(site=site)
