"""The PostgreSQL backend, which starts the embedded server before it connects."""

from pathlib import Path
from typing import Any

from billing_site.database import base
from billing_site.embedded import socket_directory


class DatabaseWrapper(base.DatabaseWrapper):
    """Connects through the Unix socket of the server in the directory that `HOST` names."""

    def get_connection_params(self) -> dict[str, Any]:
        params: dict[str, Any] = super().get_connection_params()
        params["host"] = socket_directory(Path(self.settings_dict["HOST"]))
        return params
