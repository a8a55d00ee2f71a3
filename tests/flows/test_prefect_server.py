"""A run's own Prefect server is on the port that the run was told."""

import socket
from urllib.parse import urlsplit

import httpx
import pytest

from flows.prefect_server import PrefectServer


def test_nobody_can_take_the_port_of_a_temporary_server(tmp_path):
    server = PrefectServer.temporary(tmp_path / "logs/server.log")
    try:
        port = urlsplit(server.url).port
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))  # though nothing answers there yet
        server.wait()
    finally:
        server.stop()
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{server.url}/health")
