"""How `cargo xtask test` runs httpbin; read by gunicorn."""

import os
import signal
import threading

bind = "127.0.0.1:0"
workers = 1
worker_class = "gthread"
threads = 8
timeout = 60
graceful_timeout = 1
control_socket_disable = True


def when_ready(server):
    """The parent holds the other end of stdin: however it dies, the server ends too."""

    def stop_with_the_parent():
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_with_the_parent, daemon=True).start()
