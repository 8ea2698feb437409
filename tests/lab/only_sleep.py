"""A run that has the host for a while, and then would leave a file."""

from pyinfra import host
from pyinfra.operations import server

from roles.preflight import settings_of
from roles.run_lock import host_locked

site = settings_of(host, "")
if site is not None:
    host_locked(name="Have this host to ourselves", command="pyinfra only_sleep.py", how=site.lock)
    server.shell(name="Sleep", commands=["sleep 30"])
    server.shell(name="Leave a file", commands=["touch /root/after"])
