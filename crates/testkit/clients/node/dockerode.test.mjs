// `dockerode` of npm: every part of its client.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { PassThrough, Readable } from 'node:stream'
import { test } from 'node:test'
import Docker from 'dockerode'
import tar from 'tar-stream'

const docker = new Docker({ socketPath: process.env.DOCKER_HOST.replace('unix://', '') })
const image = 'busybox:latest'
const unique = () => `dockerode-${randomBytes(5).toString('hex')}`

async function text (stream) {
  const chunks = []
  for await (const chunk of stream) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}

function archive (files) {
  const pack = tar.pack()
  for (const [name, content] of Object.entries(files)) pack.entry({ name }, content)
  pack.finalize()
  return pack
}

async function eventually (question, what, limit = 60000) {
  const deadline = Date.now() + limit
  for (;;) {
    const answer = await question()
    if (answer) return answer
    assert.ok(Date.now() < deadline, `not within ${limit} ms: ${what}`)
    await new Promise(resolve => setTimeout(resolve, 100))
  }
}

const progress = stream => new Promise((resolve, reject) =>
  docker.modem.followProgress(stream, (error, output) => error ? reject(error) : resolve(output)))

const refused = (status, words) => error => {
  assert.equal(error.statusCode, status, String(error))
  if (words) assert.match(error.message, words)
  return true
}

async function sleeper (t, options = {}) {
  const container = await docker.createContainer({ name: unique(), Image: image, Cmd: ['sleep', '600'], ...options, HostConfig: { Init: true, ...options.HostConfig } })
  t.after(() => container.remove({ force: true, v: true }))
  await container.start()
  return container
}

test('the system', async () => {
  assert.equal((await docker.ping()).toString(), 'OK')
  assert.ok((await docker.version()).ApiVersion)
  assert.equal((await docker.info()).OSType, 'linux')
  const usage = await docker.df()
  for (const key of ['Images', 'Containers', 'Volumes']) assert.ok(key in usage)
  await assert.rejects(docker.checkAuth({ username: 'a', password: 'b', serveraddress: 'localhost:1' }))
})

test('run gives output and status', async () => {
  const output = new PassThrough()
  const seen = text(output)
  const [result, container] = await docker.run(image, ['sh', '-c', 'echo out; exit 4'], output, { HostConfig: {} })
  assert.equal(result.StatusCode, 4)
  await container.remove()
  output.end()
  assert.match(await seen, /out/)
})

test('the life of a container', async t => {
  const container = await sleeper(t, { Labels: { owner: 'life' }, ExposedPorts: { '80/tcp': {} }, HostConfig: { PublishAllPorts: true } })
  const info = await container.inspect()
  assert.equal(info.State.Running, true)
  assert.ok(info.NetworkSettings.Ports['80/tcp'][0].HostPort)
  assert.equal((await docker.listContainers({ filters: { label: ['owner=life'] } })).length, 1)
  await container.pause()
  assert.equal((await container.inspect()).State.Paused, true)
  await container.unpause()
  await container.rename({ name: unique() })
  await container.update({ Memory: 100 << 20, MemorySwap: 200 << 20 })
  assert.equal((await container.inspect()).HostConfig.Memory, 100 << 20)
  assert.ok((await container.top({ ps_args: 'aux' })).Processes.length >= 1)
  const stats = await container.stats({ stream: false })
  assert.ok(stats.memory_stats && stats.networks)
  await container.resize({ h: 20, w: 80 }).catch(() => {})
  await container.restart({ t: 1 })
  await container.kill({ signal: 'SIGKILL' })
  assert.equal((await container.wait()).StatusCode, 137)
  await assert.rejects(container.kill(), refused(409, /is not running/))
  await container.start()
  await assert.rejects(container.remove(), refused(409))
  await container.stop({ t: 0 })
  await assert.rejects(container.stop(), refused(304))
  await assert.rejects(docker.getContainer('nowhere').inspect(), refused(404, /No such container: nowhere/))
  await assert.rejects(docker.createContainer({ Image: 'nowhere:none' }), refused(404, /No such image/))
})

test('attach, logs and a terminal', async t => {
  const container = await docker.createContainer({ Image: image, Cmd: ['sh', '-c', 'read line; echo got $line; echo bad >&2'], OpenStdin: true, StdinOnce: true })
  t.after(() => container.remove({ force: true }))
  const stream = await container.attach({ stream: true, stdin: true, stdout: true, stderr: true, hijack: true })
  const out = new PassThrough()
  const err = new PassThrough()
  const both = [text(out), text(err)]
  container.modem.demuxStream(stream, out, err)
  stream.on('end', () => { out.end(); err.end() })
  await container.start()
  stream.write('typed\n')
  await container.wait()
  assert.deepEqual(await Promise.all(both), ['got typed\n', 'bad\n'])
  assert.match((await container.logs({ stdout: true, timestamps: true })).toString(), /Z got typed/)
  assert.equal(await text(await container.logs({ stderr: true, follow: true })).then(seen => seen.slice(8)), 'bad\n')
  const terminal = await docker.createContainer({ Image: image, Cmd: ['timeout', '60', 'sh', '-c', 'until stty size | grep "33 99"; do sleep 0.1; done'], Tty: true })
  t.after(() => terminal.remove({ force: true }))
  const screen = await terminal.attach({ stream: true, stdout: true })
  await terminal.start()
  await terminal.resize({ h: 33, w: 99 })
  assert.match(await text(screen), /33 99/)
})

test('exec', async t => {
  const container = await sleeper(t)
  const exec = await container.exec({ Cmd: ['sh', '-c', 'cat; echo $A; exit 6'], AttachStdin: true, AttachStdout: true, Env: ['A=1'] })
  const stream = await exec.start({ hijack: true, stdin: true })
  const out = new PassThrough()
  const seen = text(out)
  docker.modem.demuxStream(stream, out, out)
  stream.on('end', () => out.end())
  stream.end('in\n')
  assert.equal(await seen, 'in\n1\n')
  assert.equal((await eventually(async () => { const info = await exec.inspect(); return !info.Running && info }, 'the end')).ExitCode, 6)
  const terminal = await container.exec({ Cmd: ['timeout', '60', 'sh', '-c', 'until stty size | grep "21 77"; do sleep 0.1; done'], Tty: true, AttachStdout: true })
  const screen = await terminal.start({ Tty: true })
  await terminal.resize({ h: 21, w: 77 })
  assert.match(await text(screen), /21 77/)
})

test('files', async t => {
  const container = await sleeper(t)
  await container.putArchive(archive({ a: 'first', b: 'second' }), { path: '/tmp' })
  const extract = tar.extract()
  const names = []
  extract.on('entry', (header, stream, next) => { names.push(header.name); stream.resume(); stream.on('end', next) })
  const stream = await container.getArchive({ path: '/tmp' })
  stream.pipe(extract)
  await new Promise(resolve => extract.on('finish', resolve))
  assert.deepEqual(names.sort(), ['tmp/', 'tmp/a', 'tmp/b'])
  const stat = await container.infoArchive({ path: '/tmp/a' })
  assert.ok(stat)
  assert.ok((await container.changes()).some(change => change.Path === '/tmp/a' && change.Kind === 1))
  assert.ok((await text(await container.export())).includes('second'))
  const tag = unique()
  await container.commit({ repo: tag, tag: '1', comment: 'why' })
  assert.equal((await docker.getImage(`${tag}:1`).inspect()).Comment, 'why')
  await docker.getImage(`${tag}:1`).remove()
})

test('images', async () => {
  const name = unique()
  const context = archive({ Dockerfile: 'FROM busybox:latest\nARG WHO\nRUN echo $WHO >/who\nLABEL made=dockerode\n' })
  const log = await progress(await docker.buildImage(context, { t: `${name}:1`, buildargs: JSON.stringify({ WHO: 'me' }) }))
  assert.ok(log.some(line => /Successfully tagged/.test(line.stream ?? '')))
  const built = docker.getImage(`${name}:1`)
  assert.equal((await built.inspect()).Config.Labels.made, 'dockerode')
  assert.ok((await built.history()).length >= 3)
  await built.tag({ repo: name, tag: '2' })
  assert.equal((await docker.listImages({ filters: { reference: [name] } }))[0].RepoTags.length, 2)
  const chunks = []
  for await (const chunk of await built.get()) chunks.push(chunk)
  await docker.getImage(`${name}:2`).remove()
  await built.remove()
  await assert.rejects(built.inspect(), refused(404, /No such image/))
  await progress(await docker.loadImage(Readable.from(chunks)))
  assert.ok(await built.inspect())
  await built.remove()
  await progress(await docker.importImage(archive({ file: 'x' }), { repo: name, tag: '3' }))
  await docker.getImage(`${name}:3`).remove()
  const failing = archive({ Dockerfile: 'FROM busybox:latest\nRUN exit 9\n' })
  const failed = await progress(await docker.buildImage(failing, {}))
  assert.match(failed.at(-1).error, /returned a non-zero code: 9/)
  assert.ok('SpaceReclaimed' in await docker.pruneImages())
  assert.ok('SpaceReclaimed' in await docker.pruneBuilder())
})

test('a registry', async () => {
  const name = `localhost:5000/${unique()}`
  await docker.getImage(image).tag({ repo: name, tag: '1' })
  const pushed = docker.getImage(`${name}:1`)
  const steps = await progress(await pushed.push({ authconfig: { username: 'u', password: 'p' } }))
  assert.ok(steps.some(step => step.aux?.Digest))
  assert.ok((await pushed.distribution()).Descriptor.digest)
  await pushed.remove()
  await progress(await docker.pull(`${name}:1`))
  assert.ok((await pushed.inspect()).RepoDigests.length)
  await pushed.remove()
  await assert.rejects(docker.pull('localhost:5000/nowhere:1'), refused(404))
})

test('networks', async t => {
  const name = unique()
  const network = await docker.createNetwork({ Name: name, Driver: 'bridge', Labels: { owner: name }, IPAM: { Config: [{ Subnet: '10.233.6.0/24', Gateway: '10.233.6.1' }] }, CheckDuplicate: true })
  const first = await sleeper(t, { NetworkingConfig: { EndpointsConfig: { [name]: { Aliases: ['first'], IPAMConfig: { IPv4Address: '10.233.6.10' } } } }, HostConfig: { NetworkMode: name } })
  const second = await sleeper(t)
  await network.connect({ Container: second.id, EndpointConfig: { Aliases: ['second'] } })
  const seen = await network.inspect()
  assert.equal(seen.Containers[first.id].IPv4Address, '10.233.6.10/24')
  assert.equal(Object.keys(seen.Containers).length, 2)
  const exec = await second.exec({ Cmd: ['ping', '-c', '1', '-w', '20', 'first'], AttachStdout: true })
  assert.match(await text(await exec.start({})), /1 packets received/)
  assert.equal((await docker.listNetworks({ filters: { label: [`owner=${name}`] } })).length, 1)
  await network.disconnect({ Container: second.id })
  await assert.rejects(network.remove(), refused(403, /active endpoints/))
  await network.disconnect({ Container: first.id, Force: true })
  await network.remove()
  await assert.rejects(network.inspect(), refused(404, /not found/))
  await docker.pruneNetworks()
})

test('volumes', async t => {
  const name = unique()
  await docker.createVolume({ Name: name, Labels: { owner: name } })
  const volume = docker.getVolume(name)
  assert.equal((await volume.inspect()).Driver, 'local')
  await sleeper(t, { HostConfig: { Mounts: [{ Type: 'volume', Source: name, Target: '/data' }, { Type: 'tmpfs', Target: '/t' }] } })
  await assert.rejects(volume.remove(), refused(409, /volume is in use/))
  assert.equal((await docker.listVolumes({ filters: { label: [`owner=${name}`] } })).Volumes.length, 1)
  t.after(() => volume.remove())
})

test('events', async t => {
  const stream = await docker.getEvents({ filters: { label: ['watched=dockerode'] } })
  let seen = ''
  stream.on('data', chunk => { seen += chunk })
  await sleeper(t, { Labels: { watched: 'dockerode' } })
  await eventually(() => /"create"/.test(seen) && /"start"/.test(seen), 'events')
  stream.destroy()
})

test('outside a swarm', async () => {
  for (const ask of ['listServices', 'listNodes', 'listTasks', 'listSecrets', 'listConfigs']) {
    await assert.rejects(docker[ask](), refused(503, /not a swarm manager/))
  }
  assert.deepEqual(await docker.listPlugins(), [])
  await assert.rejects(docker.swarmInspect(), refused(503))
  await assert.rejects(docker.getPlugin('nowhere').inspect(), refused(404))
})

// Connections that the client leaves open keep node from ending by itself.
test('the end', () => { setTimeout(() => process.exit(), 500) })
