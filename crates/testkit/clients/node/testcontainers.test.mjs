// `testcontainers` of npm: containers as a project's own tests use them.
import assert from 'node:assert/strict'
import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import {
  DockerComposeEnvironment, GenericContainer, Network, PullPolicy, Wait, getContainerRuntimeClient
} from 'testcontainers'

// The client lets node end while it waits for a log; a test runner would not.
setInterval(() => {}, 1000)
const image = 'busybox:latest'
const databases = 'clients/databases:latest'
const server = ['sh', '-c', 'echo hello >/index.html; echo serving; httpd -f -p 80 -h /']

const page = async (container, path = '/') =>
  (await fetch(`http://${container.getHost()}:${container.getMappedPort(80)}${path}`)).text()

test('a web server on a port of its own', async t => {
  const container = await new GenericContainer(image)
    .withCommand(server).withExposedPorts(80).withWaitStrategy(Wait.forHttp('/', 80)).start()
  t.after(() => container.stop())
  assert.equal(await page(container), 'hello\n')
  const { output, exitCode, stdout } = await container.exec(['cat', '/index.html'])
  assert.deepEqual([output, stdout, exitCode], ['hello\n', 'hello\n', 0])
  assert.equal((await container.exec(['sh', '-c', 'exit 3'])).exitCode, 3)
  assert.equal((await container.exec('env', { env: { A: '1' }, workingDir: '/tmp', user: '0' })).output.includes('A=1'), true)
  const lines = []
  const log = await container.logs()
  await new Promise(resolve => log.on('data', line => { lines.push(String(line)); if (String(line).includes('serving')) resolve() }))
  log.destroy()
  await container.restart()
  assert.equal(await page(container), 'hello\n')
})

test('every setting', async t => {
  const container = await new GenericContainer(image)
    .withCommand(['sh', '-c', 'echo up; sleep 600'])
    .withName(`testcontainers-${process.pid}`).withHostname('tests').withEnvironment({ ONE: '1' }).withLabels({ a: 'b' })
    .withUser('5:6').withWorkingDir('/tmp').withTmpFs({ '/scratch': 'size=1m' }).withSharedMemorySize(4 << 20)
    .withUlimits({ nofile: { hard: 200, soft: 100 } }).withAddedCapabilities('SYS_TIME').withDroppedCapabilities('CHOWN')
    .withExtraHosts([{ host: 'other', ipAddress: '192.0.2.9' }]).withResourcesQuota({ memory: 0.0625, cpu: 0.5 })
    .withCopyContentToContainer([{ content: 'copied', target: '/copied', mode: 0o640 }])
    .withBindMounts([{ source: '/etc/hostname', target: '/host-name', mode: 'ro' }])
    .withDefaultLogDriver().withPrivilegedMode().withPullPolicy(PullPolicy.defaultPolicy())
    .withExposedPorts({ container: 80, host: 18081 })
    .withWaitStrategy(Wait.forLogMessage('up')).start()
  t.after(() => container.stop())
  const command = 'hostname; id -u; pwd; echo $ONE; ulimit -n; stat -c %a /copied; grep -c other /etc/hosts; grep -c " /scratch " /proc/mounts'
  const { output } = await container.exec(['sh', '-c', command])
  assert.deepEqual(output.trim().split('\n').slice(0, 4), ['tests', '5', '/tmp', '1'])
  assert.deepEqual(output.trim().split('\n').slice(5), ['640', '1', '1'])
  assert.equal(container.getMappedPort(80), 18081)
  assert.equal(container.getHostname(), 'tests')
  await container.copyContentToContainer([{ content: 'later', target: '/tmp/later' }])
  assert.equal((await container.exec(['cat', '/tmp/later'])).output, 'later')
  assert.ok(await container.copyArchiveFromContainer('/tmp/later'))
  await container.commit({ repo: 'testcontainers/committed', tag: '1', deleteOnExit: false })
  const client = await getContainerRuntimeClient()
  const committed = client.container.dockerode.getImage('testcontainers/committed:1')
  assert.ok((await committed.inspect()).Id)
  await committed.remove({ force: true })
})

test('ways to wait', async t => {
  const command = ['sh', '-c', 'touch /ready; echo one; httpd -f -p 90']
  const all = Wait.forAll([Wait.forLogMessage(/on./), Wait.forListeningPorts(), Wait.forSuccessfulCommand('test -e /ready')])
  const waiting = await new GenericContainer(image).withCommand(command).withExposedPorts(90).withWaitStrategy(all).start()
  t.after(() => waiting.stop())
  const healthy = await new GenericContainer(image).withCommand(['sleep', '600'])
    .withHealthCheck({ test: ['CMD', 'true'], interval: 200, timeout: 20000, retries: 5, startPeriod: 0 })
    .withWaitStrategy(Wait.forHealthCheck()).start()
  t.after(() => healthy.stop({ timeout: 0 }))
  const once = await new GenericContainer(image).withCommand(['true']).withWaitStrategy(Wait.forOneShotStartup()).start()
  t.after(() => once.stop())
  await assert.rejects(new GenericContainer(image).withCommand(['false']).withWaitStrategy(Wait.forOneShotStartup()).start())
})

test('a network with names', async t => {
  const network = await new Network().start()
  const cache = await new GenericContainer(databases).withCommand(['redis-server', '--save', '', '--protected-mode', 'no'])
    .withNetwork(network).withNetworkAliases('cache').withWaitStrategy(Wait.forLogMessage('Ready to accept connections')).start()
  const client = await new GenericContainer(databases).withCommand(['sleep', '600']).withNetwork(network).start()
  t.after(async () => { await client.stop({ timeout: 0 }); await cache.stop(); await network.stop() })
  await client.exec(['redis-cli', '-h', 'cache', 'set', 'key', 'value'])
  assert.equal((await client.exec(['redis-cli', '-h', 'cache', 'get', 'key'])).output, 'value\n')
  assert.ok(cache.getIpAddress(network.getName()))
})

test('an image that is built and one that is pulled', async t => {
  const folder = await mkdtemp(join(tmpdir(), 'testcontainers-'))
  await writeFile(join(folder, 'Dockerfile'), 'FROM busybox:latest\nARG WHO=x\nRUN echo $WHO >/who\nCMD ["sh", "-c", "cat /who; sleep 600"]\n')
  const built = await GenericContainer.fromDockerfile(folder).withBuildArgs({ WHO: 'me' })
    .build('testcontainers/built:2', { deleteOnExit: false })
  const container = await built.withWaitStrategy(Wait.forLogMessage('me')).start()
  t.after(() => container.stop({ timeout: 0 }))
  const pulled = await new GenericContainer('localhost:5000/small:1').withPullPolicy(PullPolicy.alwaysPull())
    .withCommand(['sh', '-c', 'echo pulled; sleep 600']).withWaitStrategy(Wait.forLogMessage('pulled')).start()
  t.after(() => pulled.stop({ timeout: 0 }))
})

test('a container that is used again', async t => {
  const settings = () => new GenericContainer(image).withCommand(['sleep', '600']).withLabels({ reused: 'yes' }).withReuse()
  const first = await settings().start()
  const second = await settings().start()
  t.after(() => first.stop({ timeout: 0 }))
  assert.equal(first.getId(), second.getId())
})

test('compose', async t => {
  const folder = await mkdtemp(join(tmpdir(), 'testcontainers-'))
  await writeFile(join(folder, 'compose.yaml'), `services:
  web:
    image: ${image}
    command: sh -c 'echo hi from $$WHO >/index.html; httpd -f -p 80 -h /'
    environment: [WHO]
    ports: ['80']
    init: true
`)
  const environment = await new DockerComposeEnvironment(folder, 'compose.yaml')
    .withEnvironment({ WHO: 'compose' }).withWaitStrategy('web-1', Wait.forHttp('/', 80)).up()
  t.after(() => environment.down({ removeVolumes: true }))
  assert.equal(await page(environment.getContainer('web-1')), 'hi from compose\n')
})

// Connections that the client leaves open keep node from ending by itself.
test('the end', () => { setTimeout(() => process.exit(), 500) })
