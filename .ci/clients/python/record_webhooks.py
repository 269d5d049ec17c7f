"""Records webhooks: prints its URL, answers so many requests, and writes each as a line of JSON into a file."""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

path, count = Path(sys.argv[1]), int(sys.argv[2])
recorded = []


class Recorder(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        headers = {name.lower(): value for name, value in self.headers.items()}
        recorded.append(json.dumps({"headers": headers, "body": body}))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


with HTTPServer(("127.0.0.1", 0), Recorder) as server:
    server.timeout = 30
    print(f"http://127.0.0.1:{server.server_port}/", flush=True)
    while len(recorded) < count:
        server.handle_request()
path.write_text("\n".join(recorded) + "\n")
