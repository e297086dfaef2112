"""The `docker` package of PyPI: every part of its client, as its manual shows them."""

import io
import socket
import tarfile
import threading
import uuid

import docker
import pytest
from docker.errors import APIError, BuildError, ContainerError, ImageNotFound, NotFound
from docker.types import EndpointConfig, Healthcheck, IPAMConfig, IPAMPool, LogConfig, Mount, Ulimit

from conftest import eventually

IMAGE = "busybox:latest"


@pytest.fixture(scope="module")
def client():
    client = docker.from_env(timeout=60)
    yield client
    client.close()


@pytest.fixture
def name():
    return f"sdk-{uuid.uuid4().hex[:10]}"


@pytest.fixture
def sleeper(client, name):
    container = client.containers.run(IMAGE, ["sleep", "600"], name=name, detach=True, init=True, labels={"owner": name})
    yield container
    container.remove(force=True, v=True)


def archive(**files):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for path, text in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return data.getvalue()


def test_client(client):
    assert client.ping() is True
    assert client.version()["ApiVersion"]
    info = client.info()
    assert info["OSType"] == "linux" and info["Swarm"]["LocalNodeState"] == "inactive"
    assert {"Images", "Containers", "Volumes", "BuildCache"} <= set(client.df())
    with pytest.raises(APIError) as refused:
        client.swarm.reload()
    assert refused.value.status_code == 503


def test_run(client, name):
    assert client.containers.run(IMAGE, "echo out", remove=True) == b"out\n"
    with pytest.raises(ContainerError) as failed:
        client.containers.run(IMAGE, ["sh", "-c", "echo bad >&2; exit 3"], remove=True)
    assert failed.value.exit_status == 3 and b"bad" in failed.value.stderr
    with pytest.raises(ImageNotFound):
        client.api.create_container("nowhere:none", "true")
    with pytest.raises(APIError):
        client.containers.run(IMAGE, "nothing-like-that", remove=True)
    lines = client.containers.run(IMAGE, ["sh", "-c", "echo a; echo b"], remove=True, stream=True)
    assert b"".join(lines) == b"a\nb\n"


def test_every_setting(client, name):
    settings = dict(
        cap_add=["SYS_TIME"], cap_drop=["CHOWN"], cpu_shares=512, cpu_period=100000, cpu_quota=50000, cpuset_cpus="0",
        devices=["/dev/null:/dev/nothing:rw"], dns=["192.0.2.53"], dns_opt=["ndots:2"], dns_search=["example.test"],
        domainname="example", environment={"A": "1"}, extra_hosts={"other": "192.0.2.9"}, group_add=["99"],
        hostname="sdk-host", init=True, ipc_mode="private", labels={"a": "b"}, mem_limit="64m", memswap_limit="128m",
        mem_reservation="32m", oom_score_adj=300, pids_limit=40, read_only=True, security_opt=["no-new-privileges:true"],
        shm_size="4m", stop_signal="SIGINT", sysctls={"net.core.somaxconn": "777"}, tmpfs={"/scratch": "size=1m"},
        ulimits=[Ulimit(name="nofile", soft=100, hard=200)], user="5:6", working_dir="/tmp",
        log_config=LogConfig(type="json-file", config={"max-size": "1m"}), restart_policy={"Name": "on-failure", "MaximumRetryCount": 2},
        healthcheck=Healthcheck(test=["CMD", "true"], interval=10**9, timeout=10**10, retries=3),
        mounts=[Mount("/mounted", name, type="volume", labels={"owner": name}), Mount("/t", None, type="tmpfs", tmpfs_size=1 << 20)],
        ports={"80/tcp": ("127.0.0.1", None), "81/udp": None},
    )
    container = client.containers.run(IMAGE, ["sleep", "600"], name=name, detach=True, **settings)
    try:
        host = container.attrs["HostConfig"]
        assert (host["CpuShares"], host["CpuQuota"], host["CpusetCpus"], host["Memory"]) == (512, 50000, "0", 64 << 20)
        assert (host["PidsLimit"], host["OomScoreAdj"], host["ShmSize"]) == (40, 300, 4 << 20)
        command = "hostname; id -u; id -g; pwd; cat /proc/sys/net/core/somaxconn; ulimit -n; cat /proc/self/oom_score_adj"
        code, output = container.exec_run(["sh", "-c", command])
        assert code == 0
        assert output.decode().split()[:5] == ["sdk-host", "5", "6", "/tmp", "777"]
        container.reload()
        assert container.ports["80/tcp"][0]["HostIp"] == "127.0.0.1" and container.ports["81/udp"]
        eventually(lambda: container.reload() or container.health == "healthy", what="health")
        assert {mount["Destination"] for mount in container.attrs["Mounts"]} >= {"/mounted", "/t"}
    finally:
        container.remove(force=True)
        client.volumes.get(name).remove()


def test_life(client, sleeper, name):
    assert client.containers.get(name).id == sleeper.id == client.containers.get(sleeper.short_id).id
    assert [c.name for c in client.containers.list(filters={"label": f"owner={name}", "status": "running"})] == [name]
    sleeper.pause()
    assert client.containers.get(name).status == "paused"
    sleeper.unpause()
    sleeper.rename(name + "-b")
    sleeper.update(mem_limit="100m", memswap_limit="200m")
    sleeper.restart(timeout=1)
    assert any("sleep" in process[-1] for process in sleeper.top()["Processes"])
    stats = sleeper.stats(stream=False)
    assert stats["memory_stats"] and stats["cpu_stats"] and stats["pids_stats"]["current"] >= 1
    assert next(sleeper.stats(decode=True))["name"] == f"/{name}-b"
    sleeper.stop(timeout=1)
    code = sleeper.wait(timeout=30)["StatusCode"]
    assert code in (137, 143)
    sleeper.start()
    sleeper.kill(signal="SIGKILL")
    assert sleeper.wait(condition="not-running")["StatusCode"] == 137
    with pytest.raises(APIError) as refused:
        sleeper.kill()
    assert refused.value.status_code == 409
    with pytest.raises(NotFound):
        client.containers.get("nowhere-at-all")


def test_exec(sleeper):
    result = sleeper.exec_run(["sh", "-c", "echo out; echo err >&2; exit 5"], demux=True)
    assert result.exit_code == 5 and result.output == (b"out\n", b"err\n")
    assert sleeper.exec_run("id -u", user="7").output == b"7\n"
    assert sleeper.exec_run("pwd", workdir="/etc", environment=["A=1"]).output == b"/etc\n"
    assert b"".join(sleeper.exec_run("cat /etc/passwd", stream=True).output).startswith(b"root:")
    assert sleeper.exec_run("tty", tty=True, stdin=True).output.strip().startswith(b"/dev/")
    code, connection = sleeper.exec_run("cat", socket=True, stdin=True, tty=True)
    raw = connection._sock
    raw.sendall(b"typed\n")
    seen = b""
    while b"typed" not in seen:
        seen += raw.recv(100)
    raw.close()
    detached = sleeper.client.api.exec_create(sleeper.id, "sleep 0")
    assert sleeper.client.api.exec_start(detached["Id"], detach=True) == ""
    eventually(lambda: sleeper.client.api.exec_inspect(detached["Id"])["ExitCode"] == 0)


def test_attach_and_logs(client, name):
    container = client.containers.create(IMAGE, ["sh", "-c", "read line; echo got $line"], name=name, stdin_open=True)
    connection = container.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
    container.start()
    connection._sock.sendall(b"typed\n")
    connection._sock.shutdown(socket.SHUT_WR)
    container.wait(timeout=30)
    connection.close()
    assert container.logs() == b"got typed\n"
    assert container.logs(timestamps=True).split(b" ", 1)[1] == b"got typed\n"
    assert container.logs(tail=0) == b"" and container.logs(stderr=True, stdout=False) == b""
    assert b"".join(container.logs(stream=True, follow=True)) == b"got typed\n"
    container.remove()


def test_files(client, sleeper, name):
    assert sleeper.put_archive("/tmp", archive(a="first", b="second"))
    chunks, entry = sleeper.get_archive("/tmp/a")
    assert entry["name"] == "a" and entry["size"] == 5
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
        assert tar.extractfile("a").read() == b"first"
    with pytest.raises(NotFound):
        sleeper.get_archive("/nowhere")
    assert {"Path": "/tmp/a", "Kind": 1} in sleeper.diff()
    with tarfile.open(fileobj=io.BytesIO(b"".join(sleeper.export()))) as tar:
        assert "tmp/b" in tar.getnames()
    image = sleeper.commit(repository=name, tag="1", message="why", author="who", conf={"Env": ["Z=1"]})
    assert image.tags == [f"{name}:1"] and image.attrs["Comment"] == "why"
    assert client.containers.run(image, "cat /tmp/b", remove=True) == b"second"
    client.images.remove(image.id, force=True)


def test_images(client, name):
    context = archive(Dockerfile="FROM busybox:latest\nARG WHO=nobody\nRUN echo $WHO >/who\nLABEL made=here\nCMD [\"cat\", \"/who\"]\n")
    image, log = client.images.build(fileobj=io.BytesIO(context), custom_context=True, tag=f"{name}:1", buildargs={"WHO": "me"}, rm=True)
    assert any("Successfully tagged" in line.get("stream", "") for line in log)
    assert client.containers.run(f"{name}:1", remove=True) == b"me\n"
    with pytest.raises(BuildError):
        client.images.build(fileobj=io.BytesIO(b"FROM busybox:latest\nRUN exit 4\n"))
    assert image.labels == {"made": "here"} and image.history()[0]["Size"] >= 0
    assert image.tag(f"{name}-copy", tag="2") is True
    assert [i.id for i in client.images.list(name=name)] == [image.id]
    assert client.images.list(filters={"label": "made=here", "dangling": False})
    saved = b"".join(image.save(named=f"{name}:1"))
    client.images.remove(f"{name}:1", force=True)
    client.images.remove(f"{name}-copy:2")
    with pytest.raises(ImageNotFound):
        client.images.get(f"{name}:1")
    assert client.images.load(saved)[0].tags == [f"{name}:1"]
    client.images.remove(f"{name}:1")
    assert "SpaceReclaimed" in client.images.prune() and "SpaceReclaimed" in client.images.prune_builds()
    imported = client.api.import_image_from_data(archive(hello="x"), repository=name, tag="imported")
    assert "sha256:" in imported
    client.images.remove(f"{name}:imported")


def test_registry(client, name):
    repository = f"localhost:5000/{name}"
    assert client.images.get(IMAGE).tag(repository, tag="1")
    steps = list(client.images.push(repository, tag="1", stream=True, decode=True))
    digest = [step["aux"]["Digest"] for step in steps if "aux" in step][0]
    assert client.images.get_registry_data(f"{repository}:1").id == digest
    client.images.remove(f"{repository}:1")
    assert client.images.pull(repository, tag="1").tags[-1:] and client.images.get(f"{repository}:1").attrs["RepoDigests"]
    client.images.remove(f"{repository}:1")
    assert client.images.pull(f"{repository}@{digest}").id
    client.images.remove(f"{repository}@{digest}")
    with pytest.raises(NotFound):
        client.images.pull("localhost:5000/nowhere", tag="1")


def test_networks(client, name):
    pool = IPAMPool(subnet="10.232.5.0/24", gateway="10.232.5.254", iprange="10.232.5.128/25", aux_addresses={"other": "10.232.5.9"})
    network = client.networks.create(name, driver="bridge", ipam=IPAMConfig(pool_configs=[pool]), labels={"owner": name}, internal=False, attachable=True, options={"com.docker.network.driver.mtu": "1400"})
    container = client.containers.run(
        IMAGE, ["sleep", "600"], name=name, detach=True, init=True, network=name,
        networking_config={name: EndpointConfig(client.api._version, aliases=["alias"], ipv4_address="10.232.5.20")},
    )
    other = client.containers.create(IMAGE, ["sleep", "600"], init=True)
    try:
        assert [n.id for n in client.networks.list(names=[name])] == [network.id]
        assert [n.id for n in client.networks.list(filters={"label": f"owner={name}"})] == [network.id]
        network.connect(other, aliases=["second"], ipv4_address="10.232.5.30", link_local_ips=None)
        other.start()
        network.reload()
        assert {c.id for c in network.containers} == {container.id, other.id}
        for host in (name, "alias", "10.232.5.20"):
            assert other.exec_run(["ping", "-c", "1", "-w", "20", host]).exit_code == 0
        assert container.exec_run(["ping", "-c", "1", "-w", "20", "second"]).exit_code == 0
        assert other.exec_run(["cat", "/sys/class/net/eth1/mtu"]).output == b"1400\n"
        network.disconnect(other)
        assert container.exec_run(["ping", "-c", "1", "-W", "1", "10.232.5.30"]).exit_code != 0
        with pytest.raises(APIError) as refused:
            network.remove()
        assert "active endpoints" in str(refused.value)
        with pytest.raises(APIError):
            client.networks.create(name + "-b", ipam=IPAMConfig(pool_configs=[IPAMPool(subnet="10.232.5.0/25")]))
    finally:
        container.remove(force=True)
        other.remove(force=True)
        network.remove()
    with pytest.raises(NotFound):
        client.networks.get(name)
    assert "NetworksDeleted" in client.networks.prune()


def test_volumes(client, name):
    volume = client.volumes.create(name, driver="local", labels={"owner": name})
    assert client.volumes.get(name).attrs["Labels"] == {"owner": name}
    client.containers.run(IMAGE, ["sh", "-c", "echo kept >/data/file"], volumes={name: {"bind": "/data", "mode": "rw"}}, remove=True)
    assert client.containers.run(IMAGE, "cat /data/file", volumes=[f"{name}:/data:ro"], remove=True) == b"kept\n"
    with pytest.raises(ContainerError):
        client.containers.run(IMAGE, "touch /data/x", volumes=[f"{name}:/data:ro"], remove=True)
    assert [v.name for v in client.volumes.list(filters={"name": name})] == [name]
    holder = client.containers.create(IMAGE, "true", volumes=[f"{name}:/data"])
    with pytest.raises(APIError) as refused:
        volume.remove()
    assert refused.value.status_code == 409 and "volume is in use" in str(refused.value)
    holder.remove()
    volume.remove()
    with pytest.raises(NotFound):
        volume.reload()
    assert "SpaceReclaimed" in client.volumes.prune()


def test_events(client, name):
    seen = []
    stream = client.events(decode=True, filters={"container": name})

    def read():
        for event in stream:
            seen.append(event["Action"])

    reader = threading.Thread(target=read)
    reader.start()

    def told():
        client.containers.run(IMAGE, "true", name=name).decode()
        client.containers.get(name).remove()
        return {"create", "start", "die", "destroy"} <= set(seen)

    eventually(told, what="events of a container")
    stream.close()
    reader.join(30)


def test_outside_a_swarm(client):
    for ask in (client.services.list, client.nodes.list, client.secrets.list, client.configs.list):
        with pytest.raises(APIError) as refused:
            ask()
        assert refused.value.status_code == 503 and "This node is not a swarm manager" in str(refused.value)
    assert client.plugins.list() == []
    with pytest.raises(NotFound):
        client.plugins.get("nowhere")


def test_contexts(tmp_path, monkeypatch):
    from docker.context import ContextAPI

    assert ContextAPI.get_context("default") is not None
