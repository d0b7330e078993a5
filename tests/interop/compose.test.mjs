// tests/interop/compose.test.mjs — docker-compose.yml and the image's recipe, read as a container engine reads them: no engine is needed.
import { strict as assert } from 'node:assert';
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parseDocument } from 'yaml';

const top = new URL('../../', import.meta.url);
const read = (path) => readFileSync(new URL(path, top), 'utf8');
const document = parseDocument(read('docker-compose.yml'), { uniqueKeys: true });
const compose = document.toJS();
const { demo, broker } = compose.services;

// Instructions of the recipe, continued lines joined, as [stage, instruction, text].
const recipe = [];
let stage = null;
for (const line of read('conf/Containerfile').replace(/^\s*#.*$/gm, '').replace(/\\\n/g, ' ').split('\n')) {
	const found = line.trim().match(/^([A-Z]+)\s+(.*)$/);
	if (!found) continue;
	if (found[1] === 'FROM') stage = found[2].match(/\sAS\s+(\S+)$/)?.[1] ?? null;
	recipe.push({ stage, name: found[1], text: found[2] });
}
const of = (name, where) => recipe.filter((i) => i.name === name && i.stage === where);

test('test_compose_is_strict_yaml', () => {
	assert.deepEqual(document.errors, []);
	assert.deepEqual(document.warnings, []);
	assert.deepEqual(Object.keys(compose.services).sort(), ['broker', 'demo']);
});

test('test_compose_builds_stages_that_the_recipe_has', () => {
	for (const service of [demo, broker]) {
		assert.equal(service.build.context, '.');
		assert.ok(existsSync(new URL(service.build.dockerfile, top)));
		assert.ok(recipe.some((i) => i.name === 'FROM' && i.stage === service.build.target));
	}
	assert.equal(of('CMD', demo.build.target)[0].text, '["make", "demo"]');
	assert.equal(demo.command, undefined);
});

test('test_compose_takes_every_right_that_is_not_needed', () => {
	for (const service of [demo, broker]) {
		assert.deepEqual(service.cap_drop, ['ALL']);
		assert.ok(service.security_opt.includes('no-new-privileges:true'));
		assert.ok(!service.privileged);
		assert.ok(service.ulimits.memlock >= 65536 * 16, 'secrets are locked in memory');
	}
	assert.equal(demo.network_mode, 'none');
	assert.equal(broker.cap_add, undefined);
	assert.equal(broker.read_only, true);
	assert.match(broker.ports[0], /^127\.0\.0\.1:/);
});

test('test_compose_instance_stays_in_a_volume', () => {
	const [volume, path] = broker.volumes[0].split(':');
	assert.ok(volume in compose.volumes);
	assert.equal(of('VOLUME', 'broker')[0].text, path);
	assert.match(read('conf/container-start'), new RegExp(`instance=${path}/`));
});

test('test_compose_environment_is_what_the_start_reads', () => {
	const start = read('conf/container-start');
	for (const name of Object.keys(broker.environment)) assert.ok(start.includes(`\${${name}:-`), name);
	accessSync(new URL('conf/container-start', top), constants.X_OK);
});

test('test_recipe_is_debian_12_and_no_root_at_the_end', () => {
	for (const { text } of recipe.filter((i) => i.name === 'FROM')) assert.match(text, /^debian:12-slim AS /);
	assert.equal(of('USER', 'broker').at(-1).text, 'keybroker');
	assert.ok(of('COPY', 'broker').some((i) => i.text.startsWith('--from=build ')));
	for (const { text } of recipe.filter((i) => i.name === 'COPY' && !i.text.startsWith('--from')))
		assert.ok(text.split(/\s+/).slice(0, -1).every((file) => existsSync(new URL(file, top))), text);
});

test('test_recipe_takes_its_packages_from_the_makefile', () => {
	assert.ok(of('RUN', 'build').some((i) => i.text.startsWith('make deps')));
	assert.ok(!of('RUN', 'build').some((i) => /install .*libssl/.test(i.text)));
});
