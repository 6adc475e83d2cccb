"""Run the services of compose.yaml without containers: Redis, two processes of a chat, and nginx.

Run `python run.py`, and open the address that it prints. End one of the two processes with `kill`:
the pages continue at the other. `redis-server` and `nginx` must be installed.
"""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
CHAT = HERE.parent / "chat_cluster.py"
NGINX = """
daemon off;
pid nginx.pid;
events {}
http {
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy;
    fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    include chat.conf;
}
"""


def path_of(program: str) -> str:
    # Debian's nginx is in /usr/sbin, which is not on the PATH of most users.
    path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
    return path or sys.exit(f"{program} is not installed: try `apt-get install {program}`")


def free_port(port: int = 0) -> int:
    """Return the port if it is free; for 0, a free port."""
    try:
        with socket.create_server(("127.0.0.1", port)) as server:
            number: int = server.getsockname()[1]
            return number
    except OSError:
        sys.exit(f"cannot use port {port}: choose another one with --port")


def start(stack: ExitStack, port: int, *command: object) -> int:
    """Start a program that ends with the stack; return its pid when it listens on the port."""
    # In a session of its own, as Ctrl+C would end all of them at the same time.
    process = subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.DEVNULL, start_new_session=True
    )
    stack.callback(stop, process)
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return process.pid
    sys.exit(f"{command[0]} ended with exit code {process.returncode}")


def stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def run(port: int, directory: Path, stack: ExitStack) -> None:
    programs = path_of("redis-server"), path_of("nginx")
    redis_port, *app_ports = [free_port() for _ in range(3)]
    addresses = [f"127.0.0.1:{app_port}" for app_port in app_ports]
    template = Template((HERE / "chat.conf.template").read_text())
    variables = {
        "PORT": f"127.0.0.1:{free_port(port)}",
        "APP_1": addresses[0],
        "APP_2": addresses[1],
    }
    (directory / "chat.conf").write_text(template.safe_substitute(variables))
    (directory / "nginx.conf").write_text(NGINX)

    redis = (programs[0], "--port", redis_port, "--bind", "127.0.0.1", "--dir", directory)
    start(stack, redis_port, *redis, "--save", "")
    start(stack, port, programs[1], "-e", "stderr", "-p", directory, "-c", "nginx.conf")
    for app_port in app_ports:
        url = f"redis://127.0.0.1:{redis_port}"
        pid = start(stack, app_port, sys.executable, CHAT, "--redis", url, "--port", app_port)
        print(f"process {pid}: http://127.0.0.1:{app_port}/")
    print(f"nginx: http://127.0.0.1:{port}/   (press Ctrl+C to stop)", flush=True)
    signal.pause()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Run Redis, two processes of a chat, and nginx.")
    parser.add_argument("--port", type=int, default=8080, help="nginx's port on 127.0.0.1")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with TemporaryDirectory() as directory, ExitStack() as stack:
        try:
            run(parser.parse_args().port, Path(directory), stack)
        except KeyboardInterrupt:
            print()
