"""What an operator may say about watching the host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, StringConstraints

from roles.layout import BLACKBOX, DCGM_EXPORTER, GRAFANA, METRICS_SERVICE, METRICS_TIMER, NODE_EXPORTER, PROMETHEUS
from roles.monitoring.grafana.settings import GrafanaSettings
from roles.settings import Settings

ADDRESS = r"^\d{1,3}(\.\d{1,3}){3}$"
Url = Annotated[str, StringConstraints(pattern=r"^https?://([\w.-]+|\[[0-9a-fA-F:]+\])(:[1-9]\d{0,4})?(/\S*)?$")]


@dataclass(frozen=True)
class Listening:
    """A server of the monitoring: the unit that runs it, and where it listens."""

    unit: str
    address: str
    port: int


class NodeSettings(Settings):
    """Key `monitoring.node`: node_exporter, which tells of the host."""

    address: str = Field("127.0.0.1", pattern=ADDRESS, description="address that it listens on")
    port: int = Field(9100, ge=1024, le=65535, description="its port")


class BlackboxSettings(Settings):
    """Key `monitoring.blackbox`: blackbox_exporter, which asks both servers as a client would."""

    address: str = Field("127.0.0.1", pattern=ADDRESS, description="address that it listens on")
    port: int = Field(9115, ge=1024, le=65535, description="its port")


class DcgmSettings(Settings):
    """Key `monitoring.dcgm`: NVIDIA's dcgm-exporter, on hosts with cards."""

    address: str = Field("127.0.0.1", pattern=ADDRESS, description="address that it listens on")
    port: int = Field(9400, ge=1024, le=65535, description="its port")


class PrometheusSettings(Settings):
    """Key `monitoring.prometheus`."""

    address: str = Field(
        "127.0.0.1", pattern=ADDRESS, description="address that it listens on; it asks nobody for a password"
    )
    port: int = Field(9090, ge=1024, le=65535, description="page and API of Prometheus")
    scrape_interval_s: int = Field(15, ge=1, le=300, description="how often everything is asked, and rules are judged")
    retention_days: int = Field(30, ge=1, le=3650, description="how long samples are kept")
    retention_size: str = Field(
        "10GB", pattern=r"^[1-9]\d*(MB|GB|TB)$", description="most that samples take on the disk; the oldest go first"
    )
    alertmanagers: tuple[Url, ...] = Field(
        (), description="where alerts go, `http://host:9093`; without one they are seen on Prometheus' page alone"
    )


class AlertSettings(Settings):
    """Key `monitoring.alerts`: when an alert is due. Rates and shares are those of the last five minutes."""

    patience_s: int = Field(300, ge=1, le=86400, description="how long a thing must be so before somebody is told")
    ttft_s: float = Field(5.0, gt=0, le=600, description="time to the first token that 95 of 100 requests stay below")
    kv_cache_share: float = Field(0.95, gt=0, le=1, description="of vLLM's KV cache in use")
    preemptions_per_minute: float = Field(5.0, gt=0, description="requests that vLLM put back for lack of KV cache")
    error_share: float = Field(0.05, gt=0, le=1, description="of the adapter's answers that are 5xx")
    gpu_temperature_c: int = Field(85, ge=40, le=110, description="of a card")
    gpu_memory_share: float = Field(
        0.98, gt=0, le=1, description="of a card's memory in use; above vllm.gpu_memory_utilization"
    )
    disk_free_share: float = Field(0.1, gt=0, le=1, description="of a file system that stays free")
    disk_full_in_h: int = Field(
        24, ge=1, le=720, description="warn when a disk will be full within, at the last six hours' pace"
    )
    certificate_days: int = Field(14, ge=1, le=365, description="before a mirror's certificate ends")
    other_phase_h: int = Field(
        24, ge=1, le=720, description="how long a host may serve another phase than the inventory says"
    )


class MonitoringSettings(Settings):
    """Key `monitoring` of the inventory."""

    check_interval_s: int = Field(60, ge=10, le=3600, description="how often the host asks its own services")
    stack: bool = Field(False, description="Prometheus, exporters, alert rules and dashboards on this host")
    watch_mirrors: bool = Field(
        True, description="ask the mirrors once an hour; not for hosts that see them during a deploy only"
    )
    prometheus: PrometheusSettings = PrometheusSettings()
    node: NodeSettings = NodeSettings()
    blackbox: BlackboxSettings = BlackboxSettings()
    dcgm: DcgmSettings = DcgmSettings()
    alerts: AlertSettings = AlertSettings()
    grafana: GrafanaSettings = GrafanaSettings()

    @property
    def shows_dashboards(self) -> bool:
        """Whether Grafana is on this host."""
        return self.stack and self.grafana.enabled

    def listening(self, gpu: str) -> dict[str, Listening]:
        """By the setting that names its port, every server of the stack on a host; none without it. :param gpu: of the site."""
        if not self.stack:
            return {}
        here = {
            "prometheus": Listening(PROMETHEUS, self.prometheus.address, self.prometheus.port),
            "node": Listening(NODE_EXPORTER, self.node.address, self.node.port),
            "blackbox": Listening(BLACKBOX, self.blackbox.address, self.blackbox.port),
            "dcgm": Listening(DCGM_EXPORTER, self.dcgm.address, self.dcgm.port),
            "grafana": Listening(GRAFANA, self.grafana.address, self.grafana.port),
        }
        absent = {"dcgm": gpu != "nvidia", "grafana": not self.grafana.enabled}
        return {f"monitoring.{section}.port": one for section, one in here.items() if not absent.get(section)}

    def units(self, gpu: str) -> tuple[str, ...]:
        """Every unit of the stack that runs on a host, and what its timer starts; none without it. :param gpu: of the site."""
        servers = sorted(one.unit for one in self.listening(gpu).values())
        return (*servers, METRICS_TIMER, METRICS_SERVICE) if servers else ()
