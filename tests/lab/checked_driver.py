"""What deploy.py does until the driver is loaded: preflight, base, nvidia. A pretended card could not get past the CUDA wheels."""

from roles.base import base
from roles.nvidia import nvidia
from roles.preflight import preflight

site = preflight()
if site is not None:
    base(settings=site.base, distribution=site.mirrors.distribution)
    nvidia(site=site)
