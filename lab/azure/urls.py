"""The urls that answers hold follow how the caller came: by a real host name (through the lab's proxy) or directly."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

BLOB_PREFIX = "/_blob/"


@dataclass(frozen=True)
class Urls:
    """Urls for one caller. ``direct`` is the plane's own base url where the caller used it, else None."""

    direct: str | None = None

    @classmethod
    def for_host(cls, host: str) -> Urls:
        """Take the Host header of a request."""
        name = host.rsplit(":", 1)[0].strip("[]")
        try:
            is_direct = name == "localhost" or ipaddress.ip_address(name).is_loopback
        except ValueError:
            is_direct = False
        return cls(f"http://{host}" if is_direct else None)

    @property
    def resource_manager(self) -> str:
        return self.direct or "https://management.azure.com"

    @property
    def login(self) -> str:
        return self.direct or "https://login.microsoftonline.com"

    @property
    def studio(self) -> str:
        return self.direct or "https://ml.azure.com"

    def machine_learning(self, location: str) -> str:
        """The regional data plane of Azure Machine Learning."""
        return self.direct or f"https://{location}.api.azureml.ms"

    def mlflow_tracking(self, location: str, workspace_id: str) -> str:
        """The tracking uri: plain http where reached directly, which the stock MLflow client takes."""
        if self.direct:
            return f"{self.direct}/mlflow/v1.0{workspace_id}"
        return f"azureml://{location}.api.azureml.ms/mlflow/v1.0{workspace_id}"

    def blob(self, account: str) -> str:
        """The blob endpoint of a storage account, with no slash at its end."""
        if self.direct:
            return f"{self.direct}{BLOB_PREFIX}{account}"
        return f"https://{account}.blob.core.windows.net"
