"""The users that services run as."""

from __future__ import annotations

from pyinfra.operations import server


def system_user(user: str, home: str) -> None:
    """Have a system user with a group of the same name, no shell and no home made for it.

    None of them is in `video` or `render`: NVIDIA's device nodes are open to all (0666), DeviceAllow= decides who gets one.
    """
    server.group(name=f"Have the group {user}", group=user, system=True)
    server.user(
        name=f"Have the user {user}",
        user=user,
        group=user,
        system=True,
        home=home,
        create_home=False,
        shell="/usr/sbin/nologin",
    )
