"""Cards in containers: the CDI specification names every card, and a container of local files lists them.

Runs after the driver is loaded and Docker is configured. Does nothing on a host with `gpu = "none"` or without Docker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyinfra.api import deploy

from roles.container_cards.operations import cards_named, cards_proved
from roles.host_files import install_program

if TYPE_CHECKING:
    from roles.site import Site


@deploy("Container cards")
def container_cards(site: Site) -> None:
    if site.gpu == "none" or site.docker.source == "none":
        return
    install_program("Install container-cards", "roles/container_cards/host/container-cards")
    cards_named(name="Have the CDI specification name every card")
    cards_proved(name="Prove that a container lists the cards, also after systemctl daemon-reload")
