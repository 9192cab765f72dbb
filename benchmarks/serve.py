"""The service under load, beside the offline predictor and a plain handler; the soak; the fuzzing.

python benchmarks/serve.py [load] [soak] [fuzz] [--photos 400] [--rounds 3] [--requests 20000] [--examples 99]
"""

import argparse
import base64
import io
import json
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from common import RESULTS, add_row, make_photo
from http_load import Call, Outcome, form, post, run_load
from PIL import Image

from threeages.inference.predictor import Predictor, load_predictor
from threeages.machine import OPENCV, list_versions

SERVE = RESULTS.with_name("serve.csv")
CLIENTS = 32
RARE = 0.25  # weight of what costs as much as dozens of photos, beside 10 of each photo
SEED = 0  # of the soak's order of requests
SETTLED = 2000  # requests of the soak after which its memory is first taken
LIBRARIES = ("fastapi", "uvicorn", *OPENCV)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "parts", nargs="*", choices=["load", "soak", "fuzz"], default=["load", "soak", "fuzz"]
    )
    parser.add_argument("--photos", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--examples", type=int, default=1000)
    args = parser.parse_args()
    if "load" in args.parts:
        measure_load(args.photos, args.rounds)
    if "soak" in args.parts:
        soak(args.requests)
    if "fuzz" in args.parts:
        fuzz(args.examples)


def measure_load(count: int, rounds: int) -> None:
    photos = [make_photo(i) for i in range(8)]
    predictor = load_predictor()
    raw = [Call(post("/v1/predict", photos[i % 8], "image/jpeg")) for i in range(count)]
    lone = raw[: max(count // 4, 20)]
    with tempfile.TemporaryDirectory() as name, service() as (ours, _), plain_service() as plain:
        paths = [Path(name) / f"{i}.jpg" for i in range(count)]
        for i, path in enumerate(paths):
            path.write_bytes(photos[i % 8])
        rates: dict[str, list[float]] = {}
        tails, lone_ms, offline_ms = [], [], []
        for _ in range(rounds + 1):  # the first warms everything up
            rates.setdefault("offline", []).append(offline_rate(predictor, paths))
            loaded = checked(run_load(ours, raw, CLIENTS))
            rates.setdefault("ours", []).append(count / loaded.wall)
            tails.append(loaded.quantile(0.99))
            for handler in ("/threads", "/async"):
                calls = [Call(plain_request(handler, photos[i % 8])) for i in range(count // 2)]
                outcome = checked(run_load(plain, calls, CLIENTS))
                rates.setdefault(handler, []).append(len(calls) / outcome.wall)
            offline_ms.append(offline_median(predictor, photos, len(lone)))
            lone_ms.append(checked(run_load(ours, lone, 1)).quantile(0.5))
            print({name: round(values[-1], 1) for name, values in rates.items()}, lone_ms[-1], offline_ms[-1])
    middle = {name: statistics.median(values[1:]) for name, values in rates.items()}
    details = f"{count} JPEGs of 640x480 with one face, median of {rounds} rounds in turn"
    what = f"throughput, {CLIENTS} clients"
    report(what, "images/s", middle["ours"], ("offline folder", middle["offline"]), details=details)
    for handler, words in (("/threads", "handler in threads"), ("/async", "handler in the loop")):
        report(
            f"{what}, {words}",
            "images/s",
            middle["ours"],
            (f"plain {words}", middle[handler]),
            details=details,
        )
    report(f"p99, {CLIENTS} clients", "ms", statistics.median(tails[1:]), details=details)
    ours_ms, theirs = statistics.median(lone_ms[1:]), statistics.median(offline_ms[1:])
    report("p50, one client", "ms", ours_ms, ("offline, one photo", theirs), details=details)


def soak(count: int) -> None:
    kinds = make_calls(load_predictor())
    rng = random.Random(SEED)
    names, weights = zip(*((name, weight) for name, (weight, _) in kinds.items()), strict=True)
    calls = [kinds[name][1] for name in rng.choices(names, weights, k=count)]
    with service() as (address, root):
        levels: dict[int, float] = {}
        settled = min(SETTLED, count // 2)

        def watch(done: int) -> None:
            if done == settled or done % 1000 == 0:
                levels[done] = memory(root)
                print(f"{done:>6} answered, {levels[done]:.0f} MiB", flush=True)

        outcome = run_load(address, calls, CLIENTS, watch)
        time.sleep(1)
        end = memory(root)
        figures = urllib.request.urlopen(f"{address}/metrics", timeout=30).read().decode()
    for fault in outcome.faults[:20]:
        print("FAULT", fault)
    restarts = next(
        line.split()[1] for line in figures.splitlines() if line.startswith("threeages_decoder_rest")
    )
    statuses = ", ".join(f"{status}: {n}" for status, n in sorted(outcome.statuses.items()))
    details = f"{count} requests of {len(kinds)} kinds, seed {SEED}, {CLIENTS} at once, "
    details += f"in {outcome.wall:.0f} s; {statuses}"
    report("soak: wrong or lost answers", "requests", len(outcome.faults), details=details)
    report("soak: decoders that died", "processes", float(restarts), details=details)
    first = levels[settled]
    report("soak: memory at the end", "MiB", end, (f"after {settled} requests", first), details=details)


def fuzz(examples: int) -> None:
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis.errors import Unsatisfiable
    from schemathesis.core.result import Err

    counts: dict[int, int] = {}
    with service() as (address, _):
        schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
        modes = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
        for result in schema.get_all_operations():
            if isinstance(result, Err):
                raise SystemExit(f"The schema cannot be read: {result.err()}")
            operation = result.ok()
            for mode in modes:

                @settings(
                    max_examples=examples, deadline=None, database=None, derandomize=True,
                    suppress_health_check=list(HealthCheck), phases=[Phase.generate],
                )  # fmt: skip
                @given(case=operation.as_strategy(generation_mode=mode))
                def send(case: schemathesis.Case[Any]) -> None:
                    status = case.call().status_code
                    counts[status] = counts.get(status, 0) + 1

                try:
                    send()
                except (schemathesis.errors.SchemathesisError, Unsatisfiable) as error:
                    print(operation.label, mode.value, type(error).__name__)  # nothing to negate there
    statuses = ", ".join(f"{status}: {n}" for status, n in sorted(counts.items()))
    details = f"{sum(counts.values())} requests made from the schema; {statuses}"
    failed = sum(n for status, n in counts.items() if status >= 500)
    versions = {"schemathesis": schemathesis.__version__}
    add_row(
        "serve", "fuzz: answers of 5xx", "requests", failed, details=details, versions=versions, results=SERVE
    )


def make_calls(predictor: Predictor) -> dict[str, tuple[float, Call]]:
    """Kinds of requests by name: how often, and the request with the answer it must get."""
    good = {f"photo {i}": make_photo(i) for i in range(8)}
    images = good | make_odd_images()
    offline = {name: [r.to_dict() for r in predictor.predict([data])] for name, data in images.items()}
    kinds: dict[str, tuple[float, Call]] = {}
    for name, data in images.items():
        if data:
            call = Call(post("/v1/predict", data, "image/jpeg"), 200, offline[name], name)
            kinds[name] = (10 if name in good else 2, call)
    mixed = list(images)
    body, kind = form([images[name] for name in mixed])
    expected = [record for name in mixed for record in offline[name]]
    kinds["all in a form"] = (RARE, Call(post("/v1/predict", body, kind), 200, expected, "form"))
    as_json = {"images": [{"data": base64.b64encode(images[name]).decode()} for name in mixed]}
    text = json.dumps(as_json).encode()
    kinds["all as JSON"] = (RARE, Call(post("/v1/predict", text, "application/json"), 200, expected, "json"))
    whole = [r.to_dict() for r in Predictor(predictor.classifier.model, None).predict([good["photo 0"]])]
    path = "/v1/predict?detect=false"
    kinds["whole"] = (2, Call(post(path, good["photo 0"], "image/jpeg"), 200, whole, "whole"))
    for name, status, raw in make_refused(good["photo 0"]):
        kinds[name] = (RARE if name in {"occlusion", "too large"} else 1, Call(raw, status, name=name))
    return kinds


def make_refused(photo: bytes) -> Iterator[tuple[str, int, bytes]]:
    yield "no body", 422, post("/v1/predict", b"", "image/png")
    yield "broken JSON", 422, post("/v1/predict", b"{" * 500, "application/json")
    yield "deep JSON", 422, post("/v1/predict", b"[" * 100_000, "application/json")
    yield "not base64", 422, post("/v1/predict", b'{"images": [{"data": "?"}]}', "application/json")
    yield "no boundary", 400, post("/v1/predict", photo, "multipart/form-data")
    yield "broken form", 400, post("/v1/predict", b"\0" * 999, "multipart/form-data; boundary=x")
    yield "too many files", 400, post("/v1/predict", *form([b"x"] * 40))
    yield "too large", 413, post("/v1/predict", bytes(33 * 2**20), "image/png")
    yield "text", 415, post("/v1/predict", b"hello", "text/plain")
    yield "wrong method", 405, post("/v1/predict", b"", "image/png", method="PUT")
    yield "wrong path", 404, post("/v2/predict", photo, "image/jpeg")
    yield "wrong host", 421, post("/v1/predict", photo, "image/jpeg", host="evil.example")
    yield "health", 200, post("/healthz", b"", "text/plain", method="GET")
    yield "metrics", 200, post("/metrics", b"", "text/plain", method="GET")
    yield "occlusion", 200, post("/v1/occlusion", photo, "image/jpeg")


def make_odd_images() -> dict[str, bytes]:
    """Images that are damaged, hostile or rare."""
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (300, 300, 3), dtype=np.uint8))
    jpeg, png = make_photo(0), encode(noise, "PNG")
    frames = [Image.new("RGB", (120, 90), (40 * i, 90, 90)) for i in range(5)]
    animated = io.BytesIO()
    frames[0].save(animated, "GIF", save_all=True, append_images=frames[1:])
    large = encode(noise.resize((4000, 3000)), "JPEG")
    claims = png[:16] + (60_000).to_bytes(4) * 2 + png[24:]  # the header claims 3,600 megapixels
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = io.BytesIO()
    with Image.open(io.BytesIO(jpeg)) as image:
        image.rotate(90, expand=True).save(turned, "JPEG", exif=exif)
    return {
        "empty": b"",
        "text": b"this is a text file",
        "truncated": jpeg[: len(jpeg) // 2],
        "corrupt": png[:3000] + bytes(512) + png[3512:],
        "one pixel": encode(Image.new("RGB", (1, 1)), "PNG"),
        "bomb": claims,
        "noise": png,
        "12 megapixels": large,
        "16 bit": encode(Image.fromarray(rng.integers(0, 2**16, (90, 90), dtype=np.uint16)), "PNG"),
        "CMYK": encode(noise.convert("CMYK"), "JPEG"),
        "palette": encode(noise.convert("P"), "PNG"),
        "grey and alpha": encode(noise.convert("LA"), "PNG"),
        "animated": animated.getvalue(),
        "turned by EXIF": turned.getvalue(),
    }


def encode(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def plain_request(path: str, photo: bytes) -> bytes:
    body, kind = form([photo])
    return post(path, body.replace(b'name="images"', b'name="image"', 1), kind)


def offline_rate(predictor: Predictor, paths: list[Path]) -> float:
    start = time.perf_counter()
    assert all(record.box for record in predictor.predict(paths))
    return len(paths) / (time.perf_counter() - start)


def offline_median(predictor: Predictor, photos: list[bytes], count: int) -> float:
    """Milliseconds of one photo at a time, without the threads that a folder has."""
    seconds = []
    for i in range(count):
        start = time.perf_counter()
        prepared = predictor.preparer.prepare("", photos[i % len(photos)])
        list(predictor.classifier.answer([prepared]))
        seconds.append(time.perf_counter() - start)
    return 1e3 * statistics.median(seconds)


def checked(outcome: Outcome) -> Outcome:
    if outcome.faults:
        raise SystemExit(f"{len(outcome.faults)} faults, such as {outcome.faults[0]}")
    return outcome


@contextmanager
def service() -> Iterator[tuple[str, psutil.Process]]:
    command = [str(Path(sys.executable).with_name("threeages")), "serve", "--port", "0"]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stderr=log, text=True)
        try:
            while True:
                log.seek(0)
                if "Listening on " in (text := log.read()):
                    break
                if process.poll() is not None:
                    raise SystemExit(text)
                time.sleep(0.1)
            yield text.split("Listening on ")[1].split()[0], psutil.Process(process.pid)
            assert process.poll() is None, "the service died"
        finally:
            process.terminate()
            process.wait(60)


@contextmanager
def plain_service() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, str(Path(__file__).with_name("plain_handler.py")), str(port)])
    try:
        for _ in range(600):
            time.sleep(0.1)
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


def memory(root: psutil.Process) -> float:
    """MiB of the service and its processes that are theirs alone."""
    return float(sum(p.memory_full_info().uss for p in [root, *root.children(recursive=True)])) / 2**20


def report(
    measure: str, unit: str, ours: float, other: tuple[str, float] | None = None, *, details: str
) -> None:
    versions = list_versions(LIBRARIES)
    ratio = ours / other[1] if other else None
    add_row(
        "serve",
        measure,
        unit,
        ours,
        other=other,
        ratio=ratio,
        details=details,
        versions=versions,
        results=SERVE,
    )


if __name__ == "__main__":
    main()
