"""A region loses every machine and every disk, and is rebuilt from the bucket that Terraform made, as DAY-TWO.md says.

The cloud is a simulator; nodes are real processes on this machine. What a node of Tokyo is told comes out of the user data of its
simulated machine: of its configuration only addresses, directories and the credentials of the bucket are changed. Singapore and
Frankfurt stand beside it, for a region that is rebuilt needs a group that lives.
"""

import base64
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from datetime import datetime, timedelta, timezone

OTHERS = {"singapore": 2, "frankfurt": 3}
RECORDS, LOST = 400, 50
WITHIN = 120


class Wrong(ValueError):
    """What was found is not what was awaited."""


class Over(Wrong):
    """Something that no waiting will change."""


def demand(holds, said):
    if not holds:
        raise Wrong(said)


# By hand, as an operator with the cloud's own tools. The bucket takes nothing from outside the region's network, and here is no
# inside: the simulator looks at no condition of a policy, so the policy goes while nodes run.
CLOUD = """
import base64, boto3, json, sys, yaml
def ask(service):
    return boto3.client(service, endpoint_url=sys.argv[1], region_name="ap-northeast-1", aws_access_key_id="x", aws_secret_access_key="x")
ec2, s3 = ask("ec2"), ask("s3")
cold, = [b["Name"] for b in s3.list_buckets()["Buckets"] if b["Name"].endswith("-cold")]
def machines():
    for r in ec2.describe_instances()["Reservations"]:
        for i in r["Instances"]:
            if i["State"]["Name"] != "terminated":
                yield next(t["Value"] for t in i["Tags"] if t["Key"] == "Name"), i["InstanceId"]
def lose():
    for _, machine in machines():
        ec2.terminate_instances(InstanceIds=[machine])
    for disk in ec2.describe_volumes()["Volumes"]:
        if any(t["Key"] == "Name" for t in disk.get("Tags", [])):
            for held in disk["Attachments"]:
                ec2.detach_volume(VolumeId=disk["VolumeId"], InstanceId=held["InstanceId"], Device=held["Device"], Force=True)
            ec2.delete_volume(VolumeId=disk["VolumeId"])
def told(name):
    machine, = [i for n, i in machines() if n == name]
    data = ec2.describe_instance_attribute(InstanceId=machine, Attribute="userData")["UserData"]["Value"]
    print(json.dumps({f["path"]: f["content"] for f in yaml.safe_load(base64.b64decode(data))["write_files"]}))
def objects():
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=cold)
    print(json.dumps([o["Key"] for page in pages for o in page.get("Contents", [])]))
def empty():
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=cold):
        for one in page.get("Versions", []) + page.get("DeleteMarkers", []):
            s3.delete_object(Bucket=cold, Key=one["Key"], VersionId=one["VersionId"])
{"lose": lose, "told": lambda: told(sys.argv[3]), "open": lambda: s3.delete_bucket_policy(Bucket=cold), "objects": objects, "empty": empty}[sys.argv[2]]()
"""


def real_pki(program, home):
    """Authorities and certificates of three regions, as an operator makes them on a machine that is no node."""
    for region, number in {"tokyo": 1, **OTHERS}.items():
        said(program, home, "pki", "init", "--region", region)
        host = ["--host", "127.0.0.1"] if region == "tokyo" else []
        said(program, home, "pki", "issue", "--region", region, "--node", str(number), *host)


def said(program, home, *arguments, fails=False):
    """What a command says, and that it ends as it should."""
    ended = subprocess.run([program, *arguments], cwd=home, capture_output=True, text=True, timeout=300)
    demand((ended.returncode != 0) == fails, f"domicile {' '.join(arguments)} ended with {ended.returncode}: {ended.stderr[-1200:]}")
    return ended.stdout.strip() + (ended.stderr if fails else "")


def until(what, why):
    """Asks again until there is an answer; what was said last is in the message."""
    last, end = None, time.monotonic() + WITHIN
    while time.monotonic() < end:
        try:
            found = what()
            if found:
                return found
        except Over:
            raise
        except (OSError, ValueError, KeyError) as error:
            last = error
        time.sleep(0.2)
    raise Wrong(f"{why}: not within {WITHIN} s; last: {last}")


def port(kind=socket.SOCK_STREAM):
    with socket.socket(type=kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Node:
    """One real node, with ports of its own."""

    def __init__(self, home, region, number, is_secure):
        self.home, self.region, self.number = home / f"{region}-{number}", region, number
        self.link, self.es, self.api = port(socket.SOCK_DGRAM), port(), port()
        self.scheme = "https" if is_secure else "http"
        self.process = None
        (self.home / "secrets").mkdir(parents=True)
        pki = home / "pki" / region
        files = {"node.crt": f"node-{number}.crt", "node.key": f"node-{number}.key", "region.key": "region.key"}
        files |= {"server.crt": "server.crt", "server.key": "server.key"} if is_secure else {}
        for name, file in files.items():
            shutil.copy(pki / file, self.home / "secrets" / name)
            (self.home / "secrets" / name).chmod(0o400)

    @property
    def config(self):
        return self.home / "etc" / "node.toml"

    @property
    def addr(self):
        return f"127.0.0.1:{self.link}"

    def url(self, what):
        return f"{self.scheme}://127.0.0.1:{getattr(self, what)}"

    def told(self, files, seeds, store):
        """Takes what a machine was told; each thing that is changed must have been there."""
        changes = {
            '"0.0.0.0:9200"': f'"127.0.0.1:{self.es}"',
            '"0.0.0.0:7280"': f'"127.0.0.1:{self.api}"',
            '"0.0.0.0:7443"': f'"{self.addr}"',
            "/run/domicile/secrets/": f"{self.home}/secrets/",
            "/var/lib/domicile": str(self.home / "data"),
            "/etc/domicile/": f"{self.home}/etc/",
            "[store]\n": f"[store]\n{store}\n",
        } | {f'"192.0.2.{number}:7443"': f'"{addr}"' for number, addr in seeds.items()}
        text = files["/etc/domicile/node.toml"]
        for old, new in changes.items():
            demand(old in text, f"what the machine is told has no {old}:\n{text}")
            text = text.replace(old, new)
        text, count = re.subn(r'^advertise = "[0-9.]+:7443"$', f'advertise = "{self.addr}"', text, flags=re.M)
        demand(count == 1, f"one address is told:\n{text}")
        self.write({path.removeprefix("/etc/domicile/"): content for path, content in files.items() if path.startswith("/etc/domicile/bundles/")} | {"node.toml": text})

    def write(self, files):
        for name, content in files.items():
            (self.home / "etc" / name).parent.mkdir(parents=True, exist_ok=True)
            (self.home / "etc" / name).write_text(content)

    def start(self, program):
        with (self.home / "log").open("a") as log:
            self.process = subprocess.Popen([program, "node", "--config", self.config], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait(20)
            self.process = None

    def answers(self, path="/healthz"):
        if self.process.poll() is not None:
            raise Over(f"{self.home.name} ended: {(self.home / 'log').read_text()[-1500:]}")
        with self.ask("GET", f"{self.url('api')}{path}", None, None):
            return True

    def ask(self, method, url, key, body):
        trusts = ssl.create_default_context(cafile=str(self.home / "etc" / "bundles" / f"{self.region}.crt")) if self.scheme == "https" else None
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        asked = urllib.request.Request(url, json.dumps(body).encode() if body is not None else None, headers, method=method)
        return urllib.request.urlopen(asked, timeout=30, context=trusts)


def plain(home, region, number, seed):
    """The configuration of a node beside: in the clear on loopback, objects on its disk."""
    node = Node(home, region, number, False)
    pki, text = home / "pki", ""
    text += f'data_dir = "{node.home}/data"\n[listeners]\nes = "127.0.0.1:{node.es}"\napi = "127.0.0.1:{node.api}"\n'
    text += f'[link]\nlisten = "{node.addr}"\nadvertise = "{node.addr}"\n'
    text += "".join(f'{key} = "{node.home}/secrets/{file}"\n' for key, file in (("cert", "node.crt"), ("key", "node.key"), ("region_key", "region.key")))
    text += "[link.bundles]\n" + "".join(f'{name} = "{pki}/{name}/ca.crt"\n' for name in ("tokyo", *OTHERS))
    text += f'[officer]\npublic_key = "{(pki / region / "officer.pub").read_text().strip()}"\n'
    text += f'[meta]\nvoter = true\n[[meta.seeds]]\nnode = 1\nregion = "tokyo"\naddr = "{seed}"\n'
    node.write({"node.toml": text})
    return node


def lines(path, first, count):
    """Lines two hours old, so that their counts are published."""
    then = (datetime.now(timezone.utc) - timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    path.write_text("".join(json.dumps({"@timestamp": then, "level": "INFO", "message": f"line {n}"}) + "\n" for n in range(first, first + count)))
    return path


class Trial:
    """The deployment of this check: files of the operator, nodes, keys."""

    def __init__(self, program, python, simulator, home):
        self.program, self.python, self.simulator, self.home = program, python, simulator, home
        self.nodes, self.keys = {}, {}
        credentials = home / "credentials"
        credentials.write_text("[default]\naws_access_key_id = test\naws_secret_access_key = test\n")
        credentials.chmod(0o600)
        self.store = f'endpoint = "{simulator}"\ncredentials = "file"\ncredentials_file = "{credentials}"'

    def cloud(self, *arguments):
        done = subprocess.run([self.python, "-c", CLOUD, self.simulator, *arguments], capture_output=True, text=True)
        demand(done.returncode == 0, done.stderr[-800:])
        return json.loads(done.stdout) if done.stdout.strip() else None

    def say(self, *arguments, **more):
        return said(self.program, self.home, "--profile", str(self.home / "profile.toml"), *arguments, **more)

    def profile(self, without=()):
        text = ""
        for region, key in self.keys.items():
            if region not in without:
                node = self.nodes[region]
                trusts = f'ca = "{self.home}/pki/{region}/ca.crt"\n' if node.scheme == "https" else ""
                text += f'[regions.{region}]\napi = "{node.url("api")}"\nes = "{node.url("es")}"\nkey = "{key}"\n{trusts}'
        path = self.home / "profile.toml"
        path.unlink(missing_ok=True)
        path.touch(0o600)
        path.write_text(text)

    def begin(self):
        """Three nodes, as an operator and three officers bring them up; Tokyo's as its machine was told."""
        self.cloud("open")
        tokyo = self.nodes["tokyo"] = Node(self.home, "tokyo", 1, True)
        tokyo.told(self.cloud("told", "domicile-tokyo-tokyo-1"), {}, self.store)
        for region, number in OTHERS.items():
            self.nodes[region] = plain(self.home, region, number, tokyo.addr)
        for node in self.nodes.values():
            node.start(self.program)
        until(tokyo.answers, "Tokyo's node is up")
        begin = ["cluster", "init", "--region", "tokyo", "--node", "1", "--addr", tokyo.addr, "--url", tokyo.url("api"), "--ca", "pki/tokyo/ca.crt"]
        self.keys["tokyo"] = said(self.program, self.home, *begin)
        self.profile()
        for region, number in OTHERS.items():
            node = self.nodes[region]
            until(lambda: self.say("node", "join", "--region", region, "--node", str(number), "--addr", node.addr) is not None, f"{region} is let in")
            roles = [part for role in ("admin", "search", "ingest", "create", "audit") for part in ("--role", role)]
            self.keys[region] = until(lambda: self.say("key", "create", "first-admin", "--region", region, *roles), f"{region} has a key")
            self.profile()
        for stream, more in (("orders", ["--durability", "bucket", "--group-field", "level"]), ("scraps", [])):
            until(lambda: self.say("stream", "create", stream, "--no-personal-data", "--region", "tokyo", *more) is not None, f"{stream} is made")

    def send(self, stream, first, count):
        path = lines(self.home / f"{stream}-{first}", first, count)
        until(lambda: self.say("ingest", "--region", "tokyo", "--stream", stream, str(path)) is not None, f"{stream} takes lines")

    def count(self, stream):
        node = self.nodes["tokyo"]
        with node.ask("POST", f"{node.url('es')}/{stream}/_count", self.keys["tokyo"], {"query": {"match_all": {}}}) as answer:
            return json.load(answer)["count"]

    def counted(self, stream, number):
        def look():
            found = self.count(stream)
            demand(found == number, f"{found} of {number}")
            return True
        until(look, f"{stream} has {number} records")

    def abroad(self):
        """What Singapore is told about the orders of Tokyo, once the answer is whole."""
        node = self.nodes["singapore"]

        def ask():
            question = {"stream": "orders", "regions": ["tokyo"], "on_missing": "partial", "ask": "count", "size": 0}
            with node.ask("POST", f"{node.url('api')}/api/v1/search", self.keys["singapore"], question) as answer:
                answer = json.load(answer)
            whole = {region: one["status"] for region, one in answer["coverage"].items()} == {"tokyo": "complete"}
            demand(whole and answer["total"]["value"] > 0, f"{answer['coverage']} {answer['total']}")
            return answer["total"]
        return until(ask, "Singapore is answered")

    def end(self):
        for node in self.nodes.values():
            node.kill()


def no_secret_is_told(home, user_data, state):
    """Nothing of any private key stands in Terraform's state or in what a machine is told; a certificate does in the latter."""
    def pieces(pattern):
        for path in home.glob(pattern):
            content = path.read_bytes()
            if content.startswith(b"-----BEGIN"):
                yield from (line for line in content.decode().split("\n") if len(line) >= 32 and not line.startswith("-----"))
            else:
                yield from (content.hex(), base64.b64encode(content).decode())
    secret, public = set(pieces("pki/*/*.key")), set(pieces("pki/tokyo/ca.crt"))
    told = "".join(user_data.values())
    demand(len(secret) >= 6 and public and all(line in told for line in public), "the check sees nothing")
    demand("domicile-tokyo-tokyo-1" in state, "this is no state of the region")
    demand(not any(line in told or line in state for line in secret), "a private key stands in the state or in user data")


def rebuilt(terraform, program, python, simulator, files, write_mesh):
    """All of it; ends with a region that runs on another machine, and its bucket emptied."""
    trial = Trial(program, python, simulator, files)
    try:
        trial.begin()
        no_secret_is_told(files, trial.cloud("told", "domicile-tokyo-tokyo-1"), terraform.well("state", "pull"))
        trial.send("orders", 0, RECORDS)
        trial.send("scraps", 0, LOST)
        trial.counted("orders", RECORDS)
        trial.counted("scraps", LOST)
        before = trial.abroad()

        # Every machine and every disk is gone. Left are the bucket, its key, and the backup of the node's keys.
        old = trial.nodes["tokyo"]
        old.kill()
        shutil.copytree(old.home / "data" / "keys", files / "backup")
        shutil.rmtree(old.home)
        trial.cloud("lose")
        left = trial.cloud("objects")
        demand(left, "the bucket is empty: nothing was acknowledged into it")

        # 1 and 2: a number never used before; the lost nodes go out of the file, and the new one comes in.
        said(program, files, "pki", "issue", "--region", "tokyo", "--node", "11")
        path = files / "deployment.yaml"
        text, count = re.subn(r"(    nodes:\n)      tokyo-1: \{number: 1, (.*)\n      tokyo-4: .*\n", r"\1      tokyo-11: {number: 11, \2\n", path.read_text())
        demand(count == 1, "the lost nodes are not in the file")
        path.write_text(text)
        planned = terraform.planned()
        lasting = {address: actions for address, actions in planned.items() if re.search(r"(aws_s3_bucket\.|aws_kms_key\.|_versioning\.|_lifecycle_)", address)}
        demand(len(lasting) >= 8 and all(actions == ["no-op"] for actions in lasting.values()), f"what has to stay is touched: {lasting}")
        terraform.well("apply", "-input=false", "plan.tfplan")
        write_mesh(terraform, files, "tokyo")
        terraform.apply()
        trial.cloud("open")
        demand(trial.cloud("objects") == left, "Terraform changed what lies in the bucket")

        # 3: through a region that lives, signed by the officer.
        new = Node(files, "tokyo", 11, True)
        new.told(trial.cloud("told", "domicile-tokyo-tokyo-11"), {number: trial.nodes[region].addr for region, number in OTHERS.items()}, trial.store)
        trial.profile(without=("tokyo",))
        for command in (["remove", "--region", "tokyo", "--node", "1"], ["join", "--region", "tokyo", "--node", "11", "--addr", new.addr]):
            until(lambda: trial.say("node", *command) is not None, f"node {command[0]}")

        # 4 and 5: the keys from the backup, the start, and what is lost is said first.
        shutil.copytree(files / "backup", new.home / "data" / "keys")
        trial.nodes["tokyo"] = new
        new.start(program)
        until(lambda: new.answers("/readyz"), "the new node is ready")
        trial.profile()
        rebuild = ["region", "rebuild", "--region", "tokyo"]

        def warned():
            text = trial.say(*rebuild, fails=True)
            demand("--accept-loss" in text and "scraps" in text, text)
            return True
        until(warned, "what would be lost is said")
        until(lambda: trial.say(*rebuild, "--accept-loss"), "the region is rebuilt")
        demand("DMC-OWNERSHIP-09" in trial.say(*rebuild, "--accept-loss", fails=True), "a second rebuild does something")

        # 6: exact, at home and abroad; and the region goes on.
        trial.counted("orders", RECORDS)
        trial.counted("scraps", 0)
        after = trial.abroad()
        demand(after == before, f"abroad it was {before}, and is {after}")
        trial.send("orders", RECORDS, 10)
        trial.counted("orders", RECORDS + 10)
    except ValueError as why:
        logs = "\n".join(f"--- {node.home.name}\n{(node.home / 'log').read_text()[-2500:]}" for node in trial.nodes.values() if (node.home / "log").exists())
        raise Wrong(f"{why}\n{logs if os.environ.get('DOMICILE_LOGS') else ''}") from why
    finally:
        trial.end()
        trial.cloud("empty")
