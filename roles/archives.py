"""Release archives of vendors on their way to a host: fetched, resuming, and unpacked only where the checksum is right."""

from __future__ import annotations

import shlex

FETCH = "curl --fail --silent --show-error --location --retry 3 --connect-timeout 20"


def fetched(url: str, file: str) -> list[str]:
    """Shell lines that have the archive of `url` in `file`, for `release_installed`.

    They see `$sum`, its sha256, and `$of`, where that was read, for the message. A wrong archive is deleted, and they fail.
    """
    at = shlex.quote(file)
    return [
        '[ -n "$sum" ] || { echo "no checksum: $of" >&2; exit 1; }',
        f'echo "$sum  "{at} | sha256sum --check --status 2>/dev/null || '
        f"{FETCH} --continue-at - --output {at} {shlex.quote(url)}",
        f'echo "$sum  "{at} | sha256sum --check --status || '
        f'{{ echo "$(sha256sum < {at} | cut -c1-64) is the checksum of {url}, not $sum as in $of" >&2; '
        f"rm -f {at}; exit 1; }}",
    ]
