"""The base role alone."""

from pyinfra import host

from roles.base import base
from roles.preflight import settings_of
from roles.run_lock import host_locked

site = settings_of(host, "")
if site is not None:
    host_locked(name="Have this host to ourselves", command="pyinfra only_base.py", how=site.lock)
    base(settings=site.base, distribution=site.mirrors.distribution)
