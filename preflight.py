"""Look at every host and say what stands in the way of a deploy. Reads only; installs, starts and changes nothing.

pyinfra inventory preflight.py --dry                                   for people; ends with status 1 if a host would be refused
pyinfra inventory preflight.py --dry --data report=json 2>/dev/null    for machines: one JSON object per host and line
"""

from roles.preflight import preflight

preflight("pyinfra inventory preflight.py --dry")
