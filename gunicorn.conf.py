"""How gunicorn runs each of the three apps; read from the working directory by itself."""

import atexit
import ctypes
import gc
import json
import os
import re
import shutil
import sys
import tempfile
import threading
from pathlib import Path

complaints = []


def setting(name, usual):
    """Returns a variable, or the text of the file that NAME_FILE names; empty, the usual value."""
    if path := os.environ.get(f"{name}_FILE"):
        try:
            return Path(path).read_text().strip() or usual
        except (OSError, UnicodeDecodeError) as error:
            complaints.append(f"{name}_FILE can't be read: {error}")
    return os.environ.get(name) or usual


def number(name, usual, least=0):
    """Returns the whole number that a setting holds."""
    given = setting(name, usual)
    if given.isascii() and given.isdigit() and int(given) >= least:
        return int(given)
    complaints.append(f"{name}={given} must be a whole number of {least} or more")
    return least


def bind_address():
    """Returns where to listen, by BIND_HOST and PORT; IPv6 wants brackets."""
    host, port = setting("BIND_HOST", "127.0.0.1").strip("[]"), number("PORT", "8000", least=1)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


bind = bind_address()
worker_class = "chassis.worker.LaneWorker"
workers = number("WEB_WORKERS", "2", least=1)
threads = number("WEB_THREADS", "8", least=1)
graceful_timeout = number("WEB_GRACEFUL_SECONDS", "20")
max_requests = number("WEB_MAX_REQUESTS", "0")
if complaints:
    sys.exit("; ".join(complaints))
timeout = 30
keepalive = 75  # above a proxy's 60 s, so that the proxy is the one to close
max_requests_jitter = max_requests // 10
limit_request_line = 8190
limit_request_fields = 64
# No peer sets the WSGI environment: what proxies say is read in one place, by TRUSTED_PROXIES.
forwarded_allow_ips = forwarder_headers = ""
secure_scheme_headers = {}
accesslog = None  # each app logs its requests itself, as JSON
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK | os.X_OK) else None  # noqa: S108  # nosec B108
# On by default, and a second service of the same user would take the first one's over.
control_socket_disable = True

MAX_HEAD_BYTES = 32 * 1024  # as large as nginx in front takes one
MAX_REST_BYTES = 64 * 1024  # of a body that nobody read
MAX_LINGERING, LINGER_SECONDS, MAX_LINGER_BYTES = 64, 5.0, 64 * 1024 * 1024

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of glibc's malloc.h

logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "root": {"level": "INFO", "handlers": ["stdout"]},
    "loggers": {
        "gunicorn.error": {"level": "INFO", "handlers": ["stdout"], "propagate": False},
    },
    "handlers": {
        "stdout": {
            "class": "logging.StreamHandler",
            "formatter": "json",
            "stream": "ext://sys.stdout",
        },
    },
    "formatters": {"json": {"()": "chassis.telemetry.json_formatter", "service": "gunicorn"}},
}


METRICS_FILE = re.compile(r"(counter|gauge_[a-z]+|histogram|summary)_(\d+|ended)\.(db|part)")


def metrics_directory():
    """Returns the directory in which this server's workers share their metrics.

    Those of its last run are gone. Nothing else is: the setting may name anything by mistake.
    """
    if given := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        folder = Path(given)
        folder.mkdir(parents=True, exist_ok=True)
        for each in (each for each in folder.iterdir() if METRICS_FILE.fullmatch(each.name)):
            each.unlink()
        return given
    made = tempfile.mkdtemp(prefix="footfall-metrics-")
    master = os.getpid()
    atexit.register(lambda: os.getpid() == master and shutil.rmtree(made, ignore_errors=True))
    return made


# Before any app imports prometheus_client, and once: a reload reads this file again.
if os.environ.get("FOOTFALL_METRICS_OWNER") != str(os.getpid()):
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = metrics_directory()
    os.environ["FOOTFALL_METRICS_OWNER"] = str(os.getpid())


def child_exit(server, _worker):
    from chassis.worker_metrics import fold_ended

    try:
        fold_ended(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
    except Exception:  # it would end the server
        server.log.exception("the metrics of a worker that ended could not be kept")


def post_worker_init(worker):
    collect_garbage_rarely()
    keep_freed_memory()
    close_aside_of_the_main_loop()
    close_after_unread_bodies()
    refuse_as_problems()
    bound_heads()


def collect_garbage_rarely():
    """Leaves the app itself out of collections, and a batch of events uninterrupted by them.

    By default one runs for every 700 objects made: reading a thousand events then costs
    five times as much. Up to some 10 MB of garbage in circles wait for the next one.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)


def keep_freed_memory():
    """Lets the worker use again what a report freed, up to 64 MiB, before the kernel has it.

    By default each large array is fresh pages, which the kernel zeroes one by one: half of
    a funnel's time. One arena for all threads, so that this is kept once. A libc other than
    glibc goes its own way.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(M_MMAP_THRESHOLD, 32 << 20)
        mallopt(M_TRIM_THRESHOLD, 64 << 20)
        mallopt(M_ARENA_MAX, 1)


def refuse_as_problems():
    """Gives what gunicorn itself refuses (broken HTTP) the shape of all other errors."""
    from gunicorn import util

    def write_problem(connection, status, reason, _detail):
        # 501 is gunicorn's word for a transfer coding it doesn't know: the sender's mistake,
        # and no input may look like a fault of ours.
        status = 400 if status == 501 else status
        detail = "The request could not be read as HTTP."
        problem = {"type": "about:blank", "title": reason, "status": status, "detail": detail}
        body = json.dumps({**problem, "request_id": None})
        head = (
            f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\n"
            f"Content-Type: application/problem+json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        util.write_nonblock(connection, (head + body).encode("latin1"))

    util.write_error = write_problem


def bound_heads():
    """Bounds what is read in search of a head's end: each piece that comes is a search anew.

    By default 64 fields of 8 KiB each: byte by byte, minutes of work for one request.
    """
    from gunicorn.http.message import Message

    Message.max_buffer_headers = property(lambda _: MAX_HEAD_BYTES, lambda _message, _value: None)


def close_aside_of_the_main_loop():
    """Lets a thread of its own wait for clients that keep a closed connection open.

    gthread waits on its main loop, up to 2 s for each: ten such sockets would stall a
    worker for 20 s. And it reads 64 KiB of what still comes: closed on more than that, a
    client that is sending would see a reset in place of its answer. Beyond so many at a
    time, connections are closed at once.
    """
    from gunicorn import util
    from gunicorn.workers.gthread import TConn

    close = TConn.close
    places = threading.BoundedSemaphore(MAX_LINGERING)

    def linger(connection):
        try:
            connection.sock.setblocking(True)
            util.close_graceful(connection.sock, LINGER_SECONDS, MAX_LINGER_BYTES)
        finally:
            places.release()

    def close_aside(connection, graceful=False):
        if graceful and places.acquire(blocking=False):
            threading.Thread(target=linger, args=(connection,), daemon=True).start()
        else:
            close(connection)

    TConn.close = close_aside


def close_after_unread_bodies():
    """Says `Connection: close` in an answer that is made before the body was read to its end.

    By default gunicorn says keep-alive, and closes all the same once 64 KiB of the rest have
    been read or 5 s have passed. What has come of a short rest is read, and the connection kept.
    """
    from gunicorn.http import wsgi

    send_headers = wsgi.Response.send_headers

    def send_headers_or_close(response):
        if not (response.headers_sent or is_read(response.req.body, response.sock)):
            response.force_close()
        send_headers(response)

    wsgi.Response.send_headers = send_headers_or_close


def is_read(body, connection):
    """Returns whether the body has ended; reads a short rest that has come already."""
    waits = connection.gettimeout()
    connection.settimeout(0)
    try:
        rest = 0
        while not body.failed and rest < MAX_REST_BYTES:
            if not (data := body.read(4096)):
                return True
            rest += len(data)
    except Exception:  # noqa: S110  # nosec B110  # it has not come, or can't be read as a body
        pass
    finally:
        connection.settimeout(waits)
    return False
