"""Prefect's API on a socket that is bound already: nobody can take its port in between.

Run as a module, with the socket's file descriptor as its argument.
"""

import socket
import sys


def main() -> None:
    """Serve until a signal ends it; says nothing but errors."""
    import uvicorn

    # uvicorn's own `--fd` takes any socket for a Unix one, and leaves Nagle's delay on.
    held = socket.socket(fileno=int(sys.argv[1]))
    config = uvicorn.Config(
        "prefect.server.api.server:create_app", factory=True, log_level="error"
    )
    uvicorn.Server(config).run(sockets=[held])


if __name__ == "__main__":
    main()
