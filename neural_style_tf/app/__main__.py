"""Start the page: `python -m neural_style_tf.app`, or `neural-style-tf-app`."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import re
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from neural_style_tf.app.guard import host_of
from neural_style_tf.errors import UserError, reason
from neural_style_tf.utils.console import Console

if TYPE_CHECKING:
    from neural_style_tf.app.requests import Place

HOST = "127.0.0.1"
FIRST_PORT, PORTS_TRIED = 7860, 20
USAGE_ERROR = 2
PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def main(argv: Sequence[str] | None = None) -> int:
    """Serve the page until Ctrl-C.

    Args:
        argv: Arguments without the program's name; default: those of the process.

    Returns:
        The exit code: 0, or 2 for a mistake of the user.
    """
    console = Console()
    arguments = make_parser().parse_args(argv)
    try:
        _check_gradio()
        hosts = ",".join(arguments.host).split(",") if arguments.host else []
        for name in hosts:
            _check_host(name)
        port = _free_port(arguments.port)
        output_dir = _writable(Path(arguments.output_dir).absolute())
        # Not before `--help` and the mistakes above are answered: it takes a moment.
        from neural_style_tf.weights.resolve import check_spec

        folder, trust = Path(arguments.weights_dir), arguments.trust_weights
        check_spec(arguments.weights, folder, trust=trust)
        from neural_style_tf.app.requests import Place

        place = Place(output_dir, arguments.weights, str(folder.absolute()), trust_weights=trust)
        _serve(
            place,
            port,
            browser=not arguments.no_browser,
            share=arguments.share,
            hosts=hosts,
            console=console,
        )
    except UserError as error:
        console.error(str(error))
        return USAGE_ERROR
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Return what reads the command's flags."""
    parser = argparse.ArgumentParser(
        prog="neural-style-tf-app", description="A page to paint on, in a browser on this machine."
    )
    parser.add_argument("--output_dir", default="output", metavar="FOLDER", help="of the paintings (output)")
    parser.add_argument(
        "--port", type=int, metavar="N", help=f"of the page; default: the first free one from {FIRST_PORT}"
    )
    parser.add_argument("--weights", default="auto", help="the network, as of the command line (auto)")
    parser.add_argument(
        "--weights_dir", default="weights", metavar="FOLDER", help="where weight files are (weights)"
    )
    parser.add_argument(
        "--trust_weights", action="store_true", help="also parse an unpublished weight file that you trust"
    )
    parser.add_argument(
        "--host",
        action="append",
        default=[],
        metavar="NAME",
        help="answer to this name as well, as of a proxy in front of the page; may be given again",
    )
    parser.add_argument("--no_browser", action="store_true", help="open no browser")
    parser.add_argument(
        "--share", action="store_true", help="make a public link, through a server of Gradio's makers"
    )
    return parser


def _check_gradio() -> None:
    if importlib.util.find_spec("gradio") is None:
        raise UserError('the page needs Gradio: pip install "neural-style-tf[app]"')


def _writable(folder: Path) -> Path:
    """Return the output folder, made if it was not there.

    Raises:
        UserError: It cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise UserError(
            f"--output_dir: cannot write in {str(folder)!r}: {error.strerror}; give another folder"
        ) from None


def _check_host(name: str) -> None:
    """Refuse what is no name in a browser's address bar.

    Raises:
        UserError: Likewise.
    """
    host = host_of(name)
    if host in ("0.0.0.0", "::") or not re.fullmatch(r"[\w.:-]+", host):
        raise UserError(
            f"--host is a name, or an address, that the browser is given, such as box.example, not {name!r}"
        )


def _free_port(asked: int | None) -> int:
    """Return a port that can be listened on.

    Raises:
        UserError: The one that is asked for cannot be, or none of the usual ones.
    """
    if asked is not None and not 0 < asked < 65536:
        raise UserError(f"--port must be from 1 to 65535, not {asked}")
    ports = range(FIRST_PORT, FIRST_PORT + PORTS_TRIED) if asked is None else [asked]
    for port in ports:
        with socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                one.bind((HOST, port))
                return port
    if asked is not None:
        raise UserError(f"--port: {asked} is in use, or not allowed: leave it out, or give another")
    raise UserError(f"the ports {ports[0]} to {ports[-1]} are all in use: give one with --port")


def _serve(
    place: Place, port: int, *, browser: bool, share: bool, hosts: Sequence[str], console: Console
) -> None:
    """Serve until a signal; a run that is being painted is saved then.

    Raises:
        UserError: The port was taken meanwhile.
    """
    ended = threading.Event()
    signals = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    for number in signals:
        signal.signal(number, lambda *_: ended.set())
    console.say("starting …")
    with tempfile.TemporaryDirectory(prefix="neural-style-tf-", ignore_cleanup_errors=True) as temporary:
        proxies = prepare_environment(os.environ, temporary, share=share)
        if share:
            _check_proxy()
        from neural_style_tf.app.page import Page

        page = Page(place, Path(temporary), environment=proxies)
        try:
            address = page.launch(HOST, port, browser=browser, share=share, hosts=hosts)
            console.say(f"the page is at {address} – end it with Ctrl-C; paintings go to {place.output_dir}")
            ended.wait()
            for number in signals:
                # A second one ends this process at once; the one that paints saves all the same.
                signal.signal(number, signal.SIG_DFL)
            console.say("saving …")
        except OSError:
            raise UserError(
                f"--port: {port} is in use, or not allowed: leave it out, or give another"
            ) from None
        finally:
            page.close()


def prepare_environment(
    environment: MutableMapping[str, str], temporary: str, *, share: bool = False
) -> dict[str, str]:
    """Set the variables that Gradio reads when it is imported.

    Args:
        environment: Of this process.
        temporary: Where uploads go.
        share: Whether a share link is asked for, from a server that only a proxy may reach.

    Returns:
        The proxies that are taken away: Gradio refuses some kinds. What paints downloads weights by them.
    """
    environment |= {
        "GRADIO_TEMP_DIR": temporary,
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_RUN_HISTORY": "False",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    for name in ("no_proxy", "NO_PROXY"):
        # Gradio asks its own server whether it is there, and a proxy would not know it.
        environment[name] = ",".join(filter(None, (environment.get(name), HOST, "localhost")))
    if share:
        return {}
    return {name: environment.pop(name) for name in list(environment) if name.lower() in PROXIES}


def _check_proxy() -> None:
    """Refuse a proxy that Gradio's library could not ask for a share link.

    Raises:
        UserError: Saying why.
    """
    import httpx

    try:
        httpx.Client().close()
    except (ValueError, ImportError, httpx.InvalidURL) as error:
        raise UserError(
            f"--share: the proxy in the environment cannot be used: {reason(error).rstrip('.')}; set "
            "ALL_PROXY, HTTPS_PROXY and HTTP_PROXY to http://HOST:PORT, or unset them"
        ) from None


if __name__ == "__main__":
    sys.exit(main())
