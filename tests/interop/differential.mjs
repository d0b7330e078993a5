// tests/interop/differential.mjs — the product's token gate (gate.c) against a second implementation (rfc7515.mjs) on thousands of tokens that are almost right.
// Fails when the product takes what the other refuses, or refuses what the other takes for a reason that is not explained below.
// differential.mjs GATE [COUNT [SEED]]
import { spawn } from 'node:child_process';
import { createHash, constants, generateKeyPairSync, sign } from 'node:crypto';
import { createInterface } from 'node:readline';
import { judge, json } from './rfc7515.mjs';

// Where the product is stricter than the RFCs, by its code.
const EXPLAINED = {
	TOKEN_HEADER: 'members that change what bytes or key mean (b64, zip, cty, jwk, x5c, …) are refused, signed or not; so is a header above its limit',
	TOKEN_TYPE: 'typ other than JWT, a nested token, JSON serialisation: not an attestation token',
	JSON_DEPTH: 'deeper than 16',
	JSON_SYNTAX: 'what RFC 8259 leaves to the reader: \\u0000, lone surrogates',
	ENCODING: 'a NUL as first or second byte, which is UTF-16',
	KID_UNKNOWN: 'the key was dropped when the set was read: doubtful exponent, private part, x5c that disagrees, a kid or alg that is no use',
	KID_LENGTH: 'an empty kid, or one above its limit',
	CLAIM_TYPE: 'an empty iss, or one above its limit',
	ISSUER_UNAVAILABLE: 'the whole key set was refused: a private key in it, no key left',
	NUL_IN_ISS: 'a NUL in iss names no issuer',
	TOKEN_SIZE: 'above the limit of a token',
};

const [gatePath, countText = '4000', seedText = String(Date.now() % 1e9)] = process.argv.slice(2);
const count = Number(countText);
let state = Number(seedText) >>> 0 || 1;
const random = (n) => {
	state ^= state << 13;
	state >>>= 0;
	state ^= state >>> 17;
	state ^= state << 5;
	state >>>= 0;
	return state % n;
};
const pick = (list) => list[random(list.length)];
const b64 = (v) => Buffer.from(v).toString('base64url');

// ---- keys and signatures ----
const pairs = {};
for (const kid of ['r1', 'r2']) pairs[kid] = generateKeyPairSync('rsa', { modulusLength: 2048 });
for (const [kid, namedCurve] of [['e256', 'P-256'], ['e384', 'P-384'], ['e521', 'P-521'], ['f256', 'P-256']]) pairs[kid] = generateKeyPairSync('ec', { namedCurve });
const ALGS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512'];
const KID = { ES256: 'e256', ES384: 'e384', ES512: 'e521' };
const jwk = (kid) => ({ kid, ...pairs[kid].publicKey.export({ format: 'jwk' }) });
const cleanSet = () => ({ keys: Object.keys(pairs).map(jwk) });

function signature(alg, kid, input, salt) {
	const key = { key: pairs[kid].privateKey };
	if (pairs[kid].privateKey.asymmetricKeyType === 'ec') key.dsaEncoding = 'ieee-p1363';
	else if (alg[0] === 'P') Object.assign(key, { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: salt ?? Number(alg.slice(2)) / 8 });
	return sign(`sha${alg.slice(2)}`, Buffer.from(input, 'latin1'), key);
}

function base() {
	const alg = pick(ALGS), kid = KID[alg] ?? pick(['r1', 'r2']);
	return { alg, kid, header: { alg, kid, typ: 'JWT' }, claims: { iss: 'https://issuer.test', exp: 1790000000, n: random(1000) } };
}
const compact = (t, headerText = JSON.stringify(t.header), claimsText = JSON.stringify(t.claims), salt) => {
	const input = `${b64(headerText)}.${b64(claimsText)}`;
	return `${input}.${b64(signature(t.alg, t.kid, input, salt))}`;
};

// ---- what is done to a token: each returns the token, as text or bytes ----
const flip = (bytes) => {
	const copy = Buffer.from(bytes);
	if (copy.length > 0) copy[random(copy.length)] ^= 1 << random(8);
	return copy;
};
const splice = (text, from, drop, insert) => text.slice(0, from) + insert + text.slice(from + drop);
// One byte more, of any value, beside every kind of JSON token.
const oneMore = (json) => {
	const text = Buffer.from(json), at = random(text.length + 1);
	return Buffer.concat([text.subarray(0, at), Buffer.from([random(3) === 0 ? 0 : random(256)]), text.subarray(at)]);
};
const onPart = (token, i, change) => {
	const parts = token.split('.');
	parts[i] = b64(change(Buffer.from(parts[i], 'base64url')));
	return parts.join('.');
};
const ORDER = {
	ES256: 'ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551',
	ES384: 'ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973',
	ES512: '01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409',
};
// Members for a header that is then signed as it is.
const HEADER_EDITS = [
	['alg', 'none'], ['alg', 'None'], ['alg', 'HS256'], ['alg', 'rs256'], ['alg', 'RS1'], ['alg', ''], ['alg', null], ['alg', ['RS256']], ['alg', 'RS256 '], ['alg', 'EdDSA'], ['alg', 'ES256K'],
	['kid', 'r1'], ['kid', 'r2'], ['kid', 'f256'], ['kid', 'e384'], ['kid', ''], ['kid', null], ['kid', 7], ['kid', 'r1\u0000'], ['kid', 'R1'], ['kid', 'x'.repeat(300)], ['kid', undefined],
	['crit', ['exp']], ['crit', []], ['crit', ['b64']], ['b64', false], ['b64', true], ['zip', 'DEF'], ['cty', 'JWT'], ['typ', 'jwt'], ['typ', 'at+jwt'], ['typ', 1], ['typ', undefined],
	['jku', 'https://evil.test/keys'], ['x5u', 'https://evil.test/x'], ['jwk', jwk('r2')], ['x5c', ['AAAA']], ['x5t', 'AAAA'], ['enc', 'A256GCM'], ['epk', {}], ['nobody', 'knows'], ['nonce', 'n'],
];
const TEXT_EDITS = [' ', '\n', '\t', '\r', '\u0000', '=', '==', '+', '/', '.', '-', '_', 'A', '%', 'é', '"', '\\'];
const SET_EDITS = [
	(k) => ({ ...k, use: 'enc' }), (k) => ({ ...k, use: 'sig' }), (k) => ({ ...k, key_ops: ['verify'] }), (k) => ({ ...k, key_ops: ['encrypt'] }), (k) => ({ ...k, key_ops: [] }),
	(k, t) => ({ ...k, alg: t.alg }), (k) => ({ ...k, alg: pick(ALGS) }), (k) => ({ ...k, alg: 'RSA-OAEP' }), (k) => ({ ...k, d: 'AQ' }), (k) => ({ ...k, k: 'AQ' }), (k) => ({ ...k, kty: 'oct' }),
	(k) => ({ ...k, kid: 'other' }), (k) => ({ ...k, kid: undefined }), (k) => ({ ...k, kid: 5 }), (k) => ({ ...k, crv: pick(['P-256', 'P-384', 'P-521', 'secp256k1', 'p-256']) }), (k) => ({ ...k, e: 'AAEAAQ' }),
	(k) => ({ ...k, e: 'AQAB=' }), (k) => ({ ...k, e: 'Aw' }), (k) => ({ ...k, e: 'AQ' }), (k) => ({ ...k, e: 'AQAAAAE' }), (k) => ({ ...k, n: k.n && `AA${k.n}` }), (k) => ({ ...k, n: k.n && k.n.slice(0, 100) }),
	(k) => ({ ...k, n: k.n && b64(flip(Buffer.from(k.n, 'base64url'))) }), (k) => ({ ...k, x: k.x && b64(flip(Buffer.from(k.x, 'base64url'))) }), (k) => ({ ...k, y: k.y && k.x }), (k) => ({ ...k, x: k.x && `AA${k.x}` }),
	(k) => ({ ...k, x: k.x && k.x.slice(0, -2) }), (k) => ({ ...k, y: k.y && b64(flip(Buffer.from(k.y, 'base64url'))) }), (k) => ({ ...k, x5c: ['AAAA'] }), (k) => ({ ...k, n: undefined, x: undefined }), (k) => ({ ...k, nobody: 'knows' }),
];

const KINDS = {
	clean: (t) => compact(t),
	bit: (t) => flip(compact(t)),
	bits: (t) => flip(flip(compact(t))),
	headerBit: (t) => onPart(compact(t), 0, flip),
	payloadBit: (t) => onPart(compact(t), 1, flip),
	signatureBit: (t) => onPart(compact(t), 2, flip),
	header(t) {
		const [name, value] = pick(HEADER_EDITS);
		return compact(t, JSON.stringify({ ...t.header, [name]: value }));
	},
	algSwap: (t) => compact(t, JSON.stringify({ ...t.header, alg: pick(ALGS) })),
	// Signed by the algorithm that the header says, with a key that is not for it.
	keySwap(t) {
		const other = pick(Object.keys(pairs));
		return compact({ ...t, kid: other }, JSON.stringify({ ...t.header, kid: pick([other, t.kid]) }));
	},
	kidSwap: (t) => compact(t, JSON.stringify({ ...t.header, kid: pick(Object.keys(pairs)) })),
	duplicate: (t) => compact(t, pick([`{"alg":"${t.alg}","alg":"${pick(ALGS)}","kid":"${t.kid}"}`, `{"alg":"${t.alg}","kid":"${t.kid}","\\u006bid":"r1"}`, `{"alg":"${t.alg}","kid":"${t.kid}","a":{"b":1,"b":2}}`])),
	duplicateClaim: (t) => compact(t, undefined, pick(['{"iss":"a","iss":"b"}', '{"iss":"a","\\u0069ss":"b"}', '{"iss":"a","x":[{"y":1,"y":1}]}'])),
	jsonEdit(t) {
		const text = JSON.stringify(t.header), at = random(text.length + 1);
		return compact(t, splice(text, at, random(2), pick([...TEXT_EDITS, '{', '}', '[', ']', ',', ':', '1', '/**/', '\\u0000', '\\ud800', '\ufeff', 'NaN'])));
	},
	claimsEdit(t) {
		const text = JSON.stringify(t.claims), at = random(text.length + 1);
		return compact(t, undefined, splice(text, at, random(2), pick([...TEXT_EDITS, '{', '}', '[', ']', ',', ':', '9'.repeat(25), '1e999', '-', '01', '\\u0000', '\\ud800', '\ufeff'])));
	},
	claimsByte: (t) => compact(t, undefined, oneMore(JSON.stringify({ ...t.claims, all: [1, -2.5, 3e-7, true, false, null, {}, [], 'é\n'] }))),
	headerByte: (t) => compact(t, oneMore(JSON.stringify({ ...t.header, nobody: pick([7, true, null, [0.5, false], {}]) }))),
	rawClaims: (t) => compact(t, undefined, pick([Buffer.from([0xff, 0xfe]), '', '[]', '"iss"', 'null', '{"iss":1}', '{"iss":""}', '{}', '{"iss":"a\\u0000b"}', `{"iss":"${'i'.repeat(300)}"}`, Buffer.from('{"iss":"\xc0\x80"}', 'latin1'), `{"iss":"a","d":${'['.repeat(30)}${']'.repeat(30)}}`, 'eyJhbGciOiJub25lIn0.e30.'])),
	text(t) {
		const text = compact(t), at = random(text.length + 1);
		return splice(text, at, random(2), pick(TEXT_EDITS));
	},
	tail: (t) => compact(t) + pick([...TEXT_EDITS, '.', '..AA', '=', 'AA']),
	trailingBits(t) {
		const parts = compact(t).split('.'), i = random(3), alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
		parts[i] = parts[i].slice(0, -1) + alphabet[alphabet.indexOf(parts[i].at(-1)) ^ (1 + random(3))];
		return parts.join('.');
	},
	emptyPart(t) {
		const parts = compact(t).split('.');
		parts[random(3)] = '';
		return parts.join('.');
	},
	signatureLength: (t) => onPart(compact(t), 2, (s) => pick([Buffer.alloc(0), s.subarray(1), s.subarray(0, -1), Buffer.concat([s, Buffer.from([0])]), Buffer.concat([Buffer.from([0]), s]), Buffer.concat([s, s]), Buffer.alloc(s.length)])),
	der(t) {
		const input = `${b64(JSON.stringify(t.header))}.${b64(JSON.stringify(t.claims))}`;
		return `${input}.${b64(sign(`sha${t.alg.slice(2)}`, Buffer.from(input), { key: pairs[t.kid].privateKey, dsaEncoding: 'der' }))}`;
	},
	// r and s: zero, the order, swapped, and the twin (r, n − s), which is as right as the first.
	ecNumbers(t) {
		if (t.alg[0] !== 'E') return compact(t);
		return onPart(compact(t), 2, (s) => {
			const half = s.length / 2, r = s.subarray(0, half), v = s.subarray(half), order = Buffer.from(ORDER[t.alg].padStart(2 * half, '0'), 'hex');
			const number = (b) => BigInt(`0x${b.toString('hex')}`), bytes = (n) => Buffer.from(n.toString(16).padStart(2 * half, '0'), 'hex');
			const plus = number(v) + number(order), fits = plus < 1n << BigInt(8 * half);
			return Buffer.concat(pick([[Buffer.alloc(half), v], [r, Buffer.alloc(half)], [order, v], [r, order], [v, r], [r, bytes(number(order) - number(v))], [r, fits ? bytes(plus) : v], [Buffer.alloc(half), Buffer.alloc(half)]]));
		});
	},
	salt: (t) => (t.alg[0] === 'P' ? compact(t, undefined, undefined, pick([0, 1, 20, 32, 48, 64])) : compact(t)),
	hmac(t) {
		const input = `${b64(JSON.stringify({ ...t.header, alg: 'HS256' }))}.${b64(JSON.stringify(t.claims))}`;
		return `${input}.${createHash('sha256').update(input).digest('base64url')}`;
	},
};

// ---- the comparison ----
const gate = spawn(gatePath, { stdio: ['pipe', 'pipe', 'inherit'] });
const answers = createInterface({ input: gate.stdout })[Symbol.asyncIterator]();
const tally = { both: 0, neither: 0, stricter: {} }, perKind = {};
let failures = 0, spoiled = false;

for (let i = 0; i < count; i++) {
	const t = base(), kind = i % 4 === 3 ? 'keySet' : pick(Object.keys(KINDS));
	let set = cleanSet(), token;
	if (kind === 'keySet') {
		token = compact(t);
		set.keys = set.keys.map((k) => (k.kid === t.kid ? pick(SET_EDITS)(k, t) : k));
		if (random(20) === 0) set.keys.push(set.keys[random(set.keys.length)]);
	} else {
		token = KINDS[kind](t);
	}
	if (kind === 'keySet' || spoiled || i === 0) gate.stdin.write(`K${b64(JSON.stringify(set))}\n`);
	spoiled = kind === 'keySet';
	const bytes = Buffer.from(token, typeof token === 'string' ? 'utf8' : undefined);
	gate.stdin.write(`T${b64(bytes)}\n`);
	const ours = (await answers.next()).value, theirs = judge(bytes, json(Buffer.from(JSON.stringify(set))));
	perKind[kind] ??= { taken: 0, refused: 0 };
	perKind[kind][ours === 'OK' ? 'taken' : 'refused']++;
	if (ours === 'OK' && theirs === null) tally.both++;
	else if (ours !== 'OK' && theirs !== null) tally.neither++;
	else if (ours === 'OK' || !(ours in EXPLAINED)) {
		failures++;
		console.log(`DISAGREEMENT (${kind}): ours ${ours}, theirs ${theirs ?? 'accepts'}\n  ${bytes.toString('latin1').slice(0, 400)}\n  ${kind === 'keySet' ? JSON.stringify(set.keys.find((k) => k.kid === t.kid)) : ''}`);
	} else tally.stricter[ours] = (tally.stricter[ours] ?? 0) + 1;
}
gate.stdin.end();

const never = Object.entries(perKind).filter(([kind, n]) => (kind === 'clean' ? n.refused > 0 : n.refused === 0));
if (tally.both < count / 20 || tally.neither < count / 4 || never.length > 0) {
	failures++;
	console.log(`the mutations do not bite: ${JSON.stringify(never)}`);
}
console.log(`differential: ${count} tokens (seed ${seedText}): both accept ${tally.both}, both refuse ${tally.neither}, only ours refuses:`);
for (const [code, n] of Object.entries(tally.stricter)) console.log(`  ${String(n).padStart(6)} ${code}: ${EXPLAINED[code]}`);
console.log(`differential: ${failures === 0 ? '1 passed, 0 failed' : `0 passed, 1 failed (${failures} disagreements)`}`);
process.exit(failures === 0 ? 0 : 1);
