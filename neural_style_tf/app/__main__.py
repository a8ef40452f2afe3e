"""Start the page: `python -m neural_style_tf.app`, or `neural-style-tf-app`."""

from __future__ import annotations

import argparse
import errno
import functools
import importlib.util
import ipaddress
import os
import re
import secrets
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import MutableMapping, Sequence
from pathlib import Path

from neural_style_tf.config.schema import Job
from neural_style_tf.errors import USAGE_ERROR, UserError, reason
from neural_style_tf.utils.console import Console

HOST = "127.0.0.1"
PROXIES = ("http_proxy", "https_proxy", "all_proxy")
TOKEN = "NEURAL_STYLE_TF_TOKEN"
"""Environment variable with the token that each request must have."""
SHORTEST_TOKEN = 16


def main(argv: Sequence[str] | None = None) -> int:
    """Serve the page until Ctrl-C; return the exit code: 0, or 2 after a mistake of the user."""
    console = Console()
    arguments = make_parser().parse_args(argv)
    try:
        base, hosts = _checked(arguments)
        token = find_token(os.environ, needed=bool(hosts) or arguments.share or arguments.listen != HOST)
        _serve_page(base, hosts, token, arguments, console)
    except UserError as error:
        console.error(str(error))
        return USAGE_ERROR
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command's flags."""
    parser = argparse.ArgumentParser(
        prog="neural-style-tf-app", description="A page to paint on, in a browser on this machine."
    )
    parser.add_argument("--output_dir", default="output", metavar="FOLDER", help="of the paintings (output)")
    parser.add_argument(
        "--port", type=int, metavar="N", help="of the page; default: the first free one from 7860"
    )
    parser.add_argument("--weights", default="auto", help="the network, as of the command line (auto)")
    parser.add_argument("--network", default="auto", help="vgg19, vgg16, or auto: as --weights has it (auto)")
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
        help="answer to this name as well, as of a proxy in front of the page; may be given again; needs the "
        f"token that is printed, or that the environment variable {TOKEN} has",
    )
    parser.add_argument(
        "--listen",
        default=HOST,
        metavar="ADDRESS",
        help=f"listen at this IPv4 address, such as 0.0.0.0 in a container ({HOST}); needs the token, too",
    )
    parser.add_argument("--no_browser", action="store_true", help="open no browser")
    parser.add_argument(
        "--share", action="store_true", help="make a public link, through a server of Gradio's makers"
    )
    return parser


def _checked(arguments: argparse.Namespace) -> tuple[Job, list[str]]:
    """Check the flags before Gradio is imported; raise `UserError` for a mistake.

    Returns:
        A `Job` with the output folder and the weights of all runs, and the host names of `--host`.
    """
    if importlib.util.find_spec("gradio") is None:
        raise UserError('the page needs Gradio: pip install "neural-style-tf[app]"')
    # These imports take a moment, so they come after `--help`.
    from neural_style_tf.app.guard import host_of
    from neural_style_tf.weights.resolve import check_spec

    hosts = [name for names in arguments.host for name in names.split(",")]
    for name in hosts:
        if host_of(name) in ("0.0.0.0", "::") or not re.fullmatch(r"[\w.:-]+", host_of(name)):
            raise UserError(
                "--host is a name, or an address, that the browser is given, such as box.example, not "
                f"{name!r}"
            )
    try:
        ipaddress.IPv4Address(arguments.listen)
    except ValueError:
        raise UserError(
            f"--listen must be an IPv4 address, such as 0.0.0.0, not {arguments.listen!r}"
        ) from None
    _check_address(arguments.listen, arguments.port)
    folder = Path(arguments.output_dir).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"--output_dir: cannot write in {str(folder)!r}: {error.strerror}; give another folder"
        ) from None
    weights_dir = Path(arguments.weights_dir).absolute()
    check_spec(arguments.weights, weights_dir, network=arguments.network, trust=arguments.trust_weights)
    base = Job(
        output_dir=str(folder),
        weights=arguments.weights,
        network=arguments.network,
        weights_dir=str(weights_dir),
        trust_weights=arguments.trust_weights,
    )
    return base, hosts


def _check_address(listen: str, port: int | None) -> None:
    """Raise `UserError` if the server cannot listen there; for None, Gradio looks for a free port itself."""
    if port is not None and not 0 < port < 65536:
        raise UserError(f"--port must be from 1 to 65535, not {port}")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listen, port or 0))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise UserError(f"--listen: {listen} is not an address of this machine") from None
            if port is not None:
                raise UserError(
                    f"--port: {port} is in use, or not allowed: leave it out, or give another"
                ) from None


def find_token(environment: MutableMapping[str, str], *, needed: bool) -> str:
    """Remove the token from `environment`, and return it; if there is none, a new one if `needed`, or `""`.

    Raise `UserError` if it is too short, or cannot be sent in a header and in an address.
    """
    token = environment.pop(TOKEN, "")
    if token and not re.fullmatch(rf"[\w.~-]{{{SHORTEST_TOKEN},}}", token, re.ASCII):
        raise UserError(
            f"{TOKEN} must have at least {SHORTEST_TOKEN} letters, digits and signs of -._~; without it each "
            "start makes a new one"
        )
    return token or (secrets.token_urlsafe(32) if needed else "")


def _serve_page(
    base: Job, hosts: Sequence[str], token: str, arguments: argparse.Namespace, console: Console
) -> None:
    """Serve the page until a signal comes, then save the run that is being painted."""
    ended = threading.Event()
    signals = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    for number in signals:
        signal.signal(number, lambda *_: ended.set())
    console.say("starting …")
    with tempfile.TemporaryDirectory(prefix="neural-style-tf-", ignore_cleanup_errors=True) as temporary:
        proxies = prepare_environment(os.environ, temporary, share=arguments.share)
        if arguments.share:
            _check_proxy()
        from neural_style_tf.app.gallery import PAINT_FURTHER
        from neural_style_tf.app.page import Page
        from neural_style_tf.app.queue import RunQueue
        from neural_style_tf.app.requests import check_fits
        from neural_style_tf.jobs.painter import Painter

        painter = functools.partial(Painter, go_on=PAINT_FURTHER)
        page = Page(base, Path(temporary), lambda: RunQueue(painter, check_fits, environment=proxies))
        try:
            address = page.launch(
                arguments.port,
                browser=not arguments.no_browser,
                share=arguments.share,
                hosts=hosts,
                listen=arguments.listen,
                token=token,
            )
            console.say(f"the page is at {address} – end it with Ctrl-C; paintings go to {base.output_dir}")
            ended.wait()
            for number in signals:
                # A second signal ends this process at once; the process that paints still saves its run.
                signal.signal(number, signal.SIG_DFL)
            console.say("saving …")
        except OSError:
            raise UserError("there is no free port: give another one with --port") from None
        finally:
            page.close()


def prepare_environment(
    environment: MutableMapping[str, str], temporary: str, *, share: bool = False
) -> dict[str, str]:
    """Set the variables that Gradio reads when it is imported, such as the folder for uploads.

    Proxies are removed from `environment`, since Gradio refuses some kinds, and returned: the process that
    paints needs them to download weights. With `share` they are kept, since the server of share links may be
    reachable only through a proxy; then the returned dict is empty.
    """
    environment |= {
        "GRADIO_TEMP_DIR": temporary,
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_RUN_HISTORY": "False",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    for name in ("no_proxy", "NO_PROXY"):
        # Gradio sends a request to its own server, which a proxy could not reach.
        environment[name] = ",".join(filter(None, (environment.get(name), HOST, "localhost")))
    if share:
        return {}
    return {name: environment.pop(name) for name in list(environment) if name.lower() in PROXIES}


def _check_proxy() -> None:
    """Raise `UserError` if Gradio could not request a share link through the proxy of the environment."""
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
