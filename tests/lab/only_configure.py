"""A deploy that dies after "files written" and before "services restarted": the adapter's role without the phase."""

from pyinfra import host

from roles.adapter import adapter
from roles.preflight import settings_of

site = settings_of(host, "")
if site is not None:
    adapter(site=site)
