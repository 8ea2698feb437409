"""nvidia-smi and nvidia-ctk as they run on lab hosts, with their files moved to a scratch folder."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lab.mirror.driver_packages import STAND_INS
from lab.stand_ins import nvidia_dcgm_exporter_stand_in as dcgm
from roles.monitoring.prometheus.configuration import configuration
from roles.site import site_from

GPUS = """index,uuid,name,compute_cap,memory.total,memory.used
0,GPU-aaa,NVIDIA A100-PCIE-40GB,8.0,40960,1000
1,GPU-bbb,Tesla P100-PCIE-16GB,6.0,16384,0
"""


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, STAND_INS / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = load("nvidia_smi_stand_in")
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    monkeypatch.setattr(module, "VERSION_FILE", tmp_path / "version")
    (tmp_path / "version").write_text("580.178.04\n")
    return module


def told(module: ModuleType, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    status = module.main(list(arguments))
    return status, capsys.readouterr().out


def test_a_query_answers_in_the_order_of_its_fields(
    smi: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gpus.csv").write_text(GPUS)
    fields = "--query-gpu=name,uuid,compute_cap,memory.total,memory.free,driver_version"
    status, text = told(smi, capsys, fields, "--format=csv,noheader,nounits")
    assert status == 0
    assert text.splitlines() == [
        "NVIDIA A100-PCIE-40GB, GPU-aaa, 8.0, 40960, 39960, 580.178.04",
        "Tesla P100-PCIE-16GB, GPU-bbb, 6.0, 16384, 16384, 580.178.04",
    ]


def test_header_and_units_are_there_unless_refused(
    smi: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gpus.csv").write_text(GPUS)
    _, text = told(smi, capsys, "--query-gpu=index,memory.used", "--format=csv", "-i", "GPU-aaa")
    assert text.splitlines() == ["index, memory.used [MiB]", "0, 1000 MiB"]


def test_what_a_card_does_not_have_is_not_available(
    smi: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gpus.csv").write_text(GPUS)
    _, text = told(smi, capsys, "--query-gpu=serial,mig.mode.current", "--format=csv,noheader", "--id=0")
    assert text == "[N/A], Disabled\n"


def test_without_gpus_there_is_no_driver(smi: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = told(smi, capsys, "--query-gpu=name", "--format=csv")
    assert status == 9
    assert text.startswith("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.")


def test_another_loaded_version_is_a_mismatch(
    smi: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gpus.csv").write_text("name,driver_version\nNVIDIA L4,580.95.05\n")
    assert told(smi, capsys, "-L") == (18, "Failed to initialize NVML: Driver/library version mismatch\n")


def test_an_unknown_field_or_card_is_refused(
    smi: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gpus.csv").write_text(GPUS)
    assert told(smi, capsys, "--query-gpu=memory_total", "--format=csv")[0] == 2
    assert told(smi, capsys, "--query-gpu=name", "--format=csv", "-i", "7")[0] == 6


def test_processes_come_from_their_own_file(
    smi: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gpus.csv").write_text(GPUS)
    query = ("--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits")
    assert told(smi, capsys, *query) == (0, "")
    (tmp_path / "compute-apps.csv").write_text("pid,gpu_uuid,used_memory\n4711,GPU-aaa,30000\n")
    assert told(smi, capsys, *query) == (0, "4711, 30000\n")


def test_the_version_says_that_it_is_a_stand_in(smi: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert "stand-in of the lab" in told(smi, capsys, "--version")[1]


@pytest.fixture
def ctk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = load("nvidia_ctk_stand_in")
    monkeypatch.setattr(module, "GPUS", tmp_path / "gpus.csv")
    monkeypatch.setattr(module, "CARDS", tmp_path / "cards")
    monkeypatch.setattr(module, "VERSION_FILE", tmp_path / "version")
    (tmp_path / "version").write_text("580.178.04\n")
    monkeypatch.setattr(module, "SPECIFICATIONS", (tmp_path / "nvidia.yaml",))
    return module


def test_configuring_docker_keeps_its_other_settings(ctk: ModuleType, tmp_path: Path) -> None:
    config = tmp_path / "docker" / "daemon.json"
    config.parent.mkdir()
    config.write_text('{"live-restore": true, "runtimes": {"other": {"path": "other"}}}')
    command = ["runtime", "configure", "--runtime=docker", f"--config={config}"]
    assert ctk.main(command) == 0
    assert json.loads(config.read_text()) == {
        "live-restore": True,
        "runtimes": {"other": {"path": "other"}, "nvidia": {"args": [], "path": "nvidia-container-runtime"}},
    }
    before = config.read_text()
    assert ctk.main(command) == 0
    assert config.read_text() == before


def test_a_broken_daemon_json_is_left_alone(ctk: ModuleType, tmp_path: Path) -> None:
    config = tmp_path / "daemon.json"
    config.write_text("{broken")
    assert ctk.main(["runtime", "configure", f"--config={config}"]) == 1
    assert config.read_text() == "{broken"


def test_a_cdi_specification_names_each_gpu(
    ctk: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gpus.csv").write_text(GPUS)
    assert ctk.main(["cdi", "generate", f"--output={tmp_path / 'nvidia.yaml'}"]) == 0
    assert ctk.main(["cdi", "list"]) == 0
    names = capsys.readouterr().out.split()
    assert names == [f"nvidia.com/gpu={name}" for name in ("0", "1", "GPU-aaa", "GPU-bbb", "all")]


def test_a_device_of_the_specification_mounts_the_line_of_its_card_and_the_runtime_mounts_the_same(
    ctk: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "gpus.csv").write_text(GPUS)
    runtime = load("nvidia_container_runtime_stand_in")
    mounts = runtime.mounts(ctk.specification(), ["GPU-bbb"])
    assert [one["destination"] for one in mounts] == ["/usr/bin/nvidia-smi", str(tmp_path / "cards" / "01")]
    assert Path(mounts[1]["source"]).read_text() == "GPU 1: Tesla P100-PCIE-16GB (UUID: GPU-bbb)\n"
    assert len(runtime.mounts(ctk.specification(), ["all"])) == 3


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [(["NVIDIA_VISIBLE_DEVICES=all"], ["all"]), (["NVIDIA_VISIBLE_DEVICES=void"], []), (["PATH=/bin"], [])],
)
def test_the_runtime_adds_what_the_container_asks_for(environment: list[str], wanted: list[str]) -> None:
    assert load("nvidia_container_runtime_stand_in").wanted(environment) == wanted


def test_without_a_driver_no_specification_is_written(ctk: ModuleType, tmp_path: Path) -> None:
    assert ctk.main(["cdi", "generate", f"--output={tmp_path / 'nvidia.yaml'}"]) == 1
    assert not (tmp_path / "nvidia.yaml").exists()


def test_the_toolkits_version_is_a_line_of_its_own(ctk: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        ctk.main(["--version"])
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"NVIDIA Container Toolkit CLI version {ctk.VERSION}", "stand-in of the lab"]


def test_dmon_shows_the_columns_that_are_asked_for(
    smi: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gpus.csv").write_text(GPUS)
    status, text = told(smi, capsys, "dmon", "-s", "pucvmet", "-c", "1")
    names, units, *cards = (line.split() for line in text.splitlines())
    assert (status, len(cards)) == (0, 2)
    assert len(names) == len(units) == len(cards[0]) + 1, "the mark # is a word of its own in the head"
    assert dict(zip(names[1:], cards[0], strict=True))["fb"] == "1000"


def test_without_a_card_dmon_says_what_every_call_says(smi: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = told(smi, capsys, "dmon", "-s", "p")
    assert (status, text) == (9, smi.NO_DRIVER + "\n")


def counters_of(site_settings: dict[str, object]) -> str:
    return configuration(site_from([site_settings], {}), "gpu-01")["dcgm-counters.csv"]


def test_the_played_exporter_tells_every_field_that_a_host_asks_for_and_no_other() -> None:
    asked = dcgm.counters(counters_of({"monitoring": {"stack": True}}))
    h100 = {"uuid": "GPU-1", "name": "NVIDIA H100", "compute_cap": "9.0", "memory.total": "81559", "memory.used": "559"}
    p100 = {**h100, "uuid": "GPU-2", "compute_cap": "6.0"}
    families = list(text_string_to_metric_families(dcgm.exposition(asked, [h100, p100], "gpu-01", "580.1")))
    assert {f.name for f in families} == {field.removesuffix("_total") for field, kind, _ in asked if kind != "label"}
    by_name = {family.name: {one.labels["UUID"]: one.value for one in family.samples} for family in families}
    assert by_name["DCGM_FI_DEV_FB_FREE"] == {"GPU-1": 81000, "GPU-2": 81000}
    assert set(by_name["DCGM_FI_DEV_ROW_REMAP_PENDING"]) == {"GPU-1"}
    labels = {"gpu", "UUID", "pci_bus_id", "device", "modelName", "Hostname", "DCGM_FI_DRIVER_VERSION"}
    assert all(set(one.labels) == labels for family in families for one in family.samples)


def test_a_field_that_dcgm_does_not_know_ends_the_played_exporter_as_it_ends_the_real_one(tmp_path: Path) -> None:
    (tmp_path / "counters.csv").write_text("DCGM_FI_DEV_GPU_TEMPERATURE, gauge, misspelt\n")
    assert dcgm.main(["-f", str(tmp_path / "counters.csv"), "-a", "127.0.0.1:1"]) == 1
