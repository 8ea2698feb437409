"""Look whether every host still is as the inventory says. Reads only, takes no lock, asks nothing; fit for cron.

pyinfra inventory drift.py -y                                   for people
pyinfra inventory drift.py -y --data report=json 2>/dev/null    for machines: one JSON object per host and line

Exit status: 0 no drift; 3 drift, and every host was looked at; 1 of some host it is not known: not reached, being changed just now.
"""

from pyinfra import host, local, state

from roles.drift import Seen, differences, reason_unknown
from roles.drift.facts import FilesSeen, Look, LookAtHost
from roles.drift.findings import WORDS, judged
from roles.drift.steps import PLAYBOOK, plan_without_comparing, take_steps
from roles.ending import tell
from roles.layout import snapshots
from roles.phase.operations import PhaseStatus
from roles.phases import unit_files
from roles.preflight import keep_findings
from roles.preflight.findings import Finding
from roles.run_lock import Changing
from roles.site import Site

this = state.inventory.get_host(host.name)  # `host` itself stands for whichever host is current
plan_without_comparing(state)
kept = keep_findings(this)
changing = host.get_fact(Changing)
local.include(PLAYBOOK)  # the plan is made by deploy.py itself, so nothing that it does can be forgotten here
steps = take_steps(state, this)
errors: list[Finding] = [finding for finding in kept.findings if finding.severity == "error"]
site: Site | None = kept.site
look: Look | None = None
survey = kept.survey
if site is not None:
    models = snapshots(site) if site.prepares_phase_2 else ()
    look = host.get_fact(LookAtHost, units=(*unit_files(site), *site.monitoring.units(site.gpu)), models=models)
files = host.get_fact(FilesSeen, paths=[step.path for step in steps if step.path])
status = host.get_fact(PhaseStatus)
reason = reason_unknown(
    changing or host.get_fact(Changing),
    lost=this in state.failed_hosts,
    settings_problems=errors if site is None else [],
    look=look,
    surveyed=survey is not None,
)
if site is None or look is None or survey is None:
    told = judged(this.name, [], [], reason)
else:
    seen = Seen(errors, steps, files, look, survey.listeners, status)
    told = judged(this.name, *differences(this.name, site, seen), reason)
tell(state, this, told, WORDS, as_lines_of_json=host.data.get("report") == "json")
