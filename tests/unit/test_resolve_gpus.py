"""resolve-gpus: names of cards to UUIDs, once; environments, device lists, and restarts that are due."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from roles.host_programs import load

PROGRAM = Path("roles/gpu_sharing/host/resolve-gpus")
resolve_gpus: Any = load(PROGRAM)
# Written after NVIDIA's documentation of --query-gpu and -L, not captured.
CSV = """\
0, GPU-aaaa, 00000000:17:00.0, NVIDIA A100-PCIE-40GB, 40960, Disabled
1, GPU-bbbb, 00000000:65:00.0, NVIDIA L4, 23034, [N/A]
"""
SLICED_CSV = "0, GPU-cccc, 00000000:17:00.0, NVIDIA H100 PCIe, 81559, Enabled\n"
SLICED_LIST = """\
GPU 0: NVIDIA H100 PCIe (UUID: GPU-cccc)
  MIG 3g.40gb     Device  0: (UUID: MIG-1111)
  MIG 3g.40gb     Device  1: (UUID: MIG-2222)
GPU 1: NVIDIA L4 (UUID: GPU-bbbb)
"""
CARDS = resolve_gpus.parse_cards(CSV)
SLICED = resolve_gpus.parse_cards(SLICED_CSV)
SLICES = {"MIG-1111": "GPU-cccc", "MIG-2222": "GPU-cccc"}
VLLM, VISION, TEXT = "vllm.service", "ollama-vision.service", "ollama-text.service"


def wanted(
    vllm: list[str] | None = None, vision: list[str] | None = None, shared: bool = False, least: int = 1
) -> dict[str, Any]:
    return {
        "services": [
            {"unit": VLLM, "key": "vllm.gpus", "gpus": vllm or [], "least": least},
            {"unit": VISION, "key": "ollama.vision.gpus", "gpus": vision or [], "least": 1},
            {"unit": TEXT, "key": "ollama.text.gpus", "gpus": [], "least": 1},
        ],
        "shared": shared,
        "reserve": None,
    }


def refusal(told: dict[str, Any], cards: Any = CARDS, slices: Any = None, record: Any = None) -> str:
    with pytest.raises(resolve_gpus.Refused) as caught:
        resolve_gpus.resolve(told, cards, slices or {}, record or {})
    return str(caught.value)


def test_with_vision_on_vllm_the_two_vllms_keep_off_each_others_cards_and_ollama_may_use_any() -> None:
    sees, embed = "vllm-vision.service", "ollama-embed.service"
    told = wanted(["GPU-aaaa"])
    told["services"].insert(1, {"unit": sees, "key": "vllm_vision.gpus", "gpus": [], "least": 1})
    told["services"].append({"unit": embed, "key": "ollama.vision.gpus", "gpus": [], "least": 1})
    told["pair"] = [VLLM, sees]
    chosen, _ = resolve_gpus.resolve(told, CARDS, {}, {})
    assert (chosen[VLLM], chosen[sees]) == (["GPU-aaaa"], ["GPU-bbbb"])
    assert chosen[VISION] == chosen[embed] == ["GPU-aaaa", "GPU-bbbb"]
    told["services"][1]["gpus"] = ["0"]
    assert "vllm.gpus and vllm_vision.gpus are both GPU-aaaa" in refusal(told)
    assert resolve_gpus.resolve({**told, "shared": True}, CARDS, {}, {})[0][sees] == ["GPU-aaaa"]


def test_cards_and_slices_are_read_from_nvidia_smi() -> None:
    assert [(card["index"], card["uuid"], card["mib"], card["mig"]) for card in CARDS] == [
        ("0", "GPU-aaaa", 40960, False),
        ("1", "GPU-bbbb", 23034, False),
    ]
    assert resolve_gpus.parse_slices(SLICED_LIST) == SLICES


def test_an_index_becomes_a_uuid_and_is_recorded() -> None:
    chosen, known = resolve_gpus.resolve(wanted(["1"], ["GPU-aaaa"]), CARDS, {}, {})
    assert (chosen[VLLM], chosen[VISION], chosen[TEXT]) == (["GPU-bbbb"], ["GPU-aaaa"], ["GPU-aaaa", "GPU-bbbb"])
    assert known == {"1": "GPU-bbbb"}


def test_a_recorded_index_stays_on_its_card_when_the_order_changes() -> None:
    turned = resolve_gpus.parse_cards(CSV.replace("0, GPU-aaaa", "1, GPU-aaaa").replace("1, GPU-bbbb", "0, GPU-bbbb"))
    chosen, known = resolve_gpus.resolve(wanted(["0"]), turned, {}, {"0": "GPU-aaaa"})
    assert (chosen[VLLM], known) == (["GPU-aaaa"], {"0": "GPU-aaaa"})
    assert (
        resolve_gpus.resolve(wanted(shared=True), turned[::-1], {}, {})[0]
        == (resolve_gpus.resolve(wanted(shared=True), CARDS, {}, {})[0])
    )


def test_an_empty_setting_means_the_cards_that_the_other_leaves() -> None:
    chosen, _ = resolve_gpus.resolve(wanted(["0"]), CARDS, {}, {})
    assert chosen[VISION] == ["GPU-bbbb"]


def test_a_card_that_vanished_is_refused_with_those_that_are_there() -> None:
    assert refusal(wanted(["0"]), record={"0": "GPU-gone"}).startswith(
        "vllm.gpus: card 0 was GPU-gone, which is gone; there are: 0 = GPU-aaaa (NVIDIA A100-PCIE-40GB), 1 = GPU-bbbb"
    )
    assert refusal(wanted(["GPU-gone"])).startswith("vllm.gpus: GPU-gone is not on this host; there are: 0 = GPU-aaaa")


def test_an_index_beyond_the_cards_is_refused() -> None:
    assert refusal(wanted(["2"])).startswith("vllm.gpus: no card 2; there are: 0 = GPU-aaaa")


def test_one_card_in_other_words_is_no_declared_sharing() -> None:
    assert "are both GPU-aaaa; to share a card, name it" in refusal(wanted(["0"], ["GPU-aaaa"]))
    assert "name one card twice" in refusal(wanted(["0", "GPU-aaaa"], ["1"]))


def test_no_card_left_is_refused() -> None:
    assert refusal(wanted(["0"]), CARDS[:1]) == (
        "ollama.vision.gpus: vllm.gpus names every card; to share one, name it in both"
    )


def test_too_few_cards_for_the_model_are_refused() -> None:
    assert refusal(wanted(shared=True, least=4)).startswith("vllm.gpus: 4 cards are wanted")


def test_a_declared_sharing_is_granted() -> None:
    chosen, _ = resolve_gpus.resolve(wanted(["0"], ["0"], shared=True), CARDS, {}, {})
    assert chosen[VLLM] == chosen[VISION] == ["GPU-aaaa"]


def test_a_card_in_mig_mode_is_named_by_its_devices() -> None:
    assert refusal(wanted(["GPU-cccc"]), SLICED, SLICES) == (
        "vllm.gpus: GPU-cccc is in MIG mode; name its MIG devices instead: MIG-1111, MIG-2222"
    )
    assert "MIG-3333 is not on this host; MIG devices: MIG-1111" in refusal(wanted(["MIG-3333"]), SLICED, SLICES)
    told = wanted(["MIG-1111"], ["MIG-2222"])
    told["services"].pop()
    assert resolve_gpus.resolve(told, SLICED, SLICES, {})[0] == {VLLM: ["MIG-1111"], VISION: ["MIG-2222"]}


def test_the_device_list_names_exactly_the_units_nodes() -> None:
    text = resolve_gpus.drop_in_text([3, 1], False)
    assert text.splitlines()[2:] == [
        "DeviceAllow=",
        "DeviceAllow=/dev/nvidiactl rw",
        "DeviceAllow=/dev/nvidia-uvm rw",
        "DeviceAllow=/dev/nvidia-uvm-tools rw",
        "DeviceAllow=/dev/nvidia3 rw",
        "DeviceAllow=/dev/nvidia1 rw",
    ]
    assert "DeviceAllow=char-nvidia-caps rw" in resolve_gpus.drop_in_text([0], True)
    assert resolve_gpus.parse_minor("Model: \t\t NVIDIA A100\nDevice Minor: \t 3\n") == 3
    assert "/dev/nvidia250" in resolve_gpus.missing_nodes(resolve_gpus.drop_in_text([250], False))


def test_ollama_leaves_what_is_neither_visions_nor_vllms() -> None:
    reserve = {"vllm_fraction": 0.5, "vision_bytes": 8 << 30, "driver_bytes": 1 << 30}
    assert resolve_gpus.overhead_bytes(reserve, 40960) == (40 - 1 - 20 - 8) << 30
    assert resolve_gpus.overhead_bytes(reserve, 8192) == 0


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file tree in place of the host's; nvidia-smi's answers are in CSV and SLICED_LIST's form."""
    for name in ("ETC", "UNITS", "RECORDS", "DRIVER"):
        monkeypatch.setattr(resolve_gpus, name, tmp_path / name.lower())
    monkeypatch.setattr(resolve_gpus, "ask", lambda *words: "" if words[0] == "-L" else CSV)
    for bus, minor in (("0000:17:00.0", 4), ("0000:65:00.0", 2)):
        (tmp_path / "driver" / bus).mkdir(parents=True)
        (tmp_path / "driver" / bus / "information").write_text(f"Device Minor: \t {minor}\n")
    (tmp_path / "records").mkdir()
    return tmp_path


def test_files_are_written_once_and_a_second_run_says_nothing(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    resolve_gpus.apply(wanted(["0"], ["1"]), dry=True)
    assert "vllm.service.env changes" in capsys.readouterr().out
    assert not (machine / "etc").exists()
    resolve_gpus.apply(wanted(["0"], ["1"]), dry=False)
    assert (
        "CUDA_VISIBLE_DEVICES=GPU-aaaa\nCUDA_DEVICE_ORDER=PCI_BUS_ID\n"
        in (machine / "etc/gpus/vllm.service.env").read_text()
    )
    assert "DeviceAllow=/dev/nvidia4 rw\n" in (machine / "units/vllm.service.d/gpus.conf").read_text()
    assert "nvidia4" not in (machine / "units/ollama-vision.service.d/gpus.conf").read_text()
    capsys.readouterr()
    resolve_gpus.apply(wanted(["0"], ["1"]), dry=True)
    assert capsys.readouterr().out == ""


def test_other_cards_mark_the_units_last_start_and_no_other_units(machine: Path) -> None:
    resolve_gpus.apply(wanted(["0"], ["1"]), dry=False)
    for unit in (VLLM, TEXT):
        (machine / "records" / f"{unit}.json").write_text('{"unit": "1f"}')
    resolve_gpus.apply(wanted(["1"], ["0"]), dry=False)
    assert json.loads((machine / "records/vllm.service.json").read_text()) == {"unit": "1f", "cards": "others"}
    assert json.loads((machine / "records/ollama-text.service.json").read_text()) == {"unit": "1f"}


def test_without_device_minors_the_units_own_list_stays(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    resolve_gpus.apply(wanted(["0"], ["1"]), dry=False)
    (machine / "driver/0000:17:00.0/information").unlink()
    resolve_gpus.apply(wanted(["0"], ["1"]), dry=False)
    assert not (machine / "units/vllm.service.d/gpus.conf").exists()
    assert "does not tell the cards' device nodes" in capsys.readouterr().err
