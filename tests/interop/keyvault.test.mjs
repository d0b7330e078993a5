// tests/interop/keyvault.test.mjs — @azure/keyvault-keys as it comes from npm: getKey and releaseKey against a running Keybroker, as if it were Key Vault.
import { strict as assert } from 'node:assert';
import { spawn } from 'node:child_process';
import { createHash, generateKeyPairSync } from 'node:crypto';
import dns from 'node:dns';
import { readFileSync } from 'node:fs';
import { request } from 'node:https';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { KeyClient } from '@azure/keyvault-keys';
import { b64url, openJws, readPkcs8, unwrapKeyHsm } from './unwrap.mjs';

const ENCS = ['CKM_RSA_AES_KEY_WRAP', 'RSA_AES_KEY_WRAP_256', 'RSA_AES_KEY_WRAP_384'];
let stand, place, ca, kek, token, client;

// The credential that the challenge asks for: what it is asked is part of what is tested.
const asked = [];
const credential = {
	async getToken(scopes, options) {
		asked.push({ scopes, tenantId: options?.tenantId });
		return { token: 'anything', expiresOnTimestamp: Date.now() + 3600_000 };
	},
};

function post(url, body) {
	return new Promise((resolve, reject) => {
		const rq = request(url, { method: 'POST', ca, headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) } }, (rs) => {
			let text = '';
			rs.on('data', (d) => (text += d)).on('end', () => (rs.statusCode === 200 ? resolve(JSON.parse(text)) : reject(new Error(text))));
		});
		rq.on('error', reject).end(body);
	});
}

async function attest(claims) {
	const jwk = kek.publicKey.export({ format: 'jwk' });
	const runtime = { keys: [{ ...jwk, kid: 'HCLTransferKey', key_ops: ['encrypt'] }] };
	const all = { 'x-ms-attestation-type': 'sevsnpvm', 'x-ms-compliance-status': 'azure-compliant-cvm', 'x-ms-sevsnpvm-is-debuggable': false, 'x-ms-runtime': runtime };
	return (await post(`${place.issuer}/attest`, JSON.stringify({ claims: { ...all, ...claims } }))).token;
}

function connect(url, options) {
	return new KeyClient(url, credential, { tlsOptions: { ca }, retryOptions: { maxRetries: 0 }, disableChallengeResourceVerification: true, ...options });
}

before(async () => {
	stand = spawn(`${process.env.BUILD}/interop/stand`, [], { stdio: ['pipe', 'pipe', 'inherit'], cwd: new URL('../..', import.meta.url) });
	const [line] = await new Promise((resolve, reject) => {
		createInterface({ input: stand.stdout }).once('line', (l) => resolve([l]));
		stand.once('exit', (code) => reject(new Error(`stand ended with ${code}`)));
	});
	place = JSON.parse(line);
	ca = readFileSync(place.ca);
	kek = generateKeyPairSync('rsa', { modulusLength: 2048 });
	token = await attest({});
	client = connect(place.url);
});

after(async () => {
	if (stand.exitCode === null) {
		stand.stdin.end();
		const code = await new Promise((resolve) => stand.once('exit', resolve));
		assert.equal(code, 0, 'the instance ended well');
	}
});

function check(name, value, { enc = ENCS[0], nonce, version, host = 'localhost', url = place.url } = {}) {
	const payload = openJws(value, ca, host);
	assert.equal(payload.request.enc, enc);
	assert.equal(payload.request.nonce, nonce);
	assert.equal(payload.request.kid, `${url}/keys/${name}${version ? `/${version}` : ''}`);
	const bundle = payload.response.key;
	assert.ok(bundle.key.kid.startsWith(`${url}/keys/${name}/`));
	assert.equal(bundle.attributes.exportable, true);
	assert.equal(JSON.parse(b64url(bundle.release_policy.data)).version, '1.0.0');
	const plain = unwrapKeyHsm(bundle.key.key_hsm, kek.privateKey, enc, 'HCLTransferKey');
	const known = b64url(place.keys[name]);
	assert.deepEqual(name.startsWith('oct') ? plain : readPkcs8(plain), known, `${name} is the key that was imported`);
	return bundle;
}

test('getKey answers the SDK, latest and pinned', async () => {
	const key = await client.getKey('rsa2048');
	assert.equal(key.name, 'rsa2048');
	assert.equal(key.keyType, 'RSA-HSM');
	assert.equal(key.properties.enabled, true);
	assert.equal(key.properties.exportable, true);
	assert.match(key.properties.version, /^[0-9a-f]{32}$/);
	assert.equal(key.properties.vaultUrl, place.url);
	// The listener authenticates nobody: a stranger learns that there is a policy, not which.
	assert.ok(!key.properties.releasePolicy.encodedPolicy?.length);
	assert.equal(key.key.n.length, 256);
	const pinned = await client.getKey('rsa2048', { version: key.properties.version });
	assert.equal(pinned.id, key.id);
	const ec = await client.getKey('p521');
	assert.equal(ec.key.crv, 'P-521');
	assert.equal(ec.key.x.length, 66);
});

test('the first call was answered by the challenge', async () => {
	assert.ok(asked.length > 0);
	assert.match([asked[0].scopes].flat()[0], /^https:\/\/.+\/\.default$/);
});

for (const enc of ENCS)
	test(`releaseKey, every key, ${enc}`, async () => {
		for (const name of Object.keys(place.keys)) {
			const { value } = await client.releaseKey(name, token, { algorithm: enc });
			check(name, value, { enc });
		}
	});

test('releaseKey without algorithm, with nonce', async () => {
	const { value } = await client.releaseKey('p256', token, { nonce: 'a nonce, "quoted"' });
	check('p256', value, { nonce: 'a nonce, "quoted"' });
});

test('releaseKey of a pinned version', async () => {
	const { version } = (await client.getKey('oct20')).properties;
	const { value } = await client.releaseKey('oct20', token, { version, algorithm: ENCS[1] });
	const bundle = check('oct20', value, { version, enc: ENCS[1] });
	assert.ok(bundle.key.kid.endsWith(version));
});

test('every service version that knows release', async () => {
	for (const serviceVersion of ['7.3', '7.4', '7.5', '7.6', '2025-07-01']) {
		const { value } = await connect(place.url, { serviceVersion }).releaseKey('oct32', token);
		check('oct32', value);
	}
});

test('refusals become the errors that applications expect', async () => {
	const denied = await attest({ 'x-ms-compliance-status': 'none' });
	await assert.rejects(client.releaseKey('rsa2048', denied), (e) => e.name === 'RestError' && e.statusCode === 403 && e.code === 'Forbidden');
	await assert.rejects(client.releaseKey('rsa2048', 'a.b.c'), (e) => e.statusCode === 403 && e.code === 'Forbidden');
	await assert.rejects(client.releaseKey('nosuch', token), (e) => e.statusCode === 404 && e.code === 'KeyNotFound');
	await assert.rejects(client.getKey('nosuch'), (e) => e.statusCode === 404 && e.code === 'KeyNotFound');
	await assert.rejects(client.releaseKey('off', token), (e) => e.statusCode === 403 && e.details.error.innerError.code === 'KeyDisabled');
	await assert.rejects(client.releaseKey('rsa2048', token, { algorithm: 'RSA1_5' }), (e) => e.statusCode === 400 && e.code === 'BadParameter');
});

test('under a DNS name the SDK verifies the challenge itself', async () => {
	const url = `https://${place.name}:${place.namePort}`;
	const lookup = dns.lookup;
	dns.lookup = (host, options, done) => {
		if (host !== place.name)
			return lookup(host, options, done);
		done ??= options;
		return options?.all ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4);
	};
	try {
		const named = connect(url, { disableChallengeResourceVerification: false });
		const { value } = await named.releaseKey('p384', token, { algorithm: ENCS[2] });
		check('p384', value, { enc: ENCS[2], host: place.name, url });
	} finally {
		dns.lookup = lookup;
	}
});

test('two releases share no byte of the blob', async () => {
	const digest = async () => createHash('sha256').update((await client.releaseKey('oct32', token)).value).digest('hex');
	assert.notEqual(await digest(), await digest());
});
