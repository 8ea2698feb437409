"""The roles for a card alone, after the base they need: preflight would refuse a lab host, which has no card.

Docker first here, because the nvidia role ends the run by asking for a reboot that stand-in packages cannot satisfy.
"""

from pyinfra import host

from roles.base import base
from roles.docker import docker
from roles.nvidia import nvidia
from roles.preflight import settings_of

site = settings_of(host, "")
if site is not None:
    base(settings=site.base, distribution=site.mirrors.distribution)
    docker(site=site)
    nvidia(site=site)
