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
        self.components = {part["id"]: part for part in self.config["components"]}

    def get(self, path, **options):
        return self.http.get(self.address + path, timeout=SECONDS, **options)

    def upload(self, path, name=None):
        """Send a file under a name; return its path there, or the answer if it is refused."""
        with path.open("rb") as file:
            files = {"files": (name or path.name, file)}
            answer = self.http.post(f"{self.address}/gradio_api/upload", files=files, timeout=SECONDS)
        return answer.json()[0] if answer.ok else answer

    def event(self, kind, target):
        """Return the number of an event of a component, by its element or its label, and its inputs."""
        for dependency in self.config["dependencies"]:
            for component, name in dependency["targets"]:
                props = self.components[component]["props"] if component is not None else {}
                if name == kind and target in (props.get("elem_id"), props.get("label")):
                    return dependency["id"], dependency["inputs"]
        raise KeyError((kind, target))

    def send(self, event, values=()):
        """Send an event with some of its inputs by position, the others as the page has them.

        Returns what it is answered: whether it was a success, and the values of the outputs.
        """
        number, inputs = event
        data = [self.components[part]["props"].get("value") for part in inputs]
        for position, value in dict(values).items():
            data[position] = value
        body = {"data": data, "fn_index": number, "session_hash": self.session, "event_data": None}
        self.http.post(f"{self.address}/gradio_api/queue/join", json=body, timeout=SECONDS).raise_for_status()
        deadline = time.monotonic() + SECONDS
        with self.get(f"/gradio_api/queue/data?session_hash={self.session}", stream=True) as stream:
            for line in stream.iter_lines():
                # The server says now and then that it lives, which would be for ever.
                if time.monotonic() > deadline:
                    raise TimeoutError
                message = json.loads(line[5:]) if line.startswith(b"data:") else {"msg": ""}
                if message["msg"] == "process_completed":
                    return message["success"], message["output"].get("data")

    def name_picture(self, label, path, name="x.png"):
        """Say that a file of the server is a picture; return what the page shows of it."""
        picture = {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}
        return self.send(self.event("upload", label), {1: picture})

    def drop(self, label, path, name=None):
        """Give a picture to the photo or a style; return what the page shows of it."""
        success, shown = self.name_picture(label, self.upload(path, name), name or path.name)
        assert success
        return shown

    def arrive(self):
        """Do what a browser does first; return what it is shown."""
        events = self.config["dependencies"]
        loads = [event for event in events if [kind for _, kind in event["targets"]] == ["load"]]
        return self.send(next((event["id"], event["inputs"]) for event in loads if event["inputs"]))[1]

    def paint(self, **settings):
        """Press Paint with settings by label; return the line about a mistake, `""` if there is none."""
        event = self.event("click", "paint")
        labels = [self.components[part]["props"].get("label") for part in event[1]]
        return self.send(event, {labels.index(label): value for label, value in settings.items()})[1][0]


def paint_together(address, count, photo, style, **settings):
    """Let browsers drop two pictures and press Paint at once; return what each was told."""

    def paint(number):
        client = Client(address)
        client.drop("Photo", photo, f"photo {number % 3}.png")
        client.drop("Style 1", style)
        return client.paint(**settings)

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(paint, range(count)))
