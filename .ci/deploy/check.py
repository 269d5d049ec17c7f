"""Checks in deploy/ what no schema says: that one part fits the other, and that the binary takes what it is given.

    check.py APP    with the binary
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import yaml

KUBERNETES = Path("deploy/kubernetes")
SYSTEMD = Path("deploy/systemd")
# Seconds that a process has after its own grace, before it is killed.
MARGIN_SECS = 5

problems: list[str] = []


def check(holds: bool, problem: str) -> None:
    if not holds:
        problems.append(problem)


def seconds(duration: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(s|min|m|h)", duration).groups()
    return int(number) * {"s": 1, "m": 60, "min": 60, "h": 3600}[unit]


def options(words: list[str]) -> dict[str, str]:
    """The options of a command line, written as --name=value or --name value."""
    return dict(re.findall(r"(--[a-z-]+)[= ]([^ ]+)", " ".join(words)))


def check_command(app: str, where: str, words: list[str], grace_secs: int | None) -> None:
    """The binary knows these arguments, and drains in time if it is given a time to be killed after."""
    # What comes before --help is read first, and refused where it is unknown.
    answer = subprocess.run([app, *words, "--help"], capture_output=True, text=True)
    check(answer.returncode == 0, f"{where}: app refuses {shlex.join(words)}: {answer.stderr.strip()}")
    if grace_secs is None:
        return
    given = options(words)
    names = {"serve": ["--drain-delay", "--serve-grace"], "work": ["--grace"]}[words[0]]
    for name in names:
        check(name in given, f"{where}: {name} is not named, so nothing here says how long it drains")
    drains = sum(seconds(given.get(name, "0s")) for name in names)
    check(
        drains + MARGIN_SECS == grace_secs,
        f"{where}: it drains for {drains} s and is killed after {grace_secs} s: that should be {MARGIN_SECS} s more",
    )


def check_settings(where: str, names: list[str]) -> None:
    documented = Path(".env.example").read_text()
    for name in names:
        check(f"#{name}=" in documented, f"{where}: .env.example knows no {name}")


def documents(path: Path) -> list[dict]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def check_kustomization(folder: Path) -> None:
    [kustomization] = documents(folder / "kustomization.yaml")
    named = {(folder / name).resolve() for name in kustomization["resources"]}
    for path in named:
        check(path.exists(), f"{folder}: there is no {path}")
    here = {path.resolve() for path in folder.glob("*.yaml") if path.name != "kustomization.yaml"}
    for path in here - named:
        check(False, f"{folder}/kustomization.yaml does not name {path.name}")


def check_pod(app: str, where: str, spec: dict, labels: dict) -> None:
    [container] = spec["containers"]
    check(spec["securityContext"]["runAsNonRoot"], f"{where}: it may run as root")
    security = container["securityContext"]
    check(
        security["readOnlyRootFilesystem"] and security["capabilities"] == {"drop": ["ALL"]},
        f"{where}: it can write its files, or has capabilities",
    )
    is_server = container["args"][0] != "migrate"
    check_command(app, where, container["args"], spec["terminationGracePeriodSeconds"] if is_server else None)
    check_settings(where, [variable["name"] for variable in container["env"]])
    ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
    listens = {int(value.rsplit(":", 1)[1]) for name, value in options(container["args"]).items() if "listen" in name}
    check(listens == set(ports.values()), f"{where}: it listens on {listens}, and says {ports}")
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"]:
        if is_server:
            check(container[probe]["httpGet"]["port"] in ports, f"{where}: {probe} asks a port that is not there")
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    check(set(mounted) == {volume["name"] for volume in spec["volumes"]}, f"{where}: volumes and mounts differ")
    for variable in container["env"]:
        folder = str(Path(variable["value"]).parent)
        check(folder in mounted.values(), f"{where}: {variable['name']} is in no folder that is mounted")
        [volume] = [volume for volume in spec["volumes"] if mounted[volume["name"]] == folder]
        items = [item["path"] for item in volume["secret"].get("items", [])]
        check(not items or Path(variable["value"]).name in items, f"{where}: {variable['name']} is not mounted")


def check_kubernetes(app: str) -> None:
    check_kustomization(KUBERNETES)
    check_kustomization(KUBERNETES / "worker-scaling")
    everything = [
        document
        for path in sorted(KUBERNETES.rglob("*.yaml"))
        if path.name != "kustomization.yaml"
        for document in documents(path)
    ]
    workloads = {}
    for document in everything:
        where = f"{document['kind']} {document['metadata']['name']}"
        if document["kind"] in ("Deployment", "Job"):
            template = document["spec"]["template"]
            labels = template["metadata"]["labels"]
            workloads[document["metadata"]["name"]] = labels
            if document["kind"] == "Deployment":
                check(document["spec"]["selector"]["matchLabels"] == labels, f"{where}: it selects other pods")
            check_pod(app, where, template["spec"], labels)
        if document["kind"] == "ConfigMap":
            check_settings(where, list(document["data"]))
    for document in everything:
        where = f"{document['kind']} {document['metadata']['name']}"
        spec = document.get("spec", {})
        if document["kind"] == "Service":
            check(spec["selector"] in workloads.values(), f"{where}: it selects no pods")
        if document["kind"] == "PodDisruptionBudget":
            check(spec["selector"]["matchLabels"] in workloads.values(), f"{where}: it selects no pods")
        if "scaleTargetRef" in spec:
            check(spec["scaleTargetRef"]["name"] in workloads, f"{where}: it scales nothing")
        if document["kind"] == "ScaledObject":
            figures = Path("docs/metrics.md").read_text()
            for figure in re.findall(r"app_\w+", spec["triggers"][0]["metadata"]["query"]):
                check(f"`{figure}`" in figures, f"{where}: there is no figure {figure}")


def check_systemd(app: str) -> None:
    for path in sorted(SYSTEMD.glob("*.service")):
        lines = path.read_text().splitlines()
        values = {name: [line.partition("=")[2] for line in lines if line.startswith(f"{name}=")] for name in (
            "ExecStart", "TimeoutStopSec", "Environment", "LoadCredential", "Type", "WatchdogSec",
        )}
        [command] = values["ExecStart"]
        # What runs for long says when it is ready, and that it is alive; what ends, ends.
        kinds = {"notify": ["30s"], "oneshot": []}
        check(values["WatchdogSec"] == kinds.get(*values["Type"]), f"{path}: Type={values['Type']}")
        stop = values["TimeoutStopSec"]
        check_command(app, str(path), command.split()[1:], seconds(stop[0]) if stop else None)
        variables = dict(value.split("=", 1) for value in values["Environment"])
        check_settings(str(path), list(variables))
        handed = {f"%d/{value.partition(':')[0]}" for value in values["LoadCredential"]}
        read = {value for name, value in variables.items() if name.endswith("_FILE")}
        check(handed == read, f"{path}: it is handed {handed} and reads {read}")


def check_image(app: str) -> None:
    """The image has no shell, so everything in it is a list of words that the binary takes."""
    text = Path("Dockerfile").read_text()
    final = text[text.rindex("\nFROM ") :]
    check(not re.search(r"^(RUN|SHELL) ", final, re.M), "Dockerfile: the image has no shell to run anything with")
    check(re.search(r"^USER [1-9]\d*:[1-9]\d*$", final, re.M) is not None, "Dockerfile: it runs as root, or by a name")
    [health] = re.findall(r"^HEALTHCHECK .*CMD (\[.*\])$", final, re.M)
    check_in_image(app, "Dockerfile: HEALTHCHECK", yaml.safe_load(health))
    check_settings("Dockerfile", [name for name in re.findall(r"^ENV (\w+)=", final, re.M)])
    [compose] = documents(Path("compose.yaml"))
    for name, service in compose["services"].items():
        if service.get("image") == "surety":
            where = f"compose.yaml: {name}"
            check_command(app, where, service["command"], None)
            test = service.get("healthcheck", {}).get("test")
            if test:
                check(test[0] == "CMD", f"{where}: there is no shell in the image")
                check_in_image(app, where, test[1:])


def check_in_image(app: str, where: str, words: list[str]) -> None:
    check(words[0] == "app", f"{where}: there is no {words[0]} in the image")
    check_command(app, where, words[1:], None)


check_kubernetes(sys.argv[1])
check_systemd(sys.argv[1])
check_image(sys.argv[1])
for problem in problems:
    print(problem, file=sys.stderr)
sys.exit(1 if problems else 0)
