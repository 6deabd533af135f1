// dockerode, the library for JavaScript, against an engine: $SOCKET, $IMG, $REGISTRY; $DOCKERODE is where it is installed.
'use strict';

const assert = require('node:assert/strict');
const { createRequire } = require('node:module');
const { PassThrough } = require('node:stream');
const { test } = require('node:test');

const load = createRequire(process.env.DOCKERODE + '/');
const Docker = load('dockerode');
const tar = load('tar-stream');

const docker = new Docker({ socketPath: process.env.SOCKET });
const Image = process.env.IMG;
const registry = process.env.REGISTRY;
const none = { NetworkMode: 'none' };
const limit = { timeout: 30000 };

// collect reads a stream to its end.
async function collect(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks).toString();
}

// source is a stream of bytes.
function source(bytes) {
  const stream = new PassThrough();
  stream.end(bytes);
  return stream;
}

// demux splits a multiplexed stream.
async function demux(stream) {
  const out = new PassThrough();
  const err = new PassThrough();
  docker.modem.demuxStream(stream, out, err);
  stream.on('end', () => { out.end(); err.end(); });
  return Promise.all([collect(out), collect(err)]);
}

// archive is a tar of files.
function archive(files) {
  const pack = tar.pack();
  for (const [name, text] of Object.entries(files)) pack.entry({ name, mtime: new Date(1e12) }, text);
  pack.finalize();
  return collect(pack).then((text) => Buffer.from(text));
}

// unpack reads the files of a tar.
function unpack(stream) {
  return new Promise((resolve, reject) => {
    const files = {};
    const extract = tar.extract();
    extract.on('entry', (header, body, next) => {
      collect(body).then((text) => { files[header.name] = text; next(); }, reject);
    });
    extract.on('finish', () => resolve(files));
    extract.on('error', reject);
    stream.pipe(extract);
  });
}

// follow waits for a pull, push or build, and returns its messages.
function follow(stream) {
  return new Promise((resolve, reject) => {
    docker.modem.followProgress(stream, (err, lines) => (err ? reject(err) : resolve(lines)));
  });
}

// create makes a container that is removed at the test's end.
async function create(t, options) {
  const container = await docker.createContainer({ Image, HostConfig: none, ...options });
  t.after(() => container.remove({ force: true, v: true }).catch((err) => assert.equal(err.statusCode, 404)));
  return container;
}

async function start(t, options) {
  const container = await create(t, { Cmd: ['sleep', '1000'], ...options });
  await container.start();
  return container;
}

// fails wants an error of a status, and returns its message.
async function fails(promise, status) {
  const err = await promise.then(() => assert.fail(`no error ${status}`), (e) => e);
  assert.equal(err.statusCode, status, err.message);
  return err.json?.message;
}

test('system', limit, async () => {
  assert.equal((await docker.ping()).toString(), 'OK');
  assert.equal((await docker.version()).Os, 'linux');
  assert.ok((await docker.info()).ID);
  assert.ok((await docker.df()).Images.length > 0);
  const auth = await docker.checkAuth({ username: 'joe', password: 'secret', serveraddress: registry });
  assert.equal(auth.Status, 'Login Succeeded');
});

test('errors', limit, async (t) => {
  assert.equal(await fails(docker.getContainer('js-nothing').inspect(), 404), 'No such container: js-nothing');
  assert.match(await fails(docker.createContainer({ Image: 'nothing:here' }), 404), /No such image: nothing:here/);
  const c = await start(t, { name: 'js-errors' });
  assert.match(await fails(docker.createContainer({ Image, name: 'js-errors' }), 409), /Conflict\. The container name "\/js-errors" is already in use/);
  await fails(c.start(), 304);
  const bad = await create(t, { Cmd: ['nothing-of-this-name'] });
  assert.match(await fails(bad.start(), 400), /executable file not found in \$PATH/);
});

test('run', limit, async () => {
  const out = new PassThrough();
  const err = new PassThrough();
  const [{ StatusCode }, container] = await docker.run(Image, ['sh', '-c', 'echo out; echo err >&2; exit 3'], [out, err], { Tty: false, HostConfig: none });
  assert.equal(StatusCode, 3);
  assert.equal(String(out.read()), 'out\n');
  assert.equal(String(err.read()), 'err\n');
  await container.remove();
});

test('attach', limit, async (t) => {
  const c = await create(t, { Cmd: ['sh', '-c', 'cat; echo done >&2'], OpenStdin: true, StdinOnce: true, AttachStdin: true, AttachStdout: true, AttachStderr: true });
  const stream = await c.attach({ stream: true, hijack: true, stdin: true, stdout: true, stderr: true });
  const both = demux(stream);
  await c.start();
  stream.write('typed\n');
  stream.end('more\n');
  assert.deepEqual(await both, ['typed\nmore\n', 'done\n']);
  assert.equal((await c.wait()).StatusCode, 0);

  const tty = await create(t, { Cmd: ['sh', '-c', 'read x; echo got $x; stty size'], Tty: true, OpenStdin: true, AttachStdin: true, AttachStdout: true });
  const raw = await tty.attach({ stream: true, hijack: true, stdin: true, stdout: true, stderr: true });
  await tty.start();
  await tty.resize({ h: 22, w: 99 });
  raw.write('typed\n');
  assert.equal(await collect(raw), 'typed\r\ngot typed\r\n22 99\r\n');
});

test('exec', limit, async (t) => {
  const c = await start(t);
  const plain = await c.exec({ Cmd: ['sh', '-c', 'cat; echo err >&2; exit 7'], AttachStdin: true, AttachStdout: true, AttachStderr: true });
  const stream = await plain.start({ hijack: true, stdin: true });
  const both = demux(stream);
  stream.end('in\n');
  assert.deepEqual(await both, ['in\n', 'err\n']);
  assert.equal((await plain.inspect()).ExitCode, 7);

  const tty = await c.exec({ Cmd: ['sh', '-c', 'tty; read x; stty size'], Tty: true, AttachStdin: true, AttachStdout: true });
  const raw = await tty.start({ hijack: true, stdin: true, Tty: true });
  await tty.resize({ h: 33, w: 77 });
  raw.write('\n');
  assert.match(await collect(raw), /\/dev\/pts\/0\r\n[^]*33 77\r\n$/);

  const env = await c.exec({ Cmd: ['sh', '-c', 'echo $A; pwd; id -u'], Env: ['A=b'], WorkingDir: '/tmp', User: '1000', AttachStdout: true });
  assert.deepEqual(await demux(await env.start({})), ['b\n/tmp\n1000\n', '']);
  await collect(await (await c.exec({ Cmd: ['true'] })).start({ Detach: true }));
});

test('logs', limit, async (t) => {
  const c = await start(t, { Cmd: ['sh', '-c', 'seq 3; echo err >&2; sleep 0.3; echo last'] });
  assert.deepEqual(await demux(await c.logs({ follow: true, stdout: true, stderr: true })), ['1\n2\n3\nlast\n', 'err\n']);
  await c.wait();
  const [tail] = await demux(source(await c.logs({ stdout: true, tail: 1, timestamps: true })));
  assert.match(tail, /^\S+Z last\n$/);
});

test('stats and top', limit, async (t) => {
  const c = await start(t, { HostConfig: { ...none, Memory: 64 << 20 } });
  const once = await c.stats({ stream: false });
  assert.equal(once.memory_stats.limit, 64 << 20);
  const stream = await c.stats({ stream: true });
  let text = '';
  for await (const chunk of stream) {
    text += chunk;
    if (text.split('\n').length > 2) break;
  }
  const [first, second] = text.split('\n').slice(0, 2).map((line) => JSON.parse(line));
  assert.equal(second.preread, first.read);
  assert.match((await c.top({ ps_args: '-o pid,args' })).Processes[0][1], /sleep 1000/);
});

test('events', limit, async (t) => {
  const stream = await docker.getEvents({ filters: { type: ['container'], container: ['js-events'] } });
  const seen = [];
  const destroyed = new Promise((resolve) => {
    let text = '';
    stream.on('data', (chunk) => {
      text += chunk;
      const lines = text.split('\n');
      text = lines.pop();
      seen.push(...lines.filter(Boolean).map((line) => JSON.parse(line).Action));
      if (seen.includes('destroy')) resolve();
    });
  });
  const c = await start(t, { name: 'js-events' });
  await c.pause();
  await c.unpause();
  await c.kill({ signal: 'KILL' });
  await c.wait();
  await c.remove();
  await destroyed;
  stream.destroy();
  assert.deepEqual(seen.filter((action) => action !== 'attach'), ['create', 'start', 'pause', 'unpause', 'kill', 'die', 'destroy']);
});

test('files and commit', limit, async (t) => {
  const c = await start(t, { name: 'js-files' });
  await c.putArchive(await archive({ 'a.txt': 'text\n', 'd/b.txt': 'b\n' }), { path: '/tmp' });
  assert.deepEqual(await unpack(await c.getArchive({ path: '/tmp/a.txt' })), { 'a.txt': 'text\n' });
  const info = await c.infoArchive({ path: '/tmp/a.txt' });
  await collect(info);
  const stat = JSON.parse(Buffer.from(info.headers['x-docker-container-path-stat'], 'base64'));
  assert.deepEqual([stat.name, stat.size], ['a.txt', 5]);
  await fails(c.getArchive({ path: '/nothing' }), 404);
  assert.ok((await c.changes()).some((change) => change.Path === '/tmp/a.txt' && change.Kind === 1));
  assert.equal((await unpack(await c.export()))['tmp/d/b.txt'], 'b\n');
  const { Id } = await c.commit({ repo: 'js/committed', tag: 'v1', Cmd: ['cat', '/tmp/a.txt'], Env: ['C=d'] });
  t.after(() => docker.getImage('js/committed:v1').remove({ force: true }));
  const image = await docker.getImage(Id).inspect();
  assert.deepEqual([image.RepoTags, image.Config.Cmd], [['js/committed:v1'], ['cat', '/tmp/a.txt']]);
});

test('life', limit, async (t) => {
  const c = await start(t, { name: 'js-life', Labels: { suite: 'js' }, Cmd: ['sh', '-c', 'trap "exit 5" TERM; echo ready; while :; do sleep 0.05; done'] });
  for await (const chunk of await c.logs({ follow: true, stdout: true })) if (String(chunk).includes('ready')) break;
  await c.rename({ name: 'js-living' });
  await c.update({ Memory: 128 << 20, MemorySwap: 256 << 20 });
  assert.equal((await c.inspect()).HostConfig.Memory, 128 << 20);
  const list = await docker.listContainers({ filters: { label: ['suite=js'], status: ['running'] } });
  assert.deepEqual(list.map((one) => one.Names), [['/js-living']]);
  const next = c.wait({ condition: 'next-exit' });
  await c.stop({ t: 30 });
  assert.equal((await next).StatusCode, 5);
  await c.restart({ t: 0 });
  assert.equal((await c.inspect({ size: true })).State.Running, true);
  const removed = c.wait({ condition: 'removed' });
  await c.remove({ force: true });
  assert.equal((await removed).StatusCode, 137);
});

test('build', limit, async (t) => {
  const context = await archive({ Dockerfile: `FROM ${Image}\nARG WHAT\nCOPY a.txt /a.txt\nRUN echo $WHAT >> /a.txt\nCMD ["cat", "/a.txt"]\n`, 'a.txt': 'copied\n' });
  const lines = await follow(await docker.buildImage(source(context), { t: 'js/built:v1', buildargs: { WHAT: 'argument' }, networkmode: 'none', labels: { suite: 'js' } }));
  t.after(() => docker.getImage('js/built:v1').remove({ force: true }));
  assert.ok(lines.some((line) => line.aux?.ID?.startsWith('sha256:')));
  const out = new PassThrough();
  const [, container] = await docker.run('js/built:v1', [], out, { HostConfig: { ...none }, Tty: true });
  assert.equal(String(out.read()), 'copied\r\nargument\r\n');
  await container.remove();
  assert.ok((await docker.getImage('js/built:v1').history()).length >= 4);
  const failing = await docker.buildImage(source(await archive({ Dockerfile: `FROM ${Image}\nRUN exit 9\n` })), { networkmode: 'none' });
  assert.match((await follow(failing)).at(-1).error, /returned a non-zero code: 9/);
});

test('registry', limit, async () => {
  const name = `${registry}/js/busybox`;
  const auth = { username: 'joe', password: 'secret', serveraddress: registry };
  await docker.getImage(Image).tag({ repo: name, tag: 'v1' });
  const tagged = docker.getImage(`${name}:v1`);
  const pushed = await follow(await tagged.push({ authconfig: auth }));
  assert.match(pushed.map((line) => line.status).join('\n'), /v1: digest: sha256:[0-9a-f]{64} size: \d+/);
  const refused = await follow(await tagged.push({ authconfig: { ...auth, password: 'wrong' } }));
  assert.ok(refused.at(-1).errorDetail.message);
  await tagged.remove();
  const pulled = await follow(await docker.pull(`${name}:v1`, { authconfig: auth }));
  assert.equal(pulled.at(-1).status, `Status: Downloaded newer image for ${name}:v1`);
  assert.match((await tagged.distribution({ authconfig: auth })).Descriptor.digest, /^sha256:/);
  await fails(docker.pull(`${name}:nothing`, { authconfig: auth }), 404);
  await tagged.remove();
});

test('images', limit, async (t) => {
  await docker.getImage(Image).tag({ repo: 'js/saved', tag: 'v1' });
  const text = [];
  for await (const chunk of await docker.getImage('js/saved:v1').get()) text.push(chunk);
  await docker.getImage('js/saved:v1').remove();
  const said = await follow(await docker.loadImage(source(Buffer.concat(text))));
  assert.match(said.map((line) => line.stream ?? '').join(''), /Loaded image: js\/saved:v1/);
  const list = await docker.listImages({ filters: { reference: ['js/saved'] } });
  assert.equal(list.length, 1);
  await docker.getImage('js/saved:v1').remove();
  const imported = await follow(await docker.importImage(source(await archive({ 'etc/x': 'x' })), { repo: 'js/imported', tag: 'v1' }));
  t.after(() => docker.getImage('js/imported:v1').remove());
  assert.match(imported.at(-1).status, /^sha256:/);
});

test('volumes and prune', limit, async (t) => {
  const volume = await docker.createVolume({ Name: 'js-volume', Labels: { suite: 'js' } });
  const user = await create(t, { HostConfig: { ...none, Binds: ['js-volume:/v'] }, Labels: { prune: 'js' } });
  assert.match(await fails(docker.getVolume('js-volume').remove(), 409), /volume is in use/);
  const pruned = await docker.pruneContainers({ filters: { label: ['prune=js'] } });
  assert.deepEqual(pruned.ContainersDeleted, [user.id]);
  const { Volumes } = await docker.listVolumes({ filters: { label: ['suite=js'] } });
  assert.deepEqual(Volumes.map((v) => [v.Name, v.Driver]), [['js-volume', 'local']]);
  assert.equal((await docker.getVolume('js-volume').inspect()).Scope, 'local');
  const gone = await docker.pruneVolumes({ filters: { label: ['suite=js'], all: ['true'] } });
  assert.deepEqual(gone.VolumesDeleted, ['js-volume']);
  assert.ok(volume);
  assert.equal((await docker.pruneImages({ filters: { label: ['prune=js'] } })).SpaceReclaimed, 0);
});
