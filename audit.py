"""Who changed what on which host, how it ended, and how long it took: the audit logs of all hosts as one table. Changes nothing.

pyinfra inventory audit.py -y                    the last 20 entries of each host
pyinfra inventory audit.py -y --data entries=100
pyinfra --json inventory fact roles.phase.operations.AuditLog    for machines, everything
"""

from pyinfra import host

from roles.phase.audit_table import show
from roles.phase.operations import AuditLog

show(host, host.get_fact(AuditLog), int(host.data.get("entries") or 20))
