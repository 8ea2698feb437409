"""Say why a host does not serve as it should: likely causes in order, each with its evidence and the command that mends it.

pyinfra inventory doctor.py -y                                   for people; of one host: --limit HOST
pyinfra inventory doctor.py -y --data report=json 2>/dev/null    for machines: one JSON object per host and line

Reads only, takes no lock, asks nothing. It asks vLLM for one token, Ollama for none. Half a minute.
Exit status: 0 nothing wrong found; 3 likely causes found; 1 of some host nothing can be said: not reached, wrong settings.
"""

import time

from pyinfra import host, state

from roles.doctor import VARIABLES, diagnoses, folders, notes, questions, reason_unknown, shape_of_text_model
from roles.doctor.case import Case
from roles.doctor.diagnosis import WORDS, judged
from roles.doctor.symptoms import HostSymptoms, Symptoms
from roles.ending import tell
from roles.phase.operations import PhaseStatus
from roles.phases import unit_files
from roles.preflight import keep_findings, preflight
from roles.run_lock import Changing

this = state.inventory.get_host(host.name)  # `host` itself stands for whichever host is current
kept = keep_findings(this)
preflight()  # what would keep a deploy from the host, its mirrors among it
site = kept.site
errors = [finding for finding in kept.findings if finding.severity == "error"]
seen: Symptoms | None = None
machine, survey = kept.evidence, kept.survey
begin = time.time()
ahead = 0.0
if site is not None:
    seen = host.get_fact(
        HostSymptoms, units=unit_files(site), folders=folders(site), variables=VARIABLES, questions=questions(site)
    )
    if seen is not None:
        # The script has read its clock between these two: only what lies outside of them is skew.
        ahead = seen.now - min(max(seen.now, begin), time.time())
reason = reason_unknown(
    lost=this in state.failed_hosts,
    settings_problems=errors if site is None else [],
    readable=seen is not None and machine is not None and survey is not None,
    uid=survey.uid if survey is not None else 0,
)
if site is None or seen is None or machine is None or survey is None:
    told = judged(this.name, [], [], reason)
else:
    status = host.get_fact(PhaseStatus)
    case = Case(
        this.name, site, seen, machine, survey.listeners, status, errors, ahead, shape=shape_of_text_model(survey.model)
    )
    changing = host.get_fact(Changing)
    said = [f"{changing}, is changing it just now; look again when that is over"] if changing else []
    told = judged(this.name, diagnoses(case), [*said, *notes(case)], reason)
tell(state, this, told, WORDS, as_lines_of_json=host.data.get("report") == "json")
