"""One folder per role, called by deploy.py in this order; reading order for a newcomer:

    site.py         the settings of one host, all roles together: loaded, checked, reported
    pins.toml       what is installed: versions, checksums, fingerprints
    preflight/      reads the host once, refuses before the first change
    base/ nvidia/ docker/ vllm/ ollama/ adapter/ consumers/ monitoring/
                    install and configure; nothing of theirs is started
    phase/          the only place where something starts, stops or a port changes hands

    drift/          what on a host is not so any more; drift.py alone calls it, and changes nothing
    doctor/         why a host does not serve as it should; doctor.py alone calls it, and changes nothing
    facts/          what is true on a machine, for more than one of these

A role imports nothing from another role. What two roles need is a module in this folder, named after the thing.
"""
