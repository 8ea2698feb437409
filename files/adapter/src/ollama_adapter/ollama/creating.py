"""What `/api/create` asks for, checked against the model it is to be made from. Pure decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..go.template_nodes import TemplateError
from ..models.catalogue import OwnModel
from ..models.presets import Layer, Preset, combined
from .names import ModelName
from .prompt_template import parse_template
from .showing import shown_template

# Ollama's own folder, as it is named in the messages for what is not there (recorded, Ollama 0.32.15).
_OLLAMA_FOLDER = "/usr/share/ollama/.ollama/models"
_QUANTIZATIONS = ("F32", "F16", "Q4_K_S", "Q4_K_M", "Q8_0")
_QUANTIZABLE = ("F16", "BF16", "F32")


class Refused(Exception):
    """A request that is not carried out: status and message of the answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Plan:
    """A virtual model that can be made, and the layers it keeps of its base and gets anew, in Ollama's order."""

    preset: Preset
    kept: Sequence[Layer]
    new: Sequence[Layer]


def template_problem(template: str) -> str:
    """Why a template cannot be read, "" where it can (recorded: create_bad_template)."""
    try:
        parse_template(template)
    except TemplateError as error:
        return f"template error: {error}"
    return ""


def missing_manifest(name: ModelName) -> str:
    """Ollama's message where a model to push is not there."""
    parts = "/".join((name.host, name.namespace, name.model, name.tag))
    return f"open {_OLLAMA_FOLDER}/manifests/{parts}: no such file or directory"


def missing_blob(digest: str) -> str:
    """Ollama's message where a file to make a model from has not been uploaded. Here none ever is: see `blobs`."""
    return f"open {_OLLAMA_FOLDER}/blobs/{digest.replace(':', '-')}: no such file or directory"


def has_bad_path(files: Mapping[str, str]) -> bool:
    """Whether a file is named by anything but a path below some folder."""
    return any(part in ("", ".", "..") for name in files for part in name.split("/"))


def plan(fields: Mapping[str, Any], base: OwnModel) -> Plan:
    """What to make.

    :param fields: of the request, their types checked.
    :raises Refused: with Ollama's words where it would refuse too.
    """
    for digest in fields.get("adapters", {}).values():
        raise Refused(500, missing_blob(digest))
    _check_quantization(str(fields.get("quantize") or fields.get("quantization") or "").upper(), base)
    before = base.preset or Preset()
    # What `/api/show` told comes back in a Modelfile with changes: that is no template of its own.
    template = fields.get("template", "")
    if template.strip() in (before.template.strip(), shown_template(base.facts).strip()):
        template = ""
    if problem := template_problem(template):
        raise Refused(400, problem)
    known_licenses = (*before.licenses, base.facts.license)
    given = Preset(
        fields.get("system", ""),
        template,
        _checked_parameters(fields.get("parameters", {})),
        [{**message, "role": message.get("role", "").lower()} for message in fields.get("messages", ())],
        [text for text in _licenses(fields.get("license")) if text and text not in known_licenses],
    )
    preset = combined(before, given)
    try:
        # Ollama writes the parameters anew each time, and adds licences to those that are there.
        replaced = {kind for kind, _ in given.layers if kind != "license"} | {"params"}
        kept = [layer for layer in before.layers if layer[0] not in replaced]
        return Plan(preset, kept, [layer for layer in preset.layers if layer not in kept])
    except RecursionError:
        raise Refused(400, "messages are nested too deeply") from None


def _check_quantization(wanted: str, base: OwnModel) -> None:
    if not wanted:
        return
    if wanted not in _QUANTIZATIONS:
        supported = ", ".join(_QUANTIZATIONS)
        raise Refused(500, f"unsupported quantization type {wanted} - supported types are {supported}")
    now = base.facts.quantization
    if now not in _QUANTIZABLE:
        raise Refused(500, "quantization is only supported for F16, BF16 and F32 models")
    if now != wanted:
        raise Refused(
            501, "the weights are served by vLLM and stay as they are: let vLLM serve a model that is quantized already"
        )


def _checked_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Any names are kept, as by Ollama; a value of the wrong type fails when the model is used, as in Ollama."""
    checked: dict[str, Any] = {}
    for name, value in parameters.items():
        items = value if isinstance(value, list) else [value]
        if any(isinstance(item, list | dict) for item in items):
            raise Refused(400, f'parameter "{name}" is neither a text, a number, true or false nor a list of these')
        if value is not None:
            checked[name] = [*map(_as_go_keeps, items)] if isinstance(value, list) else _as_go_keeps(value)
    return checked


def _as_go_keeps(value: Any) -> Any:
    """Every number is a float64 there, and 5.0 is printed as 5."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    try:
        number = float(value)
    except OverflowError:
        raise Refused(400, f"json: cannot unmarshal number {value} into Go value of type float64") from None
    return int(number) if number.is_integer() and abs(number) < 2**63 else number


def _licenses(given: Any) -> list[str]:
    if given is None:
        return []
    texts = given if isinstance(given, list) else [given]
    if not all(isinstance(text, str) for text in texts):
        raise Refused(400, "license must be a text or a list of texts")
    return texts
