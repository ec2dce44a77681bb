"""Serve client.html and a kit to a browser, and write what it returns: python serve.py KIT OUTPUTS [--port N]

Then open the address that it prints, with ?provider=webgpu for the graphics card. Ctrl-C ends it.
"""

import argparse
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath

HERE = Path(__file__).parent


class Handler(SimpleHTTPRequestHandler):
    kit = outputs = Path()
    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def translate_path(self, path: str) -> str:
        """Files of the kit lie in the kit, all others beside this program."""
        head, *rest = PurePosixPath(super().translate_path(path)).relative_to(self.directory).parts or ("",)
        return str(self.kit.joinpath(*rest) if head == "kit" else HERE.joinpath(head, *rest))

    def do_PUT(self) -> None:
        """Write an output."""
        content = self.rfile.read(int(self.headers["Content-Length"]))
        (self.outputs / PurePosixPath(self.path).name).write_bytes(content)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def server(kit: Path, outputs: Path, port: int) -> ThreadingHTTPServer:
    """A server on this machine alone; port 0 takes any that is free."""
    outputs.mkdir(parents=True, exist_ok=True)
    handler = type("Served", (Handler,), {"kit": kit, "outputs": outputs})
    return ThreadingHTTPServer(("localhost", port), handler)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kit", type=Path)
    parser.add_argument("outputs", type=Path)
    parser.add_argument("--port", type=int, default=8000)
    given = parser.parse_args()
    with server(given.kit, given.outputs, given.port) as served:
        print(f"http://localhost:{served.server_port}/client.html", flush=True)
        served.serve_forever()


if __name__ == "__main__":
    main()
