"""Compose, either version, with an app of five services that work together."""

import json
import os
import re
import shutil
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from conftest import docker, eventually, run

V2 = os.environ["COMPOSE"] == "2"
SOURCES = Path(__file__).parent.parent / "compose" / "app"
PORT = 8080
newer = pytest.mark.skipif(not V2, reason="Compose 1.29 does not know it")


class App:
    """A project: a folder with its files, and a name."""

    def __init__(self, folder, name, *files):
        self.folder, self.name, self.files = folder, name, files

    def words(self, *words):
        program = ["docker", "compose"] if V2 else ["docker-compose"]
        files = [word for file in self.files for word in ("-f", file)]
        return [*program, *files, "-p", self.name, *(str(word) for word in words)]

    def __call__(self, *words, **options):
        options.setdefault("env", {})
        options["env"] = {"DOCKER_BUILDKIT": "0", "COMPOSE_ANSI": "never", **options["env"]}
        return run(*self.words(*words), cwd=self.folder, **options).stdout.rstrip("\n")

    def start(self, *words):
        """Starts a command that goes on, until it is told to end: not by SIGINT, which whoever runs this may ignore."""
        return subprocess.Popen(
            self.words(*words), cwd=self.folder, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            env={**os.environ, "COMPOSE_ANSI": "never", "PYTHONUNBUFFERED": "1"},
        )

    def container(self, service, number=1):
        return f"{self.name}{'-' if V2 else '_'}{service}{'-' if V2 else '_'}{number}"

    def inspect(self, service, number=1):
        return json.loads(docker("inspect", self.container(service, number)))[0]

    def state(self, service, number=1):
        return self.inspect(service, number)["State"]

    def healthy(self, service):
        eventually(lambda: self.state(service)["Health"]["Status"] == "healthy", what=f"{service} is healthy")

    def job(self, name):
        """Gives the workers a job, and waits until the web server knows of it."""
        self("exec", "-T", "cache", "redis-cli", "lpush", "jobs", name)
        eventually(lambda: name in page("/jobs/list.txt").splitlines(), what=f"job {name} is done")


def page(path="/", port=PORT):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
            return answer.read().decode()
    except OSError as error:
        return f"{error}"


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    folder = tmp_path_factory.mktemp("app") / "app"
    shutil.copytree(SOURCES, folder)
    app = App(folder, "shop", "compose.yaml")
    app("build", "--build-arg", "GREETING=good day")
    wait = ["--wait", "--wait-timeout", "240"] if V2 else []
    # A migration that has ended is no failure for Compose 2.
    app("up", "-d", *wait, timeout=300)
    app.healthy("web")
    yield app
    app("down", "-v", "--remove-orphans", "-t", "3")


def test_config_is_read_and_shown(app):
    assert set(app("config", "--services").split()) >= {"database", "cache", "migrate", "worker", "web"}
    assert sorted(app("config", "--volumes").split()) == ["data", "site"]
    shown = app("config")
    assert "ipv4_address: 10.231.7.10" in shown and "GREETING: hello" in shown
    assert "GREETING: servus" in app("config", env={"GREETING": "servus"})
    assert re.search(r"^web [0-9a-f]{64}$", app("config", "--hash", "*" if V2 else "web"), re.M)


def test_jobs_go_through_all_services(app):
    app.job("first")
    counted = app("exec", "-T", "database", "psql", "-h", "/tmp", "-U", "app", "-d", "app", "-t", "-A", "-c",
                  "select count(*) from jobs where name = 'first'")
    assert counted == "1"
    counted = docker("exec", "-e", "PGPASSWORD=a secret of the tests", app.container("worker"), "psql", "-h",
                     "postgres", "-U", "app", "-d", "app", "-t", "-A", "-c", "select name from jobs")
    assert "first" in counted.splitlines()


def test_the_build_reached_the_web_server(app):
    assert page() == "good day from the build\n"
    assert page("/about.html") == (SOURCES / "web/about.html").read_text()
    labels = json.loads(docker("image", "inspect", "clients/web"))[0]["Config"]["Labels"]
    assert labels["org.example.part"] == "web"


def test_ps_port_and_top(app):
    shown = app("ps", "-a")
    assert all(app.container(service) in shown for service in ("database", "cache", "worker", "web", "migrate"))
    assert "healthy" in shown
    ids = app("ps", "-q", "web").split()
    assert ids == [app.inspect("web")["Id"]]
    assert app("port", "web", "80") in ("127.0.0.1:8080", "0.0.0.0:8443")
    assert page(port=8443) == page()
    assert "redis-server" in app("top", "cache")
    assert "httpd" in app("top", "web")


def test_dependencies_were_waited_for(app):
    ended = app.state("migrate")
    assert (ended["Status"], ended["ExitCode"]) == ("exited", 0)
    started = {service: app.state(service)["StartedAt"] for service in ("database", "migrate", "worker", "web")}
    assert started["database"] < started["migrate"] < started["worker"] < started["web"]
    assert ended["FinishedAt"] <= started["worker"]


def test_names_and_addresses(app):
    networks = app.inspect("database")["NetworkSettings"]["Networks"]
    assert networks["shop_back"]["IPAddress"] == "10.231.7.10"
    lookup = app("exec", "-T", "web", "nslookup", "postgres.", code=None)
    assert "10.231.7.10" in lookup
    assert "192.0.2.7" in app("exec", "-T", "web", "cat", "/etc/hosts")
    for name in ("cache", "queue", app.container("cache")):
        assert app("exec", "-T", "worker", "redis-cli", "-h", name, "ping") == "PONG"
    assert app("exec", "-T", "database", "uname", "-n") == "db-host"
    # The back network is internal, the front one is not.
    assert json.loads(docker("network", "inspect", "shop_back"))[0]["Internal"] is True
    front = json.loads(docker("network", "inspect", "shop_front"))[0]
    assert front["Labels"]["org.example.side"] == "front"
    assert [c["Name"] for c in front["Containers"].values()] == [app.container("web")]


def test_an_internal_network_leads_nowhere(app):
    routes = app("exec", "-T", "worker", "cat", "/proc/net/route").splitlines()[1:]
    assert routes and all(line.split()[1] != "00000000" for line in routes)


def test_settings_of_containers_hold(app):
    cache = app.inspect("cache")
    assert cache["HostConfig"]["ReadonlyRootfs"] is True
    assert cache["HostConfig"]["Memory"] == 200 << 20
    inside = lambda service, *words: docker("exec", app.container(service), *words)
    assert inside("cache", "cat", "/proc/sys/net/core/somaxconn") == "1024"
    refused = run("docker", "exec", app.container("cache"), "touch", "/file", code=None)
    assert refused.returncode != 0 and "Read-only file system" in refused.stdout + refused.stderr
    inside("cache", "touch", "/tmp/file")
    assert "size=8192k" in inside("cache", "grep", " /tmp ", "/proc/mounts")
    status = inside("cache", "cat", "/proc/self/status")
    assert re.search(r"CapBnd:\s+0{16}$", status, re.M) and re.search(r"NoNewPrivs:\s+1$", status, re.M)
    assert "init" in inside("cache", "cat", "/proc/1/cmdline").replace("tini", "init")
    limits = inside("database", "cat", "/proc/1/limits")
    assert re.search(r"Max open files\s+4096\s+8192", limits) and re.search(r"Max processes\s+2048\s+2048", limits)
    assert "64M" in inside("database", "df", "-h", "/dev/shm")
    worker = app.inspect("worker")
    assert {"DATABASE=postgres", "QUOTED=two words", "GREETING=hello"} <= set(worker["Config"]["Env"])
    assert inside("worker", "cat", "/run/secrets/pg-password") == "a secret of the tests"
    web = app.inspect("web")
    assert web["HostConfig"]["LogConfig"] == {"Type": "json-file", "Config": {"max-file": "2", "max-size": "1m"}}
    assert web["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
    # Compose says 9000 without a protocol, and dockerd keeps it so.
    assert {port.split("/")[0] for port in web["Config"]["ExposedPorts"]} == {"80", "9000"}


def test_exec_gives_back_output_and_code(app):
    assert app("exec", "-T", "-e", "X=1", "-w", "/tmp", "-u", "0", "cache", "sh", "-c", "echo $X $(pwd) $(id -u)") == "1 /tmp 0"
    app("exec", "-T", "cache", "sh", "-c", "exit 9", code=9)
    app("exec", "-d", "cache", "sh", "-c", "echo done >/tmp/detached")
    eventually(lambda: app("exec", "-T", "cache", "sh", "-c", "cat /tmp/detached || true") == "done")


def test_run_takes_a_new_container_and_removes_it(app):
    assert app("run", "--rm", "-T", "--no-deps", "-e", "X=2", "worker", "sh", "-c", "echo $X $DATABASE") == "2 postgres"
    app("run", "--rm", "-T", "--no-deps", "--entrypoint", "sh", "web", "-c", "exit 5", code=5)
    assert app("run", "--rm", "-T", "worker", "redis-cli", "-h", "queue", "ping").endswith("PONG")
    app("run", "-d", "--name", "one-off", "--no-deps", "--label", "a=b", "web", "sleep", "60")
    assert "one-off" in docker("ps", "--filter", "label=a=b", "--format", "{{.Names}}")
    docker("rm", "-f", "one-off")
    assert not docker("ps", "-aq", "--filter", "label=com.docker.compose.oneoff=True")


def test_scale_up_and_down(app):
    app("up", "-d", "--no-recreate", "--scale", "worker=3")
    workers = app("ps", "-q", "worker").split()
    assert len(workers) == 3
    addresses = app("exec", "-T", "web", "nslookup", "worker.", code=None)
    assert len(set(re.findall(r"10\.231\.7\.\d+", addresses))) >= 3
    for number in range(4):
        app.job(f"scaled-{number}")
    app("up", "-d", "--no-recreate", "--scale", "worker=1")
    assert len(app("ps", "-q", "worker").split()) == 1


def test_logs_are_shown_and_followed(app):
    app.job("logged")
    eventually(lambda: "did logged" in app("logs", "--no-color", "worker"), what="the log has it")
    assert app("logs", "--no-color", "--tail", "1", "cache").count("\n") <= 1
    assert re.search(r"\d{4}-\d\d-\d\dT", app("logs", "-t", "--no-color", "cache"))
    follower = app.start("logs", "-f", "--no-color", "--tail", "0", "worker")
    seen = []
    reader = threading.Thread(target=lambda: seen.extend(iter(follower.stdout.readline, "")), daemon=True)
    reader.start()
    try:
        sent = iter(range(1000))

        def followed():
            app.job(f"followed-{next(sent)}")
            return any("did followed-" in line for line in seen)

        eventually(followed, what="a followed log shows new lines")
    finally:
        follower.terminate()
        follower.wait(30)
        reader.join(30)


def test_pause_and_unpause(app):
    app("pause", "worker")
    assert app.state("worker")["Status"] == "paused"
    app("exec", "-T", "cache", "redis-cli", "lpush", "jobs", "while-paused")
    app("unpause", "worker")
    eventually(lambda: "while-paused" in page("/jobs/list.txt"), what="the worker goes on")


def test_stop_start_restart_and_kill(app):
    app.job("kept")
    app("stop", "-t", "20", "database", "worker")
    stopped = app.state("database")
    assert (stopped["Status"], stopped["ExitCode"]) == ("exited", 0), "PostgreSQL stops when asked to"
    app("start", "database")
    app.healthy("database")
    app("start", "worker")
    app.job("after-start")
    assert "kept" in page("/jobs/list.txt"), "the volume kept the table"
    before = app.state("cache")["StartedAt"]
    app("restart", "-t", "5", "cache")
    assert app.state("cache")["StartedAt"] > before
    app.healthy("cache")
    app("kill", "-s", "SIGKILL", "worker")
    eventually(lambda: app.state("worker")["ExitCode"] == 137, what="the worker is dead")
    app("up", "-d", timeout=300)
    app.job("after-kill")


def test_events_are_told(app):
    watcher = app.start("events", "--json")
    seen = []

    def read():
        for line in iter(watcher.stdout.readline, ""):
            seen.append(json.loads(line))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        def told():
            docker("pause", app.container("web"))
            docker("unpause", app.container("web"))
            return any(event["action"] == "unpause" and event["service"] == "web" for event in list(seen))

        eventually(told, what="events of the project")
    finally:
        watcher.terminate()
        watcher.wait(30)
        reader.join(30)


def test_up_recreates_what_changed_only(app):
    ids = {service: app.inspect(service)["Id"] for service in ("web", "cache", "database")}
    app("up", "-d", "--no-build", env={"WEB_PORT": "8090"}, timeout=300)
    eventually(lambda: page(port=8090) == "good day from the build\n", what="the new port")
    assert app.inspect("web")["Id"] != ids["web"]
    assert (app.inspect("cache")["Id"], app.inspect("database")["Id"]) == (ids["cache"], ids["database"])
    app("up", "-d", "--force-recreate", "--no-deps", "web", timeout=300)
    eventually(lambda: page() == "good day from the build\n", what="the old port")


def test_profiles_choose_services(app):
    assert "tools" not in app("ps", "-a", "--services").split() or not app("ps", "-q", "-a", "tools")
    app("--profile", "tools", "up", "-d", "--no-deps", "tools")
    assert app("exec", "-T", "tools", "wget", "-q", "-O", "-", "http://www/") == "good day from the build"
    # Compose cuts what it stops from the project by profile too.
    app("--profile", "tools", "rm", "-f", "-s", "tools")
    assert not docker("ps", "-aq", "--filter", "label=com.docker.compose.service=tools")


def test_several_files_and_extends(app):
    both = App(app.folder, app.name, "compose.yaml", "debug.yaml")
    shown = both("config")
    assert "SHARED: shared" in shown and re.search(r"DEBUG: ['\"]1['\"]", shown) and "org.example.owner: debug" in shown
    both("up", "-d", "--no-deps", "probe")
    eventually(lambda: "shared and own" in both("logs", "--no-color", "probe"), what="what the probe says")
    probe = both.inspect("probe")
    assert probe["Config"]["Labels"]["org.example.shared"] == "yes"
    assert probe["Config"]["WorkingDir"] == "/srv" and probe["HostConfig"]["Init"] is True
    # The first file alone does not know the probe: an orphan.
    app("up", "-d", "--no-recreate", "--remove-orphans", timeout=300)
    assert not docker("ps", "-aq", "--filter", "name=probe")


def test_env_file_of_the_project(app, tmp_path):
    file = tmp_path / "other.env"
    file.write_text("GREETING=moin\nWEB_PORT=9999\n")
    shown = app("--env-file", file, "config")
    assert "GREETING: moin" in shown and "9999" in shown


def test_create_and_rm(app, tmp_path):
    (tmp_path / "compose.yaml").write_text(
        "services:\n  tools:\n    image: busybox:latest\n    command: sleep 600\n    volumes: ['kept:/kept']\nvolumes:\n  kept:\n"
    )
    made = App(tmp_path, "made", "compose.yaml")
    made(*(["create"] if V2 else ["up", "--no-start"]))
    assert made.state("tools")["Status"] == "created"
    made("rm", "-f", "tools")
    assert not docker("ps", "-aq", "--filter", "label=com.docker.compose.project=made")
    assert "made_kept" in docker("volume", "ls", "-q").split()
    made("down", "-v")
    assert not docker("network", "ls", "-q", "--filter", "label=com.docker.compose.project=made")
    assert "made_kept" not in docker("volume", "ls", "-q").split()


def test_images_and_registry(app, tmp_path):
    assert "clients/web" in app("images")
    (tmp_path / "compose.yaml").write_text(
        "services:\n  pushed:\n    image: localhost:5000/pushed:1\n    build: .\n"
    )
    (tmp_path / "Dockerfile").write_text("FROM busybox:latest\nCMD [\"echo\", \"pulled and run\"]\n")
    pushed = App(tmp_path, "pushed", "compose.yaml")
    pushed("build", "--no-cache")
    pushed("push")
    docker("rmi", "localhost:5000/pushed:1")
    pushed("pull")
    assert "pulled and run" in pushed("up", "--no-build", "--abort-on-container-exit")
    pushed("down", "--rmi", "all")
    run("docker", "image", "inspect", "localhost:5000/pushed:1", code=1)


def test_up_in_the_foreground_gives_back_a_code(app, tmp_path):
    (tmp_path / "compose.yaml").write_text(
        "services:\n  fails:\n    image: busybox:latest\n    command: sh -c 'echo about to fail; exit 3'\n"
        "  waits:\n    image: busybox:latest\n    command: sleep 300\n    init: true\n"
    )
    small = App(tmp_path, "small", "compose.yaml")
    done = run(*small.words("up", "--exit-code-from", "fails"), cwd=tmp_path, code=3)
    assert "about to fail" in done.stdout
    small("down", "-t", "1")
    assert not docker("ps", "-aq", "--filter", "label=com.docker.compose.project=small")


def test_what_is_wrong_is_said(app, tmp_path):
    (tmp_path / "compose.yaml").write_text("services:\n  x:\n    image: localhost:5000/nowhere:1\n")
    done = run(*App(tmp_path, "wrong", "compose.yaml").words("up", "-d"), cwd=tmp_path, code=None)
    assert done.returncode != 0 and re.search("not found|manifest unknown", done.stdout + done.stderr)
    (tmp_path / "compose.yaml").write_text("services:\n  x:\n    image: busybox:latest\n    nonsense: 1\n")
    done = run(*App(tmp_path, "wrong", "compose.yaml").words("config"), cwd=tmp_path, code=None)
    assert done.returncode != 0 and "nonsense" in done.stdout + done.stderr
    (tmp_path / "compose.yaml").write_text(
        "services:\n  x:\n    image: busybox:latest\n    ports: ['127.0.0.1:8080:80']\n"
    )
    clash = App(tmp_path, "clash", "compose.yaml")
    done = run(*clash.words("up", "-d"), cwd=tmp_path, code=None)
    assert done.returncode != 0 and "port is already allocated" in done.stdout + done.stderr
    clash("down")


@newer
def test_configs_secrets_and_hooks(app):
    newer = App(app.folder, "newer", "newer.yaml")
    environment = {"TOKEN": "from the environment", "PLACE": "there"}
    try:
        newer("up", "-d", "--wait", "reader", env=environment)
        newer("up", "-d", env=environment)
        read = lambda path: newer("exec", "-T", "reader", "cat", path, env=environment)
        assert read("/etc/settings.conf") == (SOURCES / "worker.env").read_text().rstrip("\n")
        assert read("/etc/inline.conf") == "place=there"
        assert read("/run/secrets/from_environment") == "from the environment"
        assert read("/worker.env") == read("/etc/settings.conf")
        assert newer("exec", "-T", "reader", "stat", "-c", "%a", "/etc/inline.conf", env=environment) == "440"
        reader = newer.inspect("reader")
        host = reader["HostConfig"]
        assert (host["NanoCpus"], host["Memory"], host["PidsLimit"]) == (500_000_000, 64 << 20, 50)
        assert host["GroupAdd"] == ["123"]
        assert "size=4096k" in newer("exec", "-T", "reader", "grep", " /files ", "/proc/mounts", env=environment)
        assert len(newer("ps", "-q", "reader", env=environment).split()) == 2
        eventually(lambda: newer.state("once")["Status"] == "exited", what="what runs once has ended")
    finally:
        newer("--profile", "*", "down", "-v", "-t", "1", env=environment)
    assert "newer-files" not in docker("volume", "ls", "-q").split()


@newer
def test_neighbours_share_namespaces(app, tmp_path):
    (tmp_path / "compose.yaml").write_text(
        "services:\n"
        "  first: {image: 'busybox:latest', command: [httpd, -f, -p, '80', -h, /etc], init: true}\n"
        "  second: {image: 'busybox:latest', command: [sleep, '600'], network_mode: 'service:first', pid: 'service:first'}\n"
    )
    pair = App(tmp_path, "pair", "compose.yaml")
    pair("up", "-d")
    assert "root:" in pair("exec", "-T", "second", "wget", "-q", "-O", "-", "http://127.0.0.1/passwd")
    assert "httpd" in pair("exec", "-T", "second", "ps")
    pair("down", "-t", "1")


@newer
def test_files_are_copied(app, tmp_path):
    (tmp_path / "in").write_text("copied\n")
    app("cp", tmp_path / "in", "cache:/tmp/in", code=None)
    app("cp", tmp_path / "in", "web:/www/in.txt")
    assert page("/in.txt") == "copied\n"
    app("cp", "web:/www/in.txt", tmp_path / "out")
    assert (tmp_path / "out").read_text() == "copied\n"
    app("cp", "web:/www", tmp_path / "tree")
    assert (tmp_path / "tree" / "about.html").exists()


@newer
def test_projects_are_listed_with_what_they_use(app):
    projects = json.loads(app("ls", "--format", "json"))
    assert [p["Status"] for p in projects if p["Name"] == "shop"][0].startswith(("running", "exited", "restarting"))
    listed = [json.loads(line) for line in app("ps", "--format", "json", "-a").splitlines()]
    web = [entry for entry in listed if entry["Service"] == "web"][0]
    assert web["State"] == "running" and web["Health"] in ("healthy", "starting")
    assert {publisher["PublishedPort"] for publisher in web["Publishers"]} - {0} == {8080, 8443}
    assert set(app("config", "--images").split()) >= {"clients/web", "clients/databases"}
    assert app("config", "--profiles") == "tools"
    assert {"shop_data", "shop_site"} <= set(re.findall(r"shop_\w+", app("volumes")))
    assert app.container("web") in app("stats", "--no-stream", "--no-trunc", "web")


@newer
def test_scale_wait_commit_and_export(app, tmp_path):
    app("scale", "--no-deps", "worker=2")
    assert len(app("ps", "-q", "worker").split()) == 2
    app("scale", "--no-deps", "worker=1")
    (tmp_path / "compose.yaml").write_text(
        "services:\n  job:\n    image: busybox:latest\n    command: sh -c 'sleep 15; exit 4'\n"
        "  stays:\n    image: busybox:latest\n    command: sleep 600\n    init: true\n"
    )
    small = App(tmp_path, "jobs", "compose.yaml")
    small("up", "-d")
    small("wait", "job", code=4)
    small("exec", "-T", "stays", "sh", "-c", "echo mine >/mine")
    small("commit", "stays", "clients/committed:1")
    assert docker("run", "--rm", "clients/committed:1", "cat", "/mine") == "mine"
    small("export", "-o", tmp_path / "stays.tar", "stays")
    assert "mine" in run("tar", "-tf", tmp_path / "stays.tar").stdout.split()
    small("down", "-t", "1")
    docker("rmi", "clients/committed:1")


@newer
def test_watch_syncs_files(app, tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a").write_text("one\n")
    (tmp_path / "Dockerfile").write_text("FROM busybox:latest\nCOPY files /files\nCMD [\"sleep\", \"600\"]\n")
    (tmp_path / "compose.yaml").write_text(
        "services:\n  seen:\n    build: .\n    init: true\n    develop:\n      watch:\n"
        "        - {action: sync, path: ./files, target: /files}\n"
    )
    seen = App(tmp_path, "seen", "compose.yaml")
    seen("up", "-d", "--build")
    watcher = seen.start("watch", "--no-up")
    try:
        written = -3.0

        def synced():
            # Changes from before Compose watches are not seen, and it waits until they pause.
            nonlocal written
            if time.monotonic() - written > 3:
                (tmp_path / "files" / "a").write_text("two\n")
                written = time.monotonic()
            return seen("exec", "-T", "seen", "cat", "/files/a") == "two"

        eventually(synced, what="the file in the container follows")
    finally:
        watcher.terminate()
        watcher.wait(30)
        seen("down", "-t", "1", "--rmi", "local")


def test_down_removes_everything(app):
    # Last in this file: what the other tests share goes.
    app("down", "-v", "--remove-orphans", "-t", "10")
    for kind, words in {
        "containers": ["ps", "-aq"], "networks": ["network", "ls", "-q"], "volumes": ["volume", "ls", "-q"],
    }.items():
        assert docker(*words, "--filter", "label=com.docker.compose.project=shop") == "", kind
