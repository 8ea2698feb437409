"""The machine's own distribution sources, without third parties, for the base system of the hosts. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

POCKETS = ("", "-updates", "-security", "-backports")
ROLLING = ("stable", "testing", "unstable", "sid")
COMPONENTS = frozenset(["main", "contrib", "non-free", "non-free-firmware", "universe", "restricted", "multiverse"])
# Where a distribution keeps its own keys; third parties keep theirs elsewhere or under their own name.
OWN_KEYRING = re.compile(r"/usr/share/keyrings/(debian|ubuntu)[a-z-]*\.(gpg|pgp|asc)")


@dataclass(frozen=True)
class Source:
    """One entry of sources.list(5): packages of some suites and components at some addresses."""

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    options: tuple[tuple[str, str], ...]  # deb822 names, e.g. ("Signed-By", "/usr/share/keyrings/…")

    @property
    def signed_by(self) -> str:
        return next((value for name, value in self.options if name.lower() == "signed-by"), "")

    def to_deb822(self) -> str:
        """The entry as a stanza of a .sources file."""
        fields = (
            ("Types", "deb"),
            ("URIs", " ".join(self.uris)),
            ("Suites", " ".join(self.suites)),
            ("Components", " ".join(self.components)),
            *self.options,
        )
        return "".join(f"{name}: {value}\n" for name, value in fields)


def parse_deb822(text: str) -> Iterator[Source]:
    """Read a .sources file; disabled stanzas, and those without binary packages, are left out."""
    for stanza in re.split(r"\n[ \t]*\n", text):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1] in (" ", "\t") and name:
                fields[name] += "\n" + line  # a key written out in Signed-By
            elif ":" in line:
                name, _, value = line.partition(":")
                fields[name] = value.strip()
        known = {name.lower(): value for name, value in fields.items()}
        if "deb" not in known.get("types", "").split() or known.get("enabled", "yes").lower() in ("no", "false", "0"):
            continue
        basic = {"types", "uris", "suites", "components", "enabled"}
        yield Source(
            tuple(known.get("uris", "").split()),
            tuple(known.get("suites", "").split()),
            tuple(known.get("components", "").split()),
            tuple((name, value) for name, value in fields.items() if name.lower() not in basic),
        )


def parse_one_line(text: str) -> Iterator[Source]:
    """Read a sources.list / .list file (`deb [option=value …] uri suite component…`)."""
    long_names = {"signed-by": "Signed-By", "arch": "Architectures", "trusted": "Trusted"}
    for line in text.splitlines():
        match = re.fullmatch(r"deb\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)((?:\s+[^\s#]+)*)\s*(?:#.*)?", line.strip())
        if match is None:
            continue
        options = []
        for option in (match[1] or "").split():
            name, _, value = option.partition("=")
            options.append((long_names.get(name.lower(), name.title()), value.replace(",", " ")))
        yield Source((match[2],), (match[3],), tuple(match[4].split()), tuple(options))


def parse_all(files: Mapping[str, str]) -> list[Source]:
    """Read every file apt would (name -> text): *.list and *.sources."""
    found: list[Source] = []
    for name in sorted(files):
        if name.endswith(".sources"):
            found.extend(parse_deb822(files[name]))
        elif name.endswith(".list"):
            found.extend(parse_one_line(files[name]))
    return found


def codename(os_release: str) -> str:
    """The suite this machine's distribution takes its packages from; UBUNTU_CODENAME counts on Ubuntu's derivatives."""
    values = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    return (values.get("UBUNTU_CODENAME") or values.get("VERSION_CODENAME") or "").strip('"')


def own_sources(found: list[Source], name: str) -> tuple[str, list[Source]]:
    """The distribution's entries, and the suite to install from.

    An entry counts when its suite is the distribution's, it has one of the distribution's components, and it is not
    signed with somebody else's key. Where no entry passes the last test (an in-house mirror signed anew), it is waived.
    Raises ValueError when nothing is left.
    """
    wanted = {name + pocket for pocket in POCKETS} if name else set()
    for names in (wanted, set(ROLLING)):
        for any_key in (False, True):
            kept = []
            for source in found:
                suites = tuple(s for s in source.suites if s.rstrip("/") in names)
                components = tuple(c for c in source.components if c in COMPONENTS)
                own = not source.signed_by or OWN_KEYRING.fullmatch(source.signed_by) is not None
                if suites and components and (own or any_key):
                    kept.append(replace(source, suites=suites, components=components))
            bases = [s for source in kept for s in source.suites if s == name or s in ROLLING]
            if bases:
                return bases[0], kept
    raise ValueError(f"no source of the distribution itself (suite {name or 'unknown'!r}) among {len(found)} entries")


def to_deb822(sources: list[Source]) -> str:
    """The text of a .sources file."""
    return "\n".join(source.to_deb822() for source in sources)
