"""`testcontainers` of PyPI: containers as a project's own tests use them."""

import urllib.request

import docker
import pytest
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.docker_client import DockerClient
from testcontainers.core.image import DockerImage
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import (
    CompositeWaitStrategy,
    ExecWaitStrategy,
    HealthcheckWaitStrategy,
    HttpWaitStrategy,
    LogMessageWaitStrategy,
    PortWaitStrategy,
)
from testcontainers.core.waiting_utils import wait_for_logs

IMAGE = "busybox:latest"
DATABASES = "clients/databases:latest"


def page(container, path="/", port=80):
    address = f"http://{container.get_container_host_ip()}:{container.get_exposed_port(port)}{path}"
    with urllib.request.urlopen(address, timeout=20) as answer:
        return answer.read().decode()


def test_the_reaper_is_away():
    assert testcontainers_config.ryuk_disabled, "its image cannot be had here"


def test_a_web_server_on_a_port_of_its_own():
    server = DockerContainer(IMAGE).with_command(["sh", "-c", "echo hello >/index.html && echo serving && httpd -f -p 80 -h /"])
    with server.with_exposed_ports(80).waiting_for(HttpWaitStrategy(80).for_status_code(200)) as running:
        assert page(running) == "hello\n"
        assert running.exec(["cat", "/index.html"]).output == b"hello\n"
        assert running.exec("false").exit_code == 1
        out, err = running.get_logs()
        assert out == b"serving\n" and err == b""
        name = running.get_wrapped_container().name
    with pytest.raises(docker.errors.NotFound):
        DockerClient().client.containers.get(name)


def test_every_setting():
    container = (
        DockerContainer(IMAGE)
        .with_command("sh -c 'echo started; sleep 600'")
        .with_env("ONE", "1")
        .with_envs(TWO="2", THREE="3")
        .with_name("testcontainers-settings")
        .with_kwargs(hostname="tests", mem_limit="64m", labels={"a": "b"}, init=True)
        .with_volume_mapping("/etc/hostname", "/host-name", "ro")
        .with_tmpfs_mount("/scratch", "size=1m")
        .with_bind_ports(80, 18080)
    )
    with container as running:
        wait_for_logs(running, "started", timeout=60)
        shown = running.exec(["sh", "-c", "echo $ONE$TWO$THREE; hostname; cat /host-name; grep -c ' /scratch ' /proc/mounts"])
        with open("/etc/hostname") as file:
            assert shown.output.decode().split() == ["123", "tests", file.read().strip(), "1"]
        assert running.get_exposed_port(80) in (18080, "18080")
        assert running.get_wrapped_container().attrs["HostConfig"]["Memory"] == 64 << 20


def test_ways_to_wait():
    script = "touch /ready; echo one; echo two >&2; exec httpd -f -p 90"
    container = DockerContainer(IMAGE).with_command(["sh", "-c", script]).with_exposed_ports(90)
    everything = CompositeWaitStrategy(
        LogMessageWaitStrategy("two"), PortWaitStrategy(90), ExecWaitStrategy(["test", "-e", "/ready"])
    )
    with container.waiting_for(everything) as running:
        assert running.exec("test -e /ready").exit_code == 0
    healthy = DockerContainer(IMAGE).with_command("sleep 600").with_kwargs(
        init=True, healthcheck={"test": ["CMD", "true"], "interval": 200_000_000, "timeout": 20_000_000_000}
    )
    with healthy.waiting_for(HealthcheckWaitStrategy()):
        pass
    never = DockerContainer(IMAGE).with_command("sleep 600").with_kwargs(init=True)
    with pytest.raises(TimeoutError):
        never.waiting_for(LogMessageWaitStrategy("never").with_startup_timeout(2)).start()
    never.stop()


def test_a_network_with_names():
    with Network() as network:
        server = DockerContainer(DATABASES).with_command("redis-server --save '' --protected-mode no").with_network(network)
        server = server.with_network_aliases("cache").waiting_for(LogMessageWaitStrategy("Ready to accept connections"))
        client = DockerContainer(DATABASES).with_command("sleep 600").with_network(network).with_kwargs(init=True)
        with server, client:
            client.exec(["redis-cli", "-h", "cache", "set", "key", "value"])
            assert client.exec(["redis-cli", "-h", "cache", "get", "key"]).output == b"value\n"
        name = network.name
    assert not DockerClient().client.networks.list(names=[name])


def test_a_database_with_its_own_client():
    start = (
        "initdb -D /var/lib/postgresql/data -U app --no-locale -E UTF8 --no-sync -A trust >/dev/null && "
        "exec postgres -D /var/lib/postgresql/data -c fsync=off -c unix_socket_directories=/tmp"
    )
    database = DockerContainer(DATABASES, user="postgres").with_command(["sh", "-c", start])
    ready = LogMessageWaitStrategy("database system is ready to accept connections").with_startup_timeout(120)
    with database.waiting_for(ready) as running:
        sql = ["psql", "-h", "/tmp", "-U", "app", "-d", "postgres", "-t", "-A", "-c"]
        running.exec([*sql, "create table t as select generate_series(1, 1000) n"])
        assert running.exec([*sql, "select sum(n) from t"]).output.strip() == b"500500"


def test_an_image_that_is_built(tmp_path):
    (tmp_path / "Dockerfile").write_text('FROM busybox:latest\nARG WHO=x\nRUN echo $WHO >/who\nCMD ["cat", "/who"]\n')
    with DockerImage(path=tmp_path, tag="testcontainers/built:1", buildargs={"WHO": "me"}) as image:
        with DockerContainer(str(image)) as running:
            wait_for_logs(running, "me", timeout=60)
    with pytest.raises(docker.errors.ImageNotFound):
        DockerClient().client.images.get("testcontainers/built:1")


def test_an_image_that_is_pulled():
    with DockerContainer("localhost:5000/small:1").with_command("echo pulled") as running:
        wait_for_logs(running, "pulled", timeout=60)
    with pytest.raises(docker.errors.APIError):
        DockerContainer("localhost:5000/nowhere:1").start()


def test_compose(tmp_path):
    from testcontainers.compose import DockerCompose

    (tmp_path / "compose.yaml").write_text(
        "services:\n  web:\n    image: busybox:latest\n    command: sh -c 'echo hi >/index.html; httpd -f -p 80 -h /'\n"
        "    ports: ['80']\n    init: true\n"
    )
    with DockerCompose(str(tmp_path), compose_file_name="compose.yaml") as compose:
        host, port = compose.get_service_host_and_port("web", 80)
        compose.wait_for(f"http://127.0.0.1:{port}/")
        assert compose.exec_in_container(["cat", "/index.html"], "web")[0] == "hi\n"
        assert compose.get_logs("web") is not None
