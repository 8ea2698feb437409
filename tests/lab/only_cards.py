"""The roles that bring a card into containers, after the base they need: driver, Docker, CDI and the proof."""

from pyinfra import host

from roles.base import base
from roles.container_cards import container_cards
from roles.docker import docker
from roles.nvidia import nvidia
from roles.preflight import settings_of

site = settings_of(host, "")
if site is not None:
    base(settings=site.base, distribution=site.mirrors.distribution)
    nvidia(site=site)
    docker(site=site)
    container_cards(site=site)
