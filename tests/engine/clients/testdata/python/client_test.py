"""Debian's docker library for Python against an engine: $DOCKER_HOST, $IMG, $REGISTRY, and $API, the version to ask for."""

import faulthandler
import io
import os
import socket
import struct
import tarfile
import threading
import time
import unittest

import docker
from docker import errors

API = os.environ["API"]
IMG = os.environ["IMG"]
REGISTRY = os.environ["REGISTRY"]
NAME = "py" + API.replace(".", "")
PINNED = (1, 56) if API == "auto" else tuple(int(n) for n in API.split("."))
LABEL = {"suite": NAME}
LOGIN = {"username": "joe", "password": "secret"}


def archive(files):
    """A tar of these files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(text), 1000000000
            tar.addfile(info, io.BytesIO(text))
    return out.getvalue()


def exact(stream, count):
    """Reads so many bytes from a socket, or its file."""
    data = b""
    while len(data) < count:
        more = stream.recv(count - len(data)) if hasattr(stream, "recv") else stream.read(count - len(data))
        if not more:
            break
        data += more
    return data


def frames(stream):
    """What a multiplexed stream has for stdout and stderr."""
    out = {1: b"", 2: b""}
    while True:
        header = exact(stream, 8)
        if len(header) < 8:
            return out[1], out[2]
        kind, size = struct.unpack(">BxxxL", header)
        out[kind] += exact(stream, size)


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.client = docker.DockerClient(base_url=os.environ["DOCKER_HOST"], version=API, timeout=60)
        cls.addClassCleanup(cls.client.close)

    def start(self, name, command, **more):
        more.setdefault("network_mode", "none")
        c = self.client.containers.run(IMG, command, name=NAME + "-" + name, detach=True, labels=LABEL, **more)
        self.addCleanup(self.drop, c)
        return c

    def drop(self, container):
        try:
            container.remove(force=True, v=True)
        except errors.NotFound:
            pass

    def until(self, so, what):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if so():
                return
            time.sleep(0.05)
        self.fail("not so within a minute: " + what)


class System(Case):
    def test_system(self):
        self.assertTrue(self.client.ping())
        version = self.client.version()
        self.assertEqual(version["Os"], "linux")
        self.assertIn("Engine", [c["Name"] for c in version["Components"]])
        info = self.client.info()
        for key in ("ID", "Driver", "Containers", "Images", "NCPU", "MemTotal", "SecurityOptions", "Runtimes"):
            self.assertIn(key, info)
        if API == "auto":
            self.assertEqual(self.client.api._version, version["ApiVersion"])
        if PINNED >= (1, 25):
            usage = self.client.df()
            self.assertIn(IMG, [t for i in usage["Images"] for t in i["RepoTags"] or []])

    def test_login(self):
        self.assertEqual(self.client.login(registry=REGISTRY, **LOGIN)["Status"], "Login Succeeded")
        with self.assertRaises(errors.APIError) as caught:
            docker.APIClient(os.environ["DOCKER_HOST"], version=API).login("joe", "wrong", registry=REGISTRY, reauth=True)
        self.assertTrue(caught.exception.is_error())

    def test_events(self):
        since = time.time() - 1
        seen, ready = [], threading.Event()
        stream = self.client.events(decode=True, since=int(since), filters={"label": "suite=" + NAME, "type": "container", "container": NAME + "-events"})

        def listen():
            ready.set()
            for e in stream:
                seen.append(e)
                if e["Action"] == "destroy":
                    return

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        ready.wait()
        c = self.start("events", ["true"])
        c.wait()
        c.remove()
        listener.join(60)
        stream.close()
        self.assertEqual([e["Action"] for e in seen if e["Action"] != "attach"], ["create", "start", "die", "destroy"])
        die = next(e for e in seen if e["Action"] == "die")
        self.assertEqual(die["Actor"]["Attributes"]["exitCode"], "0")
        self.assertEqual(die["Actor"]["Attributes"]["name"], NAME + "-events")
        past = self.client.events(decode=True, since=int(since), until=int(time.time() + 1), filters={"container": NAME + "-events"})
        self.assertIn("destroy", [e["Action"] for e in past])


class Errors(Case):
    def test_types(self):
        with self.assertRaises(errors.NotFound) as caught:
            self.client.containers.get(NAME + "-nothing")
        self.assertEqual(caught.exception.explanation, "No such container: " + NAME + "-nothing")
        with self.assertRaises(errors.ImageNotFound):
            self.client.images.get("nothing:here")
        with self.assertRaises(errors.ImageNotFound):
            self.client.api.create_container("nothing:here", "true")
        with self.assertRaises(errors.NotFound):
            self.client.volumes.get(NAME + "-nothing")
        with self.assertRaises(errors.ContainerError) as caught:
            self.client.containers.run(IMG, ["sh", "-c", "echo out; echo err >&2; exit 3"], network_mode="none", remove=False, name=NAME + "-error", labels=LABEL)
        self.drop(self.client.containers.get(NAME + "-error"))
        self.assertEqual((caught.exception.exit_status, caught.exception.stderr), (3, b"err\n"))
        with self.assertRaises(errors.APIError) as caught:
            self.start("bad", ["nothing-of-this-name"])
        self.drop(self.client.containers.get(NAME + "-bad"))
        self.assertIn("executable file not found in $PATH", caught.exception.explanation)
        self.assertEqual(caught.exception.status_code, 400)
        self.assertTrue(caught.exception.is_client_error())

    def test_conflicts(self):
        c = self.start("conflict", ["sleep", "1000"])
        with self.assertRaises(errors.APIError) as caught:
            self.start("conflict", ["true"])
        self.assertEqual(caught.exception.status_code, 409)
        self.assertIn('is already in use by container "' + c.id, caught.exception.explanation)
        with self.assertRaises(errors.APIError) as caught:
            c.remove()
        self.assertEqual(caught.exception.status_code, 409)
        c.pause()
        with self.assertRaises(errors.APIError) as caught:
            c.exec_run("true")
        self.assertIn("is paused", caught.exception.explanation)
        c.unpause()


def prune(things, filters):
    """prunes; one at a time is done, and the tests of other versions run beside these."""
    for _ in range(600):
        try:
            return things.prune(filters=filters)
        except errors.APIError as e:
            if e.status_code != 409:
                raise
            time.sleep(0.1)
    raise AssertionError("others prune all the time")


class Containers(Case):
    def test_run(self):
        run = self.client.containers.run
        self.assertEqual(run(IMG, ["echo", "hello"], remove=True, network_mode="none"), b"hello\n")
        self.assertEqual(run(IMG, "sh -c 'echo out; echo err >&2'", remove=True, network_mode="none", stderr=True, stdout=False), b"err\n")
        both = run(IMG, "sh -c 'echo out; echo err >&2'", remove=True, stdout=True, stderr=True)
        self.assertEqual(sorted(both.split()), [b"err", b"out"])
        self.assertEqual(list(run(IMG, ["seq", "3"], network_mode="none", remove=True, stream=True)), [b"1\n", b"2\n", b"3\n"])
        text = run(IMG, ["sh", "-c", "id -u; pwd; echo $A; hostname; cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max"], remove=True,
                   network_mode="none", user="1000:1000", working_dir="/tmp", environment={"A": "b c"}, hostname="box", mem_limit="64m", init=True if PINNED >= (1, 25) else None)
        self.assertEqual(text, b"1000\n/tmp\nb c\nbox\n67108864\n")

    def test_life(self):
        c = self.start("life", ["sh", "-c", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done"])
        self.until(lambda: b"ready" in c.logs(), "ready")
        self.assertEqual((c.status, c.name), ("created", NAME + "-life"))
        c.reload()
        self.assertEqual(c.status, "running")
        self.assertIn(IMG, c.image.tags)
        self.assertEqual(c.labels, LABEL)
        c.pause()
        c.reload()
        self.assertEqual(c.status, "paused")
        c.unpause()
        c.rename(NAME + "-living")
        c.reload()
        self.assertEqual(c.name, NAME + "-living")
        c.update(mem_limit="128m", memswap_limit="256m", cpu_shares=300)
        c.reload()
        self.assertEqual((c.attrs["HostConfig"]["Memory"], c.attrs["HostConfig"]["CpuShares"]), (134217728, 300))
        top = c.top()
        self.assertIn("PID", top["Titles"])
        self.assertTrue(any("sleep 0.05" in " ".join(p) or "trap" in " ".join(p) for p in top["Processes"]))
        self.assertEqual(c.top(ps_args="-o pid,comm")["Titles"], ["PID", "COMMAND"])
        c.stop(timeout=30)
        self.assertEqual(c.wait()["StatusCode"], 5)
        c.start()
        c.restart(timeout=0)
        c.kill("KILL")
        self.assertEqual(c.wait(timeout=30)["StatusCode"], 137)
        listed = self.client.containers.list(all=True, filters={"name": NAME + "-living", "status": "exited", "label": "suite=" + NAME})
        self.assertEqual([x.id for x in listed], [c.id])
        self.assertEqual(self.client.containers.list(filters={"name": NAME + "-living"}), [])

    def test_logs(self):
        c = self.start("logs", ["sh", "-c", "for i in 1 2 3; do echo line $i; done; echo error >&2; sleep 0.3; echo last"])
        self.assertEqual(b"".join(c.logs(stream=True, follow=True, stderr=False)), b"line 1\nline 2\nline 3\nlast\n")
        c.wait()
        self.assertEqual(c.logs(tail=1, stderr=False), b"last\n")
        self.assertEqual(c.logs(stdout=False), b"error\n")
        stamp, line = c.logs(timestamps=True, stderr=False).splitlines()[0].split(b" ", 1)
        self.assertEqual((line, stamp[-1:]), (b"line 1", b"Z"))
        self.assertEqual(c.logs(since=int(time.time()) + 100), b"")

    def test_exec(self):
        c = self.start("exec", ["sleep", "1000"])
        self.assertEqual(tuple(c.exec_run(["sh", "-c", "echo out; echo err >&2; exit 7"], demux=True)), (7, (b"out\n", b"err\n")))
        self.assertEqual(tuple(c.exec_run("id -u", user="1000")), (0, b"1000\n"))
        self.assertEqual(c.exec_run("tty", tty=True).output, b"/dev/pts/0\r\n")
        code, stream = c.exec_run(["seq", "1", "2000"], stream=True)
        self.assertEqual(b"".join(stream), b"".join(b"%d\n" % i for i in range(1, 2001)))
        self.assertIsNone(code)
        pairs = list(c.exec_run(["sh", "-c", "echo out; sleep 0.2; echo err >&2"], stream=True, demux=True).output)
        self.assertEqual(pairs, [(b"out\n", None), (None, b"err\n")])
        if PINNED >= (1, 35):
            self.assertEqual(c.exec_run(["sh", "-c", "pwd; echo $X"], workdir="/tmp", environment={"X": "y"}).output, b"/tmp\ny\n")
        c.exec_run("touch /detached", detach=True)
        self.until(lambda: c.exec_run("test -e /detached").exit_code == 0, "the detached exec")
        created = self.client.api.exec_create(c.id, ["cat"], stdin=True)
        s = self.client.api.exec_start(created["Id"], socket=True)
        s._sock.sendall(b"through cat")
        s._sock.shutdown(socket.SHUT_WR)
        self.assertEqual(frames(s._sock), (b"through cat", b""))
        s.close()
        self.until(lambda: not self.client.api.exec_inspect(created["Id"])["Running"], "the exec ended")
        looked = self.client.api.exec_inspect(created["Id"])
        self.assertEqual((looked["ExitCode"], looked["ProcessConfig"]["entrypoint"]), (0, "cat"))
        code, missing = c.exec_run("nothing-of-this-name")
        self.assertEqual(code, 127)
        self.assertIn(b"executable file not found", missing)

    def test_attach(self):
        c = self.client.containers.create(IMG, ["cat"], name=NAME + "-attach", stdin_open=True, network_mode="none", labels=LABEL)
        self.addCleanup(self.drop, c)
        s = c.attach_socket(params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
        c.start()
        s._sock.sendall(b"hello\n")
        self.assertEqual(struct.unpack(">BxxxL", exact(s._sock, 8)), (1, 6))
        self.assertEqual(exact(s._sock, 6), b"hello\n")
        s.close()
        o = self.client.containers.create(IMG, ["sh", "-c", "echo out; echo err >&2"], name=NAME + "-attach-out", network_mode="none", labels=LABEL)
        self.addCleanup(self.drop, o)
        stream = o.attach(stream=True, demux=True)
        o.start()
        self.assertEqual(sorted(stream, key=str), [(None, b"err\n"), (b"out\n", None)])
        t = self.client.containers.create(IMG, ["sh", "-c", "read x; echo got $x; stty size"], name=NAME + "-attach-tty", tty=True, stdin_open=True, network_mode="none", labels=LABEL)
        self.addCleanup(self.drop, t)
        s = t.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
        t.start()
        t.resize(22, 99)
        s._sock.sendall(b"typed\n")
        text = b""
        while True:
            more = s._sock.recv(4096)
            if not more:
                break
            text += more
        s.close()
        self.assertEqual(text, b"typed\r\ngot typed\r\n22 99\r\n")

    def test_files(self):
        c = self.start("files", ["sh", "-c", "mkdir /data && touch /data/x && sleep 1000"])
        self.until(lambda: c.exec_run("test -e /data/x").exit_code == 0, "/data")
        self.assertTrue(c.put_archive("/data", archive({"a.txt": b"text\n", "sub/b.txt": b"b\n"})))
        self.assertEqual(c.exec_run("cat /data/a.txt /data/sub/b.txt").output, b"text\nb\n")
        chunks, stat = c.get_archive("/data/a.txt")
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
            self.assertEqual(tar.extractfile("a.txt").read(), b"text\n")
        self.assertEqual((stat["name"], stat["size"]), ("a.txt", 5))
        with self.assertRaises(errors.NotFound):
            c.get_archive("/nothing")
        with self.assertRaises(errors.NotFound):
            c.put_archive("/nothing", archive({"a": b""}))
        changes = {d["Path"]: d["Kind"] for d in c.diff()}
        self.assertEqual((changes["/data"], changes["/data/a.txt"]), (1, 1))
        with tarfile.open(fileobj=io.BytesIO(b"".join(c.export()))) as tar:
            self.assertEqual(tar.extractfile("data/sub/b.txt").read(), b"b\n")
        image = c.commit(repository=NAME + "/committed", tag="v1", message="why", author="who", changes=["ENV C=d", "CMD [\"cat\", \"/data/a.txt\"]"])
        self.addCleanup(self.client.images.remove, image.id, force=True)
        self.assertEqual(image.tags, [NAME + "/committed:v1"])
        self.assertEqual(image.attrs["Author"], "who")
        self.assertIn("C=d", image.attrs["Config"]["Env"])
        self.assertEqual(self.client.containers.run(image.id, remove=True, network_mode="none"), b"text\n")

    def test_stats(self):
        c = self.start("stats", ["sleep", "1000"], mem_limit="64m")
        one = c.stats(stream=False)
        self.assertEqual(one["memory_stats"]["limit"], 67108864)
        self.assertEqual(one["pids_stats"]["current"], 1)
        self.assertGreater(one["cpu_stats"]["system_cpu_usage"], one["precpu_stats"]["system_cpu_usage"])
        stream = c.stats(decode=True)
        first, second = next(stream), next(stream)
        self.assertEqual(second["preread"], first["read"])
        stream.close()

    def test_prune(self):
        if PINNED < (1, 25):
            with self.assertRaises(errors.InvalidVersion):
                self.client.containers.prune()
            return
        c = self.client.containers.create(IMG, "true", labels={"prune": NAME})
        pruned = prune(self.client.containers, {"label": "prune=" + NAME})
        self.assertEqual(pruned["ContainersDeleted"], [c.id])
        self.assertIsNone(prune(self.client.containers, {"label": "prune=" + NAME})["ContainersDeleted"])


class Images(Case):
    def forget(self, name):
        try:
            self.client.images.remove(name, force=True)
        except errors.ImageNotFound:
            pass

    def build(self, name, dockerfile, files=None, **more):
        if PINNED >= (1, 25):
            more.setdefault("network_mode", "none")
        context = io.BytesIO(archive({"Dockerfile": dockerfile.encode(), **(files or {})}))
        image, log = self.client.images.build(fileobj=context, custom_context=True, tag=NAME + "/" + name, **more)
        self.addCleanup(self.forget, NAME + "/" + name)
        return image, "".join(line.get("stream", "") for line in log)

    def test_build(self):
        if PINNED < (1, 25) and os.environ.get("GANTRY_ENGINE") == "moby":
            self.skipTest("moby 29 breaks the connection off at any build by API 1.24")
        image, log = self.build("built:v1", "FROM %s\nARG WHAT=x\nLABEL a=b\nCOPY a.txt /a.txt\nRUN echo $WHAT >> /a.txt\nCMD cat /a.txt\n" % IMG,
                                {"a.txt": b"copied\n"}, rm=True, buildargs={"WHAT": "argument"}, labels={"c": "d"})
        self.assertIn("Successfully tagged %s/built:v1" % NAME, log)
        self.assertEqual(image.labels, {"a": "b", "c": "d"})
        self.assertEqual(self.client.containers.run(image, remove=True, network_mode="none"), b"copied\nargument\n")
        history = image.history()
        self.assertTrue(any("LABEL" in h["CreatedBy"] for h in history))
        with self.assertRaises(errors.BuildError) as caught:
            self.build("failed", "FROM %s\nRUN exit 9\n" % IMG)
        self.assertIn("returned a non-zero code: 9", caught.exception.msg)
        self.assertTrue(any("RUN exit 9" in line.get("stream", "") for line in caught.exception.build_log))
        with self.assertRaises(errors.APIError):
            self.build("broken", "NOTHING here\n")

    def test_names(self):
        image = self.client.images.get(IMG)
        self.assertTrue(image.tag(NAME + "/named", tag="one"))
        self.assertTrue(image.tag(NAME + "/named", tag="two"))
        self.assertEqual([i.id for i in self.client.images.list(name=NAME + "/named")], [image.id])
        self.assertEqual(self.client.images.list(filters={"reference": NAME + "/named:none"}), [])
        saved = b"".join(self.client.images.get(NAME + "/named:one").save(named=NAME + "/named:one"))
        self.client.images.remove(NAME + "/named:one")
        with self.assertRaises(errors.ImageNotFound):
            self.client.images.get(NAME + "/named:one")
        loaded = self.client.images.load(saved)
        self.assertEqual([i.id for i in loaded], [image.id])
        self.assertIn(NAME + "/named:one", loaded[0].tags)
        for tag in ("one", "two"):
            self.client.images.remove(NAME + "/named:" + tag)
        root = archive({"etc/name": b"imported\n"})
        answer = self.client.api.import_image_from_data(root, repository=NAME + "/imported", tag="v1")
        self.addCleanup(self.client.images.remove, NAME + "/imported:v1")
        self.assertIn("sha256:", answer)
        c = self.client.containers.create(NAME + "/imported:v1", "none", network_mode="none")
        self.addCleanup(self.drop, c)
        chunks, _ = c.get_archive("/etc/name")
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
            self.assertEqual(tar.extractfile("name").read(), b"imported\n")

    def test_registry(self):
        name = REGISTRY + "/" + NAME + "/busybox"
        image = self.client.images.get(IMG)
        image.tag(name, "v1")
        said = list(self.client.images.push(name, "v1", stream=True, decode=True, auth_config=LOGIN))
        self.assertTrue(said[-1].get("status", "").startswith("v1: digest: sha256:") or "Digest" in said[-1].get("aux", {}), said)
        denied = list(self.client.images.push(name, "v1", stream=True, decode=True, auth_config={"username": "joe", "password": "wrong"}))
        self.assertTrue(any("error" in line and "errorDetail" in line for line in denied), denied)
        self.client.images.remove(name + ":v1")
        pulled = self.client.images.pull(name, "v1", auth_config=LOGIN)
        self.assertIn(name + ":v1", pulled.tags)
        self.assertTrue(pulled.attrs["RepoDigests"])
        lines = list(self.client.api.pull(name, tag="v1", stream=True, decode=True, auth_config=LOGIN))
        self.assertEqual(lines[-1]["status"], "Status: Image is up to date for " + name + ":v1")
        with self.assertRaises(errors.APIError):
            self.client.images.pull(name, "nothing", auth_config=LOGIN)
        everything = self.client.images.pull(name, all_tags=True, auth_config=LOGIN)
        self.assertEqual([i.id for i in everything], [pulled.id])
        if PINNED >= (1, 30):
            data = self.client.images.get_registry_data(name + ":v1", auth_config=LOGIN)
            self.assertTrue(data.id.startswith("sha256:"))
            self.assertTrue(data.has_platform("linux"))
        self.client.images.remove(name + ":v1")

    def test_prune(self):
        if PINNED < (1, 25):
            return
        self.build("prune", "FROM %s\nLABEL prune=%s\n" % (IMG, NAME))
        first = self.client.images.get(NAME + "/prune").id
        self.build("prune", "FROM %s\nLABEL prune=%s again=yes\n" % (IMG, NAME))
        pruned = prune(self.client.images, {"dangling": True, "label": "prune=" + NAME})
        self.assertIn(first, [d.get("Deleted") for d in pruned["ImagesDeleted"] or []])


class Volumes(Case):
    def test_volumes(self):
        v = self.client.volumes.create(NAME + "-volume", labels=LABEL)
        self.assertEqual((v.attrs["Driver"], v.attrs["Scope"], v.attrs["Labels"]), ("local", "local", LABEL))
        self.client.containers.run(IMG, ["sh", "-c", "echo kept > /v/file"], remove=True, network_mode="none", volumes={v.name: {"bind": "/v", "mode": "rw"}})
        mount = docker.types.Mount("/w", v.name, read_only=True)
        read = self.client.containers.run(IMG, ["cat", "/w/file"], remove=True, network_mode="none", mounts=[mount]) if PINNED >= (1, 30) else b"kept\n"
        self.assertEqual(read, b"kept\n")
        self.assertEqual([x.name for x in self.client.volumes.list(filters={"label": "suite=" + NAME, "name": NAME + "-volume"})], [v.name])
        user = self.start("volume", ["sleep", "1000"], volumes={v.name: {"bind": "/v"}})
        with self.assertRaises(errors.APIError) as caught:
            v.remove()
        self.assertEqual(caught.exception.status_code, 409)
        self.assertIn("volume is in use - [" + user.id + "]", caught.exception.explanation)
        user.remove(force=True)
        if PINNED >= (1, 25):
            filters = {"label": "suite=" + NAME}
            if PINNED >= (1, 42):
                filters["all"] = True
            self.assertEqual(prune(self.client.volumes, filters)["VolumesDeleted"], [v.name])
        else:
            v.remove()
        with self.assertRaises(errors.NotFound):
            self.client.volumes.get(v.name)


if __name__ == "__main__":
    faulthandler.dump_traceback_later(int(os.environ["SECONDS"]), exit=True)  # says where it hangs
    unittest.main(verbosity=2)
