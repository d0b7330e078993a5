// tests/interop/unwrap.mjs — opens a release with Node's crypto alone: JWS, chain, OAEP, strict RFC 5649, exact DER.  Shares nothing with the product
// and nothing with the C guests.
import { strict as assert } from 'node:assert';
import { X509Certificate, createDecipheriv, createHash, createPrivateKey, createPublicKey, constants, privateDecrypt, verify } from 'node:crypto';

export function b64url(text) {
	assert.match(text, /^[A-Za-z0-9_-]+$/);
	const bytes = Buffer.from(text, 'base64url');
	assert.equal(bytes.toString('base64url'), text, 'canonical base64url');
	return bytes;
}

export function openJws(jws, rootPem, host) {
	const parts = jws.split('.');
	assert.equal(parts.length, 3);
	const header = JSON.parse(b64url(parts[0]));
	assert.equal(header.alg, 'RS256');
	const chain = header.x5c.map((text) => {
		const der = Buffer.from(text, 'base64');
		assert.equal(der.toString('base64'), text, 'canonical base64');
		return new X509Certificate(der);
	});
	const root = new X509Certificate(rootPem);
	assert.ok(chain.length >= 2);
	assert.equal(chain.at(-1).fingerprint256, root.fingerprint256, 'x5c ends with the root');
	for (let i = 0; i + 1 < chain.length; i++) {
		assert.ok(chain[i].checkIssued(chain[i + 1]) && chain[i].verify(chain[i + 1].publicKey), `x5c[${i}] is issued by the next`);
		assert.ok(chain[i + 1].ca);
		assert.ok(new Date(chain[i].validFrom) <= new Date() && new Date() < new Date(chain[i].validTo));
	}
	assert.equal(chain[0].checkHost(host), host);
	assert.equal(chain[0].publicKey.asymmetricKeyType, 'rsa');
	assert.equal(header['x5t#S256'], createHash('sha256').update(chain[0].raw).digest('base64url'));
	assert.equal(header.x5t, createHash('sha1').update(chain[0].raw).digest('base64url'));
	assert.ok(verify('sha256', Buffer.from(`${parts[0]}.${parts[1]}`), chain[0].publicKey, b64url(parts[2])), 'signature');
	return JSON.parse(b64url(parts[1]));
}

// RFC 5649 §4.2, block by block.
export function unwrapKwp(kek, wrapped) {
	assert.ok(wrapped.length % 8 === 0 && wrapped.length >= 16);
	const decrypt = (block) => {
		const aes = createDecipheriv('aes-256-ecb', kek, null).setAutoPadding(false);
		return Buffer.concat([aes.update(block), aes.final()]);
	};
	const n = wrapped.length / 8 - 1;
	let a, r;
	if (n === 1) {
		const block = decrypt(wrapped);
		[a, r] = [block.subarray(0, 8), [block.subarray(8)]];
	} else {
		a = Buffer.from(wrapped.subarray(0, 8));
		r = Array.from({ length: n }, (_, i) => wrapped.subarray(8 * (i + 1), 8 * (i + 2)));
		for (let t = 6 * n; t > 0; t--) {
			const i = (t - 1) % n;
			const x = Buffer.from(a);
			x.writeUInt32BE((x.readUInt32BE(4) ^ t) >>> 0, 4);
			const block = decrypt(Buffer.concat([x, r[i]]));
			[a, r[i]] = [block.subarray(0, 8), block.subarray(8)];
		}
	}
	assert.equal(a.subarray(0, 4).toString('hex'), 'a65959a6', 'AIV');
	const length = a.readUInt32BE(4);
	const plain = Buffer.concat(r);
	assert.ok(length > 8 * (n - 1) && length <= 8 * n, 'length');
	assert.ok(plain.subarray(length).every((b) => b === 0), 'zero padding');
	return plain.subarray(0, length);
}

const hashes = { CKM_RSA_AES_KEY_WRAP: 'sha1', RSA_AES_KEY_WRAP_256: 'sha256', RSA_AES_KEY_WRAP_384: 'sha384' };

export function unwrapKeyHsm(keyHsm, kek, enc, kid) {
	const outer = JSON.parse(b64url(keyHsm));
	assert.equal(outer.schema_version, '1.0');
	assert.deepEqual(outer.header, { kid, alg: 'dir', enc });
	const blob = b64url(outer.ciphertext);
	const split = kek.asymmetricKeyDetails.modulusLength / 8;
	const aes = privateDecrypt({ key: kek, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: hashes[enc] }, blob.subarray(0, split));
	assert.equal(aes.length, 32);
	return unwrapKwp(aes, blob.subarray(split));
}

// One DER element: its tag, its content, and what follows.
function der(bytes, tag) {
	assert.equal(bytes[0], tag, `DER tag ${tag}`);
	let [length, at] = [bytes[1], 2];
	if (length & 0x80) {
		const n = length & 0x7f;
		assert.ok(n >= 1 && n <= 3);
		length = bytes.readUIntBE(2, n);
		assert.ok(length >= 128 && (n === 1 || length >= 1 << (8 * (n - 1))), 'shortest length');
		at += n;
	}
	assert.ok(bytes.length >= at + length);
	return [bytes.subarray(at, at + length), bytes.subarray(at + length)];
}

// A PKCS#8 of exactly these bytes; EC: named curve, and its public key inside (RFC 5915 [1]).  Returns the public key as SubjectPublicKeyInfo.
export function readPkcs8(plain) {
	const [info, after] = der(plain, 0x30);
	assert.equal(after.length, 0, 'nothing after the PKCS#8');
	const key = createPrivateKey({ key: plain, format: 'der', type: 'pkcs8' });
	if (key.asymmetricKeyType === 'ec') {
		const [, algorithmOn] = der(info, 0x02);
		const [algorithm, keyOn] = der(algorithmOn, 0x30);
		const [, curve] = der(algorithm, 0x06);
		der(curve, 0x06);
		const [octets] = der(keyOn, 0x04);
		const [ec] = der(octets, 0x30);
		let [, rest] = der(der(ec, 0x02)[1], 0x04);
		if (rest[0] === 0xa0)
			[, rest] = der(rest, 0xa0);
		const [bits] = der(der(rest, 0xa1)[0], 0x03);
		assert.equal(bits[1], 4, 'an uncompressed point');
	}
	return createPublicKey(key).export({ format: 'der', type: 'spki' });
}
