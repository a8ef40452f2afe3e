"""Browsers without a screen: what the page's own script sends, by plain HTTP."""

import concurrent.futures
import json
import time
import uuid

import requests

SECONDS = 120


class Client:
    """One browser."""

    def __init__(self, address):
        self.address = address.rstrip("/")
        self.http = requests.Session()
        self.http.trust_env = False
        self.session = uuid.uuid4().hex[:11]
        self.config = self.get("/config").json()
        self.components = {one["id"]: one for one in self.config["components"]}

    def get(self, path, **options):
        return self.http.get(self.address + path, timeout=SECONDS, **options)

    def upload(self, path, name=None):
        """Send a file under a name; return its path there, or the answer if it is refused."""
        with path.open("rb") as file:
            answer = self.http.post(
                f"{self.address}/gradio_api/upload",
                files={"files": (name or path.name, file)},
                timeout=SECONDS,
            )
        return answer.json()[0] if answer.ok else answer

    def event(self, kind, *, target=None, label=None):
        """Return the number of an event of a component, by its element or its label, and its inputs."""
        for dependency in self.config["dependencies"]:
            for component, name in dependency["targets"]:
                props = self.components[component]["props"] if component is not None else {}
                if name == kind and (
                    (target and props.get("elem_id") == target) or (label and props.get("label") == label)
                ):
                    return dependency["id"], dependency["inputs"]
        raise KeyError((kind, target, label))

    def send(self, event, values):
        """Send an event and return what comes back.

        Args:
            event: From `event`.
            values: Position among its inputs → value; the others are as the page has them.
        """
        number, inputs = event
        data = [self.components[one]["props"].get("value") for one in inputs]
        for position, value in values.items():
            data[position] = value
        body = {"data": data, "fn_index": number, "session_hash": self.session, "event_data": None}
        self.http.post(f"{self.address}/gradio_api/queue/join", json=body, timeout=SECONDS).raise_for_status()
        url = f"{self.address}/gradio_api/queue/data?session_hash={self.session}"
        deadline = time.monotonic() + SECONDS
        with self.http.get(url, stream=True, timeout=SECONDS) as stream:
            for line in stream.iter_lines():
                # The server says now and then that it lives, which would be for ever.
                if time.monotonic() > deadline:
                    raise TimeoutError
                if line.startswith(b"data:"):
                    message = json.loads(line[5:])
                    if message["msg"] == "process_completed":
                        return message

    def drop(self, label, path, name=None):
        """Give a picture to the photo or a style; return what the page says about it, `""` if nothing."""
        there = self.upload(path, name)
        picture = {"path": there, "orig_name": name or path.name, "meta": {"_type": "gradio.FileData"}}
        return self.send(self.event("upload", label=label), {1: picture})

    def arrive(self):
        """Do what a browser does first; return what comes back."""
        events = self.config["dependencies"]
        loads = [one for one in events if any(kind == "load" for _, kind in one["targets"]) and one["inputs"]]
        return self.send((loads[0]["id"], loads[0]["inputs"]), {})

    def paint(self, **settings):
        """Press Paint with settings by label; return the line about a mistake, `""` if there is none."""
        event = self.event("click", target="paint")
        labels = [self.components[one]["props"].get("label") for one in event[1]]
        answer = self.send(event, {labels.index(label): value for label, value in settings.items()})
        return answer["output"]["data"][0]


def paint_together(address, count, photo, style, **settings):
    """Let browsers drop two pictures and press Paint at once; return what each was told."""

    def one(number):
        client = Client(address)
        client.drop("Photo", photo, f"photo {number % 3}.png")
        client.drop("Style 1", style)
        return client.paint(**settings)

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))
